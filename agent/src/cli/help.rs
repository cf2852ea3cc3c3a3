//! What `--help` says besides the options.

/// What the options do not say.
pub(super) const AFTER_HELP: &str = "\
Remote operands: [user@]host::module[/path], driftless://[user@]host[:port]/module[/path], rsync:// alike.
`host::` alone lists modules (sync, pull). SRC/ means what is in SRC; SRC means SRC itself.
A --no-X takes back one part of -a (--no-o, --no-perms, ...); the last word on each part counts.
Password: --password-file, else DRIFTLESS_PASSWORD, else RSYNC_PASSWORD, else asked for on a terminal.
User: from the operand, else USER, else LOGNAME, else nobody.";

/// The commands that never get here: they read their options as inotify-tools do.
pub(super) const ALSO: &str = "\
Also:
  events   Wait for events and print them, as inotifywait does
  stats    Count events, as inotifywatch does";
