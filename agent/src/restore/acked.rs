//! restore: what was acknowledged, by whoever remembers it: the journal of a watch that does not run now, or a running
//! watch, which has its journal locked and answers for it.

use std::os::unix::ffi::OsStrExt as _;
use std::path::{Path, PathBuf};

use driftless_proto::model::digest::Digest;
use driftless_proto::model::entry::{Kind, Time};
use driftless_proto::model::path::RelPath;
use driftless_proto::wire::message::Place as WirePlace;
use serde_json::Value;

use crate::cli::Invocation;
use crate::cli::operand::{Local, Place, Remote};
use crate::control::{self, operands};
use crate::journal::{Journal, Record};
use crate::plan::Watched;
use crate::push::place;

/// What was acknowledged of one file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Row {
    pub(super) size: u64,
    pub(super) mtime: Time,
    pub(super) digest: Digest,
    /// When; unknown of what was acknowledged before that was written down.
    pub(super) at: Option<Time>,
}

/// Where a watch's copy came from: its source, and the path in the module that it was told.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Origin {
    pub(super) source: PathBuf,
    /// The content of the source lies at the path itself, not beneath its name.
    pub(super) slash: bool,
    pub(super) path: RelPath,
}

/// Who remembers, and of which part of the module.
enum Memory {
    Journal(Box<Journal>),
    Watch(PathBuf, Watched),
}

/// See the module.
pub(super) struct Acked {
    places: Vec<WirePlace>,
    /// Each with the path in the module where its source's content lies.
    memories: Vec<(RelPath, Memory)>,
}

impl Acked {
    /// Everybody who remembers what these places of a module should hold: running watches of a state folder, and the
    /// journal of `origin`, or of whatever could have been copied from the destination and what is above it.
    pub(super) fn find(
        state_dir: &Path,
        invocation: &Invocation,
        remote: &Remote,
        module_id: &[u8],
        origin: Option<&Origin>,
    ) -> Self {
        let places: Vec<WirePlace> = invocation
            .sources
            .iter()
            .filter_map(|source| match source {
                Place::Remote(remote) => Some(place(remote)),
                Place::Local(_) => None,
            })
            .collect();
        let mut memories = Vec::new();
        for told in control::ask_all(state_dir, "operands").unwrap_or_default() {
            if let Some((base, watched)) = running(&told, remote, invocation.port_of(remote)) {
                memories.push((base, Memory::Watch(state_dir.to_owned(), watched)));
            }
        }
        let guessed = || match (&invocation.dest, &*places) {
            (Some(Place::Local(dest)), [place]) => guesses(dest, place),
            _ => Vec::new(),
        };
        for origin in origin.map_or_else(guessed, |origin| vec![origin.clone()]) {
            // One that is locked belongs to a running watch.
            let opened = Journal::open_existing(state_dir, &origin.source, module_id, &origin.path);
            if let (Ok(Some(journal)), Some(base)) = (opened, origin.base()) {
                memories.push((base, Memory::Journal(Box::new(journal))));
            }
        }
        memories.retain(|(base, _)| {
            places.iter().any(|place| place.path.is_within(base) || base.is_within(&place.path))
        });
        Self { places, memories }
    }

    /// Nobody remembers anything.
    pub(super) fn is_empty(&self) -> bool {
        self.memories.is_empty()
    }

    /// What was acknowledged of these paths of the transfer, of those for which somebody remembers it.
    pub(super) fn of(&self, paths: &[RelPath]) -> Vec<(RelPath, Row)> {
        let mut rows = Vec::new();
        let mut left: Vec<(RelPath, RelPath)> =
            paths.iter().filter_map(|path| Some((path.clone(), self.in_module(path)?))).collect();
        for (base, memory) in &self.memories {
            let (here, others): (Vec<_>, Vec<_>) =
                left.into_iter().partition(|(_, place)| place.below(base).is_some());
            let below: Vec<RelPath> = here.iter().filter_map(|(_, place)| place.below(base)).collect();
            left = others;
            let found = memory.rows(&below).into_iter().chain(std::iter::repeat(None));
            for ((path, place), row) in here.into_iter().zip(found) {
                match row {
                    Some(row) => rows.push((path, row)),
                    None => left.push((path, place)),
                }
            }
        }
        rows
    }

    /// Where in the module a path of the transfer lies.
    fn in_module(&self, path: &RelPath) -> Option<RelPath> {
        self.places.iter().find_map(|place| {
            if place.slash || place.path.is_root() {
                return place.path.join(path).ok();
            }
            let name = RelPath::root().child(place.path.name()).ok()?;
            match path.below(&name) {
                Some(rest) => place.path.join(&rest).ok(),
                // A single file that gets another name here.
                None if self.places.len() == 1 && path.parent().is_some_and(|p| p.is_root()) => {
                    Some(place.path.clone())
                }
                None => None,
            }
        })
    }
}

impl Origin {
    /// The path in the module where the source's content lies.
    pub(super) fn base(&self) -> Option<RelPath> {
        if self.slash {
            return Some(self.path.clone());
        }
        self.path.child(self.source.file_name()?.as_bytes()).ok()
    }
}

impl Memory {
    /// One answer for each of these paths beneath the source.
    fn rows(&self, paths: &[RelPath]) -> Vec<Option<Row>> {
        match self {
            Self::Journal(journal) => paths.iter().map(|path| row(&journal.glance(path).ok()??)).collect(),
            Self::Watch(state, watched) => {
                let mut rows = Vec::new();
                for (request, count) in control::requests("acked", paths) {
                    let answer = control::ask_one(state, watched, &request).unwrap_or_default();
                    let list = answer.as_array().map(Vec::as_slice).unwrap_or_default();
                    // A watch that ended meanwhile remembers nothing.
                    let told = list.iter().map(read).chain(std::iter::repeat(None));
                    rows.extend(told.take(count));
                }
                rows
            }
        }
    }
}

impl Row {
    /// `acknowledged`, and when.
    pub(super) fn acknowledged(&self) -> String {
        let at = self.at.and_then(|at| jiff::Timestamp::from_second(at.sec).ok());
        at.map_or_else(|| "acknowledged".into(), |at| format!("acknowledged on {at}"))
    }
}

fn row(record: &Record) -> Option<Row> {
    match record.entry.kind {
        Kind::File { size } => {
            Some(Row { size, mtime: record.entry.mtime, digest: record.digest?, at: record.acked })
        }
        _ => None,
    }
}

/// How a watch tells a row.
pub(crate) fn write(record: Option<&Record>) -> Value {
    record.and_then(row).map_or(Value::Null, |row| {
        let at = row.at.map(|at| at.sec);
        serde_json::json!([row.size, row.mtime.sec, row.mtime.nsec, row.digest.to_string(), at])
    })
}

fn read(told: &Value) -> Option<Row> {
    let digits = told[3].as_str().filter(|digits| digits.len() == 64 && digits.is_ascii())?;
    let mut digest = [0; 32];
    for (at, byte) in digest.iter_mut().enumerate() {
        *byte = u8::from_str_radix(digits.get(2 * at..2 * at + 2)?, 16).ok()?;
    }
    let nsec = u32::try_from(told[2].as_u64()?).ok()?;
    let mtime = Time { sec: told[1].as_i64()?, nsec };
    let at = told[4].as_i64().map(|sec| Time { sec, nsec: 0 });
    Some(Row { size: told[0].as_u64()?, mtime, digest: Digest(digest), at })
}

/// A running watch of this module, by what it tells of itself.
fn running(told: &Value, remote: &Remote, port: u16) -> Option<(RelPath, Watched)> {
    let watch = operands::read(told)?;
    let (Some(Place::Local(source)), Some(Place::Remote(dest))) = (watch.sources.first(), &watch.dest) else {
        return None;
    };
    if (&dest.host, watch.port_of(dest), &dest.module) != (&remote.host, port, &remote.module) {
        return None;
    }
    let path = place(dest).path;
    let address = crate::connect::address(&dest.host, port);
    let watched = Watched::new(&source.path, &address, dest.module.as_bytes(), path.as_bytes());
    let origin = Origin { source: source.path.clone(), slash: source.trailing_slash, path };
    Some((origin.base()?, watched))
}

/// What a watch could have been called with whose copy goes back to where it came from: the destination for the place,
/// and above both for as long as their names agree.
fn guesses(dest: &Local, place: &WirePlace) -> Vec<Origin> {
    let Ok(dest) = std::path::absolute(&dest.path) else { return Vec::new() };
    let mut guesses = Vec::new();
    let (mut here, mut there) = (dest.clone(), place.path.clone());
    if !place.slash && !place.path.is_root() {
        here.push(std::ffi::OsStr::from_bytes(place.path.name()));
    }
    loop {
        guesses.push(Origin { source: here.clone(), slash: true, path: there.clone() });
        let same = here.file_name().is_some_and(|name| name.as_bytes() == there.name());
        let Some(above) = there.parent().filter(|_| !there.is_root() && same) else { break };
        guesses.push(Origin { source: here.clone(), slash: false, path: above.clone() });
        there = above;
        if !here.pop() {
            break;
        }
    }
    guesses
}

#[cfg(test)]
mod tests {
    use super::*;

    fn path(text: &str) -> RelPath {
        if text.is_empty() { RelPath::root() } else { RelPath::parse(text.as_bytes()).expect("path") }
    }

    #[test]
    fn what_is_restored_in_place_is_looked_up_under_every_way_it_can_have_been_copied() {
        let dest = Local { path: "/srv/code/d".into(), trailing_slash: true };
        let place = WirePlace { path: path("hosts/a/code/d"), slash: true };
        let have = |source: &str, slash, there: &str| {
            guesses(&dest, &place).contains(&Origin { source: source.into(), slash, path: path(there) })
        };
        assert!(have("/srv/code", true, "hosts/a/code"), "SRC/ to the path");
        assert!(have("/srv/code", false, "hosts/a"), "SRC to the path above");
        assert!(!have("/srv", true, "hosts"), "the names differ there");
        let one = WirePlace { path: path("code/f"), slash: false };
        let here = Local { path: "/srv/code".into(), trailing_slash: false };
        let want = Origin { source: "/srv/code".into(), slash: true, path: path("code") };
        assert!(guesses(&here, &one).contains(&want));
    }

    #[test]
    fn a_row_can_be_told_and_read_back() {
        let at = Some(Time { sec: 5, nsec: 0 });
        let row = Row { size: 7, mtime: Time { sec: -3, nsec: 9 }, digest: Digest::of(b"x"), at };
        let told = serde_json::json!([7, -3, 9, row.digest.to_string(), 5]);
        assert_eq!(read(&told), Some(row));
        assert_eq!(read(&Value::Null), None);
    }
}
