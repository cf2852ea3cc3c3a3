//! guard: the survey: what the copy is known to hold, against what stands in the source: a walk with stat, beside the
//! journal's inventory. It tells what a comparison would delete before there is one.
//!
//! Both are gone through in the order of their paths' bytes, so that neither has to be in memory. In that order what is
//! beneath `d` comes at `d/`, after `d-` and `d.x`: a directory takes two places among its neighbours.
//!
//! Touches: the source (names and stat), the journal (read). Never: a file's content, network.

use std::cmp::Ordering;
use std::collections::{BTreeMap, HashMap};
use std::io;
use std::iter::Peekable;

use driftless_proto::disk::walk::{self, Listed};
use driftless_proto::disk::{Dir, Found, Root, leads_nowhere};
use driftless_proto::model::filter::Rules;
use driftless_proto::model::path::RelPath;

use crate::journal::{Inventory, Item, Journal, JournalError, Mounted};

/// One thing that a survey meets.
pub(crate) enum Sight<'a> {
    /// It stands there and is not known. It lies in this directory.
    Fresh(&'a Dir, &'a RelPath, &'a Found),
    /// It is known and stands there.
    Stands(&'a Dir, &'a RelPath, &'a Item, &'a Found),
    /// It is known and nothing stands there.
    Missing(RelPath, Item),
    /// It could not be looked at: nothing is said about it, nor about what is beneath.
    Unreadable(&'a RelPath, io::Error),
    /// Another mount lies at this directory than the one that is known, or none where one was: what the copy has of it
    /// is hidden, and nothing is said about what is beneath.
    Hidden(&'a RelPath, &'static str),
}

/// Why a survey came to no end.
#[derive(Debug, thiserror::Error)]
pub(crate) enum SurveyError {
    #[error("{0}")]
    Journal(#[from] JournalError),
    #[error("{0}")]
    Source(#[from] io::Error),
}

/// Goes through everything beneath a directory that the rules do not exclude. What vanishes meanwhile may be met either
/// way.
///
/// # Errors
/// When the directory itself cannot be listed, or the journal not be read.
pub(crate) fn survey(
    root: &Root,
    at: &RelPath,
    rules: &Rules,
    inventory: Inventory,
    see: &mut dyn FnMut(Sight<'_>),
) -> Result<(), SurveyError> {
    let mounted = Mounted::new(&root.found(&RelPath::root())?, root.inode(&RelPath::root())?);
    let known_top = inventory.top().copied();
    let mut survey =
        Survey { rules, mounted, known: inventory.peekable(), dirs: HashMap::new(), blind: Vec::new(), see };
    let top = root.dir(at)?;
    if let Some(why) = known_top.and_then(|known| survey.hidden(&top, b"", &known)) {
        (survey.see)(Sight::Hidden(at, why));
        return Ok(());
    }
    let mut levels = vec![level(top, at.clone())?];
    while let Some(top) = levels.last_mut() {
        let Some(step) = top.steps.next() else {
            levels.pop();
            continue;
        };
        // A path that is too long takes no part in a transfer either.
        let Ok(path) = top.path.child(step.name()) else { continue };
        match step {
            Step::Entry(listed) => survey.entry(&top.dir, &path, &listed.found)?,
            Step::Below(name) => {
                survey.missing_before(&[path.as_bytes(), b"/"].concat())?;
                match survey.below(&top.dir, &path, &name) {
                    Some(deeper) => levels.push(deeper),
                    None => survey.pass_below(&path)?,
                }
            }
            Step::Failed(_, error) => {
                survey.pass(&path)?;
                // Were it a directory, what is known beneath comes later.
                survey.blind.push(path.clone());
                (survey.see)(Sight::Unreadable(&path, error));
            }
        }
    }
    while let Some(known) = survey.known.next() {
        survey.missing(known?);
    }
    Ok(())
}

/// One place of a directory's content.
enum Step {
    Entry(Listed),
    /// What is beneath a directory of this name.
    Below(Box<[u8]>),
    Failed(Box<[u8]>, io::Error),
}

impl Step {
    fn name(&self) -> &[u8] {
        match self {
            Self::Entry(listed) => &listed.name,
            Self::Below(name) | Self::Failed(name, _) => name,
        }
    }

    /// By the bytes of whole paths: what is beneath a directory follows at its name and a slash.
    fn order(&self, other: &Self) -> Ordering {
        let key = |step: &Self| matches!(step, Self::Below(_)).then_some(b'/');
        let bytes = |step: &'_ Self, slash| step.name().iter().copied().chain(slash).collect::<Vec<u8>>();
        // Most names differ before their ends.
        let shorter = self.name().len().min(other.name().len());
        match self.name()[..shorter].cmp(&other.name()[..shorter]) {
            Ordering::Equal => bytes(self, key(self)).cmp(&bytes(other, key(other))),
            unequal => unequal,
        }
    }
}

/// A directory on the way down.
struct Level {
    path: RelPath,
    dir: Dir,
    steps: std::vec::IntoIter<Step>,
}

fn level(dir: Dir, path: RelPath) -> io::Result<Level> {
    let listing = walk::list(&dir)?;
    let mut steps = Vec::with_capacity(listing.entries.len());
    for listed in listing.entries {
        if listed.found.entry.is_dir() {
            steps.push(Step::Below(listed.name.clone()));
        }
        steps.push(Step::Entry(listed));
    }
    steps.extend(listing.failed.into_iter().map(|(name, error)| Step::Failed(name, error)));
    // Names come in order; only what is beneath directories has to find its place.
    steps.sort_by(Step::order);
    Ok(Level { path, dir, steps: steps.into_iter() })
}

struct Survey<'a> {
    rules: &'a Rules,
    mounted: Mounted,
    known: Peekable<Inventory>,
    /// Directories that were met and are yet to be gone through, as they are known.
    dirs: HashMap<RelPath, Item>,
    /// Names that could not be looked at.
    blind: Vec<RelPath>,
    see: &'a mut dyn FnMut(Sight<'_>),
}

impl Survey<'_> {
    fn entry(&mut self, dir: &Dir, path: &RelPath, found: &Found) -> Result<(), SurveyError> {
        self.missing_before(path.as_bytes())?;
        let is_dir = found.entry.is_dir();
        let known = self.known.next_if(|known| matches!(known, Ok((known, _)) if known == path));
        if self.rules.excludes(path, is_dir) {
            return Ok(known.transpose().map(drop)?);
        }
        match known {
            Some(known) => {
                let (_, item) = known?;
                if is_dir && item.dir {
                    self.dirs.insert(path.clone(), item);
                }
                (self.see)(Sight::Stands(dir, path, &item, found));
            }
            None => (self.see)(Sight::Fresh(dir, path, found)),
        }
        Ok(())
    }

    /// Opens what is beneath a directory; `None` when nothing can be said about it.
    fn below(&mut self, above: &Dir, path: &RelPath, name: &[u8]) -> Option<Level> {
        let known = self.dirs.remove(path);
        if self.rules.excludes(path, true) {
            return None;
        }
        if let Some(why) = known.and_then(|known| self.hidden(above, name, &known)) {
            (self.see)(Sight::Hidden(path, why));
            return None;
        }
        match above.child(name).and_then(|dir| level(dir, path.clone())) {
            Ok(level) => Some(level),
            Err(error) => {
                // What vanished is told of by an event.
                if !leads_nowhere(&error) {
                    (self.see)(Sight::Unreadable(path, error));
                }
                None
            }
        }
    }

    /// Whether what the copy has of a directory is hidden: another mount lies there than the one that is known. Without
    /// a name it is the directory that is held.
    fn hidden(&self, above: &Dir, name: &[u8], was: &Item) -> Option<&'static str> {
        let found = if name.is_empty() { above.own() } else { above.found(name) };
        let now = Item::of(above, name, &found.ok()?, &self.mounted).ok()?;
        match (was.mounted, now.mounted) {
            (false, true) => Some("another file system is mounted over it"),
            (true, false) => Some("what was mounted there is no longer"),
            (true, true) if !was.is_same_inode(&now) => {
                Some("another file system than before is mounted there")
            }
            _ => None,
        }
    }

    /// What is known before this key and was not met is missing, unless the rules hide it.
    fn missing_before(&mut self, key: &[u8]) -> Result<(), SurveyError> {
        while let Some(known) =
            self.known.next_if(|known| !matches!(known, Ok((known, _)) if known.as_bytes() >= key))
        {
            self.missing(known?);
        }
        Ok(())
    }

    fn missing(&mut self, (path, item): (RelPath, Item)) {
        let blind = self.blind.iter().any(|blind| path.is_within(blind));
        if !blind && !self.rules.hides(&path, item.dir) {
            (self.see)(Sight::Missing(path, item));
        }
    }

    /// Passes over what is known at a path.
    fn pass(&mut self, path: &RelPath) -> Result<(), SurveyError> {
        self.missing_before(path.as_bytes())?;
        Ok(self
            .known
            .next_if(|known| matches!(known, Ok((known, _)) if known == path))
            .transpose()
            .map(drop)?)
    }

    /// Passes over what is known beneath a directory.
    fn pass_below(&mut self, dir: &RelPath) -> Result<(), SurveyError> {
        while let Some(known) =
            self.known.next_if(|known| !matches!(known, Ok((known, _)) if !known.is_within(dir)))
        {
            known?;
        }
        Ok(())
    }
}

/// Missing entries that are remembered one by one, for renames that happened while nobody watched. A path costs some
/// 150 bytes; what exceeds this is compared as any other difference.
const GONE_MAX: usize = 100_000;

/// What a survey of a whole source found.
#[derive(Debug, Default)]
pub(crate) struct Findings {
    /// What is missing, by its topmost paths, and how many entries each stands for.
    pub(crate) missing: BTreeMap<RelPath, u64>,
    /// Files and directories that are missing, by inode number; only the first [`GONE_MAX`].
    pub(crate) gone: HashMap<u64, (RelPath, Item)>,
    /// Files that stand there with another size or time than is known, where it was asked for: some 150 bytes each.
    pub(crate) rewritten: Vec<RelPath>,
    /// Entries that are not known.
    pub(crate) fresh: u64,
    /// What a mount hides, and how.
    pub(crate) hidden: Vec<(RelPath, &'static str)>,
    /// What could not be looked at.
    pub(crate) unreadable: Vec<(RelPath, io::Error)>,
}

impl Findings {
    /// Surveys everything beneath a directory of the source; with `rewrites` for rewritten files too.
    ///
    /// # Errors
    /// As [`survey`].
    pub(crate) fn of(
        root: &Root,
        at: &RelPath,
        rules: &Rules,
        journal: &Journal,
        rewrites: bool,
    ) -> Result<Self, SurveyError> {
        let mut findings = Self::default();
        survey(root, at, rules, journal.inventory(at)?, &mut |sight| match sight {
            Sight::Fresh(..) => findings.fresh += 1,
            Sight::Stands(_, path, was, found) => {
                if rewrites && is_rewritten(was, found) {
                    findings.rewritten.push(path.clone());
                }
            }
            Sight::Missing(path, item) => findings.miss(path, item),
            Sight::Unreadable(path, error) => findings.unreadable.push((path.clone(), error)),
            Sight::Hidden(path, why) => findings.hidden.push((path.clone(), why)),
        })?;
        Ok(findings)
    }

    /// Entries that are missing.
    pub(crate) fn entries(&self) -> u64 {
        self.missing.values().sum()
    }

    fn miss(&mut self, path: RelPath, item: Item) {
        if self.gone.len() < GONE_MAX {
            self.gone.insert(item.ino, (path.clone(), item));
        }
        // A directory comes before what is in it.
        let mut above = path.parent();
        while let Some(dir) = above {
            if let Some(entries) = self.missing.get_mut(&dir) {
                *entries += 1;
                return;
            }
            above = dir.parent();
        }
        self.missing.insert(path, 1);
    }
}

/// Whether a file has another content than is known, as far as its size and time tell.
pub(crate) fn is_rewritten(was: &Item, found: &Found) -> bool {
    let now = (found.entry.size(), found.entry.mtime);
    !was.dir && found.entry.is_file() && (was.size, was.mtime) != now
}

#[cfg(test)]
mod tests;
