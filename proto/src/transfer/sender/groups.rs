//! A file compared, group by group, with what the journal says the receiver holds: no word to the receiver is needed
//! to find what changed in place.

use std::fs::File;
use std::io::{self, Read as _};

use super::Known;
use crate::limits;
use crate::model::digest::{Digest, Group, GroupHasher};

/// Read at once from a file; a multiple of [`limits::DIGEST_GROUP`].
const READ_LEN: usize = 1024 * 1024;

/// The length of a buffer to read a file of this size with: clearing a large one costs more than a small file.
pub(super) fn buffer_len(size: u64) -> usize {
    // One byte more shows the end at the first reading.
    usize::try_from(size.saturating_add(1)).unwrap_or(READ_LEN).min(READ_LEN)
}

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
    pub(super) fn compare(file: &File, known: Option<&Known>) -> io::Result<Self> {
        let mut hasher = GroupHasher::new();
        let group = usize::try_from(limits::DIGEST_GROUP).unwrap_or(usize::MAX);
        let mut buffer = vec![0; buffer_len(file.metadata()?.len())];
        let (mut literal, mut size) = (Vec::<(u64, u64)>::new(), 0);
        loop {
            let len = read_full(file, &mut buffer)?;
            // A file that grew since its size was asked for is cut at another place than its groups: it then differs.
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
            if len < buffer.len() {
                let (digest, groups) = hasher.finish();
                return Ok(Self { literal, size, digest, groups });
            }
        }
    }

    pub(super) fn literal_len(&self) -> u64 {
        self.literal.iter().map(|(_, len)| len).sum()
    }
}

/// Reads until the buffer is full or the file ends.
pub(super) fn read_full(mut file: &File, buffer: &mut [u8]) -> io::Result<usize> {
    let mut filled = 0;
    while filled < buffer.len() {
        match file.read(&mut buffer[filled..]) {
            Ok(0) => break,
            Ok(len) => filled += len,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
    Ok(filled)
}
