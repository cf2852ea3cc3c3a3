//! events: `--daemon`. We start ourselves again and leave the terminal there: forking needs unsafe code.
//!
//! Unlike inotifywait(1) the daemon stays in its directory, so that relative paths still mean what they meant.

use std::ffi::OsString;
use std::io::{self, Write as _};
use std::os::unix::process::CommandExt as _;
use std::process::{Command, Stdio};

/// Tells the second start that it is the daemon.
const MARK: &str = "DRIFTLESS_EVENTS_DETACHED";

/// Whether this process is the daemon. The first call makes it the leader of a session of its own.
pub(super) fn is_detached() -> bool {
    let detached = std::env::var_os(MARK).is_some();
    if detached {
        // Fails only for one that leads a session already.
        rustix::process::setsid().ok();
    }
    detached
}

/// Starts the daemon: the same program under the same name with the same arguments. `stdin` is what standard input held,
/// where it was read.
///
/// # Errors
/// The program cannot be started.
pub(super) fn detach(stdin: Option<&[u8]>) -> io::Result<()> {
    let mut args = std::env::args_os();
    let mut command = Command::new("/proc/self/exe");
    let mut child = command
        .arg0(args.next().unwrap_or_else(|| OsString::from("driftless")))
        .args(args)
        .env(MARK, "1")
        .stdin(if stdin.is_some() { Stdio::piped() } else { Stdio::null() })
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()?;
    match (child.stdin.take(), stdin) {
        (Some(mut pipe), Some(text)) => pipe.write_all(text),
        _ => Ok(()),
    }
}
