//! disk: the only code that touches files, on either end.
//!
//! A [`Root`] is an open directory that an operator named; everything a peer names lies beneath one and is reached
//! by `openat2(2)` without following a single symlink. A [`Dir`] is one held directory beneath it, in which single
//! names are looked at and changed. So no name is resolved twice, and none can be swapped for a link in between.
//!
//! * [`root`], [`dir`], [`last_dir`]: the doors; [`found`]: what stands behind a name.
//! * [`content`]: the digest of what is in a file; [`walk`]: listing a directory, and summarising a tree into digests.
//! * [`stage`]: a file on its way, without a name; [`apply`]: where it gets one, and where old content goes away.
//! * [`meta`]: owner, mode and times, for real or in rsync's fake-super form ([`fake`]); [`ids`]: names of owners.
//! * [`reserved`]: the names of our own temporary files.
//!
//! Everything blocks: call it from plain threads. Errors are plain `std::io::Error`s; the caller knows the path.

pub mod apply;
pub mod content;
pub mod dir;
pub mod fake;
pub mod found;
pub mod ids;
pub mod kept;
pub mod last_dir;
pub mod meta;
pub mod reserved;
pub mod root;
pub mod stage;
pub mod walk;

#[cfg(test)]
mod testing;
#[cfg(test)]
mod tests;

pub use dir::Dir;
pub use found::{Found, Inode, Stamp, age};
pub use ids::Names;
pub use last_dir::LastDir;
pub use meta::{Keep, Placement};
pub use root::{Identity, Root, Style, leads_nowhere};
pub use stage::Staged;
