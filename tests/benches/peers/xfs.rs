//! xfs: XFS with reflink in a loop mount, for the rows that need it.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use driftless_tests::oracle::root;

use crate::programs::installed;

/// Two modules of 1 GiB, one copy under way, the log, and room to spare. The image is sparse.
const SIZE: u64 = 6 << 30;

/// A mounted file system. Unmounted and deleted when dropped.
pub(crate) struct Xfs {
    mount: PathBuf,
    image: PathBuf,
}

impl Xfs {
    /// Makes and mounts one in a folder.
    ///
    /// # Errors
    /// Why it cannot be had here.
    pub(crate) fn mount(dir: &Path) -> Result<Self, String> {
        if !root() {
            return Err("a loop mount needs root".to_owned());
        }
        let mkfs = installed("mkfs.xfs").ok_or("mkfs.xfs is not installed")?;
        let (image, mount) = (dir.join("xfs.image"), dir.join("xfs"));
        fs::create_dir_all(&mount).expect("mkdir");
        fs::File::create(&image).and_then(|file| file.set_len(SIZE)).expect("an image");
        // From here on dropping it cleans up.
        let made = Self { mount, image };
        run(Command::new(mkfs).args(["-q", "-m", "reflink=1"]).arg(&made.image))?;
        run(Command::new("mount").args(["-o", "loop"]).arg(&made.image).arg(&made.mount))?;
        Ok(made)
    }

    /// Where it is mounted.
    pub(crate) fn path(&self) -> &Path {
        &self.mount
    }
}

impl Drop for Xfs {
    fn drop(&mut self) {
        // It may not have come to a mount; the image goes in any case.
        drop(run(Command::new("umount").arg(&self.mount)));
        drop(fs::remove_file(&self.image));
    }
}

fn run(command: &mut Command) -> Result<(), String> {
    let name = command.get_program().to_string_lossy().into_owned();
    let out = command.output().map_err(|error| format!("{name}: {error}"))?;
    if out.status.success() {
        return Ok(());
    }
    // The first word of its complaint is enough, and holds no path.
    let said = String::from_utf8_lossy(&out.stderr).trim().rsplit(": ").next().unwrap_or_default().to_owned();
    Err(format!("{name} failed: {said}"))
}
