//! A file compared, group by group, with what the journal says the receiver holds: no word to the receiver is needed
//! to find what changed in place.

use std::fs::File;
use std::io::{self, Read as _};

use super::Known;
use crate::disk::content;
use crate::limits;
use crate::model::digest::{Digest, Group, GroupHasher};

/// Read at once from a file: a power of two of groups that is still in the core's own cache when it is hashed.
const READ_LEN: usize = 256 * 1024;

/// A file compared with the groups of its former content.
pub(super) struct GroupPlan {
    /// Ranges to send, merged: offset and length. What lies between is copied.
    pub(super) literal: Vec<(u64, u64)>,
    pub(super) size: u64,
    pub(super) digest: Digest,
    pub(super) groups: Vec<Group>,
}

impl GroupPlan {
    /// Reads the file and compares it with what is known; with nothing known all of it differs.
    pub(super) fn compare(file: &File, size: u64, known: Option<&Known>) -> io::Result<Self> {
        let mut hasher = GroupHasher::new();
        let group = usize::try_from(limits::DIGEST_GROUP).unwrap_or(usize::MAX);
        let mut reading = Reading::new(file, size);
        let mut buffer = reading.buffer();
        let (mut literal, mut size) = (Vec::<(u64, u64)>::new(), 0);
        loop {
            let len = reading.fill(&mut buffer)?;
            for piece in buffer[..len].chunks(group) {
                hasher.update(piece);
                let index = usize::try_from(size / limits::DIGEST_GROUP).unwrap_or(usize::MAX);
                let same = known.is_some_and(|known| {
                    let covered = known.stamp.size.saturating_sub(size).min(limits::DIGEST_GROUP);
                    covered == piece.len() as u64 && known.groups.get(index) == Some(&hasher.current_group())
                });
                if !same {
                    match literal.last_mut() {
                        Some((offset, len)) if *offset + *len == size => *len += piece.len() as u64,
                        _ => literal.push((size, piece.len() as u64)),
                    }
                }
                size += piece.len() as u64;
            }
            if len == 0 {
                let (digest, groups) = hasher.finish();
                return Ok(Self { literal, size, digest, groups });
            }
        }
    }

    pub(super) fn literal_len(&self) -> u64 {
        self.literal.iter().map(|(_, len)| len).sum()
    }
}

/// A file being read, to the length it had when it was opened: what is appended meanwhile is the next version's, and a
/// file that grows faster than it is read would have no end.
pub(super) struct Reading<'a> {
    file: &'a File,
    left: u64,
}

impl<'a> Reading<'a> {
    /// From where the file stands, for `size` bytes at most.
    pub(super) fn new(file: &'a File, size: u64) -> Self {
        Self { file, left: size }
    }

    /// Bytes still to be read.
    pub(super) fn left(&self) -> u64 {
        self.left
    }

    /// A buffer to read with: clearing a large one costs more than a small file.
    pub(super) fn buffer(&self) -> Vec<u8> {
        vec![0; usize::try_from(self.left).unwrap_or(READ_LEN).clamp(1, READ_LEN)]
    }

    /// Reads so many bytes, fewer at the end.
    pub(super) fn take(&mut self, len: usize) -> io::Result<Vec<u8>> {
        let len = len.min(usize::try_from(self.left).unwrap_or(usize::MAX));
        let bytes = content::read_up_to(self.file, len)?;
        self.left = self.left.saturating_sub(bytes.len() as u64);
        Ok(bytes)
    }

    /// Reads until the buffer is full or the file ends.
    pub(super) fn fill(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let want = buffer.len().min(usize::try_from(self.left).unwrap_or(usize::MAX));
        let mut filled = 0;
        while filled < want {
            match self.file.read(&mut buffer[filled..want]) {
                Ok(0) => break,
                Ok(len) => filled += len,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
        self.left -= filled as u64;
        Ok(filled)
    }
}
