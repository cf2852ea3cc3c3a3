//! Withheld: contents that do not leave: of files that the copy is known to hold with another content, while rewrites are
//! held, and of those that a rejected plan keeps. The sender asks for each file that the server wants, the trunk before it
//! sends one.
//!
//! What the copy holds is the inventory's word: a file whose size or time is another by now was rewritten. One that a
//! rejected plan keeps is marked there, with the size and time that it had then: it is kept until it changes again.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};

use driftless_proto::model::entry::Time;
use driftless_proto::model::path::RelPath;

use crate::journal::{Item, Journal};
use crate::plan::Plan;

/// Renames that are remembered while the inventory has not followed them.
const RENAMES: usize = 10_000;

/// What was decided about rewrites.
#[derive(Clone, Debug, Default)]
pub(super) struct Decisions {
    /// These may leave. Done with once they are carried out.
    pub(super) approved: Vec<Plan>,
    /// The copy keeps what it has of these.
    pub(super) rejected: Vec<Plan>,
    /// What was rejected could not be read: everything that is marked is kept.
    pub(super) unknown: bool,
}

impl Decisions {
    /// Whether something was decided that the other does not know.
    pub(super) fn is_news_to(&self, other: &Self) -> bool {
        let news = |mine: &[Plan], theirs: &[Plan]| {
            mine.iter().any(|plan| !theirs.iter().any(|other| other.id == plan.id))
        };
        news(&self.approved, &other.approved)
            || news(&self.rejected, &other.rejected)
            || self.unknown != other.unknown
    }

    /// Whether there is nothing to obey.
    pub(super) fn is_empty(&self) -> bool {
        self.approved.is_empty() && self.rejected.is_empty() && !self.unknown
    }
}

/// See the module. Paths are those of the source.
pub(super) struct Withheld {
    journal: Arc<Journal>,
    /// Whether rewrites are held.
    held: bool,
    decisions: Decisions,
    /// What stands at the first was at the second for the inventory.
    renamed: Mutex<HashMap<RelPath, RelPath>>,
}

impl Withheld {
    pub(super) fn new(journal: Arc<Journal>, held: bool, decisions: Decisions) -> Self {
        Self { journal, held, decisions, renamed: Mutex::default() }
    }

    /// Whether the content of a file stays here. It has this size and time by now.
    pub(super) fn holds(&self, path: &RelPath, now: (u64, Time)) -> bool {
        if self.is_approved(path) {
            return false;
        }
        let Some(item) = self.item(path) else { return false };
        if (item.size, item.mtime) != now {
            return self.held;
        }
        item.kept && (self.decisions.unknown || self.decisions.rejected.iter().any(|plan| plan.covers(path)))
    }

    /// Whether the copy is known to hold another content of this file.
    pub(super) fn is_rewrite(&self, path: &RelPath, now: (u64, Time)) -> bool {
        self.item(path).is_some_and(|item| (item.size, item.mtime) != now)
    }

    /// Whether a rename to this name stays here: it would replace a file that the copy has.
    pub(super) fn holds_rename(&self, to: &RelPath) -> bool {
        self.held && self.has(to) && !self.is_approved(to)
    }

    /// Whether the copy is known to have a file of this name.
    pub(super) fn has(&self, path: &RelPath) -> bool {
        self.journal.item(path).is_ok_and(|item| item.is_some_and(|item| !item.dir))
    }

    fn is_approved(&self, path: &RelPath) -> bool {
        self.decisions.approved.iter().any(|plan| plan.covers(path))
    }

    /// A rename was sent: until the inventory has followed, it knows what stands at `to` by its old name.
    pub(super) fn renamed(&self, from: &RelPath, to: &RelPath) {
        let mut renamed = self.renamed.lock().unwrap_or_else(PoisonError::into_inner);
        if renamed.len() >= RENAMES {
            // The inventory has had time for most of them.
            renamed.clear();
        }
        renamed.insert(to.clone(), from.clone());
    }

    /// The file that the copy is known to hold. The oldest name of what was renamed goes first: under the newer ones the
    /// inventory may have what was found there meanwhile.
    fn item(&self, path: &RelPath) -> Option<Item> {
        let known = |path: &RelPath| self.journal.item(path).ok().flatten();
        let item = self.old_names(path).iter().rev().chain([path]).find_map(known);
        item.filter(|item| !item.dir)
    }

    /// The names that what stands at a path had, the latest first.
    fn old_names(&self, path: &RelPath) -> Vec<RelPath> {
        let renamed = self.renamed.lock().unwrap_or_else(PoisonError::into_inner);
        let mut names: Vec<RelPath> = Vec::new();
        // Each rename of a chain is followed once; they can be no more than there are.
        while names.len() < renamed.len() {
            let now = names.last().unwrap_or(path);
            let mut above = Some(now.clone());
            let before = loop {
                let Some(dir) = above else { break None };
                if let Some(from) = renamed.get(&dir) {
                    break now.below(&dir).and_then(|rest| from.join(&rest).ok());
                }
                above = dir.parent();
            };
            let Some(before) = before else { break };
            names.push(before);
        }
        names
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::journal::Note;
    use crate::plan::{Kind, Watched};

    fn p(path: &str) -> RelPath {
        RelPath::parse(path.as_bytes()).expect("path")
    }

    #[test]
    fn a_file_is_withheld_while_it_differs_or_is_kept() {
        let home = tempfile::tempdir().expect("tempdir");
        let journal = Journal::open(home.path(), home.path(), b"m", &RelPath::root()).expect("journal");
        let journal = Arc::new(journal);
        let (then, now) = ((7, Time { sec: 1, nsec: 2 }), (7, Time { sec: 1, nsec: 3 }));
        let item = |kept, dir| Item {
            dir,
            mounted: false,
            linked: false,
            kept,
            ino: 1,
            born: None,
            size: then.0,
            mtime: then.1,
            ctime: None,
        };
        let seen = [
            ("f", item(false, false)),
            ("kept", item(true, false)),
            ("d", item(false, true)),
            ("d/g", item(false, false)),
        ];
        journal.take(&seen.map(|(path, item)| Note::Seen(p(path), item))).expect("take");
        let plan = |path: &str| {
            let watch = Watched { source: "s".into(), destination: "d".into() };
            Plan::new(&watch, Kind::Rewrites, "many", vec![(p(path), 1)]).expect("a plan")
        };
        let with = |held, approved: &[&str], rejected: &[&str]| {
            let plans = |of: &[&str]| of.iter().map(|path| plan(path)).collect();
            let decisions =
                Decisions { approved: plans(approved), rejected: plans(rejected), unknown: false };
            Withheld::new(Arc::clone(&journal), held, decisions)
        };
        let cases = [
            ("nothing is held", with(false, &[], &[]), "f", now, false),
            ("rewritten", with(true, &[], &[]), "f", now, true),
            ("as it was", with(true, &[], &[]), "f", then, false),
            ("new", with(true, &[], &[]), "new", now, false),
            ("a directory became a file", with(true, &[], &[]), "d", now, false),
            ("approved", with(true, &["f"], &[]), "f", now, false),
            ("another one was approved", with(true, &["g"], &[]), "f", now, true),
            ("rejected", with(false, &[], &["kept"]), "kept", then, true),
            ("it changed again", with(false, &[], &["kept"]), "kept", now, false),
            ("it changed again while others are held", with(true, &[], &["kept"]), "kept", now, true),
            ("its plan is gone", with(false, &[], &[]), "kept", then, false),
            ("approved after all", with(false, &["kept"], &["kept"]), "kept", then, false),
        ];
        for (name, withheld, path, at, want) in cases {
            assert_eq!(withheld.holds(&p(path), at), want, "{name}");
        }
        let unknown = Decisions { unknown: true, ..Decisions::default() };
        assert!(Withheld::new(Arc::clone(&journal), false, unknown).holds(&p("kept"), then));

        // What was renamed is known by its old name until the inventory has followed.
        let withheld = with(true, &[], &[]);
        assert!(!withheld.holds(&p("e/h"), now));
        withheld.renamed(&p("d"), &p("e"));
        withheld.renamed(&p("e/g"), &p("e/h"));
        assert!(withheld.holds(&p("e/h"), now) && !withheld.holds(&p("e/h"), then));
        assert!(withheld.is_rewrite(&p("e/h"), now));
        // Whatever was found under the new name before: the old one goes first.
        let found = Item { mtime: now.1, ..item(false, false) };
        journal.take(&[Note::Seen(p("e/h"), found)]).expect("take");
        assert!(withheld.holds(&p("e/h"), now));
        // Until it has.
        journal.take(&[Note::Renamed(p("d"), p("e")), Note::Renamed(p("e/g"), p("e/h"))]).expect("take");
        assert!(withheld.holds(&p("e/h"), now) && !withheld.holds(&p("e/h"), then));
        assert!(withheld.holds_rename(&p("f")) && !withheld.holds_rename(&p("new")));
        assert!(
            !with(true, &["f"], &[]).holds_rename(&p("f")) && !with(false, &[], &[]).holds_rename(&p("f"))
        );
        withheld.renamed(&p("y"), &p("x"));
        withheld.renamed(&p("x"), &p("y"));
        assert!(!withheld.holds(&p("x"), now), "a circle ends");
    }
}
