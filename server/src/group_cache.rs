//! The groups of large files that have landed here, kept in the state folder (`groups/`), so that a later version is
//! compared and patched without reading the old one.
//!
//! Receivers have the identity of their module and may not write there: one thread of the daemon does all of it. The
//! cache may be lost at any time, and is never synced; an entry that is torn or of another file is no entry.

use std::collections::{BTreeMap, VecDeque};
use std::fs::File;
use std::io::{self, BufReader, Read as _};
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::{self, RecvTimeoutError, SyncSender};
use std::time::{Duration, Instant};

use driftless_proto::disk::apply::{self, Replace};
use driftless_proto::disk::{Dir, Root, Staged, Stamp, Style, walk};
use driftless_proto::model::digest::{GroupHasher, GroupSums};
use driftless_proto::model::path::RelPath;
use driftless_proto::transfer::group_cache::GroupCache;

use crate::limits;
use crate::named;

/// A file is remembered once it has kept its stamp for so long: longer than a tick of the kernel's clock, within which
/// a write could leave its times as they are.
const REST: Duration = Duration::from_millis(30);

/// Of an entry; another one is not read.
const MAGIC: &[u8; 8] = b"dlgroup2";

/// Bytes of a group in an entry: its value and its rolling sum.
const GROUP_LEN: u64 = 36;
/// Bytes of the digest at the end of an entry, over everything before it.
const DIGEST_LEN: u64 = 32;
/// Bytes read or written at once.
const PART_LEN: usize = 64 * 1024;

/// See the module.
pub(crate) struct DiskCache {
    requests: SyncSender<Request>,
    /// Bytes of groups that wait to be written.
    waiting: Arc<AtomicU64>,
}

enum Request {
    Get(Stamp, mpsc::Sender<Option<GroupSums>>),
    Put(File, Stamp, Waiting),
}

/// Groups that wait to be written, booked as long as they do.
struct Waiting {
    groups: GroupSums,
    bytes: u64,
    waiting: Arc<AtomicU64>,
}

impl Drop for Waiting {
    fn drop(&mut self) {
        self.waiting.fetch_sub(self.bytes, Ordering::Relaxed);
    }
}

impl DiskCache {
    /// Opens the cache beneath the state folder.
    ///
    /// # Errors
    /// When the folder cannot be made or read, or no thread can be had.
    pub(crate) fn open(state: &Path) -> io::Result<Self> {
        let folder = state.join("groups");
        named::private_folder(&folder)?;
        let dir = Root::open(&folder, Style::default())?.dir(&RelPath::root())?;
        let mut keeper = Keeper {
            dir,
            entries: BTreeMap::new(),
            by_age: BTreeMap::new(),
            order: 0,
            bytes: 0,
            resting: VecDeque::new(),
        };
        keeper.scan()?;
        let (requests, queue) = mpsc::sync_channel(limits::GROUPS_RESTING);
        std::thread::Builder::new().name("groups".into()).spawn(move || keeper.run(&queue))?;
        Ok(Self { requests, waiting: Arc::default() })
    }
}

impl GroupCache for DiskCache {
    fn get(&self, stamp: &Stamp) -> Option<GroupSums> {
        let (answer, answered) = mpsc::channel();
        self.requests.send(Request::Get(*stamp, answer)).ok()?;
        answered.recv().ok()?
    }

    fn put(&self, file: File, described: Stamp, groups: GroupSums) {
        let bytes = groups.values.len() as u64 * GROUP_LEN;
        let waiting = Waiting { groups, bytes, waiting: Arc::clone(&self.waiting) };
        if self.waiting.fetch_add(bytes, Ordering::Relaxed) + bytes <= limits::GROUPS_WAITING {
            // Where the keeper is behind, or without its thread, the cache does not remember this one.
            let _forgotten = self.requests.try_send(Request::Put(file, described, waiting));
        }
    }
}

/// A file that has just landed.
struct Resting {
    due: Instant,
    file: File,
    stamp: Stamp,
    waiting: Waiting,
}

struct Keeper {
    dir: Dir,
    /// Entries by name: when they were made, in order, and their length in bytes.
    entries: BTreeMap<Vec<u8>, (u64, u64)>,
    /// The same by when they were made.
    by_age: BTreeMap<u64, Vec<u8>>,
    order: u64,
    bytes: u64,
    resting: VecDeque<Resting>,
}

impl Keeper {
    /// Finds what an earlier start has left, oldest first.
    fn scan(&mut self) -> io::Result<()> {
        let mut found = walk::list(&self.dir)?.entries;
        found.sort_by_key(|listed| listed.found.entry.mtime);
        for listed in found {
            self.book(listed.name.into_vec(), listed.found.entry.size());
        }
        Ok(())
    }

    fn run(mut self, queue: &mpsc::Receiver<Request>) {
        loop {
            let request = match self.resting.front() {
                None => queue.recv().map_err(|_| RecvTimeoutError::Disconnected),
                Some(first) => queue.recv_timeout(first.due.saturating_duration_since(Instant::now())),
            };
            match request {
                Ok(Request::Get(stamp, answer)) => {
                    // Who asked may be gone.
                    let _unheard = answer.send(self.get(&stamp));
                }
                Ok(Request::Put(file, described, waiting)) => self.rest(file, &described, waiting),
                Err(RecvTimeoutError::Timeout) => {}
                Err(RecvTimeoutError::Disconnected) => return,
            }
            self.remember_rested();
        }
    }

    fn rest(&mut self, file: File, described: &Stamp, waiting: Waiting) {
        // So many descriptors at most; what does not fit is not remembered.
        if self.resting.len() < limits::GROUPS_RESTING
            && let Ok(stamp) = Stamp::of_file(&file)
            && (stamp.size, stamp.mtime) == (described.size, described.mtime)
        {
            self.resting.push_back(Resting { due: Instant::now() + REST, file, stamp, waiting });
        }
    }

    fn remember_rested(&mut self) {
        while self.resting.front().is_some_and(|first| first.due <= Instant::now()) {
            let Some(Resting { file, stamp, waiting, .. }) = self.resting.pop_front() else { break };
            if Stamp::of_file(&file).is_ok_and(|now| now == stamp) {
                // A full state folder costs speed, nothing else.
                let _unwritten = self.write(&stamp, &waiting.groups);
            }
        }
    }

    fn write(&mut self, stamp: &Stamp, groups: &GroupSums) -> io::Result<()> {
        let name = name(stamp);
        let mut staged = Staged::create(&self.dir)?;
        let mut hasher = GroupHasher::new();
        // In parts: the groups are in memory once already.
        let mut part = head(stamp);
        for (value, rolling) in groups.values.iter().zip(&groups.rolling) {
            part.extend_from_slice(value);
            part.extend_from_slice(&rolling.to_le_bytes());
            if part.len() >= PART_LEN {
                hasher.update(&part);
                staged.write_all(&part)?;
                part.clear();
            }
        }
        hasher.update(&part);
        part.extend_from_slice(&hasher.finish().0.0);
        staged.write_all(&part)?;
        let len = staged.len();
        apply::place(staged, &self.dir, &name, Replace::IfPresent)?;
        self.book(name, len);
        while self.bytes > limits::GROUPS_BYTES {
            let Some(oldest) = self.by_age.values().next().cloned() else { break };
            self.remove(&oldest);
        }
        Ok(())
    }

    fn book(&mut self, name: Vec<u8>, len: u64) {
        self.order += 1;
        self.by_age.insert(self.order, name.clone());
        self.bytes += len;
        if let Some((order, len)) = self.entries.insert(name, (self.order, len)) {
            self.by_age.remove(&order);
            self.bytes -= len;
        }
    }

    fn remove(&mut self, name: &[u8]) {
        if let Some((order, len)) = self.entries.remove(name) {
            self.by_age.remove(&order);
            self.bytes -= len;
            // What cannot be removed is found at the next start.
            let _left = apply::remove(&self.dir, name);
        }
    }

    fn get(&mut self, stamp: &Stamp) -> Option<GroupSums> {
        if let Some(resting) = self.resting.iter().find(|resting| resting.stamp == *stamp) {
            // It has only just landed: what is left of its rest is shorter than reading the file would take.
            std::thread::sleep(resting.due.saturating_duration_since(Instant::now()));
            self.remember_rested();
        }
        let name = name(stamp);
        if !self.entries.contains_key(&name) {
            return None;
        }
        let groups = self.read(&name, stamp);
        if groups.is_none() {
            // The file it was made of is no more.
            self.remove(&name);
        }
        groups
    }

    fn read(&self, name: &[u8], stamp: &Stamp) -> Option<GroupSums> {
        let (file, found) = self.dir.open_file(name).ok()?;
        let mut file = BufReader::with_capacity(PART_LEN, file);
        let mut hasher = GroupHasher::new();
        let mut take = |bytes: &mut [u8]| -> io::Result<()> {
            file.read_exact(bytes)?;
            hasher.update(bytes);
            Ok(())
        };
        let head = head(stamp);
        let groups = found.entry.size().checked_sub(head.len() as u64 + DIGEST_LEN)? / GROUP_LEN;
        let mut there = vec![0; head.len()];
        take(&mut there).ok()?;
        let mut sums = GroupSums::default();
        for _ in 0..groups {
            let (mut value, mut rolling) = ([0; 32], [0; 4]);
            take(&mut value).and_then(|()| take(&mut rolling)).ok()?;
            sums.values.push(value);
            sums.rolling.push(u32::from_le_bytes(rolling));
        }
        let mut digest = Vec::new();
        file.read_to_end(&mut digest).ok()?;
        (there == head && digest == hasher.finish().0.0).then_some(sums)
    }
}

/// One entry for each inode: a new version of a file is another inode.
fn name(stamp: &Stamp) -> Vec<u8> {
    format!("{:x}-{:x}", stamp.dev, stamp.ino).into_bytes()
}

/// What an entry begins with: of which state of which file it is. Further names of a file change its ctime, so that
/// their number need not be told.
fn head(stamp: &Stamp) -> Vec<u8> {
    let mut head = MAGIC.to_vec();
    for number in [stamp.dev, stamp.ino, stamp.size] {
        head.extend_from_slice(&number.to_le_bytes());
    }
    for time in [stamp.mtime, stamp.ctime] {
        head.extend_from_slice(&time.sec.to_le_bytes());
        head.extend_from_slice(&time.nsec.to_le_bytes());
    }
    head
}

#[cfg(test)]
mod tests {
    #![allow(clippy::disallowed_methods, reason = "the tests lay files out by themselves")]

    use std::os::unix::fs::FileExt;

    use super::*;

    fn landed(folder: &Path, name: &str) -> (File, Stamp) {
        let path = folder.join(name);
        let file =
            File::options().create(true).truncate(false).read(true).write(true).open(path).expect("a file");
        file.write_all_at(b"content", 0).expect("write");
        let stamp = Stamp::of_file(&file).expect("stamp");
        (file, stamp)
    }

    /// Groups with these numbers in them.
    fn sums(numbers: &[u8]) -> GroupSums {
        GroupSums {
            values: numbers.iter().map(|&number| [number; 32]).collect(),
            rolling: numbers.iter().map(|&number| u32::from(number) << 20).collect(),
        }
    }

    #[test]
    fn what_landed_is_remembered_until_it_changes_and_over_a_restart() {
        let folder = tempfile::tempdir().expect("folder");
        let cache = DiskCache::open(folder.path()).expect("cache");
        let (file, stamp) = landed(folder.path(), "a");
        cache.put(file, stamp, sums(&[1, 2]));
        assert_eq!(cache.get(&stamp), Some(sums(&[1, 2])), "as soon as anybody asks");
        drop(cache);
        let cache = DiskCache::open(folder.path()).expect("cache");
        assert_eq!(cache.get(&stamp), Some(sums(&[1, 2])));
        let other = Stamp { size: stamp.size + 1, ..stamp };
        assert_eq!(cache.get(&other), None);
        assert_eq!(cache.get(&stamp), None, "an entry of a file that is no more goes");
    }

    #[test]
    fn a_file_that_is_written_to_right_after_it_landed_is_not_remembered() {
        let folder = tempfile::tempdir().expect("folder");
        let cache = DiskCache::open(folder.path()).expect("cache");
        let (file, described) = landed(folder.path(), "a");
        let too = file.try_clone().expect("dup");
        too.write_all_at(b"more, and longer", 0).expect("write");
        cache.put(file, described, sums(&[1]));
        // A second file after it is remembered: by then the first one has been looked at.
        let (second, stamp) = landed(folder.path(), "b");
        cache.put(second, stamp, sums(&[3]));
        assert!(cache.get(&stamp).is_some());
        assert_eq!(cache.get(&Stamp::of_file(&too).expect("stamp")), None);
    }

    #[test]
    fn a_torn_entry_is_none() {
        let folder = tempfile::tempdir().expect("folder");
        let cache = DiskCache::open(folder.path()).expect("cache");
        let (file, stamp) = landed(folder.path(), "a");
        cache.put(file, stamp, sums(&[1; 100]));
        assert!(cache.get(&stamp).is_some());
        let entry = folder.path().join("groups").join(String::from_utf8(name(&stamp)).expect("text"));
        let file = File::options().write(true).open(entry).expect("the entry");
        file.write_all_at(b"x", 1000).expect("write");
        assert_eq!(cache.get(&stamp), None);
    }
}
