//! disk: a file's content, read at once, and its digest.

use std::fs::File;
use std::io::{self, Read};

use rustix::buffer::spare_capacity;
use rustix::io::Errno;

use super::dir::Dir;
use super::found::Found;
use crate::model::digest::{Digest, GroupHasher};

/// Read at once: enough that a disk is kept busy.
const READ_LEN: u64 = 1024 * 1024;

/// Reads the file at a name to its end, and says what was opened.
///
/// # Errors
/// As [`Dir::open_file`] and `read(2)`.
pub fn digest(dir: &Dir, name: &[u8]) -> io::Result<(Digest, Found)> {
    let (mut file, found) = dir.open_file(name)?;
    let mut hasher = GroupHasher::new();
    // One byte more than a small file has shows its end at once.
    let len = found.stat.size.saturating_add(1).min(READ_LEN);
    let mut buffer = vec![0; usize::try_from(len).unwrap_or(1)];
    loop {
        match file.read(&mut buffer) {
            Ok(0) => return Ok((hasher.finish().0, found)),
            Ok(len) => hasher.update(&buffer[..len]),
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
}

/// Reads so many bytes from where the file stands, fewer where it ends before, into memory that is not cleared first.
///
/// # Errors
/// As `read(2)`.
pub fn read_up_to(file: &File, len: usize) -> io::Result<Vec<u8>> {
    let mut bytes = Vec::with_capacity(len);
    while bytes.len() < len {
        match rustix::io::read(file, spare_capacity(&mut bytes)) {
            Ok(0) => break,
            Ok(_) | Err(Errno::INTR) => {}
            Err(error) => return Err(error.into()),
        }
    }
    Ok(bytes)
}
