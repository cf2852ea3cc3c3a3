//! How a run ends: rsync's exit codes, which scripts and lsyncd already know how to read.

use std::fmt;
use std::process::ExitCode;

/// The end of a run, numbered as rsync(1) numbers it under EXIT VALUES. Retry rules of existing tools hang on
/// these numbers: 0, 23 and 24 count as done, 1, 2, 4 and 25 as final, the rest as worth another try.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[repr(u8)]
pub enum Exit {
    /// All done.
    Ok = 0,
    /// Bad usage; also a module that is read only or write only, and plaintext to a remote address.
    Usage = 1,
    /// No protocol version that both ends speak.
    Protocol = 2,
    /// The operands select something impossible, such as several sources onto one file.
    Selection = 3,
    /// Something rsync has and we do not, or that the server refuses by option.
    Unsupported = 4,
    /// The server let us connect and then refused (rsync's `@ERROR`).
    Start = 5,
    /// Socket, TLS, certificate or pin.
    Socket = 10,
    /// Reading or writing a file in a way that ends the run; also a full disk.
    File = 11,
    /// The peer broke the protocol, or the stream broke off.
    Stream = 12,
    /// Stopped by SIGINT, SIGTERM or SIGHUP.
    Signal = 20,
    /// Some paths failed, the rest is done.
    Partial = 23,
    /// Some sources vanished before they were read, the rest is done.
    Vanished = 24,
    /// A limit on deletions was reached.
    MaxDelete = 25,
    /// Nothing moved on the stream for `--timeout`.
    Timeout = 30,
    /// The server did not answer while connecting.
    ConnectTimeout = 35,
    /// `verify`: the copy differs from its source; `restore`: from what was acknowledged.
    Differs = 40,
    /// `verify`: it differs in nothing but what a running watch has not brought across yet.
    Pending = 41,
}

impl Exit {
    /// The number the shell sees.
    #[must_use]
    pub fn code(self) -> u8 {
        self as u8
    }

    /// The last line on standard error; `None` when all is done. Vanished sources are a warning, as in rsync(1).
    #[must_use]
    pub fn last_line(self) -> Option<String> {
        let severity = match self {
            Self::Ok => return None,
            Self::Vanished => "warning",
            _ => "error",
        };
        Some(format!("driftless {severity}: {self} (code {})", self.code()))
    }
}

impl fmt::Display for Exit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Ok => "done",
            Self::Usage => "the request is not valid",
            Self::Protocol => "the two ends have no protocol version in common",
            Self::Selection => "the sources do not fit the destination",
            Self::Unsupported => "the requested action is not supported",
            Self::Start => "the server refused to start the transfer",
            Self::Socket => "the connection could not be made or kept",
            Self::File => "a file could not be read or written",
            Self::Stream => "the stream ended early or made no sense",
            Self::Signal => "stopped by a signal",
            Self::Partial => "some paths were not transferred (see the messages above)",
            Self::Vanished => "some sources vanished before they were read",
            Self::MaxDelete => "the limit on deletions stopped the rest of them",
            Self::Timeout => "no data arrived in time",
            Self::ConnectTimeout => "the server did not answer in time",
            Self::Differs => "the copy is not what it should be",
            Self::Pending => "the copy is about to follow its source",
        })
    }
}

impl From<Exit> for ExitCode {
    fn from(exit: Exit) -> Self {
        Self::from(exit.code())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_last_line_carries_the_code_and_vanished_is_only_a_warning() {
        assert_eq!(Exit::Ok.last_line(), None);
        let partial = Exit::Partial.last_line().expect("line");
        assert!(partial.starts_with("driftless error: some paths"), "{partial}");
        assert!(partial.ends_with(" (code 23)"), "{partial}");
        let vanished = Exit::Vanished.last_line().expect("line");
        assert!(vanished.starts_with("driftless warning: "), "{vanished}");
        assert!(vanished.ends_with(" (code 24)"), "{vanished}");
    }

    #[test]
    fn numbers_are_those_of_rsync_and_ours_are_beyond_them() {
        use Exit as E;
        let all = [
            (E::Ok, 0),
            (E::Usage, 1),
            (E::Protocol, 2),
            (E::Selection, 3),
            (E::Unsupported, 4),
            (E::Start, 5),
            (E::Socket, 10),
            (E::File, 11),
            (E::Stream, 12),
            (E::Signal, 20),
            (E::Partial, 23),
            (E::Vanished, 24),
            (E::MaxDelete, 25),
            (E::Timeout, 30),
            (E::ConnectTimeout, 35),
            (E::Differs, 40),
            (E::Pending, 41),
        ];
        for (exit, code) in all {
            assert_eq!(exit.code(), code);
        }
    }
}
