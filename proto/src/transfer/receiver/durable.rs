//! How groups become durable: file by file as a rule, and the file system as a whole in a first full push.
//!
//! syncfs(2) waits for everybody's dirty pages, so it serves only where most of them are ours: many new files into what
//! was empty. One call then makes the contents of a group durable, and the names of the group before it. The order stays:
//! nothing has a name before its content is durable, nothing is acknowledged before its name is.

use std::collections::HashMap;
use std::io;

use super::commit::Commit;
use super::context::Context;
use crate::disk::Dir;
use crate::limits;
use crate::model::path::RelPath;
use crate::wire::message::{FromReceiver, Seq};

/// What has its name, but not for sure after a crash.
#[derive(Default)]
pub(super) struct Named {
    acks: Vec<Seq>,
    /// A directory on each file system that names were given on, by its device.
    places: HashMap<u64, Dir>,
}

impl Named {
    /// Takes what waits for the next [`Named::settle`].
    pub(super) fn add(&mut self, dirs: impl Iterator<Item = Dir>, acks: &mut Vec<Seq>) {
        self.acks.append(acks);
        for dir in dirs {
            // One that cannot be asked cannot be synced either, which then fails.
            let device = dir.own().map_or(0, |own| own.stat.dev);
            self.places.entry(device).or_insert(dir);
        }
    }

    pub(super) fn is_empty(&self) -> bool {
        self.acks.is_empty() && self.places.is_empty()
    }

    /// Makes everything on the file systems of these directories durable, and of those where names wait; then
    /// acknowledges these.
    ///
    /// # Errors
    /// As `syncfs(2)`. What waited has failed then, which has been said.
    pub(super) fn settle(&mut self, context: &Context, dirs: impl Iterator<Item = Dir>) -> io::Result<()> {
        let mut acks = std::mem::take(&mut self.acks);
        self.add(dirs, &mut Vec::new());
        let synced = std::mem::take(&mut self.places).values().try_for_each(Dir::sync_file_system);
        match &synced {
            Ok(()) if acks.is_empty() => {}
            Ok(()) => context.say(FromReceiver::Ack(acks)),
            Err(error) => {
                // Which of the names are durable nobody can say: none of them is acknowledged.
                let problem = context.problem(&RelPath::root(), "sync", error);
                context.failed(&problem);
                for seq in std::iter::once(0).chain(acks.drain(..)) {
                    context.say(FromReceiver::Failed { seq, problem: problem.clone() });
                }
            }
        }
        synced
    }
}

/// Makes the contents of a group durable, and tells of each commit whether it is.
pub(super) fn sync_contents(
    context: &Context,
    group: &[Commit],
    whole: bool,
    named: &mut Named,
) -> Vec<io::Result<()>> {
    let files = || {
        group.iter().filter_map(|commit| match commit {
            Commit::File(file) => Some(file),
            _ => None,
        })
    };
    if whole {
        let synced = named.settle(context, files().map(|file| file.dir.clone()));
        let again = |error: &io::Error| {
            error.raw_os_error().map_or(io::ErrorKind::Other.into(), io::Error::from_raw_os_error)
        };
        return group.iter().map(|_| synced.as_ref().copied().map_err(again)).collect();
    }
    files().for_each(|file| file.staged.start_writeback());
    let synced = |commit: &Commit| match commit {
        Commit::File(file) => file.staged.sync(),
        _ => Ok(()),
    };
    group.iter().map(synced).collect()
}

/// Whether a group is one of a first full push, and large enough that one syncfs(2) costs less than its files and
/// directories do.
pub(super) fn is_whole(context: &Context, group: &[Commit]) -> bool {
    let synced = |commit: &Commit| match commit {
        Commit::File(_) => 1,
        Commit::Directories { dirs, .. } => dirs.len(),
        _ => 0,
    };
    context.is_first() && group.iter().map(synced).sum::<usize>() >= limits::SYNC_WHOLE_MIN
}
