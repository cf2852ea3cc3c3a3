//! Generated messages to ours and back: the one place that parses the peer.
//!
//! What comes out of `TryFrom` here is valid; nothing downstream checks again. One file per speaker; this one
//! holds the parts they share.

mod hello;
mod receiver;
mod sender;

use prost::bytes::Bytes;

use super::generated as g;
use crate::limits;
use crate::model::counter::KindCounts;
use crate::model::digest::Digest;
use crate::model::entry::{Device, Entry, Kind, Time};
use crate::model::path::RelPath;
use crate::model::problem::Misbehaved;

/// A path where empty means the root.
fn path_or_root(bytes: &[u8]) -> Result<RelPath, Misbehaved> {
    if bytes.is_empty() {
        return Ok(RelPath::root());
    }
    Ok(RelPath::parse(bytes)?)
}

fn path_bytes(path: &RelPath) -> Bytes {
    Bytes::copy_from_slice(path.as_bytes())
}

fn digest(bytes: &[u8], what: &'static str) -> Result<Digest, Misbehaved> {
    bytes.try_into().map(Digest).map_err(|_| Misbehaved::Missing(what))
}

fn digest_or_none(bytes: &[u8], what: &'static str) -> Result<Option<Digest>, Misbehaved> {
    if bytes.is_empty() {
        return Ok(None);
    }
    digest(bytes, what).map(Some)
}

fn digest_bytes(digest: &Digest) -> Bytes {
    Bytes::copy_from_slice(&digest.0)
}

fn entry_or_missing(entry: Option<g::Entry>) -> Result<Entry, Misbehaved> {
    entry.ok_or(Misbehaved::Missing("entry"))?.try_into()
}

impl TryFrom<g::Time> for Time {
    type Error = Misbehaved;

    fn try_from(time: g::Time) -> Result<Self, Misbehaved> {
        if time.nsec >= 1_000_000_000 {
            return Err(Misbehaved::OutOfRange("nanoseconds"));
        }
        Ok(Self { sec: time.sec, nsec: time.nsec })
    }
}

impl From<Time> for g::Time {
    fn from(time: Time) -> Self {
        Self { sec: time.sec, nsec: time.nsec }
    }
}

impl From<g::Device> for Device {
    fn from(device: g::Device) -> Self {
        Self { major: device.major, minor: device.minor }
    }
}

impl From<Device> for g::Device {
    fn from(device: Device) -> Self {
        Self { major: device.major, minor: device.minor }
    }
}

impl TryFrom<g::Entry> for Entry {
    type Error = Misbehaved;

    fn try_from(entry: g::Entry) -> Result<Self, Misbehaved> {
        use g::entry::Kind as K;
        let kind = match entry.kind.ok_or(Misbehaved::Missing("kind"))? {
            K::Block(device) => Kind::Block(device.into()),
            K::Char(device) => Kind::Char(device.into()),
            K::Dir(_) => Kind::Dir,
            K::Fifo(_) => Kind::Fifo,
            K::File(size) if i64::try_from(size).is_err() => {
                return Err(Misbehaved::OutOfRange("size"));
            }
            K::File(size) => Kind::File { size },
            K::Socket(_) => Kind::Socket,
            K::Symlink(target)
                if target.is_empty() || target.len() > limits::TARGET_LEN || target.contains(&0) =>
            {
                return Err(Misbehaved::OutOfRange("symlink text"));
            }
            K::Symlink(target) => Kind::Symlink { target: target.as_ref().into() },
        };
        if entry.mode & !0o7777 != 0 {
            return Err(Misbehaved::OutOfRange("mode"));
        }
        let mtime = entry.mtime.ok_or(Misbehaved::Missing("mtime"))?.try_into()?;
        Ok(Self { kind, mode: entry.mode, mtime, uid: entry.uid, gid: entry.gid })
    }
}

impl From<&Entry> for g::Entry {
    fn from(entry: &Entry) -> Self {
        use g::entry::Kind as K;
        let kind = match &entry.kind {
            Kind::Block(device) => K::Block((*device).into()),
            Kind::Char(device) => K::Char((*device).into()),
            Kind::Dir => K::Dir(true),
            Kind::Fifo => K::Fifo(true),
            Kind::File { size } => K::File(*size),
            Kind::Socket => K::Socket(true),
            Kind::Symlink { target } => K::Symlink(Bytes::copy_from_slice(target)),
        };
        Self {
            kind: Some(kind),
            mode: entry.mode,
            mtime: Some(entry.mtime.into()),
            uid: entry.uid,
            gid: entry.gid,
        }
    }
}

impl From<g::KindCounts> for KindCounts {
    fn from(c: g::KindCounts) -> Self {
        Self { files: c.files, dirs: c.dirs, links: c.links, devices: c.devices, specials: c.specials }
    }
}

impl From<KindCounts> for g::KindCounts {
    fn from(c: KindCounts) -> Self {
        Self { files: c.files, dirs: c.dirs, links: c.links, devices: c.devices, specials: c.specials }
    }
}
