//! operations: what one worker does to its part of the source. The next operation, its operands and every byte come from
//! the worker's seed; a line for each goes to a log, so that what befell a path can be read afterwards.

mod contents;
mod metadata;
mod names;

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::fs::{self, File};
use std::io::{self, BufWriter, Write as _};
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use rustix::fs::{CWD, RenameFlags, renameat_with};

use super::plot::{Kind, Node, Plot};
use super::workers::Counts;
use crate::trees::Noise;

/// No entry is deeper beneath a fixed directory than this, so that no path is too long.
const DEEPEST: usize = 9;

/// Most entries that go or move as one.
const MOST: usize = 1500;

/// Entries that are outside the source at once: with more, the source would shrink.
const OUTSIDE: usize = 16;

/// Files for each directory, at least about.
const FILES_A_DIR: usize = 5;

/// Operations in a row without a rest, and then as many with one: a build, and somebody at a keyboard.
const STORM: u64 = 400;

/// The longest rest between two operations, in milliseconds.
const REST: u64 = 16;

/// A log is put aside at this size, in bytes, in place of the one put aside before.
const LOG: u64 = 64 << 20;

/// Does something, and says to what; `None` when there was nothing to do it to.
type Operation = fn(&mut Worker) -> io::Result<Option<String>>;

/// Each with its share.
const OPERATIONS: [(&str, u64, Operation); 28] = [
    ("create", 120, Worker::create),
    ("overwrite", 80, Worker::overwrite),
    ("write in place", 70, Worker::write_in_place),
    ("append", 70, Worker::append),
    ("append, held open", 60, Worker::append_held),
    ("truncate", 50, Worker::truncate),
    ("mmap", 40, Worker::mmap),
    ("save by rename", 50, Worker::save),
    ("rename", 80, Worker::rename),
    ("rename over", 40, Worker::rename_over),
    ("rename directory", 40, Worker::rename_dir),
    ("rename onto empty directory", 4, Worker::rename_onto_dir),
    ("exchange", 30, Worker::exchange),
    ("exchange directories", 8, Worker::exchange_dirs),
    ("exchange file and directory", 4, Worker::exchange_kinds),
    ("hard link", 40, Worker::hard_link),
    ("symlink", 25, Worker::symlink),
    ("retarget symlink", 10, Worker::retarget),
    ("mkdir", 40, Worker::mkdir),
    ("unlink", 90, Worker::unlink),
    ("unlink symlink", 15, Worker::unlink_link),
    ("rm -r", 6, Worker::remove_tree),
    ("chmod", 30, Worker::chmod),
    ("utimes", 30, Worker::utimes),
    ("move out", 12, Worker::move_out),
    ("move in", 14, Worker::move_in),
    ("file to directory", 6, Worker::file_to_dir),
    ("file to symlink", 6, Worker::file_to_link),
];

/// Whether an operation is called so.
pub(super) fn is_one(name: &str) -> bool {
    OPERATIONS.iter().any(|(one, ..)| *one == name)
}

/// One worker.
pub(super) struct Worker {
    index: u64,
    src: PathBuf,
    plot: Plot,
    /// The directory of its own in the source.
    own: Node,
    /// Where things are moved out of the source to.
    outside: Node,
    noise: Noise,
    named: u64,
    counts: BTreeMap<&'static str, u64>,
    /// Operations that it leaves out.
    without: Vec<String>,
    /// A file that is open for appending.
    held: Option<(Node, File)>,
    storm: u64,
    calm: u64,
    begun: Instant,
    log: BufWriter<File>,
    log_path: PathBuf,
    logged: u64,
}

impl Worker {
    /// A worker of this number and seed, that leaves some operations out.
    pub(super) fn new([src, outside, log]: [&str; 3], [index, seed]: [u64; 2], without: Vec<String>) -> Self {
        let mut plot = Plot::default();
        // One of its own, and one that all share: there the directory is changed by all at once, its entries by one.
        let [own, _] = [format!("w{index}"), "shared".to_owned()].map(|dir| {
            fs::create_dir_all(Path::new(src).join(&dir)).expect("mkdir");
            plot.fixed(dir.into(), true)
        });
        let aside = Path::new(outside).join(format!("w{index}"));
        fs::create_dir_all(&aside).expect("mkdir");
        let outside = plot.fixed(aside, false);
        Self {
            index,
            src: src.into(),
            plot,
            own,
            outside,
            noise: Noise::new(seed),
            named: 0,
            counts: BTreeMap::new(),
            without,
            held: None,
            storm: 0,
            calm: 0,
            begun: Instant::now(),
            log: BufWriter::new(File::create(log).expect("a log")),
            log_path: log.into(),
            logged: 0,
        }
    }

    /// Makes the first files, in new directories.
    pub(super) fn plant(&mut self, files: usize) {
        while self.plot.files() < files {
            let operation = if self.noise.below(12) == 0 { Self::mkdir } else { Self::create };
            operation(self).expect("it can be planted");
        }
        self.counts.clear();
    }

    /// Does the next thing.
    pub(super) fn step(&mut self, files: usize) {
        if self.storm == 0 && self.calm == 0 {
            (self.storm, self.calm) = (self.noise.below(STORM), self.noise.below(STORM));
        }
        if self.storm > 0 {
            self.storm -= 1;
        } else {
            self.calm -= 1;
            let rest = self.noise.below(REST);
            std::thread::sleep(Duration::from_millis(rest));
        }
        let (name, operation) = self.choose(files);
        if self.without.iter().any(|one| one == name) {
            return;
        }
        match operation(self) {
            Ok(Some(what)) => {
                *self.counts.entry(name).or_default() += 1;
                self.note(name, &what);
            }
            Ok(None) => {}
            Err(error) => panic!("worker {}: {name}: {error}", self.index),
        }
    }

    /// The next operation; what the number of files asks for when there are far too many or too few, or too many
    /// directories for them.
    fn choose(&mut self, files: usize) -> (&'static str, Operation) {
        let kept = self.plot.files() as u64 * 100 / (files as u64).max(1);
        if !(80..=120).contains(&kept) && self.noise.below(2) == 0 {
            return if kept < 100 { ("create", Self::create) } else { ("unlink", Self::unlink) };
        }
        if self.plot.dirs() > files / FILES_A_DIR && self.noise.below(16) == 0 {
            return ("rm -r", Self::remove_tree);
        }
        let all: u64 = OPERATIONS.iter().map(|(_, share, _)| share).sum();
        let mut at = self.noise.below(all);
        for (name, share, operation) in OPERATIONS {
            if at < share {
                return (name, operation);
            }
            at -= share;
        }
        unreachable!("the shares cover every number")
    }

    /// Closes what is open and returns what was done.
    pub(super) fn finish(mut self) -> Counts {
        self.held = None;
        self.log.flush().expect("the log");
        self.counts.iter().map(|(name, count)| ((*name).to_owned(), *count)).collect()
    }

    fn note(&mut self, name: &str, what: &str) {
        let line = format!("{:.6} {name}: {what}\n", self.begun.elapsed().as_secs_f64());
        self.log.write_all(line.as_bytes()).expect("the log");
        self.logged += line.len() as u64;
        if self.logged > LOG {
            self.logged = 0;
            fs::rename(&self.log_path, self.log_path.with_extension("before")).expect("rename");
            self.log = BufWriter::new(File::create(&self.log_path).expect("a log"));
        }
    }

    /// Where an entry is, as a path that can be opened.
    fn at(&self, node: Node) -> PathBuf {
        self.src.join(self.plot.path(node))
    }

    /// A directory with room beneath it for so many levels, and a new name in it.
    fn place(&mut self, levels: usize) -> Option<(Node, OsString)> {
        let dir = self.plot.any_dir(&mut self.noise)?;
        (self.plot.depth(dir) + levels <= DEEPEST).then(|| (dir, self.new_name()))
    }

    fn place_path(&self, dir: Node, name: &OsString) -> PathBuf {
        self.at(dir).join(name)
    }

    // === names appear ===

    fn create(&mut self) -> io::Result<Option<String>> {
        let Some((dir, name)) = self.place(1) else { return Ok(None) };
        let bytes = self.content();
        let path = self.place_path(dir, &name);
        fs::write(&path, bytes)?;
        self.plot.add(Kind::File, dir, name);
        told(&path)
    }

    /// A chain of new directories with a file in the last one, faster than any watch can be added.
    fn mkdir(&mut self) -> io::Result<Option<String>> {
        let levels = 1 + usize::try_from(self.noise.below(3)).expect("small");
        let Some((mut dir, mut name)) = self.place(levels + 1) else { return Ok(None) };
        for _ in 0..levels {
            fs::create_dir(self.place_path(dir, &name))?;
            dir = self.plot.add(Kind::Dir, dir, name);
            name = self.new_name();
        }
        let path = self.place_path(dir, &name);
        fs::write(&path, self.content())?;
        self.plot.add(Kind::File, dir, name);
        told(&path)
    }

    fn hard_link(&mut self) -> io::Result<Option<String>> {
        let Some(file) = self.plot.any_file(&mut self.noise) else { return Ok(None) };
        let Some((dir, name)) = self.place(1) else { return Ok(None) };
        let (from, to) = (self.at(file), self.place_path(dir, &name));
        fs::hard_link(&from, &to)?;
        self.plot.add(Kind::File, dir, name);
        told_both(&from, &to)
    }

    fn symlink(&mut self) -> io::Result<Option<String>> {
        let Some((dir, name)) = self.place(1) else { return Ok(None) };
        let path = self.place_path(dir, &name);
        symlink(self.target(), &path)?;
        self.plot.add(Kind::Link, dir, name);
        told(&path)
    }

    fn retarget(&mut self) -> io::Result<Option<String>> {
        let Some(link) = self.plot.any_link(&mut self.noise) else { return Ok(None) };
        let path = self.at(link);
        fs::remove_file(&path)?;
        symlink(self.target(), &path)?;
        told(&path)
    }

    // === names change ===

    fn rename(&mut self) -> io::Result<Option<String>> {
        let Some(file) = self.plot.any_file(&mut self.noise) else { return Ok(None) };
        let Some((dir, name)) = self.place(1) else { return Ok(None) };
        self.move_to(file, dir, name)
    }

    fn rename_over(&mut self) -> io::Result<Option<String>> {
        let (one, other) = self.two(Plot::any_file);
        let (Some(one), Some(other)) = (one, other) else { return Ok(None) };
        let (from, to) = (self.at(one), self.at(other));
        if one == other || is_same_file(&from, &to)? {
            // rename(2) does nothing between two names of one file.
            return Ok(None);
        }
        let (dir, name) = (self.plot.parent(other), self.plot.name(other));
        fs::rename(&from, &to)?;
        self.plot.remove(other);
        self.plot.relocate(one, dir, name);
        told_both(&from, &to)
    }

    fn rename_dir(&mut self) -> io::Result<Option<String>> {
        let Some(node) = self.plot.any_loose_dir(&mut self.noise) else { return Ok(None) };
        let Some((dir, name)) = self.place(1 + self.plot.extent(node).1) else { return Ok(None) };
        if self.plot.is_within(dir, node) {
            return Ok(None);
        }
        self.move_to(node, dir, name)
    }

    /// Onto another directory, which is emptied for it first.
    fn rename_onto_dir(&mut self) -> io::Result<Option<String>> {
        let (one, other) = self.two(Plot::any_loose_dir);
        let (Some(one), Some(other)) = (one, other) else { return Ok(None) };
        let ((count, _), (_, height)) = (self.plot.extent(other), self.plot.extent(one));
        let dir = self.plot.parent(other);
        let deep = self.plot.depth(dir) + 1 + height > DEEPEST;
        if self.plot.is_within(one, other) || self.plot.is_within(other, one) || count > MOST || deep {
            return Ok(None);
        }
        let (from, to, name) = (self.at(one), self.at(other), self.plot.name(other));
        self.clear(other)?;
        fs::rename(&from, &to)?;
        self.plot.remove(other);
        self.plot.relocate(one, dir, name);
        told_both(&from, &to)
    }

    fn exchange(&mut self) -> io::Result<Option<String>> {
        let (one, other) = self.two(Plot::any_file);
        self.swap(one, other)
    }

    fn exchange_dirs(&mut self) -> io::Result<Option<String>> {
        let (one, other) = self.two(Plot::any_loose_dir);
        self.swap(one, other)
    }

    fn exchange_kinds(&mut self) -> io::Result<Option<String>> {
        let one = self.plot.any_file(&mut self.noise);
        let other = self.plot.any_loose_dir(&mut self.noise);
        self.swap(one, other)
    }

    fn swap(&mut self, one: Option<Node>, other: Option<Node>) -> io::Result<Option<String>> {
        let (Some(one), Some(other)) = (one, other) else { return Ok(None) };
        let deep = |node: Node, place: Node| {
            self.plot.depth(place) + if self.is_dir(node) { self.plot.extent(node).1 } else { 0 } > DEEPEST
        };
        if self.plot.is_within(one, other) || self.plot.is_within(other, one) {
            return Ok(None);
        }
        if deep(one, other) || deep(other, one) {
            return Ok(None);
        }
        let (from, to) = (self.at(one), self.at(other));
        renameat_with(CWD, &from, CWD, &to, RenameFlags::EXCHANGE)?;
        self.plot.exchange(one, other);
        told_both(&from, &to)
    }

    /// A file or a small directory leaves the source.
    fn move_out(&mut self) -> io::Result<Option<String>> {
        if self.plot.children(self.outside).len() >= OUTSIDE {
            return self.move_in();
        }
        let dir = self.noise.below(2) == 0;
        let pick = if dir { Plot::any_loose_dir } else { Plot::any_file };
        let Some(node) = pick(&self.plot, &mut self.noise) else { return Ok(None) };
        if self.plot.extent(node).0 > MOST {
            return Ok(None);
        }
        let name = self.new_name();
        self.move_to(node, self.outside, name)
    }

    /// Something that left comes back.
    fn move_in(&mut self) -> io::Result<Option<String>> {
        let Some(&node) = self.plot.children(self.outside).first() else { return Ok(None) };
        // What is deep fits in few places, but always in the one at the top.
        let place = self.place(1 + self.plot.extent(node).1);
        let (dir, name) = place.unwrap_or_else(|| (self.own, self.new_name()));
        self.move_to(node, dir, name)
    }

    fn move_to(&mut self, node: Node, dir: Node, name: OsString) -> io::Result<Option<String>> {
        let (from, to) = (self.at(node), self.place_path(dir, &name));
        fs::rename(&from, &to)?;
        self.plot.relocate(node, dir, name);
        told_both(&from, &to)
    }

    // === names go ===

    fn unlink(&mut self) -> io::Result<Option<String>> {
        let Some(file) = self.plot.any_file(&mut self.noise) else { return Ok(None) };
        self.drop_file(file)
    }

    fn unlink_link(&mut self) -> io::Result<Option<String>> {
        let Some(link) = self.plot.any_link(&mut self.noise) else { return Ok(None) };
        self.drop_file(link)
    }

    fn drop_file(&mut self, node: Node) -> io::Result<Option<String>> {
        let path = self.at(node);
        fs::remove_file(&path)?;
        self.plot.remove(node);
        told(&path)
    }

    fn remove_tree(&mut self) -> io::Result<Option<String>> {
        let Some(dir) = self.plot.any_loose_dir(&mut self.noise) else { return Ok(None) };
        if self.plot.extent(dir).0 > MOST {
            return Ok(None);
        }
        let path = self.at(dir);
        fs::remove_dir_all(&path)?;
        self.plot.remove(dir);
        told(&path)
    }

    fn clear(&mut self, dir: Node) -> io::Result<()> {
        for child in self.plot.children(dir).to_vec() {
            let path = self.at(child);
            if self.is_dir(child) {
                fs::remove_dir_all(&path)?;
            } else {
                fs::remove_file(&path)?;
            }
            self.plot.remove(child);
        }
        Ok(())
    }

    /// A name that was a file is a directory with something in it.
    fn file_to_dir(&mut self) -> io::Result<Option<String>> {
        let Some(file) = self.plot.any_file(&mut self.noise) else { return Ok(None) };
        let (path, dir, name) = (self.at(file), self.plot.parent(file), self.plot.name(file));
        if self.plot.depth(dir) + 2 > DEEPEST {
            return Ok(None);
        }
        self.drop_file(file)?;
        fs::create_dir(&path)?;
        let node = self.plot.add(Kind::Dir, dir, name);
        let name = self.new_name();
        fs::write(path.join(&name), self.content())?;
        self.plot.add(Kind::File, node, name);
        told(&path)
    }

    fn file_to_link(&mut self) -> io::Result<Option<String>> {
        let Some(file) = self.plot.any_file(&mut self.noise) else { return Ok(None) };
        let (path, dir, name) = (self.at(file), self.plot.parent(file), self.plot.name(file));
        self.drop_file(file)?;
        symlink(self.target(), &path)?;
        self.plot.add(Kind::Link, dir, name);
        told(&path)
    }

    /// A file or a directory that is not shared with the others.
    fn any(&mut self) -> Option<Node> {
        let dir = self.noise.below(4) == 0;
        let pick = if dir { Plot::any_loose_dir } else { Plot::any_file };
        pick(&self.plot, &mut self.noise)
    }

    fn two(&mut self, pick: impl Fn(&Plot, &mut Noise) -> Option<Node>) -> (Option<Node>, Option<Node>) {
        (pick(&self.plot, &mut self.noise), pick(&self.plot, &mut self.noise))
    }

    fn is_dir(&self, node: Node) -> bool {
        self.plot.kind(node) == Kind::Dir
    }
}

fn is_same_file(one: &Path, other: &Path) -> io::Result<bool> {
    use std::os::unix::fs::MetadataExt as _;
    Ok(fs::symlink_metadata(one)?.ino() == fs::symlink_metadata(other)?.ino())
}

#[expect(clippy::unnecessary_wraps, reason = "the end of every operation")]
fn told(path: &Path) -> io::Result<Option<String>> {
    Ok(Some(format!("{path:?}")))
}

#[expect(clippy::unnecessary_wraps, reason = "as above")]
fn told_both(from: &Path, to: &Path) -> io::Result<Option<String>> {
    Ok(Some(format!("{from:?} {to:?}")))
}
