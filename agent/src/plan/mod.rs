//! plan: what a watch holds back, written down so that it can be read, approved or rejected: one text file a plan, in
//! `STATE_DIR/plans`.
//!
//! A file has a head of `WORD VALUE` lines, an empty line, then a line for each path that is held, `ENTRIES PATH`, where
//! a directory stands for everything in it. Names are escaped as in messages, and the backslash too, so that they can
//! be read back.
//!
//! * [`Plan`]: one of them; [`store`]: the folder; `command`: `driftless plan`.

mod command;
pub mod store;
#[cfg(test)]
mod tests;

use std::fmt::Write as _;
use std::os::unix::ffi::OsStrExt as _;
use std::path::Path;

use driftless_proto::disk::Identity;
use driftless_proto::model::entry::Time;
use driftless_proto::model::path::RelPath;

pub use command::{Act, run};
pub use store::{Store, StoreError};

/// The first line of a plan's file.
const FORM: &str = "driftless plan 1";

/// Paths that one plan lists. A larger one lists the root alone, which stands for all of them.
pub const PATHS_MAX: usize = 200_000;

/// What is held.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Kind {
    /// Deletions beyond the brake.
    Deletions,
    /// What a mount hides.
    Mount,
    /// New contents of files that the copy has, beyond the brake on rewrites.
    Rewrites,
    /// Every deletion: the source is not what was backed up.
    Root,
}

/// What the operator has decided.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum State {
    /// Nothing yet.
    Held,
    /// What is listed may go. The plan is gone once it has been carried out.
    Approved,
    /// The copy keeps what is listed, each path until it is seen in the source again.
    Rejected,
}

/// Something held back, and what was decided about it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Plan {
    /// Eight hexadecimal digits.
    pub id: String,
    /// When it was made, in seconds since 1970.
    pub time: i64,
    /// What is held.
    pub kind: Kind,
    /// What was decided.
    pub state: State,
    /// Of a rejected plan of [`Kind::Rewrites`]: the journal has marked what it lists.
    pub marked: bool,
    /// Why, as one clause.
    pub reason: String,
    /// The watch it belongs to.
    pub watch: Watched,
    /// Of [`Kind::Root`]: the directory that stands in the source's place; `None` while there is none.
    pub root: Option<Identity>,
    /// What is held, and how many entries each path stands for, in canonical order.
    pub paths: Vec<(RelPath, u64)>,
}

/// Names a watch: the source and the destination.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Watched {
    /// The absolute path of the source, escaped.
    pub source: String,
    /// `host:port::module/path`, escaped.
    pub destination: String,
}

impl Watched {
    /// Of a source and a destination, by their bytes.
    #[must_use]
    pub fn new(source: &Path, address: &str, module: &[u8], path: &[u8]) -> Self {
        let slash = if path.is_empty() { "" } else { "/" };
        Self {
            source: escape(source.as_os_str().as_bytes()),
            destination: format!("{address}::{}{slash}{}", escape(module), escape(path)),
        }
    }
}

impl Plan {
    /// A plan about which nothing was decided.
    ///
    /// # Errors
    /// When there are no random numbers to be had.
    pub fn new(
        watch: &Watched,
        kind: Kind,
        reason: impl Into<String>,
        paths: Vec<(RelPath, u64)>,
    ) -> std::io::Result<Self> {
        let mut bytes = [0; 4];
        getrandom::fill(&mut bytes).map_err(|error| std::io::Error::other(error.to_string()))?;
        Ok(Self {
            id: format!("{:08x}", u32::from_be_bytes(bytes)),
            time: jiff::Timestamp::now().as_second(),
            kind,
            state: State::Held,
            marked: false,
            reason: reason.into(),
            watch: watch.clone(),
            root: None,
            paths: listed(paths),
        })
    }

    /// Entries that the listed paths stand for.
    #[must_use]
    pub fn entries(&self) -> u64 {
        self.paths.iter().map(|(_, entries)| entries).sum()
    }

    /// Whether a path is listed, or lies beneath one that is.
    #[must_use]
    pub fn covers(&self, path: &RelPath) -> bool {
        let mut at = Some(path.clone());
        while let Some(dir) = at {
            if self.paths.binary_search_by(|(listed, _)| listed.cmp(&dir)).is_ok() {
                return true;
            }
            at = dir.parent();
        }
        false
    }

    /// As it lies in its file.
    #[must_use]
    pub fn text(&self) -> String {
        let mut text = format!("{FORM}\n");
        let time = jiff::Timestamp::from_second(self.time).unwrap_or_default();
        let mut line = |word: &str, value: &dyn std::fmt::Display| {
            // A string takes everything.
            writeln!(text, "{word} {value}").ok();
        };
        line("id", &self.id);
        line("time", &time);
        line("kind", &self.kind.word());
        line("state", &self.state.word());
        if self.marked {
            line("marked", &"yes");
        }
        line("source", &self.watch.source);
        line("destination", &self.watch.destination);
        line("reason", &escape(self.reason.as_bytes()));
        line("entries", &self.entries());
        if let Some(Identity { dev, ino, fsid, born }) = self.root {
            let born = born.map_or("-".into(), |born| format!("{}.{}", born.sec, born.nsec));
            line("root", &format_args!("{dev} {ino} {fsid} {born}"));
        }
        text.push('\n');
        for (path, entries) in &self.paths {
            let path = if path.is_root() { ".".into() } else { escape(path.as_bytes()) };
            writeln!(text, "{entries} {path}").ok();
        }
        text
    }

    /// The inverse of [`Plan::text`]; `None` for what is none. Words that are not known are passed over.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        let (head, body) = text.split_once("\n\n")?;
        let mut lines = head.lines();
        if lines.next()? != FORM {
            return None;
        }
        let words: Vec<(&str, &str)> = lines.map(|line| line.split_once(' ').unwrap_or((line, ""))).collect();
        let value = |word: &str| words.iter().find(|(known, _)| *known == word).map(|(_, value)| *value);
        let id = value("id").filter(|id| is_id(id))?.to_owned();
        let mut paths = Vec::new();
        for line in body.lines() {
            let (entries, path) = line.split_once(' ')?;
            let path = if path == "." { RelPath::root() } else { RelPath::parse(&unescape(path)?).ok()? };
            paths.push((path, entries.parse().ok()?));
        }
        paths.sort();
        Some(Self {
            id,
            time: value("time")?.parse::<jiff::Timestamp>().ok()?.as_second(),
            kind: Kind::parse(value("kind")?)?,
            state: State::parse(value("state")?)?,
            marked: value("marked") == Some("yes"),
            reason: String::from_utf8_lossy(&unescape(value("reason")?)?).into_owned(),
            watch: Watched {
                source: value("source")?.to_owned(),
                destination: value("destination")?.to_owned(),
            },
            root: match value("root") {
                Some(numbers) => Some(parse_identity(numbers)?),
                None => None,
            },
            paths,
        })
    }
}

impl Kind {
    /// Its word.
    #[must_use]
    pub fn word(self) -> &'static str {
        match self {
            Self::Deletions => "deletions",
            Self::Mount => "mount",
            Self::Rewrites => "rewrites",
            Self::Root => "root",
        }
    }

    /// Whether it holds deletions all over the source.
    #[must_use]
    pub fn is_of_deletions(self) -> bool {
        matches!(self, Self::Deletions | Self::Root)
    }

    fn parse(word: &str) -> Option<Self> {
        let kinds = [Self::Deletions, Self::Mount, Self::Rewrites, Self::Root];
        kinds.into_iter().find(|kind| kind.word() == word)
    }
}

impl State {
    /// Its word.
    #[must_use]
    pub fn word(self) -> &'static str {
        match self {
            Self::Held => "held",
            Self::Approved => "approved",
            Self::Rejected => "rejected",
        }
    }

    fn parse(word: &str) -> Option<Self> {
        [Self::Held, Self::Approved, Self::Rejected].into_iter().find(|state| state.word() == word)
    }
}

/// The paths that a plan for these lists, in canonical order; see [`PATHS_MAX`].
#[must_use]
pub fn listed(mut paths: Vec<(RelPath, u64)>) -> Vec<(RelPath, u64)> {
    if paths.len() > PATHS_MAX {
        return vec![(RelPath::root(), paths.iter().map(|(_, entries)| entries).sum())];
    }
    paths.sort();
    paths
}

/// Whether this may be the id of a plan, and so the name of a file.
#[must_use]
pub fn is_id(text: &str) -> bool {
    text.len() == 8 && text.bytes().all(|b| matches!(b, b'0'..=b'9' | b'a'..=b'f'))
}

fn parse_identity(numbers: &str) -> Option<Identity> {
    let [dev, ino, fsid, born] = numbers.split(' ').collect::<Vec<_>>().try_into().ok()?;
    let born = match born {
        "-" => None,
        time => {
            let (sec, nsec) = time.split_once('.')?;
            Some(Time { sec: sec.parse().ok()?, nsec: nsec.parse().ok()? })
        }
    };
    Some(Identity { dev: dev.parse().ok()?, ino: ino.parse().ok()?, fsid: fsid.parse().ok()?, born })
}

/// Bytes as text on one line, from which [`unescape`] gets them back: as `Escaped` of proto shows them, and a backslash
/// that is part of a name as `\#134`.
#[must_use]
pub fn escape(bytes: &[u8]) -> String {
    let parts = bytes.split(|&b| b == b'\\');
    let parts: Vec<String> =
        parts.map(|part| driftless_proto::model::path::Escaped(part).to_string()).collect();
    parts.join("\\#134")
}

/// The inverse of [`escape`]; `None` for what it never makes.
#[must_use]
pub fn unescape(text: &str) -> Option<Vec<u8>> {
    let mut bytes = Vec::with_capacity(text.len());
    let mut parts = text.split('\\');
    bytes.extend(parts.next()?.as_bytes());
    for part in parts {
        let (octal, rest) = part.strip_prefix('#')?.split_at_checked(3)?;
        bytes.push(u8::from_str_radix(octal, 8).ok()?);
        bytes.extend(rest.as_bytes());
    }
    Some(bytes)
}
