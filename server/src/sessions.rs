//! Which watches write where. A newer stream of the same agent and destination ends the older one and waits until it
//! has applied its last change, so that a zombie's changes can never land after its successor's.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use driftless_proto::model::path::RelPath;
use driftless_proto::model::problem::{Refusal, RefusalReason};
use tokio::sync::watch;

/// How long a stream that was told to end may take to finish what it is applying.
const TAKEOVER: Duration = Duration::from_secs(60);

/// Who writes where.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) struct Key {
    /// The agent.
    pub(crate) agent: [u8; 16],
    /// The module's name.
    pub(crate) module: String,
    /// The destination in it.
    pub(crate) path: RelPath,
}

/// Why a watch is to end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Stop {
    /// The server stops.
    Stopping,
    /// A newer stream of the same agent took over.
    Superseded,
}

/// All watches that run.
#[derive(Clone, Default)]
pub(crate) struct Sessions(Arc<Mutex<HashMap<Key, Running>>>);

struct Running {
    epoch: u64,
    deletes: bool,
    stop: Arc<watch::Sender<Option<Stop>>>,
    /// Closed when the stream has ended.
    ended: watch::Receiver<()>,
}

/// One watch's place. Dropping it lets a successor begin.
pub(crate) struct Claim {
    sessions: Sessions,
    key: Key,
    epoch: u64,
    stopped: watch::Receiver<Option<Stop>>,
    _ended: watch::Sender<()>,
}

impl Sessions {
    /// Claims a place, ending an older stream that holds it.
    ///
    /// # Errors
    /// A newer stream holds it; another deleting watch overlaps; the older one does not end.
    pub(crate) async fn claim(&self, key: Key, epoch: u64, deletes: bool) -> Result<Claim, Refusal> {
        let busy = |text: &str| Refusal::new(RefusalReason::Busy, text);
        loop {
            let mut older = {
                let mut running = self.0.lock().unwrap_or_else(PoisonError::into_inner);
                if deletes && running.iter().any(|(other, r)| r.deletes && overlap(other, &key)) {
                    return Err(Refusal::new(
                        RefusalReason::Rights,
                        "another watch with --delete already covers this path: each would remove what the other brings",
                    ));
                }
                match running.get(&key) {
                    Some(r) if r.epoch >= epoch => {
                        return Err(Refusal::new(
                            RefusalReason::Superseded,
                            "a newer stream of this agent is running",
                        ));
                    }
                    Some(r) => {
                        let _gone = r.stop.send(Some(Stop::Superseded));
                        r.ended.clone()
                    }
                    None => {
                        let (stop, stopped) = watch::channel(None);
                        let (end, ended) = watch::channel(());
                        let stop = Arc::new(stop);
                        running.insert(key.clone(), Running { epoch, deletes, stop, ended });
                        let sessions = self.clone();
                        return Ok(Claim { sessions, key, epoch, stopped, _ended: end });
                    }
                }
            };
            let ended = async { while older.changed().await.is_ok() {} };
            tokio::time::timeout(TAKEOVER, ended)
                .await
                .map_err(|_| busy("the previous stream of this agent has not ended yet"))?;
        }
    }

    /// Whether no watch runs.
    pub(crate) fn is_empty(&self) -> bool {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).is_empty()
    }

    /// Tells every watch to end.
    pub(crate) fn stop_all(&self) {
        for running in self.0.lock().unwrap_or_else(PoisonError::into_inner).values() {
            let _gone = running.stop.send(Some(Stop::Stopping));
        }
    }
}

/// Whether two destinations of different watches lie within each other.
fn overlap(a: &Key, b: &Key) -> bool {
    a != b && a.module == b.module && (a.path.is_within(&b.path) || b.path.is_within(&a.path))
}

impl Claim {
    /// Told when the stream is to end.
    pub(crate) fn stopped(&self) -> watch::Receiver<Option<Stop>> {
        self.stopped.clone()
    }
}

impl Drop for Claim {
    fn drop(&mut self) {
        let mut running = self.sessions.0.lock().unwrap_or_else(PoisonError::into_inner);
        if running.get(&self.key).is_some_and(|r| r.epoch == self.epoch) {
            running.remove(&self.key);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn key(agent: u8, path: &str) -> Key {
        let path = RelPath::parse_typed(path.as_bytes()).expect("path");
        Key { agent: [agent; 16], module: "m".into(), path }
    }

    #[tokio::test]
    async fn a_newer_stream_waits_for_the_older_to_end() {
        let sessions = Sessions::default();
        let first = sessions.claim(key(1, "a"), 1, true).await.map_err(|e| e.text).expect("free");
        let mut stopped = first.stopped();
        let other = sessions.clone();
        let second = tokio::spawn(async move { other.claim(key(1, "a"), 2, true).await.is_ok() });
        stopped.changed().await.expect("told to stop");
        assert!(!second.is_finished(), "it must wait for the older stream");
        drop(first);
        assert!(second.await.expect("no panic"));
    }

    #[tokio::test]
    async fn an_older_stream_is_refused_and_so_is_an_overlapping_deleter() {
        let sessions = Sessions::default();
        let _first = sessions.claim(key(1, "a"), 5, true).await.map_err(|e| e.text).expect("free");
        let refused = |agent, path: &'static str, epoch| {
            let sessions = sessions.clone();
            async move { sessions.claim(key(agent, path), epoch, true).await.err().map(|r| r.reason) }
        };
        assert_eq!(refused(1, "a", 5).await, Some(RefusalReason::Superseded));
        assert_eq!(refused(2, "a/b", 9).await, Some(RefusalReason::Rights));
        assert_eq!(refused(2, "", 9).await, Some(RefusalReason::Rights));
        assert_eq!(refused(2, "b", 9).await, None);
    }
}
