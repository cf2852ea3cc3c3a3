//! import: the config of lsyncd or sersync, or the script of inotifywait and rsync, becomes agent.toml, with a word
//! about everything that was unsafe and everything that has no counterpart.
//!
//! Touches: the file that is read, the one that is written, and the rights of password files that are named. Never:
//! network; nothing of what is read is run.

mod draft;
mod lsyncd;
mod lua;
mod places;
mod rsync;
mod script;
mod sersync;
mod shell;
mod write;

#[cfg(test)]
mod tests;

use std::io::{self, Read as _, Write as _};
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};

use driftless_proto::model::path::Escaped;

use self::draft::Draft;
pub use self::places::{Module, Places, Server};
use self::write::Shared;
use crate::exit::Exit;

/// No honest config is larger.
const FILE_LEN_MAX: u64 = 4 << 20;

/// What is read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// lsyncd's config, in Lua.
    Lsyncd,
    /// sersync's confxml.xml.
    Sersync,
    /// A shell script with inotifywait and rsync.
    Script,
}

impl Kind {
    /// Every kind by its name.
    pub const NAMES: [(&'static str, Self); 3] =
        [("lsyncd", Self::Lsyncd), ("sersync", Self::Sersync), ("script", Self::Script)];

    fn name(self) -> &'static str {
        Self::NAMES.iter().find(|(_, kind)| *kind == self).map_or("", |(name, _)| name)
    }

    /// Tells by what only one of them can hold.
    fn recognise(text: &str) -> Option<Self> {
        let text = text.trim_start_matches('\u{feff}').trim_start();
        if text.starts_with('<') {
            return Some(Self::Sersync);
        }
        let begins_call = |line: &str| {
            let rest = ["settings", "sync"].iter().find_map(|name| line.trim_start().strip_prefix(name));
            rest.is_some_and(|rest| {
                matches!(rest.trim_start().as_bytes().first(), Some(b'{' | b'=' | b'(') | None)
            })
        };
        let shell =
            text.starts_with("#!") && !text.lines().next().is_some_and(|line| line.contains("lsyncd"));
        if !shell && text.lines().any(begins_call) && text.contains('{') {
            return Some(Self::Lsyncd);
        }
        (shell || text.contains("inotifywait") || text.contains("rsync")).then_some(Self::Script)
    }
}

/// Why nothing was written.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Refused {
    /// Counted from 1; 0 for the whole file.
    pub line: usize,
    /// What and why.
    pub why: String,
    /// How the run ends.
    pub exit: Exit,
}

impl Refused {
    /// The file is not what it should be.
    fn malformed(line: usize, why: impl Into<String>) -> Self {
        Self { line, why: why.into(), exit: Exit::Usage }
    }

    /// What is there can only be run.
    fn code(line: usize, why: impl Into<String>) -> Self {
        Self { line, why: why.into(), exit: Exit::Unsupported }
    }
}

/// `driftless import`, as typed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Import {
    /// What is read.
    pub file: PathBuf,
    /// `-o`; standard output when it was not given.
    pub output: Option<PathBuf>,
    /// `--from`.
    pub kind: Option<Kind>,
    /// `--server` and `--module`.
    pub places: Places,
    /// `--fingerprint`, checked and as typed.
    pub fingerprints: Vec<String>,
}

/// Reads, writes, and says on standard error what there is to say.
#[must_use]
pub fn run(import: &Import) -> Exit {
    let file = Escaped(import.file.as_os_str().as_encoded_bytes()).to_string();
    let text = match content(&import.file) {
        Ok(text) => text,
        Err(error) => return say(&file, 0, &error.to_string(), Exit::File),
    };
    let Some(kind) = import.kind.or_else(|| Kind::recognise(&text)) else {
        let why = "neither lsyncd's config, nor sersync's, nor a script with rsync; --from says which it is";
        return say(&file, 0, why, Exit::Usage);
    };
    let draft = match read(&text, kind, &import.places) {
        Ok(draft) => draft,
        Err(refused) => return say(&file, refused.line, &refused.why, refused.exit),
    };
    let shared = Shared { server: import.places.server.clone(), fingerprints: import.fingerprints.clone() };
    let written = write::write(&draft, kind, &file, &shared);
    for remark in draft.remarks.iter().chain(draft.jobs.iter().flat_map(|job| &job.remarks)) {
        say(&file, remark.line, &format!("warning: {}", remark.text), Exit::Ok);
    }
    if let Err(error) = put(&written, import.output.as_deref()) {
        let output = import.output.as_deref().map_or("standard output".into(), Path::to_string_lossy);
        return say(&Escaped(output.as_bytes()).to_string(), 0, &error.to_string(), Exit::File);
    }
    let open: Vec<_> = draft.jobs.iter().flat_map(|job| &job.open).collect();
    for open in &open {
        say(&file, open.line, &format!("to complete: {}", open.text), Exit::Ok);
    }
    if open.is_empty() { Exit::Ok } else { Exit::Unsupported }
}

/// What a file says.
///
/// # Errors
/// The line that cannot be read, and why.
fn read(text: &str, kind: Kind, places: &Places) -> Result<Draft, Refused> {
    let text = text.trim_start_matches('\u{feff}');
    let mut draft = match kind {
        Kind::Lsyncd => lsyncd::read(text, places),
        Kind::Sersync => sersync::read(text, places),
        Kind::Script => script::read(text, places),
    }?;
    if draft.jobs.is_empty() {
        return Err(Refused::malformed(0, "there is nothing in it to keep a copy of"));
    }
    draft.check();
    for job in &mut draft.jobs {
        if let Some(file) = job.password_file.clone()
            && open_to_others(&file)
        {
            job.remark(
                0,
                format!("{file} can be read by everybody; the agent refuses it until it is chmod 600"),
            );
        }
    }
    Ok(draft)
}

/// Whether a password file is here and others than its owner and group may read or write it.
#[expect(
    clippy::disallowed_methods,
    reason = "a file that the operator's config names; only its rights are looked at"
)]
fn open_to_others(file: &str) -> bool {
    std::fs::metadata(file).is_ok_and(|meta| meta.mode() & 0o006 != 0)
}

#[expect(
    clippy::disallowed_methods,
    reason = "a file that the operator names, opened once, not beneath any Root"
)]
fn content(file: &Path) -> io::Result<String> {
    let mut bytes = Vec::new();
    if file.as_os_str() == "-" {
        io::stdin().lock().take(FILE_LEN_MAX + 1).read_to_end(&mut bytes)?;
    } else {
        std::fs::File::open(file)?.take(FILE_LEN_MAX + 1).read_to_end(&mut bytes)?;
    }
    if bytes.len() as u64 > FILE_LEN_MAX {
        return Err(io::Error::other(format!("larger than {FILE_LEN_MAX} bytes")));
    }
    // sersync's file says ISO-8859-1, in which every byte is the character of its number.
    Ok(String::from_utf8(bytes)
        .unwrap_or_else(|error| error.as_bytes().iter().map(|&byte| char::from(byte)).collect()))
}

/// Writes the result; a file that is there already is left alone.
#[expect(
    clippy::disallowed_methods,
    reason = "a file that the operator names, made new, not beneath any Root"
)]
fn put(text: &str, output: Option<&Path>) -> io::Result<()> {
    match output {
        None => io::stdout().write_all(text.as_bytes()),
        Some(path) => {
            std::fs::OpenOptions::new().write(true).create_new(true).open(path)?.write_all(text.as_bytes())
        }
    }
}

/// One line on standard error, with the place it is about.
fn say(file: &str, line: usize, text: &str, exit: Exit) -> Exit {
    let line = if line == 0 { String::new() } else { format!("{line}: ") };
    let text: String = text.chars().map(|c| if c.is_control() { ' ' } else { c }).collect();
    // Nobody may be listening; the exit code says it too.
    writeln!(io::stderr(), "driftless: {file}:{}{line}{text}", if line.is_empty() { " " } else { "" }).ok();
    exit
}
