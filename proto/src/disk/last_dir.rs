//! disk: a Root with the directory that was last used in it. Neighbours come one after another, and to open their
//! directory for each costs as much as what is done there.

use std::cell::RefCell;
use std::io;

use super::dir::Dir;
use super::found::{Found, Inode};
use super::root::Root;
use crate::model::path::RelPath;

/// As a [`Root`], for one thread that does many things at once and is finished with them soon.
///
/// Limit: the directory held is the one that had its name when it was first used. What moves or replaces it later is not
/// seen before [`LastDir::forget`]; so one of these lives no longer than a piece of work which sees what happens meanwhile
/// in another way, or not at all.
#[derive(Debug)]
pub struct LastDir {
    root: Root,
    last: RefCell<Option<(RelPath, Dir)>>,
}

impl LastDir {
    /// None is held yet.
    #[must_use]
    pub fn new(root: &Root) -> Self {
        Self { root: root.clone(), last: RefCell::new(None) }
    }

    /// The Root itself.
    #[must_use]
    pub fn root(&self) -> &Root {
        &self.root
    }

    /// Lets go of it.
    pub fn forget(&self) {
        self.last.replace(None);
    }

    /// As [`Root::parent_of`].
    ///
    /// # Errors
    /// As there.
    pub fn parent_of(&self, path: &RelPath) -> io::Result<Dir> {
        let mut last = self.last.borrow_mut();
        if let Some((holder, dir)) = &*last
            && holder.is_parent_of(path)
        {
            return Ok(dir.clone());
        }
        let dir = self.root.parent_of(path)?;
        *last = path.parent().map(|holder| (holder, dir.clone()));
        Ok(dir)
    }

    /// As [`Root::found`].
    ///
    /// # Errors
    /// As there.
    pub fn found(&self, path: &RelPath) -> io::Result<Found> {
        if path.is_root() { self.root.found(path) } else { self.parent_of(path)?.found(path.name()) }
    }

    /// As [`Root::inode`].
    ///
    /// # Errors
    /// As there.
    pub fn inode(&self, path: &RelPath) -> io::Result<Inode> {
        if path.is_root() { self.root.inode(path) } else { self.parent_of(path)?.inode(path.name()) }
    }
}
