//! Whether a file is still what it was when its reading began: what was read of it is told as its content only then.

use std::fs::File;
use std::io;

use crate::disk::Stamp;

/// Takes every reading for stable, from here on: a test's switch, of builds with debug assertions alone.
#[cfg(debug_assertions)]
static BROKEN: std::sync::atomic::AtomicBool = std::sync::atomic::AtomicBool::new(false);

/// Has every file sent as it was read, however it changed meanwhile, from here on and for the whole process: for a test
/// that shows that another would notice.
#[cfg(debug_assertions)]
pub fn break_reread() {
    BROKEN.store(true, std::sync::atomic::Ordering::Relaxed);
}

/// Whether an open file is as it was when this stamp of it was taken.
pub(super) fn is_unchanged(file: &File, since: &Stamp) -> io::Result<bool> {
    #[cfg(debug_assertions)]
    if BROKEN.load(std::sync::atomic::Ordering::Relaxed) {
        return Ok(true);
    }
    Ok(Stamp::of_file(file)? == *since)
}
