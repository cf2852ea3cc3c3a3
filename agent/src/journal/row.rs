//! journal: the bytes of a row. Fixed-width little-endian numbers behind a version byte; what cannot be read counts
//! as not there.

use driftless_proto::disk::{Identity, Stamp};
use driftless_proto::model::digest::{Digest, Group};
use driftless_proto::model::entry::{Device, Entry, Kind, Time};

use super::{Record, ServerSeen};

/// Of a row. A row of any other version is read as none.
const VERSION: u8 = 2;

/// As above, without a time of the ack.
const UNTIMED: u8 = 1;

/// A record without its groups.
pub(super) fn encode(record: &Record) -> Vec<u8> {
    let Record { stamp, entry, digest, groups: _, acked } = record;
    let mut out = Vec::new();
    match acked {
        None => out.push(UNTIMED),
        Some(acked) => {
            out.push(VERSION);
            put_time(&mut out, *acked);
        }
    }
    for number in [stamp.dev, stamp.ino, stamp.nlink, stamp.size] {
        out.extend(number.to_le_bytes());
    }
    put_time(&mut out, stamp.mtime);
    put_time(&mut out, stamp.ctime);
    for number in [entry.mode, entry.uid, entry.gid] {
        out.extend(number.to_le_bytes());
    }
    put_time(&mut out, entry.mtime);
    match digest {
        Some(digest) => {
            out.push(1);
            out.extend(digest.0);
        }
        None => out.push(0),
    }
    put_kind(&mut out, &entry.kind);
    out
}

/// The inverse of [`encode`]; no groups.
pub(super) fn decode(bytes: &[u8]) -> Option<Record> {
    let mut rest = Reader(bytes);
    let acked = match rest.u8()? {
        UNTIMED => None,
        VERSION => Some(rest.time()?),
        _ => return None,
    };
    let stamp = Stamp {
        dev: rest.u64()?,
        ino: rest.u64()?,
        nlink: rest.u64()?,
        size: rest.u64()?,
        mtime: rest.time()?,
        ctime: rest.time()?,
    };
    let (mode, uid, gid, mtime) = (rest.u32()?, rest.u32()?, rest.u32()?, rest.time()?);
    let digest = match rest.u8()? {
        0 => None,
        1 => Some(Digest(rest.array()?)),
        _ => return None,
    };
    let entry = Entry { kind: rest.kind()?, mode, mtime, uid, gid };
    Some(Record { stamp, entry, digest, groups: Vec::new(), acked })
}

/// As they lie one after another. A cut one means that they are damaged: none then, so the file is sent whole.
pub(super) fn decode_groups(bytes: &[u8]) -> Vec<Group> {
    let groups = bytes.chunks_exact(size_of::<Group>());
    if !groups.remainder().is_empty() {
        return Vec::new();
    }
    groups.filter_map(|group| group.try_into().ok()).collect()
}

pub(super) fn encode_identity(identity: &Identity) -> Vec<u8> {
    let Identity { dev, ino, fsid, born } = identity;
    let mut out: Vec<u8> = [dev, ino, fsid].iter().flat_map(|number| number.to_le_bytes()).collect();
    if let Some(born) = born {
        put_time(&mut out, *born);
    }
    out
}

/// One that was written before there was a time of birth in it has none.
pub(super) fn decode_identity(bytes: &[u8]) -> Option<Identity> {
    let mut rest = Reader(bytes);
    let (dev, ino, fsid) = (rest.u64()?, rest.u64()?, rest.u64()?);
    let born = if rest.0.is_empty() { None } else { Some(rest.time()?) };
    rest.0.is_empty().then_some(Identity { dev, ino, fsid, born })
}

pub(super) fn encode_server(server: &ServerSeen) -> Vec<u8> {
    let mut out = (server.module_id.len() as u64).to_le_bytes().to_vec();
    out.extend(&server.module_id);
    out.extend(&server.boot_epoch);
    out
}

pub(super) fn decode_server(bytes: &[u8]) -> Option<ServerSeen> {
    let mut rest = Reader(bytes);
    let (module_id, boot_epoch) =
        usize::try_from(rest.u64()?).ok().and_then(|len| rest.0.split_at_checked(len))?;
    Some(ServerSeen { module_id: module_id.to_vec(), boot_epoch: boot_epoch.to_vec() })
}

pub(super) fn put_time(out: &mut Vec<u8>, time: Time) {
    out.extend(time.sec.to_le_bytes());
    out.extend(time.nsec.to_le_bytes());
}

/// Last in a row: the text of a symlink takes the rest.
fn put_kind(out: &mut Vec<u8>, kind: &Kind) {
    let mut device = |tag, device: &Device| {
        out.push(tag);
        out.extend(device.major.to_le_bytes());
        out.extend(device.minor.to_le_bytes());
    };
    match kind {
        Kind::Block(numbers) => device(b'b', numbers),
        Kind::Char(numbers) => device(b'c', numbers),
        Kind::Dir => out.push(b'd'),
        Kind::Fifo => out.push(b'p'),
        Kind::File { size } => {
            out.push(b'f');
            out.extend(size.to_le_bytes());
        }
        Kind::Socket => out.push(b's'),
        Kind::Symlink { target } => {
            out.push(b'l');
            out.extend(target);
        }
    }
}

/// What is left to read.
pub(super) struct Reader<'a>(pub(super) &'a [u8]);

impl Reader<'_> {
    fn array<const N: usize>(&mut self) -> Option<[u8; N]> {
        let (now, later) = self.0.split_first_chunk()?;
        self.0 = later;
        Some(*now)
    }

    pub(super) fn u8(&mut self) -> Option<u8> {
        self.array().map(|[byte]| byte)
    }

    fn u32(&mut self) -> Option<u32> {
        self.array().map(u32::from_le_bytes)
    }

    pub(super) fn u64(&mut self) -> Option<u64> {
        self.array().map(u64::from_le_bytes)
    }

    pub(super) fn time(&mut self) -> Option<Time> {
        let time = Time { sec: self.array().map(i64::from_le_bytes)?, nsec: self.u32()? };
        (time.nsec < 1_000_000_000).then_some(time)
    }

    fn kind(&mut self) -> Option<Kind> {
        let kind = match self.u8()? {
            b'b' => Kind::Block(self.device()?),
            b'c' => Kind::Char(self.device()?),
            b'd' => Kind::Dir,
            b'p' => Kind::Fifo,
            b'f' => Kind::File { size: self.u64()? },
            b's' => Kind::Socket,
            b'l' => Kind::Symlink { target: std::mem::take(&mut self.0).into() },
            _ => return None,
        };
        self.0.is_empty().then_some(kind)
    }

    fn device(&mut self) -> Option<Device> {
        Some(Device { major: self.u32()?, minor: self.u32()? })
    }
}
