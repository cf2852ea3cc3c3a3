//! Metadata alone.

use std::fs;
use std::io;
use std::os::unix::fs::PermissionsExt as _;

use super::{Worker, told};
use crate::trees::set_mtime;

impl Worker {
    pub(super) fn chmod(&mut self) -> io::Result<Option<String>> {
        let node = self.any();
        let modes: &[u32] = match node {
            Some(node) if self.is_dir(node) => &[0o700, 0o755, 0o750, 0o1777, 0o2775],
            _ => &[0o600, 0o644, 0o755, 0o660, 0o4755],
        };
        let mode = modes[usize::try_from(self.noise.below(modes.len() as u64)).expect("an index")];
        let Some(path) = node.map(|node| self.at(node)) else { return Ok(None) };
        fs::set_permissions(&path, fs::Permissions::from_mode(mode))?;
        told(&path)
    }

    pub(super) fn utimes(&mut self) -> io::Result<Option<String>> {
        let node = self.any();
        let sec = 1_000_000_000 + i64::try_from(self.noise.below(700_000_000)).expect("small");
        let nsec = i64::try_from(self.noise.below(1_000_000_000)).expect("small");
        let Some(path) = node.map(|node| self.at(node)) else { return Ok(None) };
        set_mtime(&path, sec, nsec);
        told(&path)
    }
}
