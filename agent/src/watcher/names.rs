//! watcher: the names in a directory, as every engine reads them.

use std::io;
use std::os::fd::{BorrowedFd, OwnedFd};

use rustix::fs::{AtFlags, FileType, Mode, OFlags, RawDir};

/// Bytes of names that are read at a time: `getdents(2)` fills it with some thousand.
const READ_LEN: usize = 64 * 1024;

/// Calls `each` with every name in a held directory and whether a directory stands there, in no order. No file is
/// looked at where the file system says so by itself.
pub(super) fn each_name(
    dir: BorrowedFd<'_>,
    buffer: &mut Vec<u8>,
    mut each: impl FnMut(&[u8], bool),
) -> io::Result<()> {
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
    let dir: OwnedFd = rustix::fs::openat(dir, ".", flags, Mode::empty())?;
    buffer.clear();
    buffer.reserve(READ_LEN);
    let mut names = RawDir::new(&dir, buffer.spare_capacity_mut());
    while let Some(entry) = names.next() {
        let entry = entry?;
        let name = entry.file_name();
        if matches!(name.to_bytes(), b"." | b"..") {
            continue;
        }
        let is_dir = match entry.file_type() {
            FileType::Unknown => match rustix::fs::statat(&dir, name, AtFlags::SYMLINK_NOFOLLOW) {
                Ok(stat) => FileType::from_raw_mode(stat.st_mode) == FileType::Directory,
                // Gone again; its event is in the queue.
                Err(_) => continue,
            },
            known => known == FileType::Directory,
        };
        each(name.to_bytes(), is_dir);
    }
    Ok(())
}
