//! watcher: where the root stands, and on what.
//!
//! It is held open, so it stays there for us whatever happens to its names: it has to be asked for.

use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};

use driftless_proto::disk::{Dir, Root};
use driftless_proto::model::path::RelPath;
use rustix::event::{PollFd, PollFlags};
use rustix::fs::{Mode, OFlags};

/// Where the root stood when it was opened.
#[derive(Debug)]
pub(super) struct Place {
    /// Its path, as the kernel tells it.
    path: Option<Vec<u8>>,
    /// Readable as urgent whenever something is mounted or unmounted (`proc_pid_mounts(5)`): an unmount that leaves
    /// the root in our hands gives no other sign.
    mounts: OwnedFd,
}

impl Place {
    /// Where it stands now.
    ///
    /// # Errors
    /// When the root cannot be looked at, or `/proc` is not there.
    pub(super) fn of(root: &Root) -> io::Result<Self> {
        let top = root.dir(&RelPath::root())?;
        let flags = OFlags::RDONLY | OFlags::CLOEXEC;
        let mounts = rustix::fs::open("/proc/self/mountinfo", flags, Mode::empty())?;
        Ok(Self { path: path_of(&top), mounts })
    }

    /// Why the root is no longer what it was, if it is not.
    pub(super) fn gone(&self, root: &Root) -> Option<String> {
        let top = match root.dir(&RelPath::root()) {
            Ok(top) => top,
            Err(error) => return Some(format!("it cannot be looked at: {error}")),
        };
        match rustix::fs::fstat(&top) {
            Ok(stat) if stat.st_nlink == 0 => Some("it was removed".into()),
            Ok(_) if path_of(&top) != self.path => Some("it was moved away or unmounted".into()),
            Ok(_) => None,
            Err(error) => Some(format!("it cannot be looked at: {error}")),
        }
    }

    /// For a `poll(2)` that is to end when something is mounted or unmounted.
    pub(super) fn poll_fd(&self) -> PollFd<'_> {
        PollFd::new(&self.mounts, PollFlags::PRI)
    }
}

fn path_of(dir: &Dir) -> Option<Vec<u8>> {
    let link = format!("/proc/self/fd/{}", dir.as_fd().as_raw_fd());
    rustix::fs::readlink(link, Vec::new()).ok().map(std::ffi::CString::into_bytes)
}

/// The name of the file system if others can change what is on it without this kernel's knowing, so that events tell
/// only half (`inotify(7)`, Limitations and caveats).
pub(crate) fn shared_file_system(dir: BorrowedFd<'_>) -> Option<&'static str> {
    #[allow(clippy::unnecessary_cast, reason = "the width of `f_type` differs by machine")]
    let magic = rustix::fs::fstatfs(dir).ok()?.f_type as u32;
    shared_by_magic(magic)
}

/// By `statfs(2)`'s number: `linux/magic.h`, and for those that are not in the kernel what their modules report.
fn shared_by_magic(magic: u32) -> Option<&'static str> {
    Some(match magic {
        0x6969 => "NFS",
        0x517b | 0xff53_4d42 | 0xfe53_4d42 => "SMB",
        0x0102_1997 => "9p",
        0x6573_5546 => "FUSE",
        0x00c3_6400 => "CephFS",
        0x5346_414f | 0x6b41_4653 => "AFS",
        0x7375_7245 => "Coda",
        0x0bd0_0bd0 => "Lustre",
        0x0116_1970 => "GFS2",
        0x7461_636f => "OCFS2",
        0x4750_4653 => "GPFS",
        0x2003_0528 => "OrangeFS",
        0x786f_4256 => "vboxsf",
        0xbacb_acbc => "vmhgfs",
        _ => return None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_others_can_change_is_known_by_its_number() {
        const TMPFS: u32 = 0x0102_1994;
        const EXT4: u32 = 0xef53;
        const BTRFS: u32 = 0x9123_683e;
        const OVERLAY: u32 = 0x794c_7630;
        assert!([TMPFS, EXT4, BTRFS, OVERLAY].into_iter().all(|magic| shared_by_magic(magic).is_none()));
        assert_eq!(shared_by_magic(0x6969), Some("NFS"));
        assert_eq!(shared_by_magic(0xff53_4d42), Some("SMB"));
        assert_eq!(shared_by_magic(0x0102_1997), Some("9p"));
        assert_eq!(shared_by_magic(0x6573_5546), Some("FUSE"));
    }
}
