//! restore: what the server has now of what is to come back: a pull's listing, without its contents.

use std::collections::VecDeque;
use std::sync::Arc;

use driftless_proto::limits;
use driftless_proto::model::counter::ReceiverTotals;
use driftless_proto::model::digest::Digest;
use driftless_proto::model::entry::Entry;
use driftless_proto::model::options::{Keeps, Options};
use driftless_proto::model::path::RelPath;
use driftless_proto::model::problem::Misbehaved;
use driftless_proto::transfer::link::{Ended, Link};
use driftless_proto::wire::message::{FromReceiver, FromSender, Place as WirePlace, RequestId, Seq};
use tokio::runtime::Handle;

use super::acked::{Acked, Origin};
use crate::cli::Invocation;
use crate::connect::{ConnectError, Session};
use crate::console::Console;
use crate::push::{hello, place};
use crate::run::{ended_by_us, guard, open, remote, server};
use crate::state::StateDir;

/// Paths that are looked up at once.
const BATCH: usize = 256;

/// A file as the server has it.
pub(super) struct File {
    path: RelPath,
    entry: Entry,
    digest: Option<Digest>,
}

/// How a copy is not what was acknowledged.
pub(super) struct How {
    pub(super) text: String,
    /// `acknowledged`, and when that was.
    pub(super) acknowledged: String,
    /// Its content is another one; otherwise that remains to be seen.
    pub(super) certain: bool,
}

/// Asks the server for everything that is to come back, with the digests of contents where `digests` says so. `None`
/// where nobody remembers what it should be.
pub(super) fn look(
    invocation: &Invocation,
    origin: Option<&Origin>,
    digests: bool,
    console: &Arc<Console>,
    handle: &Handle,
) -> Result<Option<(Acked, Vec<File>)>, ConnectError> {
    let remote = remote(invocation.sources.first())?;
    let server = server(invocation, remote)?;
    let places = invocation.sources.iter().map(|source| crate::run::remote(Some(source)).map(place));
    let places = places.collect::<Result<Vec<WirePlace>, _>>()?;
    let mut asked = invocation.clone();
    asked.options =
        Options { dry_run: true, checksum: digests, delete: false, partial: false, ..invocation.options };
    let mut hello = hello(&asked, places, None)?;
    hello.options.report = false;
    hello.keeps = Some(Keeps::ALL);
    // Without digests there is nothing to open one by one.
    hello.empty = !digests;
    let session = handle.block_on(open::<FromReceiver>(&server, hello))?;
    let state = StateDir::open(invocation.state_dir.as_deref());
    let state = state.map_err(|error| ConnectError::TrustFile(error.to_string()))?;
    let acked = Acked::find(state.path(), invocation, remote, &session.welcome.module_id, origin);
    if acked.is_empty() {
        session.stop.abort();
        return Ok(None);
    }
    guard(handle, &session, invocation.timeout);
    let Session { link, wire, .. } = session;
    let listed = Lister::new(link).run();
    if let Some((why, exit)) = ended_by_us(&wire) {
        return Err(ConnectError::Stopped(why, exit));
    }
    console.report.progress().finish();
    Ok(Some((acked, listed?)))
}

/// The files whose copy is not what was acknowledged, as far as the listing tells.
pub(super) fn changed(acked: &Acked, listed: &[File]) -> Vec<(RelPath, How)> {
    let mut changed = Vec::new();
    for batch in listed.chunks(BATCH) {
        let paths: Vec<RelPath> = batch.iter().map(|file| file.path.clone()).collect();
        for (path, row) in acked.of(&paths) {
            let Some(file) = batch.iter().find(|file| file.path == path) else { continue };
            let (size, mtime) = (file.entry.size(), file.entry.mtime);
            // A server's file system may keep whole seconds only.
            let same_time = mtime == row.mtime || (mtime.sec, mtime.nsec) == (row.mtime.sec, 0);
            let acknowledged = row.acknowledged();
            let how = if size != row.size {
                Some(How {
                    text: format!("{size} bytes where {} were", row.size),
                    acknowledged,
                    certain: true,
                })
            } else if let Some(digest) = file.digest {
                let other = digest != row.digest;
                other.then(|| How {
                    text: "another content of the same size".into(),
                    acknowledged,
                    certain: true,
                })
            } else {
                let text = "it was modified since; its content will tell".into();
                (!same_time).then_some(How { text, acknowledged, certain: false })
            };
            changed.extend(how.map(|how| (path, how)));
        }
    }
    changed
}

/// A receiver that only lists.
struct Lister {
    link: Link<FromReceiver, FromSender>,
    files: Vec<File>,
    /// Directories to be asked for.
    waiting: VecDeque<RelPath>,
    open: usize,
    last: RequestId,
    /// The comparison under way.
    comparing: Option<Seq>,
}

impl Lister {
    fn new(link: Link<FromReceiver, FromSender>) -> Self {
        Self { link, files: Vec::new(), waiting: VecDeque::new(), open: 0, last: 0, comparing: None }
    }

    fn run(mut self) -> Result<Vec<File>, Ended> {
        loop {
            let frame = self.link.inbox.blocking_recv();
            for item in frame.ok_or_else(|| Ended::Broken("the peer closed the stream".into()))?? {
                if matches!(item, FromSender::Done(_)) {
                    self.say(vec![FromReceiver::Done(ReceiverTotals::default())])?;
                    return Ok(self.files);
                }
                self.take(item)?;
            }
        }
    }

    fn take(&mut self, item: FromSender) -> Result<(), Ended> {
        match item {
            FromSender::Compare { seq, dir, digest, .. } => {
                self.comparing = Some(seq);
                match digest {
                    // What follows unasked answers this.
                    None => self.open += 1,
                    Some(_) => self.waiting.push_back(dir),
                }
                self.ask()
            }
            FromSender::Listing(listing) => {
                let all = listing.open == 0;
                for listed in listing.entries {
                    let entry = listed.entry;
                    if entry.is_dir() && !all {
                        self.waiting.push_back(listed.path);
                    } else if entry.is_file() {
                        self.files.push(File { path: listed.path, entry, digest: listed.digest });
                    }
                }
                if listing.seq == 0 { Ok(()) } else { self.say(vec![FromReceiver::Ack(vec![listing.seq])]) }
            }
            FromSender::Opened(id) => {
                self.open = self.open.checked_sub(1).ok_or(Misbehaved::AnswerToUnknown(id))?;
                self.ask()
            }
            FromSender::Put(put) => {
                if put.entry.is_file() {
                    self.files.push(File { path: put.path, entry: put.entry, digest: None });
                }
                self.say(vec![FromReceiver::Ack(vec![put.seq])])
            }
            FromSender::Offer { seq, path, entry, digest } => {
                self.files.push(File { path, entry, digest });
                self.say(vec![FromReceiver::Ack(vec![seq])])
            }
            FromSender::Refused(refusal) => Err(refusal.into()),
            // What cannot be read there is told when it is restored.
            _ => Ok(()),
        }
    }

    /// Asks for what waits, and ends the comparison when nothing does.
    fn ask(&mut self) -> Result<(), Ended> {
        let mut asks = Vec::new();
        while self.open < limits::OPENS_IN_FLIGHT / 2 {
            let Some(dir) = self.waiting.pop_front() else { break };
            self.open += 1;
            self.last += 1;
            asks.push(FromReceiver::Open { id: self.last, dir, all: false });
        }
        if self.open == 0 {
            asks.extend(self.comparing.take().map(|seq| FromReceiver::Ack(vec![seq])));
        }
        if asks.is_empty() { Ok(()) } else { self.say(asks) }
    }

    fn say(&self, items: Vec<FromReceiver>) -> Result<(), Ended> {
        self.link.out.blocking_send(items).map_err(|_| Ended::Broken("the stream was closed".into()))
    }
}
