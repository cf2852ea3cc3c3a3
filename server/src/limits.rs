//! The bounds that only the server keeps, each with its reason. Those that both ends keep are in
//! `driftless_proto::limits`.

/// Longest config, secrets, certificate or key file, in bytes. Far above any written by hand; a wrong path must not
/// fill the memory.
pub(crate) const NAMED_FILE_LEN: u64 = 4 * 1024 * 1024;

/// Symlinks followed on the way to a file that the operator names (the kernel's own bound, `path_resolution(7)`).
pub(crate) const LINKS_FOLLOWED: u32 = 40;

/// Argon2id checks that run at once. Each holds 19 MiB and one core: logins must not take the machine from the
/// transfers.
pub(crate) const HASH_CHECKS: usize = 2;

/// Longest line of the log, in bytes: a path and the words around it.
pub(crate) const LOG_LINE_LEN: usize = 8 * 1024;

/// Bytes of remembered groups in the state folder: those of 113 GiB of files. Beyond, the oldest go.
pub(crate) const GROUPS_BYTES: u64 = 256 * 1024 * 1024;

/// Large files that have just landed and wait to be remembered: each is an open descriptor for a moment.
pub(crate) const GROUPS_RESTING: usize = 64;

/// Bytes of groups that wait to be written to the state folder: those of one file of the largest size, and some more.
/// What comes beyond is not remembered.
pub(crate) const GROUPS_WAITING: u64 = 24 * 1024 * 1024;
