//! watcher: what an engine says, and what the poller beside it says, become one stream.

use std::collections::BTreeMap;
use std::io;
use std::os::fd::OwnedFd;
use std::sync::{Arc, Mutex, PoisonError};

use driftless_proto::model::path::RelPath;
use rustix::event::{EventfdFlags, eventfd};

use super::{BarrierId, Report, Signal};

/// Hands on what several threads say. After [`Signal::RootGone`] nothing more is handed on.
pub(super) struct Reporter {
    /// Absent once the root is gone.
    report: Mutex<Option<Report>>,
}

impl Reporter {
    pub(super) fn new(report: Report) -> Arc<Self> {
        Arc::new(Self { report: Mutex::new(Some(report)) })
    }

    /// For an engine that needs nobody beside it, and for the poller itself.
    pub(super) fn alone(this: &Arc<Self>) -> Report {
        let this = Arc::clone(this);
        Box::new(move |signals| this.say(signals))
    }

    /// For an engine that leaves what it cannot watch to the poller.
    pub(super) fn beside_poller(this: &Arc<Self>, inbox: &Arc<Inbox>) -> Report {
        let (this, inbox) = (Arc::clone(this), Arc::clone(inbox));
        let mut unwatched = BTreeMap::new();
        Box::new(move |mut signals| {
            let mut more = Vec::new();
            let mut barriers = Vec::new();
            for signal in &signals {
                let again = match signal {
                    Signal::Barrier(id) => {
                        barriers.push(*id);
                        continue;
                    }
                    Signal::Unwatched { path, reason } => {
                        unwatched.insert(path.clone(), reason.clone());
                        inbox.put(Word::Poll(path.clone()));
                        continue;
                    }
                    // What could not be watched goes along, and the engine has nothing new to say of it.
                    Signal::Renamed { from, to, dir: true } => {
                        for (old, path, reason) in moved(&mut unwatched, from, to) {
                            inbox.put(Word::Leave(old));
                            inbox.put(Word::Poll(path.clone()));
                            more.push(Signal::Unwatched { path, reason });
                        }
                        continue;
                    }
                    Signal::Rescan(path) => path.clone(),
                    // The root is named when nothing at all could be watched anew.
                    Signal::Lost => RelPath::root(),
                    _ => continue,
                };
                if unwatched.remove(&again).is_some() {
                    inbox.put(Word::Leave(again.clone()));
                    more.push(Signal::Watched(again));
                }
            }
            signals.retain(|signal| !matches!(signal, Signal::Barrier(_)));
            signals.append(&mut more);
            this.say(signals);
            // Behind what the engine has said and left to the poller: that one says it in the end.
            barriers.into_iter().for_each(|id| inbox.put(Word::Barrier(id)));
        })
    }

    pub(super) fn say(&self, signals: Vec<Signal>) {
        let mut report = self.report.lock().unwrap_or_else(PoisonError::into_inner);
        let gone = signals.iter().any(|signal| matches!(signal, Signal::RootGone(_)));
        if let Some(report) = report.as_mut() {
            report(signals);
        }
        if gone {
            *report = None;
        }
    }
}

/// Books paths under the names that a rename gives them: each old path, the new one, and the reason.
fn moved(
    unwatched: &mut BTreeMap<RelPath, String>,
    from: &RelPath,
    to: &RelPath,
) -> Vec<(RelPath, RelPath, String)> {
    let old: Vec<RelPath> = unwatched.keys().filter(|path| path.is_within(from)).cloned().collect();
    let mut renamed = Vec::new();
    for path in old {
        let new = path.below(from).and_then(|rest| to.join(&rest).ok());
        // One that is too long now takes no part in a transfer either.
        if let (Some(reason), Some(new)) = (unwatched.remove(&path), new) {
            renamed.push((path, new, reason));
        }
    }
    unwatched.extend(renamed.iter().map(|(_, new, reason)| (new.clone(), reason.clone())));
    renamed
}

/// What a poller is told.
#[derive(Debug)]
pub(super) enum Word {
    /// Say this once everything has been looked at from now on.
    Barrier(BarrierId),
    /// From now on look at this directory and everything beneath it.
    Poll(RelPath),
    /// No longer look at this one.
    Leave(RelPath),
}

/// Where an engine leaves word for the poller beside it. It takes a lock for one assignment and never waits.
#[derive(Debug)]
pub(super) struct Inbox {
    words: Mutex<Vec<Word>>,
    /// Readable while there may be words.
    bell: OwnedFd,
}

impl Inbox {
    pub(super) fn new() -> io::Result<Self> {
        let bell = eventfd(0, EventfdFlags::CLOEXEC | EventfdFlags::NONBLOCK)?;
        Ok(Self { words: Mutex::default(), bell })
    }

    pub(super) fn put(&self, word: Word) {
        self.words.lock().unwrap_or_else(PoisonError::into_inner).push(word);
        // A counter at its limit would fail, but then it is readable already.
        rustix::io::write(&self.bell, &1_u64.to_ne_bytes()).ok();
    }

    /// Takes every word.
    pub(super) fn take(&self) -> Vec<Word> {
        // Before the words: one that comes in between rings again.
        rustix::io::read(&self.bell, &mut [0; 8]).ok();
        std::mem::take(&mut *self.words.lock().unwrap_or_else(PoisonError::into_inner))
    }

    pub(super) fn bell(&self) -> &OwnedFd {
        &self.bell
    }
}

/// Hands on to nobody: for engines that a test listens to directly.
#[cfg(test)]
pub(super) fn nobody() -> Arc<Reporter> {
    Reporter::new(Box::new(|_| {}))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn p(path: &str) -> RelPath {
        RelPath::parse(path.as_bytes()).expect("path")
    }

    #[test]
    fn the_poller_gets_what_cannot_be_watched_until_it_can() {
        let told = Arc::new(Mutex::new(Vec::new()));
        let told_by = Arc::clone(&told);
        let reporter = Reporter::new(Box::new(move |signals| told_by.lock().expect("told").extend(signals)));
        let inbox = Arc::new(Inbox::new().expect("inbox"));
        let mut engine = Reporter::beside_poller(&reporter, &inbox);
        let unwatched = Signal::Unwatched { path: p("d"), reason: "no watch is left".into() };
        engine(vec![unwatched.clone(), Signal::Rescan(p("other"))]);
        assert!(matches!(&inbox.take()[..], [Word::Poll(path)] if *path == p("d")));
        // What the poller finds there is no sign that it is watched.
        Reporter::alone(&reporter)(vec![Signal::Rescan(p("d"))]);
        assert!(inbox.take().is_empty());
        engine(vec![Signal::Rescan(p("d"))]);
        assert!(matches!(&inbox.take()[..], [Word::Leave(path)] if *path == p("d")));
        let (rescan, watched) = (Signal::Rescan(p("d")), Signal::Watched(p("d")));
        let want = [unwatched, Signal::Rescan(p("other")), rescan.clone(), rescan, watched];
        assert_eq!(*told.lock().expect("told"), want);
    }

    #[test]
    fn what_cannot_be_watched_is_polled_under_its_new_name() {
        let told = Arc::new(Mutex::new(Vec::new()));
        let told_by = Arc::clone(&told);
        let reporter = Reporter::new(Box::new(move |signals| told_by.lock().expect("told").extend(signals)));
        let inbox = Arc::new(Inbox::new().expect("inbox"));
        let mut engine = Reporter::beside_poller(&reporter, &inbox);
        let unwatched = |path| Signal::Unwatched { path: p(path), reason: "no watch is left".into() };
        engine(vec![unwatched("a/d"), unwatched("ab")]);
        inbox.take();
        let renamed = Signal::Renamed { from: p("a"), to: p("b"), dir: true };
        engine(vec![renamed.clone()]);
        let words = inbox.take();
        assert!(
            matches!(&words[..], [Word::Leave(old), Word::Poll(new)] if *old == p("a/d") && *new == p("b/d")),
            "{words:?}"
        );
        assert_eq!(told.lock().expect("told")[2..], [renamed, unwatched("b/d")]);
        // It is known by its new name only.
        engine(vec![Signal::Rescan(p("a/d")), Signal::Rescan(p("b/d"))]);
        assert!(matches!(&inbox.take()[..], [Word::Leave(path)] if *path == p("b/d")));
    }

    #[test]
    fn nothing_is_told_once_the_root_is_gone() {
        let told = Arc::new(Mutex::new(Vec::new()));
        let told_by = Arc::clone(&told);
        let reporter = Reporter::new(Box::new(move |signals| told_by.lock().expect("told").extend(signals)));
        let gone = Signal::RootGone("it was removed".into());
        Reporter::alone(&reporter)(vec![gone.clone()]);
        Reporter::alone(&reporter)(vec![Signal::Rescan(p("d"))]);
        assert_eq!(*told.lock().expect("told"), [gone]);
    }
}
