//! data: what is transferred, made before the first row that needs it and deleted after the last.

use std::collections::HashMap;
use std::fs;
use std::os::unix::fs::{FileExt as _, MetadataExt as _};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, SystemTime};

use driftless_tests::trees::{Noise, edit, write_noise};

const MIB: u64 = 1 << 20;
const GIB: u64 = 1 << 30;
/// Blocks that are moved around: a multiple of no block or group length of either program.
const MOVED: usize = 128_000;

/// Contents that a row transfers.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Load {
    /// The tree of Linux 6.1.
    Linux,
    /// The same with a line more in each of 100 files.
    LinuxEdited,
    /// The tree of Linux 6.12.
    LinuxNext,
    /// One random file of this many GiB.
    Big(u64),
    /// The same with 64 edits of 4 KiB.
    Edited(u64),
    /// The same with 1 MB appended.
    Appended(u64),
    /// The same with one byte inserted at the start.
    Inserted(u64),
    /// Other random bytes of the same size.
    Replaced(u64),
    /// The same with half of its blocks moved around.
    Moved(u64),
    /// 10,000 random files of 4 KiB in one directory.
    Small,
    /// 1,000,000 empty files in 1,000 directories.
    Empty,
}

impl Load {
    /// The load that it is made from.
    fn base(self) -> Option<Self> {
        match self {
            Self::LinuxEdited => Some(Self::Linux),
            Self::Edited(gib) | Self::Appended(gib) | Self::Inserted(gib) | Self::Moved(gib) => {
                Some(Self::Big(gib))
            }
            _ => None,
        }
    }

    /// Memory that a copy takes on tmpfs, in bytes, roughly.
    pub(crate) fn memory(self) -> u64 {
        match self {
            Self::Linux | Self::LinuxEdited | Self::LinuxNext => 3 * GIB / 2,
            Self::Big(gib)
            | Self::Edited(gib)
            | Self::Appended(gib)
            | Self::Inserted(gib)
            | Self::Replaced(gib)
            | Self::Moved(gib) => gib * GIB,
            Self::Small => 64 * MIB,
            Self::Empty => GIB,
        }
    }
}

/// The loads that exist now, each a folder.
pub(crate) struct Data {
    dir: PathBuf,
    made: HashMap<Load, PathBuf>,
    /// What the reader of the figures must know about them.
    pub(crate) notes: Vec<String>,
}

impl Data {
    /// None yet; they will lie in `dir`.
    pub(crate) fn new(dir: PathBuf) -> Self {
        Self { dir, made: HashMap::new(), notes: Vec::new() }
    }

    /// Bytes of content in a load.
    pub(crate) fn size(&self, load: Load) -> u64 {
        let file = self.made[&load].join("file");
        fs::metadata(file).map_or(0, |file| file.len())
    }

    /// The folder of a load, made where missing.
    pub(crate) fn get(&mut self, load: Load) -> PathBuf {
        if let Some(path) = self.made.get(&load) {
            return path.clone();
        }
        let base = load.base().map(|base| self.get(base));
        let path = self.dir.join(format!("{load:?}").replace(['(', ')'], "-"));
        fs::create_dir_all(&path).expect("mkdir");
        self.make(load, base.as_deref(), &path);
        self.made.insert(load, path.clone());
        path
    }

    /// Deletes what none of these needs.
    pub(crate) fn keep(&mut self, needed: &[Load]) {
        let bases: Vec<Load> = needed.iter().filter_map(|load| load.base()).collect();
        self.made.retain(|load, path| {
            let keep = needed.contains(load) || bases.contains(load);
            if !keep {
                fs::remove_dir_all(path).expect("delete");
            }
            keep
        });
    }

    fn make(&mut self, load: Load, base: Option<&Path>, to: &Path) {
        match load {
            Load::Linux => self.linux("6.1", to),
            Load::LinuxNext => self.linux("6.12", to),
            Load::LinuxEdited => edited_tree(base.expect("a base"), to),
            Load::Small => small(to),
            Load::Empty => empty(to),
            Load::Big(gib) => write_noise(&to.join("file"), gib * GIB, 1),
            Load::Replaced(gib) => write_noise(&to.join("file"), gib * GIB, 2),
            Load::Moved(_) => moved(&base.expect("a base").join("file"), &to.join("file")),
            Load::Inserted(_) => inserted(&base.expect("a base").join("file"), &to.join("file")),
            Load::Edited(_) | Load::Appended(_) => {
                let file = to.join("file");
                fs::copy(base.expect("a base").join("file"), &file).expect("copy");
                if matches!(load, Load::Edited(_)) {
                    edit(&file, 64, 4096, 3);
                } else {
                    let size = fs::metadata(&file).expect("stat").len();
                    let file = fs::File::options().write(true).open(&file).expect("open");
                    file.write_all_at(&Noise::new(4).bytes(1_000_000), size).expect("write");
                }
            }
        }
        let one_file = to.join("file");
        if one_file.exists() {
            // A day apart, so that no program takes the one for the other; the folder stays as it was.
            let days = if matches!(load, Load::Big(_)) { 1 } else { 2 };
            set_mtime(&one_file, days);
            set_mtime(to, 0);
        }
    }

    /// The tree of this version of Linux, from Debian's package or made up.
    fn linux(&mut self, version: &str, to: &Path) {
        let archive = PathBuf::from(format!("/usr/src/linux-source-{version}.tar.xz"));
        if archive.exists() {
            let mut tar = Command::new("tar");
            tar.arg("-xJf").arg(archive).arg("--strip-components=1").arg("-C").arg(to);
            assert!(
                tar.status().expect("tar runs").success(),
                "the archive of Linux {version} does not unpack"
            );
        } else {
            self.notes.push(format!(
                "Linux {version}: linux-source-{version} is not installed, a generated tree of its shape instead"
            ));
            generated_tree(to, version == "6.12");
        }
    }
}

fn set_mtime(path: &Path, days: u64) {
    let time = SystemTime::UNIX_EPOCH + Duration::from_secs(1_700_000_000 + days * 86_400);
    fs::File::open(path).and_then(|file| file.set_modified(time)).expect("utimens");
}

/// 79,000 files in 5,000 directories, 1.3 GB in all, most of them small. The next version has other bytes in the middle
/// of two files of five, lacks one of twenty and has one more for every ten.
fn generated_tree(to: &Path, next: bool) {
    for dir in 0..5_000_u64 {
        let path = to.join(format!("d{:02}/d{dir}", dir % 70));
        fs::create_dir_all(&path).expect("mkdir");
        for file in 0..16_u64 {
            let id = dir * 16 + file;
            let mut noise = Noise::new(id);
            // The square of an even choice: half of the files are below a quarter of the largest.
            let share = noise.below(1000);
            let len = usize::try_from(share * share * 50 / 1000).expect("small");
            let mut bytes = noise.bytes(len);
            if next && id % 20 == 7 {
                continue;
            }
            if next && id % 5 < 2 {
                let middle = bytes.len() / 2;
                let end = bytes.len().min(middle + 300);
                bytes[middle..end].copy_from_slice(&Noise::new(id + 1_000_000).bytes(end - middle));
            }
            let days = if next && id % 5 < 2 { 1 } else { 0 };
            let name = path.join(format!("f{file}"));
            fs::write(&name, &bytes).expect("write");
            set_mtime(&name, days);
            if next && id % 10 == 3 {
                fs::write(path.join(format!("n{file}")), Noise::new(id + 2_000_000).bytes(len))
                    .expect("write");
            }
        }
    }
}

/// The tree `from` by hard links, with a line more in the middle of each of 100 files spread over it.
fn edited_tree(from: &Path, to: &Path) {
    let copied = Command::new("cp").arg("-al").arg(from.join(".")).arg(to).status().expect("cp runs");
    assert!(copied.success(), "cp failed");
    let mut files = Vec::new();
    let mut open = vec![to.to_owned()];
    while let Some(dir) = open.pop() {
        for entry in fs::read_dir(dir).expect("a folder").flatten() {
            let meta = entry.path().symlink_metadata().expect("stat");
            if meta.is_dir() {
                open.push(entry.path());
            } else if meta.is_file() && meta.size() > 2000 {
                files.push(entry.path());
            }
        }
    }
    files.sort();
    for path in files.iter().step_by(files.len() / 100).take(100) {
        let parent = path.parent().expect("a folder");
        let dir_time = fs::metadata(parent).and_then(|dir| dir.modified()).expect("stat");
        let mode = fs::metadata(path).expect("stat").permissions();
        let mut bytes = fs::read(path).expect("read");
        let middle = bytes.len() / 2;
        bytes.splice(middle..middle, *b"\n/* one line more */\n");
        // A new file: the old one is also in the other tree.
        fs::remove_file(path).expect("delete");
        fs::write(path, bytes).expect("write");
        fs::set_permissions(path, mode).expect("chmod");
        fs::File::open(parent).and_then(|dir| dir.set_modified(dir_time)).expect("utimens");
    }
}

fn small(to: &Path) {
    for id in 0..10_000 {
        fs::write(to.join(format!("file{id:05}")), Noise::new(id).bytes(4096)).expect("write");
    }
}

fn empty(to: &Path) {
    for dir in 0..1000 {
        let dir = to.join(format!("dir{dir:03}"));
        fs::create_dir(&dir).expect("mkdir");
        for file in 0..1000 {
            fs::File::create(dir.join(format!("file{file:03}"))).expect("create");
        }
    }
}

fn inserted(from: &Path, to: &Path) {
    let mut to = fs::File::create(to).expect("create");
    std::io::Write::write_all(&mut to, b"x").expect("write");
    std::io::copy(&mut fs::File::open(from).expect("open"), &mut to).expect("copy");
}

/// Every second block goes to the place of another such block.
fn moved(from: &Path, to: &Path) {
    fs::copy(from, to).expect("copy");
    let from = fs::File::open(from).expect("open");
    let to = fs::File::options().write(true).open(to).expect("open");
    let blocks = from.metadata().expect("stat").len() / MOVED as u64 / 2;
    let mut places: Vec<u64> = (0..blocks).collect();
    let mut noise = Noise::new(5);
    for at in (1..places.len()).rev() {
        places.swap(at, usize::try_from(noise.below(at as u64 + 1)).expect("an index"));
    }
    let mut block = vec![0; MOVED];
    for (at, place) in places.into_iter().enumerate() {
        from.read_exact_at(&mut block, at as u64 * 2 * MOVED as u64).expect("read");
        to.write_all_at(&block, place * 2 * MOVED as u64).expect("write");
    }
}
