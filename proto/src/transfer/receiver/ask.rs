//! The asker: the only thread that sends requests, and the one that may wait for the wire to take them.
//!
//! It keeps the protocol's bounds on what is in flight. Contents come before listings: a directory is opened only
//! while few contents wait, so the backlog is bounded by the directories in flight.

use std::collections::VecDeque;
use std::fs::File;
use std::os::unix::fs::FileExt;
use std::sync::{Arc, mpsc};

use super::context::{Context, Held, HeldContent};
use crate::disk::{Dir, Stamp};
use crate::limits;
use crate::model::delta::{Shape, Signer};
use crate::model::digest::Digest;
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
    Had { bytes: u64, held: usize },
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
    /// Bytes of bases in memory.
    bytes_held: usize,
    /// The directory last asked about: neighbours come together.
    last_dir: Option<(RelPath, Dir)>,
}

/// A basis to be announced.
struct Announced {
    held: Held,
    basis: WantBasis,
    /// All of its sums, where it is small; else they are made from the file as they are sent.
    sums: Option<Vec<u8>>,
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
            bytes_held: 0,
            last_dir: None,
        }
    }

    pub(super) fn run(mut self, asks: &mpsc::Receiver<Vec<Ask>>) {
        loop {
            let batch = match asks.try_recv() {
                Ok(batch) => batch,
                Err(_) => {
                    self.context.flush();
                    // It may move or go before the next want.
                    self.last_dir = None;
                    match asks.recv() {
                        Ok(batch) => batch,
                        Err(_) => return,
                    }
                }
            };
            for ask in batch {
                match ask {
                    Ask::Open { id, dir, all } => self.opens.push_back((id, dir, all)),
                    Ask::Want { id, whole } => self.wants.push_back((id, whole)),
                    // The peer makes these come: one too many must not wrap the count.
                    Ask::Opened => self.opens_in_flight = self.opens_in_flight.saturating_sub(1),
                    Ask::Had { bytes, held } => {
                        self.bytes_held = self.bytes_held.saturating_sub(held);
                        self.wants_in_flight = self.wants_in_flight.saturating_sub(1);
                        self.bytes_in_flight = self.bytes_in_flight.saturating_sub(bytes);
                    }
                    Ask::Stop => return,
                }
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
    fn send_want(&mut self, id: RequestId, whole: bool) {
        let Some((path, size)) = self.context.with_want(id, |want| (want.path.clone(), want.size)) else {
            return;
        };
        let announced = if whole || size < limits::DELTA_MIN { None } else { self.announced(&path) };
        let Some(Announced { held, basis, sums }) = announced else {
            self.context.say(FromReceiver::Want { id, path, basis: None });
            return;
        };
        let file = match &held.content {
            HeldContent::File(file) => file.try_clone().ok(),
            HeldContent::Bytes(bytes) => {
                self.bytes_held += bytes.len();
                None
            }
        };
        self.context.with_want(id, |want| want.basis = Some(held));
        self.context.say(FromReceiver::Want { id, path, basis: Some(basis) });
        match sums {
            Some(sums) => self.context.say(FromReceiver::Sums { want: id, sums: sums.into(), last: true }),
            None => self.send_sums(id, file.as_ref(), basis.shape),
        }
    }

    /// The file to copy from: what an interrupted transfer left if that is more, else what stands at the path.
    fn announced(&mut self, path: &RelPath) -> Option<Announced> {
        let standing = self.dir_of(path).and_then(|dir| dir.open_file(path.name())).ok();
        let kept = self.context.partials.kept(path);
        let kept = kept.and_then(|file| Some((Stamp::of_file(&file).ok()?, file)));
        let standing = standing.map(|(file, found)| (found.stat, file));
        let (stamp, file) = match (standing, kept) {
            (Some(standing), Some(kept)) if kept.0.size > standing.0.size => kept,
            (Some(standing), _) if standing.0.size <= limits::INLINE_MAX => {
                return self.announced_small(standing.0, standing.1);
            }
            (Some(standing), _) => standing,
            (None, kept) => kept?,
        };
        let basis = WantBasis { shape: shape(stamp.size)?, digest: None };
        Some(Announced { held: Held { stamp, content: HeldContent::File(file) }, basis, sums: None })
    }

    /// A small basis is read once, for its sums, its digest and the copies to come, as long as memory is not short.
    fn announced_small(&self, stamp: Stamp, file: File) -> Option<Announced> {
        let shape = shape(stamp.size)?;
        let mut bytes = vec![0; usize::try_from(stamp.size).ok()?];
        file.read_exact_at(&mut bytes, 0).ok()?;
        let mut sums = Vec::new();
        let mut signer = Signer::new(shape);
        signer.update(&bytes, &mut sums);
        signer.finish(&mut sums);
        // Another name of the file is somebody's own: only a new file leaves that one as it is.
        let digest = (stamp.nlink == 1).then(|| Digest::of(&bytes));
        let content = if self.bytes_held + bytes.len() > limits::BASES_HELD {
            HeldContent::File(file)
        } else {
            HeldContent::Bytes(bytes.into())
        };
        let basis = WantBasis { shape, digest };
        Some(Announced { held: Held { stamp, content }, basis, sums: Some(sums) })
    }

    fn dir_of(&mut self, path: &RelPath) -> std::io::Result<Dir> {
        let parent = path.parent().unwrap_or_else(RelPath::root);
        if let Some((last, dir)) = &self.last_dir
            && *last == parent
        {
            return Ok(dir.clone());
        }
        let dir = self.context.root.dir(&parent)?;
        self.last_dir = Some((parent, dir.clone()));
        Ok(dir)
    }

    /// Signs exactly as many bytes as were announced. A basis that fails or shrinks meanwhile is announced as zeros
    /// from there: those sums match nothing that is copied, or the digest of the result tells.
    fn send_sums(&self, id: RequestId, file: Option<&File>, shape: Shape) {
        let mut signer = Signer::new(shape);
        let mut sums = Vec::new();
        let mut buffer = vec![0; usize::try_from(shape.basis_size()).unwrap_or(READ_LEN).min(READ_LEN)];
        let mut at = 0;
        while at < shape.basis_size() {
            let want = (shape.basis_size() - at).min(READ_LEN as u64);
            let want = usize::try_from(want).unwrap_or(READ_LEN);
            if file.is_none_or(|file| file.read_exact_at(&mut buffer[..want], at).is_err()) {
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

/// How the sums of a basis of this size are cut, where they are worth sending.
fn shape(size: u64) -> Option<Shape> {
    if size < limits::DELTA_MIN { None } else { Shape::of(size) }
}
