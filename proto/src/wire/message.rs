//! The messages, parsed: every path is checked, every digest has its length. The schema
//! (`schema/driftless.proto`) says what each one means and when a field may be absent.

use std::ops::RangeInclusive;

use prost::bytes::Bytes;

use crate::model::change::Change;
use crate::model::counter::{ReceiverTotals, SenderTotals};
use crate::model::delta::{Op, Shape};
use crate::model::digest::Digest;
use crate::model::entry::{Entry, Time};
use crate::model::filter::Rules;
use crate::model::options::{Keeps, Options};
use crate::model::path::RelPath;
use crate::model::problem::{Problem, Refusal};

/// Numbers a sender gives to what it wants acknowledged; they grow by one. 0 is never used.
pub type Seq = u64;
/// Numbers a receiver gives to its requests; they grow by one. 0 is never used.
pub type RequestId = u64;

/// The agent's first message.
#[derive(Clone, Debug)]
pub struct Hello {
    /// The protocol versions the agent speaks.
    pub versions: RangeInclusive<u32>,
    /// The same for every run of this agent.
    pub agent_id: [u8; 16],
    /// Grows with every stream of the same agent and destination.
    pub epoch: u64,
    /// The module's name.
    pub module: String,
    /// Push: the destination, alone. Pull: the sources.
    pub places: Vec<Place>,
    /// What was asked for.
    pub options: Options,
    /// Include and exclude rules.
    pub rules: Rules,
    /// Pull: what the agent can keep.
    pub keeps: Option<Keeps>,
    /// Pull: nothing stands at the destination.
    pub empty: bool,
    /// The stream stays open for changes as they happen.
    pub watch: bool,
    /// See the schema.
    pub single_name: Option<Box<[u8]>>,
    /// Push: the directory that will be compared first.
    pub comparing: Option<RelPath>,
}

/// A path that an operator named, beneath a module.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Place {
    /// The root for the module itself.
    pub path: RelPath,
    /// A trailing slash: the content rather than the directory.
    pub slash: bool,
}

/// The server's first message.
#[derive(Clone, Debug)]
pub struct Welcome {
    /// The version both ends speak from here on.
    pub version: u32,
    /// Stays the same while the module has this name and path.
    pub module_id: [u8; 16],
    /// New at every start of the server.
    pub boot_epoch: [u8; 16],
    /// What the receiver can keep.
    pub keeps: Keeps,
    /// Push: nothing stands at the destination.
    pub empty: bool,
    /// See the schema.
    pub single_name: Option<Box<[u8]>>,
    /// Push: the destination was made.
    pub created: bool,
    /// The module deletes in spite of read errors.
    pub ignore_errors: bool,
}

/// What a sender says.
#[derive(Clone, Debug)]
#[expect(missing_docs, reason = "the schema says what each field means")]
pub enum FromSender {
    /// See the schema; likewise below.
    Hello(Hello),
    /// See the schema.
    Welcome(Welcome),
    /// See the schema.
    Refused(Refusal),
    /// The digest of this directory is being computed; its compare follows.
    Digesting(RelPath),
    /// Compare this directory with yours; without a digest everything follows as open 0.
    Compare { seq: Seq, dir: RelPath, entry: Option<Entry>, digest: Option<Digest> },
    /// Entries of a directory.
    Listing(Listing),
    /// Ends the answer to an open.
    Opened(RequestId),
    /// This stands here now.
    Put(Put),
    /// Content of the put with this seq.
    Chunk { seq: Seq, ops: Vec<Op> },
    /// Ends the content of a put.
    PutEnd { seq: Seq, digest: Digest, entry: Entry, unstable: bool },
    /// Send this want again, with sums.
    NeedSums(RequestId),
    /// See the schema.
    PutFailed { seq: Seq, want: RequestId, again: bool },
    /// Compare this path with yours and want it if it differs.
    Offer { seq: Seq, path: RelPath, entry: Entry, digest: Option<Digest> },
    /// Nothing stands here now.
    Remove { seq: Seq, path: RelPath },
    /// What stood at one path stands at another now; with `exchange`, and the other way round.
    Rename { seq: Seq, from: RelPath, to: RelPath, exchange: bool },
    /// One path could not be read.
    Problem(Problem),
    /// Nothing more will come.
    Done(SenderTotals),
    /// The name of an id.
    Name { id: u32, group: bool, name: Box<[u8]> },
}

/// Entries of a directory.
#[derive(Clone, Debug)]
pub struct Listing {
    /// Acknowledged when the contents it carries are durable.
    pub seq: Seq,
    /// The open it answers.
    pub open: RequestId,
    /// The directory.
    pub dir: RelPath,
    /// Its entries, or some of them.
    pub entries: Vec<Listed>,
    /// This ends the directory.
    pub last: bool,
    /// Every entry could be read.
    pub sound: bool,
}

/// One entry of a listing. Its name is a single component.
#[derive(Clone, Debug)]
pub struct Listed {
    /// The whole path: the directory's and the name.
    pub path: RelPath,
    /// What stands there.
    pub entry: Entry,
    /// Of a directory.
    pub digest: Option<Digest>,
    /// Of a small file the receiver cannot have.
    pub content: Option<Inline>,
}

/// Content that travels with its entry.
#[derive(Clone, Debug)]
pub struct Inline {
    /// All of it.
    pub bytes: Bytes,
    /// Its digest.
    pub digest: Digest,
}

/// This stands here now.
#[derive(Clone, Debug)]
pub struct Put {
    /// Acknowledged when durable.
    pub seq: Seq,
    /// The want it answers; 0 for none.
    pub want: RequestId,
    /// Where; the root when it answers a want, which has said it.
    pub path: RelPath,
    /// What.
    pub entry: Entry,
    /// Its content.
    pub content: Content,
}

/// How a put's content comes.
#[derive(Clone, Debug)]
pub enum Content {
    /// No content changes, or there is none: only the entry.
    None,
    /// All of it, here.
    Inline(Inline),
    /// The one whose digest the want named.
    Kept,
    /// At once, by what the basis of the want has of it: the steps, and the digest of the whole.
    Patch(Vec<Op>, Digest),
    /// In chunks. Copies refer to the named basis, else to the one described in the want.
    Stream(Option<Basis>),
}

/// A file the sender believes the receiver to hold.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Basis {
    /// Its length in bytes.
    pub size: u64,
    /// Its modification time.
    pub mtime: Time,
}

/// What a receiver says.
#[derive(Clone, Debug)]
#[expect(missing_docs, reason = "the schema says what each field means")]
pub enum FromReceiver {
    /// See the schema; likewise below.
    Hello(Hello),
    /// See the schema.
    Welcome(Welcome),
    /// See the schema.
    Refused(Refusal),
    /// List this directory; with `all`, send everything beneath.
    Open { id: RequestId, dir: RelPath, all: bool },
    /// Send this file; sums of a basis may follow.
    Want { id: RequestId, path: RelPath, basis: Option<WantBasis> },
    /// Sums of a basis.
    Sums { want: RequestId, sums: Bytes, last: bool },
    /// These are durable.
    Ack(Vec<Seq>),
    /// One path could not be written: with a seq of 0 what happened, told once; else what it means for that seq.
    Failed { seq: Seq, problem: Problem },
    /// One change was made.
    Change(Change),
    /// Everything that was to be done is done.
    Done(ReceiverTotals),
    /// The digest of the directory that the hello named, with its own metadata.
    Digested(Digest),
}

/// The file a receiver holds already.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct WantBasis {
    /// How its sums are cut.
    pub shape: Shape,
    /// Of its content, which is probably what is wanted: nothing follows then.
    pub digest: Option<Digest>,
    /// The sums are those of its groups.
    pub groups: bool,
}

impl WantBasis {
    /// Bytes of sums that follow.
    #[must_use]
    pub fn following_len(&self) -> u64 {
        if self.digest.is_some() { 0 } else { self.shape.sums_len() }
    }
}
