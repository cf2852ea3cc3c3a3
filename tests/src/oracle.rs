//! Programs whose judgement counts (rsync above all), and what a test does where one is missing.
//!
//! A skip is written straight to the standard error, past the test harness's capture: nobody should believe that a
//! claim was tested when it was not. With `CI=true` a missing program is a failure.

use std::ffi::OsStr;
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::Command;

/// Says on the standard error that the calling test proves nothing here, and why.
pub fn skip(why: &str) {
    let test = std::thread::current().name().unwrap_or("a test").to_owned();
    // The line is a courtesy; a closed standard error must not fail the test.
    drop(writeln!(std::io::stderr(), "SKIPPED {test}: {why}"));
}

/// The path of a program, or `None` after a loud skip.
///
/// # Panics
/// With `CI=true` when it is missing.
#[must_use]
pub fn find(program: &str) -> Option<PathBuf> {
    let found = look(program);
    if found.is_none() {
        assert!(std::env::var("CI").as_deref() != Ok("true"), "{program} is missing, and CI needs it");
        skip(&format!("{program} is not installed"));
    }
    found
}

/// The path of a program whose judgement is welcome, and not needed.
#[must_use]
pub fn look(program: &str) -> Option<PathBuf> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    std::env::split_paths(&path).map(|dir| dir.join(program)).find(|file| file.is_file())
}

/// Whether the suite runs as root.
#[must_use]
pub fn root() -> bool {
    rustix::process::geteuid().is_root()
}

/// Whether the suite runs as root; when not, the test is skipped loudly.
#[must_use]
pub fn root_or_skip() -> bool {
    if !root() {
        skip("needs root");
    }
    root()
}

/// What stock rsync finds to do to make `b` like `a`, comparing contents too: nothing for equal trees.
/// `None` where rsync is missing.
///
/// # Panics
/// When rsync fails.
#[must_use]
pub fn rsync_differences(a: &Path, b: &Path) -> Option<String> {
    let rsync = find("rsync")?;
    let out = Command::new(rsync)
        .args(["-anic", "--delete"])
        .args([slash(a), slash(b)])
        .output()
        .expect("rsync runs");
    assert!(out.status.success(), "rsync failed: {}", String::from_utf8_lossy(&out.stderr));
    Some(String::from_utf8_lossy(&out.stdout).into_owned())
}

/// The path with a trailing slash: "the contents of", in rsync's grammar.
#[must_use]
pub fn slash(path: &Path) -> std::ffi::OsString {
    let mut text = path.as_os_str().to_owned();
    text.push(OsStr::new("/"));
    text
}
