//! The two roles of a transfer, each written once: the [`sender`] has the files, the [`receiver`] gets them.
//!
//! A role runs on plain threads and talks through a [`link`]; whether a socket or the other role in this process is
//! behind it, it cannot tell. Neither role's reader ever blocks on its own writer: two full windows cannot deadlock.

pub mod destination;
pub mod group_cache;
pub mod link;
pub mod observer;
pub mod partial;
pub mod pump;
pub mod receiver;
pub mod sender;
pub mod socket;
pub mod view;

#[cfg(test)]
mod tests;
