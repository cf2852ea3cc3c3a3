//! The asker: the only thread that sends requests, and the one that may wait for the wire to take them.
//!
//! It keeps the protocol's bounds on what is in flight. Contents come before listings: a directory is opened only
//! while few contents wait, so the backlog is bounded by the directories in flight.

use std::collections::VecDeque;
use std::fs::File;
use std::os::unix::fs::FileExt;
use std::sync::{Arc, mpsc};

use super::context::Context;
use crate::limits;
use crate::model::delta::{self, Signer};
use crate::model::path::RelPath;
use crate::wire::message::{FromReceiver, RequestId, WantBasis};

/// Read at once from a basis that is signed.
const READ_LEN: usize = 1024 * 1024;

pub(super) enum Ask {
    /// List this directory.
    Open { id: RequestId, dir: RelPath, all: bool },
    /// Send the file of this want.
    Want { id: RequestId, whole: bool },
    /// A listing has come to its end.
    Opened,
    /// A content has come to its end.
    Had { bytes: u64 },
    /// The transfer is over.
    Stop,
}

pub(super) struct Asker {
    context: Arc<Context>,
    opens: VecDeque<(RequestId, RelPath, bool)>,
    wants: VecDeque<(RequestId, bool)>,
    opens_in_flight: usize,
    wants_in_flight: usize,
    bytes_in_flight: u64,
}

impl Asker {
    pub(super) fn new(context: Arc<Context>) -> Self {
        Self {
            context,
            opens: VecDeque::new(),
            wants: VecDeque::new(),
            opens_in_flight: 0,
            wants_in_flight: 0,
            bytes_in_flight: 0,
        }
    }

    pub(super) fn run(mut self, asks: &mpsc::Receiver<Ask>) {
        loop {
            let ask = match asks.try_recv() {
                Ok(ask) => ask,
                Err(_) => {
                    self.context.flush();
                    match asks.recv() {
                        Ok(ask) => ask,
                        Err(_) => return,
                    }
                }
            };
            match ask {
                Ask::Open { id, dir, all } => self.opens.push_back((id, dir, all)),
                Ask::Want { id, whole } => self.wants.push_back((id, whole)),
                // The peer makes these come: one too many must not wrap the count.
                Ask::Opened => self.opens_in_flight = self.opens_in_flight.saturating_sub(1),
                Ask::Had { bytes } => {
                    self.wants_in_flight = self.wants_in_flight.saturating_sub(1);
                    self.bytes_in_flight = self.bytes_in_flight.saturating_sub(bytes);
                }
                Ask::Stop => return,
            }
            self.send_what_fits();
        }
    }

    fn send_what_fits(&mut self) {
        while self.wants_in_flight < limits::WANTS_IN_FLIGHT {
            let Some(&(id, whole)) = self.wants.front() else { break };
            let Some(size) = self.context.with_want(id, |want| want.size) else {
                self.wants.pop_front();
                continue;
            };
            if self.wants_in_flight > 0 && self.bytes_in_flight + size > limits::WANTED_BYTES {
                break;
            }
            self.wants.pop_front();
            self.context.with_want(id, |want| want.asked = true);
            self.wants_in_flight += 1;
            self.bytes_in_flight += size;
            self.send_want(id, whole);
        }
        while self.opens_in_flight < limits::OPENS_IN_FLIGHT && self.wants.len() < limits::WANTS_IN_FLIGHT {
            let Some((id, dir, all)) = self.opens.pop_front() else { break };
            self.opens_in_flight += 1;
            self.context.say(FromReceiver::Open { id, dir, all });
        }
    }

    /// Sends a want, with the sums of what stands here when they may save more than they cost.
    fn send_want(&self, id: RequestId, whole: bool) {
        let Some((path, size)) = self.context.with_want(id, |want| (want.path.clone(), want.size)) else {
            return;
        };
        let basis = if whole || size < limits::DELTA_MIN { None } else { self.basis(&path) };
        let Some((file, basis)) = basis else {
            self.context.say(FromReceiver::Want { id, path, basis: None });
            return;
        };
        let held = file.try_clone();
        if let Ok(held) = held {
            self.context.with_want(id, |want| want.basis = Some(held));
        }
        self.context.say(FromReceiver::Want { id, path, basis: Some(basis) });
        self.send_sums(id, &file, basis);
    }

    /// The file to copy from: what an interrupted transfer left if that is more, else what stands at the path.
    fn basis(&self, path: &RelPath) -> Option<(File, WantBasis)> {
        let sized = |file: File| {
            let size = rustix::fs::fstat(&file).ok()?.st_size;
            Some((u64::try_from(size).ok()?, file))
        };
        let standing = self
            .context
            .root
            .parent_of(path)
            .and_then(|dir| dir.open_file(path.name()))
            .ok()
            .and_then(|(file, _)| sized(file));
        let kept = self.context.partials.kept(path).and_then(sized);
        let (size, file) = [standing, kept].into_iter().flatten().max_by_key(|(size, _)| *size)?;
        let block_len = delta::block_len(size);
        let fits = size >= limits::DELTA_MIN && size.div_ceil(u64::from(block_len)) <= limits::BLOCKS_MAX;
        fits.then_some((file, WantBasis { size, block_len }))
    }

    /// Signs exactly as many bytes as were announced. A basis that fails or shrinks meanwhile is announced as zeros
    /// from there: those sums match nothing that is copied, or the digest of the result tells.
    fn send_sums(&self, id: RequestId, file: &File, basis: WantBasis) {
        let mut signer = Signer::new(basis.block_len);
        let mut sums = Vec::new();
        let mut buffer = vec![0; usize::try_from(basis.size).unwrap_or(READ_LEN).min(READ_LEN)];
        let mut at = 0;
        while at < basis.size {
            let want = (basis.size - at).min(READ_LEN as u64);
            let want = usize::try_from(want).unwrap_or(READ_LEN);
            if file.read_exact_at(&mut buffer[..want], at).is_err() {
                buffer[..want].fill(0);
            }
            signer.update(&buffer[..want], &mut sums);
            at += want as u64;
            if sums.len() >= limits::FRAME_SOFT {
                let part = std::mem::take(&mut sums).into();
                self.context.say(FromReceiver::Sums { want: id, sums: part, last: false });
            }
        }
        signer.finish(&mut sums);
        self.context.say(FromReceiver::Sums { want: id, sums: sums.into(), last: true });
    }
}
