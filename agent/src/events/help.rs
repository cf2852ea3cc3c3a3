//! events: what `--help` prints.

use super::Face;

/// The help for this name.
pub(super) fn text(face: &Face) -> String {
    let Face { program, compat } = face;
    let (head, ours, exit) = if *compat {
        (format!("inotifywait 3.22.6 (driftless {})\n", env!("CARGO_PKG_VERSION")), "", "")
    } else {
        (String::new(), OURS, "  3  nothing that was watched is there any more (with -m)\n")
    };
    format!(
        "{head}Waits for events on files and directories, and prints them.\nUsage: {program} [options] PATH...\n{OPTIONS}{ours}{EXIT}{exit}\n{EVENTS}"
    )
}

const OPTIONS: &str = "
What is watched:
  -r, --recursive         directories with everything beneath; with -m new ones too
  -P, --no-dereference    a symlink itself, not what it points to
      --fromfile FILE     what FILE names, one path a line; `-' is standard input
      @PATH               leave this directory out of -r; also a line of FILE
  -e, --event LIST        only these events; may be repeated (default: all of them)
      --exclude ERE       tell nothing about paths that match this extended regular expression
      --include ERE       tell only about paths that match it
      --excludei, --includei   the same without regard to case
How long:
  -m, --monitor           go on after the first event
  -d, --daemon            as -m, in the background; needs -o, implies -s
  -t, --timeout SECONDS   end when nothing has happened for so long; 0 is never
What is printed:
  -q, --quiet             no messages but failures; -qq: no events either
  -c, --csv               events as CSV
      --format FORMAT     events as FORMAT says: %w watched path, %f name in it, %e events, %Xe events
                          joined by X, %c cookie of a rename, %T time, %0 NUL, %n newline, %% percent sign
      --timefmt FORMAT    %T as strftime(3) writes it
      --no-newline        no newline after FORMAT
  -o, --outfile FILE      events to the end of FILE
  -s, --syslog            messages to the system log
  -I, --inotify           by inotify, as always
  -h, --help              this
";

const OURS: &str = "Not in inotifywait:
      --synthetic         tell what a new directory held before it was watched, too, as CREATE; and every
                          lost event, as Q_OVERFLOW (with -m and -r)
      --prune             do not watch what @PATH or --exclude leaves out, nor anything beneath
      --json              events as one JSON object a line; of a rename MOVED_TO has `from' and `to' (with -m)
      --print0            end each event with NUL
";

const EXIT: &str = "
Exit status:
  0  an event came that was asked for
  1  something failed, or only an event came that was not asked for
  2  nothing happened for --timeout
";

/// The events that can be asked for.
pub(crate) const EVENTS: &str = "\
Events:
  access         something was read
  modify         something was written
  attrib         metadata changed
  close_write    closed after being open for writing
  close_nowrite  closed after being open for reading only
  close          either of these two
  open           opened
  moved_to       came into a watched directory by a rename
  moved_from     left a watched directory by a rename
  move           either of these two
  move_self      the watched thing itself was renamed
  create         made in a watched directory
  delete         removed from a watched directory
  delete_self    the watched thing itself was removed
  unmount        the file system of the watched thing was unmounted
  all_events, q_overflow, ignored, isdir, oneshot: as inotify(7) has them
";
