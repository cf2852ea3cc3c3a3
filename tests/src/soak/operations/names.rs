//! Names of new entries, never one that was used before, some of them such that scripts stumble over them.

use std::ffi::OsString;
use std::os::unix::ffi::OsStringExt as _;

use super::Worker;

/// Beginnings of names: one in sixteen gets one of these.
const ODD: [&[u8]; 9] = [
    b" ",
    b"-rf ",
    b"new\nline ",
    b"back\\slash ",
    b"*?[a-z] ",
    b"\xff\xfe ",
    b"\xc3\xa9 ",
    b"#",
    b".hidden ",
];

/// The longest name that a directory takes, in bytes.
const LONGEST: usize = 255;

impl Worker {
    /// A new name. The worker is part of it, so that no two clash in the directory that all share.
    pub(super) fn new_name(&mut self) -> OsString {
        self.named += 1;
        let own = format!("w{}-{}", self.index, self.named).into_bytes();
        let name = match self.noise.below(256) {
            0 => {
                let mut name = own;
                name.push(b'-');
                name.resize(LONGEST, b'n');
                name
            }
            odd @ 1..16 => [ODD[usize::try_from(odd).expect("small") % ODD.len()], &own].concat(),
            _ => own,
        };
        OsString::from_vec(name)
    }

    /// A text for a symlink: what it names may be there or not.
    pub(super) fn target(&mut self) -> OsString {
        match self.noise.below(4) {
            0 => "../../../../etc/passwd".into(),
            1 => format!("nowhere/{}", self.noise.number()).into(),
            _ => match self.plot.any_file(&mut self.noise) {
                Some(file) => self.plot.path(file).into(),
                None => "/".into(),
            },
        }
    }
}
