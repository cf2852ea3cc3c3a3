//! The journal's writer: a thread of its own, so that acks are booked as fast as they come and one commit takes all
//! that came while the last one ran. What is asked of the journal meanwhile may be a moment old: that costs a
//! comparison, never correctness.

use std::sync::Arc;
use std::sync::mpsc::{Receiver, Sender, SyncSender, channel, sync_channel};
use std::thread::JoinHandle;

use super::status::Status;
use crate::journal::{Journal, Note};

/// Notes that wait; beyond it whoever books acks waits for the disk.
const QUEUE: usize = 1024;

/// Rows of one commit: bounds the memory of a first reconcile.
const ROWS: usize = 2048;

/// What the writer is told.
#[expect(clippy::large_enum_variant, reason = "nearly every word is a note: a box for each would cost more")]
enum Word {
    Note(Note),
    /// Everything before this is written once the sender is dropped.
    Settle(Sender<()>),
}

/// See the module. Dropping it waits until everything is written.
pub(super) struct Recorder {
    notes: Option<SyncSender<Word>>,
    thread: Option<JoinHandle<()>>,
}

impl Recorder {
    /// Starts the writer of a journal.
    ///
    /// # Errors
    /// When no thread can be started.
    pub(super) fn start(journal: Arc<Journal>, status: Arc<Status>) -> std::io::Result<Self> {
        let (notes, queue) = sync_channel(QUEUE);
        let work = move || write(&journal, &queue, &status);
        let thread = std::thread::Builder::new().name("journal".into()).spawn(work)?;
        Ok(Self { notes: Some(notes), thread: Some(thread) })
    }

    /// Leaves a note.
    pub(super) fn note(&self, note: Note) {
        if let Some(notes) = &self.notes {
            // The writer only ends with us.
            let _ended = notes.send(Word::Note(note));
        }
    }

    /// Returns once every note that was left before is written: for whoever must not take what was renamed a moment ago
    /// for missing.
    pub(super) fn settle(&self) {
        let (done, written) = channel();
        if let Some(notes) = &self.notes {
            let _ended = notes.send(Word::Settle(done));
        }
        let _dropped = written.recv();
    }
}

impl Drop for Recorder {
    fn drop(&mut self) {
        self.notes = None;
        if let Some(thread) = self.thread.take() {
            // A writer that panicked has said so; rows are lost, which costs a re-check.
            let _panicked = thread.join();
        }
    }
}

fn write(journal: &Journal, queue: &Receiver<Word>, status: &Status) {
    while let Ok(first) = queue.recv() {
        let (mut notes, mut waiting) = (Vec::new(), Vec::new());
        let mut next = Some(first);
        while let Some(word) = next {
            match word {
                Word::Note(note) => notes.push(note),
                Word::Settle(done) => waiting.push(done),
            }
            next = if notes.len() < ROWS && waiting.is_empty() { queue.try_recv().ok() } else { None };
        }
        if notes.is_empty() {
            continue;
        }
        // A row that is not written costs a re-check, nothing else.
        if let Err(error) = journal.take(&notes) {
            status.problem(&error.to_string());
        }
    }
}
