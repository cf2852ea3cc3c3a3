//! events: where diagnostics go.

use std::io::Write as _;

use super::syslog::Syslog;

/// Standard error or the local log.
#[derive(Clone, Debug)]
pub(crate) enum Say {
    Stderr,
    Syslog(Syslog),
}

impl Say {
    /// Says one line. That it cannot be said must not turn one failure into another.
    pub(crate) fn line(&self, line: impl AsRef<[u8]>) {
        let line = line.as_ref();
        match self {
            Self::Stderr => drop(std::io::stderr().write_all(&[line, b"\n"].concat())),
            Self::Syslog(syslog) => syslog.log(line),
        }
    }

    /// Says why something named by the operator failed: before, name, after.
    pub(crate) fn about(&self, before: &str, name: &[u8], after: &str) {
        self.line([before.as_bytes(), name, after.as_bytes()].concat());
    }
}
