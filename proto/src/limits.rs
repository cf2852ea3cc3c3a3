//! Every bound both ends keep, each with its reason.

use std::time::Duration;

/// Longest path beneath a Root, in bytes. `PATH_MAX` of Linux less its final NUL: `openat2(2)` takes no longer one.
pub const PATH_LEN: usize = 4095;

/// Longest name of one path component, in bytes (`NAME_MAX`, every Linux file system).
pub const NAME_LEN: usize = 255;

/// Longest text of a symlink, in bytes (`PATH_MAX`: `symlink(2)` refuses a longer one).
pub const TARGET_LEN: usize = 4095;

/// A frame is sent once it holds this many bytes: large enough that framing and TLS cost nothing, small
/// enough that the peer starts on it early.
pub const FRAME_SOFT: usize = 256 * 1024;

/// Largest message accepted from a peer. A frame is closed at [`FRAME_SOFT`] and its last item may overshoot it by as
/// much and by [`INLINE_MAX`], so nothing honest comes near.
pub const FRAME_MAX: usize = 1024 * 1024;

/// Frames that wait between a role and the socket, each way. Bounds the memory of a stream whose peer is slow:
/// frames in flight times [`FRAME_MAX`].
pub const FRAMES_QUEUED: usize = 8;

/// Contents up to this size travel with their entry instead of as a stream of chunks.
pub const INLINE_MAX: u64 = 128 * 1024;

/// Bytes of literal data in one chunk of a stream.
pub const CHUNK_LEN: usize = 128 * 1024;

/// Entries of one listing item; a longer directory takes several.
pub const LISTING_LEN: usize = 1000;

/// Rules one hello may bring. More than any hand-written list; bounds the work per path.
pub const RULES_MAX: usize = 4096;

/// Longest single rule, in bytes: a path and its prefix.
pub const RULE_LEN: usize = PATH_LEN + 64;

/// Source arguments one pull may name.
pub const SOURCES_MAX: usize = 1024;

/// Directories the receiver has asked for and not yet had. Enough to fill a long wire (a listing of a usual
/// directory is 2 KiB: 2 MiB in flight), and the most listings a receiver must remember.
pub const OPENS_IN_FLIGHT: usize = 1024;

/// Files the receiver has asked for and not yet had. Each may hold an open basis.
pub const WANTS_IN_FLIGHT: usize = 512;

/// Bytes of file content the receiver has asked for and not yet had, beyond which it asks for no more. A file
/// larger than this is asked for alone. As much as [`WINDOW`]: what has come and is not taken yet lies in memory.
pub const WANTED_BYTES: u64 = 16 * 1024 * 1024;

/// Bytes of small files that a receiver keeps in memory from when it asks for their successors until these come. What
/// does not fit is read a second time.
pub const BASES_HELD: usize = 6 * 1024 * 1024;

/// Entries that either end keeps as it listed them for a single comparison, for the directories that turn out to differ: 32
/// bytes each.
pub const LISTED_KEPT: usize = 96 * 1024;

/// Bytes of their names, of the texts of their symlinks and of the paths of their directories that are kept with them: 2 MB
/// as a rule, but a symlink's text may have 4 KiB.
pub const LISTED_KEPT_TEXT: usize = 6 * 1024 * 1024;

/// Entries that take no part whose names a walk tells of; the others it counts.
pub const LEFT_OUT_NAMED: usize = 1000;

/// Requests (opens and wants) a sender holds for its peer before it calls the peer misbehaved.
pub const REQUESTS_MAX: usize = OPENS_IN_FLIGHT + WANTS_IN_FLIGHT + 64;

/// Files that are made durable together: one group waits for one round of syncs.
pub const GROUP_FILES: usize = 256;

/// Bytes that are made durable together.
pub const GROUP_BYTES: u64 = 8 * 1024 * 1024;

/// Likewise in a first full push, where a whole file system is synced at once: the more, the fewer times.
pub const FIRST_GROUP_FILES: usize = 1024;
/// See [`FIRST_GROUP_FILES`].
pub const FIRST_GROUP_BYTES: u64 = 64 * 1024 * 1024;
/// How long such a group waits for more: a slow wire must not keep what has come from being durable.
pub const FIRST_GROUP_WAIT: Duration = Duration::from_millis(500);
/// New files and directories from which on a group of a first full push is made durable by one syncfs(2): for fewer it
/// may wait longer for what others have written than their own syncs would.
pub const SYNC_WHOLE_MIN: usize = 64;

/// Smallest and largest block of a rolling signature. Between them the block grows with the square root of the
/// file, as rsync's does: the sums and the literal bytes of one edit then cost about the same.
pub const BLOCK_MIN: u32 = 704;
/// See [`BLOCK_MIN`]. Also bounds the sender's memory for one block.
pub const BLOCK_MAX: u32 = 1024 * 1024;

/// Blocks in one signature. At [`BLOCK_MAX`] this covers 4 TiB; a larger file is sent whole.
pub const BLOCKS_MAX: u64 = 4 * 1024 * 1024;

/// A file smaller than this is sent whole: the sums of its two blocks would save less than they cost.
pub const DELTA_MIN: u64 = 1024;

/// From this length on a file that may have the content that is wanted is told by its digest: a shorter one costs no more
/// than the digest and its answer.
pub const DIGEST_MIN: u64 = 64;

/// Bytes of one group of a file's BLAKE3 tree, kept by the journal and by a server's cache: the grain at which an edit
/// in place is found. The values of 1 GiB take 2 MiB; groups of 64 KiB would take a quarter of that, and send four times
/// as much for a small edit.
pub const DIGEST_GROUP: u64 = 16 * 1024;
/// Groups of one file whose values are kept: 16 MiB of them, for 8 GiB of content. A longer file is compared by sums.
pub const GROUPS_KEPT: u64 = 512 * 1024;
/// Files from this length on have the values of their groups remembered by a server: for a shorter one its sums cost no
/// more than the look-up.
pub const REMEMBERED_MIN: u64 = 1024 * 1024;
/// Bytes that one copy of a search covers at most, or hardly more: the receiver works on it while the sender is still
/// reading what follows.
pub const COPY_LEN: u64 = 4 * 1024 * 1024;

/// Times a file that changes while it is read is read again before it is sent as it is, marked unstable.
pub const UNSTABLE_TRIES: u32 = 3;

/// Times `openat2(2)` is repeated on EAGAIN. It fails so while anything on the host is renamed or mounted; even
/// a rename storm on every core lets a repeat through long before this.
pub const RESOLVE_TRIES: u32 = 128;

/// How long a server keeps the data of a cut upload for the agent to come back to.
pub const PARTIAL_KEPT: Duration = Duration::from_secs(600);
/// Cut uploads kept at once, and their bytes in all: a peer must not fill the disk with files nobody sees.
pub const PARTIALS_MAX: usize = 64;
/// See [`PARTIALS_MAX`].
pub const PARTIAL_BYTES_MAX: u64 = 16 * 1024 * 1024 * 1024;

/// A peer has this long for TLS, HTTP/2 and its hello: before authentication it may cost no more.
pub const HANDSHAKE: Duration = Duration::from_secs(15);
/// Connections that have not authenticated yet. Above it new ones are closed at once, so that stalled handshakes
/// cannot keep out the rest (CVE-2026-70464).
pub const UNAUTHENTICATED_MAX: usize = 256;

/// HTTP/2 keep-alive ping, and how long its answer may take. A dead peer is noticed within their sum.
pub const KEEPALIVE_EVERY: Duration = Duration::from_secs(10);
/// See [`KEEPALIVE_EVERY`].
pub const KEEPALIVE_ANSWER: Duration = Duration::from_secs(20);

/// HTTP/2 flow-control window of a stream and of a connection: 100 ms at 1 Gbit/s, and a quarter.
pub const WINDOW: u32 = 16 * 1024 * 1024;

/// Largest HTTP/2 frame taken from a peer: one of our frames as a rule, where HTTP/2's own 16 KiB would make sixteen,
/// each with a TLS record for its head.
pub const HTTP2_FRAME: u32 = 512 * 1024;

/// Password and user name, in bytes. rsync(1) reads at most 511 of a password.
pub const SECRET_LEN: usize = 511;
