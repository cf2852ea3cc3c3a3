//! Digests of directories: how two ends find where their trees differ without listing them.
//!
//! A directory's digest covers its entries in canonical order, each as the options in force compare it, and the
//! digests of its sub-directories; so equal digests mean equal trees, in the receiver's terms. It is seeded with
//! those terms and the rules: ends that compare different things never agree by accident.

use super::digest::Digest;
use super::entry::{Entry, Kind};
use super::options::Terms;

/// Who owns an entry, as it is compared: a number, or a name where both ends match by name.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Owner {
    /// The id itself; also where it has no name.
    Id(u32),
    /// The user's or group's name.
    Name(Box<[u8]>),
}

/// What every directory digest of a run begins with.
#[derive(Clone, Copy, Debug)]
pub struct Seed(Digest);

impl Seed {
    /// From what is compared and which rules hide names.
    #[must_use]
    pub fn new<'a>(terms: &Terms, rules: impl Iterator<Item = &'a [u8]>) -> Self {
        let mut hasher = blake3::Hasher::new();
        let flags = [
            terms.recursive,
            terms.links,
            terms.perms,
            terms.times,
            terms.owner,
            terms.group,
            terms.devices,
            terms.specials,
            terms.numeric_ids,
        ];
        hasher.update(&flags.map(u8::from));
        hasher.update(&terms.time_granularity_ns.to_le_bytes());
        if terms.checksum {
            hasher.update(b"checksum");
        }
        for rule in rules {
            hasher.update(&(rule.len() as u64).to_le_bytes());
            hasher.update(rule);
        }
        Self(hasher.finalize().into())
    }
}

/// Folds the entries of one directory into its digest. They must come in canonical order.
pub struct DirHasher<'a> {
    terms: &'a Terms,
    hasher: blake3::Hasher,
    /// Entries that are not hashed yet: BLAKE3 is fast on many bytes at a time only.
    text: Vec<u8>,
}

/// Bytes of entries that are hashed at a time.
const TEXT_LEN: usize = 16 * 1024;

impl<'a> DirHasher<'a> {
    /// An empty directory so far.
    #[must_use]
    pub fn new(seed: Seed, terms: &'a Terms) -> Self {
        let mut hasher = blake3::Hasher::new();
        hasher.update(&seed.0.0);
        Self { terms, hasher, text: Vec::new() }
    }

    /// Takes the next entry. `owner` and `group` give its ids as they compare and are asked only when they do;
    /// `content` is the digest of a sub-directory, or of a file where contents compare by theirs.
    pub fn add(
        &mut self,
        name: &[u8],
        entry: &Entry,
        owner: impl FnOnce() -> Owner,
        group: impl FnOnce() -> Owner,
        content: Option<&Digest>,
    ) {
        let text = &mut self.text;
        bytes(text, name);
        text.extend_from_slice(&entry.kind.type_bits().to_le_bytes());
        match &entry.kind {
            Kind::Block(device) | Kind::Char(device) => {
                text.extend_from_slice(&device.major.to_le_bytes());
                text.extend_from_slice(&device.minor.to_le_bytes());
            }
            Kind::File { size } => text.extend_from_slice(&size.to_le_bytes()),
            Kind::Symlink { target } => bytes(text, target),
            Kind::Dir | Kind::Fifo | Kind::Socket => {}
        }
        // Without -t the time of a file still decides whether it is sent again, as in rsync(1).
        if self.terms.times || entry.is_file() && !self.terms.checksum {
            let time = entry.mtime.granular(self.terms.time_granularity_ns);
            text.extend_from_slice(&time.sec.to_le_bytes());
            text.extend_from_slice(&time.nsec.to_le_bytes());
        }
        if self.terms.perms && !matches!(entry.kind, Kind::Symlink { .. }) {
            text.extend_from_slice(&entry.mode.to_le_bytes());
        }
        if self.terms.owner {
            id(text, &owner());
        }
        if self.terms.group {
            id(text, &group());
        }
        if let Some(content) = content {
            text.extend_from_slice(&content.0);
        }
        self.flush();
    }

    fn flush(&mut self) {
        if self.text.len() >= TEXT_LEN {
            self.hasher.update(&self.text);
            self.text.clear();
        }
    }

    /// Takes the name of the next entry, which takes no part: where nothing but names may differ, it is no other than one
    /// of the same name that takes none either.
    pub fn add_name(&mut self, name: &[u8]) {
        bytes(&mut self.text, name);
        // The type of no entry.
        self.text.extend_from_slice(&0_u32.to_le_bytes());
        self.flush();
    }

    /// The digest of what was taken.
    #[must_use]
    pub fn finish(mut self) -> Digest {
        self.hasher.update(&self.text);
        self.hasher.finalize().into()
    }
}

fn bytes(text: &mut Vec<u8>, bytes: &[u8]) {
    text.extend_from_slice(&(bytes.len() as u32).to_le_bytes());
    text.extend_from_slice(bytes);
}

fn id(text: &mut Vec<u8>, owner: &Owner) {
    match owner {
        Owner::Id(id) => {
            text.push(0);
            text.extend_from_slice(&id.to_le_bytes());
        }
        Owner::Name(name) => {
            text.push(1);
            bytes(text, name);
        }
    }
}
