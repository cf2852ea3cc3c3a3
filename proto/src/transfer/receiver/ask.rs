//! The asker: the only thread that sends requests, and the one that may wait for the wire to take them.
//!
//! It keeps the protocol's bounds on what is in flight. Contents come before listings: a directory is opened only
//! while few contents wait, so the backlog is bounded by the directories in flight.

use std::collections::VecDeque;
use std::fs::File;
use std::os::unix::fs::FileExt;
use std::sync::{Arc, mpsc};
use std::thread::ScopedJoinHandle;

use prost::bytes::Bytes;

use super::context::{Context, Held, HeldContent, Told};
use crate::disk::{Found, LastDir, Stamp, content};
use crate::limits;
use crate::model::delta::{Shape, Signer, sums_of, sums_of_groups};
use crate::model::digest::Digest;
use crate::model::entry::Entry;
use crate::model::path::RelPath;
use crate::wire::message::{FromReceiver, RequestId, WantBasis};

/// Read at once from a basis that is signed.
const READ_LEN: usize = 1024 * 1024;

/// Bytes of a basis that one thread signs at a time, and threads that sign. A thread is soon paid for; more threads than
/// two would wait for memory.
const SIGN_LEN: u64 = 32 * 1024 * 1024;
/// See [`SIGN_LEN`].
const SIGNERS: u64 = 2;

pub(super) enum Ask {
    /// List this directory.
    Open { id: RequestId, dir: RelPath, all: bool },
    /// Send the file of this want.
    Want { id: RequestId, told: Told },
    /// The digest of this want does not help: its sums are needed.
    Sums { id: RequestId },
    /// The digest of the directory that is compared first.
    Digested(Digest),
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
    wants: VecDeque<(RequestId, Told)>,
    opens_in_flight: usize,
    wants_in_flight: usize,
    bytes_in_flight: u64,
    /// Bytes of bases in memory.
    bytes_held: usize,
    beneath: LastDir,
}

/// A basis to be announced.
struct Announced {
    held: Held,
    basis: WantBasis,
    /// All of its sums, where it is small or its groups are known, none where its digest goes alone; else they are made from
    /// the file as they are sent.
    sums: Option<Vec<u8>>,
}

impl Asker {
    pub(super) fn new(context: Arc<Context>) -> Self {
        let beneath = LastDir::new(&context.root);
        Self {
            context,
            opens: VecDeque::new(),
            wants: VecDeque::new(),
            opens_in_flight: 0,
            wants_in_flight: 0,
            bytes_in_flight: 0,
            bytes_held: 0,
            beneath,
        }
    }

    pub(super) fn run(mut self, asks: &mpsc::Receiver<Vec<Ask>>) {
        loop {
            let batch = match asks.try_recv() {
                Ok(batch) => batch,
                Err(_) => {
                    self.context.flush();
                    // It may move or go before the next want.
                    self.beneath.forget();
                    match asks.recv() {
                        Ok(batch) => batch,
                        Err(_) => return,
                    }
                }
            };
            for ask in batch {
                match ask {
                    Ask::Open { id, dir, all } => self.opens.push_back((id, dir, all)),
                    Ask::Want { id, told } => self.wants.push_back((id, told)),
                    Ask::Digested(digest) => self.context.say(FromReceiver::Digested(digest)),
                    Ask::Sums { id } => self.send_want(id, Told::Sums),
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
            let Some(&(id, told)) = self.wants.front() else { break };
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
            self.send_want(id, told);
        }
        while self.opens_in_flight < limits::OPENS_IN_FLIGHT && self.wants.len() < limits::WANTS_IN_FLIGHT {
            let Some((id, dir, all)) = self.opens.pop_front() else { break };
            self.opens_in_flight += 1;
            self.context.say(FromReceiver::Open { id, dir, all });
        }
    }

    /// Sends a want, with the sums of what stands here when they may save more than they cost.
    fn send_want(&mut self, id: RequestId, told: Told) {
        let wanted = self.context.with_want(id, |want| (want.path.clone(), want.size, want.basis.take()));
        let Some((path, size, before)) = wanted else { return };
        let small = size <= limits::INLINE_MAX;
        let told = match told {
            Told::Best if small && !self.context.odds.digest_first() => Told::Differs,
            told => told,
        };
        self.bytes_held = self.bytes_held.saturating_sub(before.as_ref().map_or(0, Held::bytes));
        let least = if told == Told::Best { limits::DIGEST_MIN } else { limits::DELTA_MIN };
        let none = told == Told::Nothing || size < least;
        let announced = match before {
            // Its digest has not helped, so it is signed as it was read then.
            Some(Held { stamp, standing, content: HeldContent::Bytes(bytes), .. }) => {
                signed(stamp, standing, bytes)
            }
            _ if none => None,
            _ => self.announced(&path, size, told),
        };
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
            _ if basis.digest.is_some() => {}
            Some(sums) => self.say_sums(id, &sums, true),
            None => self.send_sums(id, file.as_ref(), basis.shape),
        }
    }

    /// Says sums in parts of a frame; `last` when there are no more after these.
    fn say_sums(&self, want: RequestId, sums: &[u8], last: bool) {
        let mut parts = sums.chunks(limits::FRAME_SOFT).peekable();
        while let Some(part) = parts.next() {
            let last = last && parts.peek().is_none();
            self.context.say(FromReceiver::Sums { want, sums: part.to_vec().into(), last });
        }
    }

    /// The file to copy from: what an interrupted transfer left if that is more, else what stands at the path.
    fn announced(&mut self, path: &RelPath, wanted: u64, told: Told) -> Option<Announced> {
        let standing = self.beneath.parent_of(path).and_then(|dir| dir.open_file(path.name())).ok();
        let kept = self.context.partials.kept(path);
        let kept = kept.and_then(|file| Some((Stamp::of_file(&file).ok()?, file)));
        let (stamp, file, standing) = match (standing, kept) {
            (Some((_, found)), Some((stamp, file))) if stamp.size > found.stat.size => (stamp, file, None),
            (Some((file, found)), _) if found.stat.size <= limits::INLINE_MAX => {
                let maybe_equal = told == Told::Best && found.stat.size == wanted;
                return self.announced_small(found, file, maybe_equal);
            }
            (Some((file, found)), _) => (found.stat, file, Some(found.entry)),
            (None, kept) => {
                let (stamp, file) = kept?;
                (stamp, file, None)
            }
        };
        let known = if told == Told::Sums { None } else { self.context.remembered(&stamp) };
        let of_groups = known.as_ref().and_then(|known| {
            let shape = Shape::of_groups(stamp.size)?;
            Some((shape, sums_of_groups(&known.groups, shape)))
        });
        let groups = of_groups.is_some();
        let (shape, sums) = match of_groups {
            Some((shape, sums)) => (shape, Some(sums)),
            None => (shape(stamp.size)?, None),
        };
        let basis = WantBasis { shape, digest: None, groups };
        let held =
            Held { stamp, standing, content: HeldContent::File(file), groups: known, by_digest: false };
        Some(Announced { held, basis, sums })
    }

    /// A small basis is read once, for its digest or its sums and for the copies to come, as long as memory is not short.
    /// One that is as long as what is wanted is told by its digest first: most files of a tree that was unpacked anew have
    /// other times and no other content. Another name of the file is somebody's own: only a new file leaves that one as
    /// it is.
    fn announced_small(&self, found: Found, file: File, maybe_equal: bool) -> Option<Announced> {
        let Found { entry, stat: stamp } = found;
        // Of a file that changed at this very moment the stamp proves nothing later.
        let maybe_equal = maybe_equal && stamp.nlink == 1 && stamp.is_rested();
        if !maybe_equal && stamp.size < limits::DELTA_MIN {
            return None;
        }
        let size = usize::try_from(stamp.size).ok()?;
        let bytes = content::read_up_to(&file, size).ok().filter(|bytes| bytes.len() == size)?;
        let mut announced = if maybe_equal {
            let basis =
                WantBasis { shape: Shape::of(stamp.size)?, digest: Some(Digest::of(&bytes)), groups: false };
            let content = HeldContent::Bytes(bytes.into());
            let held = Held { stamp, standing: Some(entry), content, groups: None, by_digest: true };
            Announced { held, basis, sums: None }
        } else {
            signed(stamp, Some(entry), bytes.into())?
        };
        if self.bytes_held + announced.held.bytes() > limits::BASES_HELD {
            announced.held.content = HeldContent::File(file);
        }
        Some(announced)
    }

    /// Signs exactly as many bytes as were announced, on several threads: the sender waits for it. A basis that fails or
    /// shrinks meanwhile is announced as zeros from there: those sums match nothing that is copied, or the digest of the
    /// result tells.
    fn send_sums(&self, want: RequestId, file: Option<&File>, shape: Shape) {
        let window = SIGN_LEN - SIGN_LEN % u64::from(shape.block_len());
        let size = shape.basis_size();
        if size <= window {
            return self.say_sums(want, &sign(file, shape, 0, window), true);
        }
        let mut at = 0;
        while at < size {
            let starts = (0..SIGNERS).map(|i| at + i * window).filter(|&start| start < size);
            let signed: Vec<Vec<u8>> = std::thread::scope(|scope| {
                let begin = |start| {
                    let work = move || sign(file, shape, start, window);
                    std::thread::Builder::new().spawn_scoped(scope, work).map_err(|_| start)
                };
                // Collected, or each would be waited for before the next is begun.
                let begun: Vec<_> = starts.map(begin).collect();
                let end = |begun: Result<ScopedJoinHandle<'_, Vec<u8>>, u64>| match begun {
                    Ok(window) => window.join().unwrap_or_default(),
                    // No thread is to be had: then here.
                    Err(start) => sign(file, shape, start, window),
                };
                begun.into_iter().map(end).collect()
            });
            at += window * SIGNERS;
            self.say_sums(want, &signed.concat(), at >= size);
        }
    }
}

/// A small basis with its sums.
fn signed(stamp: Stamp, standing: Option<Entry>, bytes: Bytes) -> Option<Announced> {
    let shape = shape(stamp.size)?;
    let sums = sums_of(&bytes, shape);
    let content = HeldContent::Bytes(bytes);
    let held = Held { stamp, standing, content, groups: None, by_digest: false };
    let basis = WantBasis { shape, digest: None, groups: false };
    Some(Announced { held, basis, sums: Some(sums) })
}

/// The sums of a window of a basis. It begins at a block.
fn sign(file: Option<&File>, shape: Shape, start: u64, len: u64) -> Vec<u8> {
    let end = shape.basis_size().min(start + len);
    let mut signer = Signer::new(shape);
    let mut sums = Vec::new();
    let mut buffer = vec![0; usize::try_from(end - start).unwrap_or(READ_LEN).min(READ_LEN)];
    let mut at = start;
    while at < end {
        let part = usize::try_from(end - at).unwrap_or(READ_LEN).min(READ_LEN);
        let part = &mut buffer[..part];
        if file.is_none_or(|file| file.read_exact_at(part, at).is_err()) {
            part.fill(0);
        }
        signer.update(part, &mut sums);
        at += part.len() as u64;
    }
    signer.finish(&mut sums);
    sums
}

/// How the sums of a basis of this size are cut, where they are worth sending.
fn shape(size: u64) -> Option<Shape> {
    if size < limits::DELTA_MIN { None } else { Shape::of(size) }
}
