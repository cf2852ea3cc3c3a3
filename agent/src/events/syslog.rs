//! events: `--syslog`: one datagram per line to the local log, as syslog(3) sends it.

use std::io::Write as _;
use std::os::unix::net::UnixDatagram;
use std::path::Path;

use jiff::Zoned;
use rustix::fs::{Mode, OFlags};

/// Facility daemon, priority info: what inotifywait(1) logs with.
const PRIORITY: u32 = 3 << 3 | 6;

/// Where the local log listens.
pub(crate) const SOCKET: &str = "/dev/log";

/// The local log, under one name.
#[derive(Clone, Debug)]
pub(crate) struct Syslog {
    ident: String,
}

impl Syslog {
    pub(crate) fn new(ident: &str) -> Self {
        Self { ident: ident.to_owned() }
    }

    /// Logs one line; to the console where nobody listens, as syslog(3) does with `LOG_CONS`.
    pub(crate) fn log(&self, line: &[u8]) {
        let tag = format!("{}[{}]: ", self.ident, std::process::id());
        if self.send(Path::new(SOCKET), &tag, line).is_err() {
            let flags = OFlags::WRONLY | OFlags::NOCTTY | OFlags::CLOEXEC;
            if let Ok(console) = rustix::fs::open("/dev/console", flags, Mode::empty()) {
                // There is nobody left to tell.
                rustix::io::write(&console, &[tag.as_bytes(), line, b"\r\n"].concat()).ok();
            }
        }
    }

    fn send(&self, socket: &Path, tag: &str, line: &[u8]) -> std::io::Result<()> {
        let mut datagram = Vec::new();
        write!(datagram, "<{PRIORITY}>{} {tag}", Zoned::now().strftime("%b %e %H:%M:%S"))?;
        datagram.extend(line);
        datagram.push(b'\n');
        UnixDatagram::unbound()?.send_to(&datagram, socket).map(drop)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_is_one_datagram_with_priority_time_and_name() {
        let dir = tempfile::tempdir().expect("a folder");
        let path = dir.path().join("log");
        let log = UnixDatagram::bind(&path).expect("bind");
        Syslog::new("inotifywait").send(&path, "inotifywait[7]: ", b"Watches established.").expect("sent");
        let mut buffer = [0; 200];
        let len = log.recv(&mut buffer).expect("received");
        let text = std::str::from_utf8(&buffer[..len]).expect("text");
        let rest = text.strip_prefix("<30>").expect("daemon.info");
        let (time, rest) = rest.split_at("Nov 26 11:24:58".len());
        jiff::civil::DateTime::strptime("%Y %b %e %H:%M:%S", format!("2026 {time}")).expect("a time");
        assert_eq!(rest, " inotifywait[7]: Watches established.\n");
    }
}
