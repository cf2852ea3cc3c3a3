//! Source trees with every kind of entry, made the same way each time, and what it means that two are equal.

use std::collections::BTreeMap;
use std::ffi::OsStr;
use std::fmt::Write as _;
use std::fs;
use std::os::unix::ffi::OsStrExt as _;
use std::os::unix::fs::{FileExt as _, FileTypeExt as _, MetadataExt as _, PermissionsExt as _, symlink};
use std::path::{Path, PathBuf};

use rustix::fs::{
    AtFlags, CWD, FileType, Gid, Mode, Timespec, Timestamps, Uid, chownat, makedev, mknodat, utimensat,
};

use crate::oracle;

/// Bytes that look random and are the same each time (xorshift64*).
pub struct Noise(u64);

impl Noise {
    /// The sequence of this seed.
    #[must_use]
    pub fn new(seed: u64) -> Self {
        Self(seed.wrapping_mul(0x9E37_79B9_7F4A_7C15) | 1)
    }

    /// The next number.
    pub fn number(&mut self) -> u64 {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        self.0.wrapping_mul(0x2545_F491_4F6C_DD1D)
    }

    /// The next number below `end`.
    pub fn below(&mut self, end: u64) -> u64 {
        self.number() % end
    }

    /// The next bytes.
    #[must_use]
    pub fn bytes(&mut self, len: usize) -> Vec<u8> {
        let mut bytes = Vec::with_capacity(len + 8);
        while bytes.len() < len {
            bytes.extend_from_slice(&self.number().to_le_bytes());
        }
        bytes.truncate(len);
        bytes
    }
}

/// Writes a file of this many random bytes, a MiB at a time.
///
/// # Panics
/// When it cannot be written.
pub fn write_noise(path: &Path, len: u64, seed: u64) {
    const STEP: u64 = 1 << 20;
    let file = fs::File::create(path).expect("create");
    let mut noise = Noise::new(seed);
    let mut at = 0;
    while at < len {
        let step = usize::try_from(STEP.min(len - at)).expect("small");
        file.write_all_at(&noise.bytes(step), at).expect("write");
        at += step as u64;
    }
}

/// Overwrites `edits` random places of a file with `len` random bytes each.
///
/// # Panics
/// When it cannot be written.
pub fn edit(path: &Path, edits: usize, len: usize, seed: u64) {
    let file = fs::File::options().write(true).open(path).expect("open");
    let size = file.metadata().expect("stat").len();
    let mut noise = Noise::new(seed);
    for _ in 0..edits {
        let at = noise.below(size - len as u64);
        file.write_all_at(&noise.bytes(len), at).expect("write");
    }
}

/// Makes entries by short descriptions: `d/` a directory, `f=text` a file, `l->text` a symlink. Missing parents are made.
///
/// # Panics
/// When one cannot be made.
pub fn plant(root: &Path, entries: &[&str]) {
    fs::create_dir_all(root).expect("mkdir");
    for entry in entries {
        let (name, rest) = match (entry.split_once("->"), entry.split_once('=')) {
            (Some((name, target)), _) => (name, Some(Err(target))),
            (_, Some((name, text))) => (name, Some(Ok(text))),
            _ => (*entry, None),
        };
        let path = root.join(name);
        fs::create_dir_all(path.parent().expect("beneath the root")).expect("mkdir");
        match rest {
            None => fs::create_dir_all(&path),
            Some(Ok(text)) => fs::write(&path, text),
            Some(Err(target)) => symlink(target, &path),
        }
        .unwrap_or_else(|error| panic!("{entry}: {error}"));
    }
}

/// Every path beneath a folder, sorted, directories with a trailing slash. Bytes outside UTF-8 are replaced.
///
/// # Panics
/// When the folder cannot be read.
#[must_use]
pub fn names(root: &Path) -> Vec<String> {
    let name = |(path, fact): (PathBuf, Fact)| {
        let slash = if fact.kind == "dir" { "/" } else { "" };
        path.to_string_lossy().into_owned() + slash
    };
    facts(root).into_iter().filter(|(path, _)| path != Path::new("")).map(name).collect()
}

/// Makes a tree with every kind of entry: sizes from nothing to megabytes, links that dangle and climb, fifos, sockets
/// and (as root) devices and foreign owners, names that break scripts, odd modes, times before 1970 and between seconds.
///
/// # Panics
/// When one cannot be made.
pub fn every_kind(root: &Path) {
    plant(
        root,
        &[
            "empty-dir/",
            "a/b/c/leaf=deep",
            "empty=",
            "dangling->nowhere/at/all",
            "absolute->/etc/hostname",
            "climbs->../../../../etc/passwd",
            "a/to-dir->b",
            "itself->itself",
            " leading blank=1",
            "trailing blank =2",
            "-rf=3",
            "new\nline=4",
            "back\\slash=5",
            "tab\there=6",
            "quote'\"`$(x)=7",
            "*?[a-z]=8",
            "#123=9",
            "@x=10",
            ":colon::colon=11",
            "\u{e9}t\u{e9}=12",
        ],
    );
    fs::write(root.join(OsStr::from_bytes(b"not\xff\xfeUTF-8")), "13").expect("write");
    fs::write(root.join("n".repeat(255)), "14").expect("write");
    let mut noise = Noise::new(1);
    for size in [1, 4095, 4096, 65_535, 65_537, 131_072, 131_073, 700_001, 3_000_000] {
        fs::write(root.join(format!("size-{size}")), noise.bytes(size)).expect("write");
    }
    fs::write(root.join("zeros"), vec![0; 300_000]).expect("write");
    for i in 0..150 {
        let len = usize::try_from(noise.below(3000)).expect("small");
        let dir = root.join(format!("many/{}", i % 7));
        fs::create_dir_all(&dir).expect("mkdir");
        fs::write(dir.join(format!("file {i}")), noise.bytes(len)).expect("write");
    }
    specials(root);
    modes_and_owners(root);
    times(root);
}

fn specials(root: &Path) {
    let make = |name: &str, kind, device| {
        let mode = Mode::from_raw_mode(0o640);
        mknodat(CWD, root.join(name), kind, mode, device)
            .unwrap_or_else(|error| panic!("mknod {name}: {error}"));
    };
    make("fifo", FileType::Fifo, 0);
    make("socket", FileType::Socket, 0);
    if oracle::root() {
        make("char-device", FileType::CharacterDevice, makedev(1, 3));
        make("block-device", FileType::BlockDevice, makedev(7, 300));
    }
}

fn modes_and_owners(root: &Path) {
    plant(
        root,
        &[
            "private=x",
            "script=x",
            "setuid=x",
            "setgid=x",
            "read-only=x",
            "sticky/f=x",
            "shut/f=x",
            "owned=x",
        ],
    );
    if oracle::root() {
        for (name, uid, gid) in
            [("owned", 1234, 5678), ("setuid", 0, 5678), ("sticky", 1234, 0), ("dangling", 4321, 8765)]
        {
            let (uid, gid) = (Uid::from_raw(uid), Gid::from_raw(gid));
            chownat(CWD, root.join(name), Some(uid), Some(gid), AtFlags::SYMLINK_NOFOLLOW).expect("chown");
        }
    }
    let mut modes = vec![
        ("private", 0o600),
        ("script", 0o755),
        ("setuid", 0o4755),
        ("setgid", 0o2755),
        ("read-only", 0o444),
    ];
    modes.extend([("sticky", 0o1777), ("shut", 0o500), ("many", 0o2775)]);
    if oracle::root() {
        // Anybody else could not read it back.
        modes.extend([("empty", 0o000), ("empty-dir", 0o000)]);
    }
    for (name, mode) in modes {
        fs::set_permissions(root.join(name), fs::Permissions::from_mode(mode)).expect("chmod");
    }
}

/// Gives times to everything, deepest first so that no later change of a directory undoes one.
fn times(root: &Path) {
    let mut noise = Noise::new(2);
    let mut paths: Vec<PathBuf> = facts(root).into_keys().collect();
    paths.sort_by_key(|path| std::cmp::Reverse(path.components().count()));
    for path in paths {
        let sec = 1_000_000_000 + i64::try_from(noise.below(700_000_000)).expect("small");
        let nsec = i64::try_from(noise.below(1_000_000_000)).expect("small");
        set_mtime(&root.join(path), sec, nsec);
    }
    set_mtime(&root.join("private"), -86_400, 123_456_789);
    set_mtime(&root.join("script"), 0, 1);
}

/// Sets an entry's mtime, of a symlink its own.
///
/// # Panics
/// When it cannot be set.
pub fn set_mtime(path: &Path, sec: i64, nsec: i64) {
    let time = Timespec { tv_sec: sec, tv_nsec: nsec };
    let times = Timestamps { last_access: time, last_modification: time };
    utimensat(CWD, path, &times, AtFlags::SYMLINK_NOFOLLOW).expect("utimens");
}

/// Changes a byte in the middle of a file under its size and time, as a disk does that loses what it was given.
///
/// # Panics
/// When the file cannot be read, written, or given its time back.
pub fn flip(path: &Path) {
    let kept = fs::metadata(path).expect("stat").modified().expect("time");
    let mut content = fs::read(path).expect("read");
    let middle = content.len() / 2;
    content[middle] ^= 1;
    fs::write(path, content).expect("write");
    fs::File::open(path).expect("open").set_modified(kept).expect("time");
}

/// What is compared of one entry.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Fact {
    /// `dir`, `file`, `link`, `fifo`, `socket`, `block` or `char`.
    pub kind: &'static str,
    /// Permission bits with setuid, setgid and sticky; 0 for a symlink, whose mode means nothing.
    pub mode: u32,
    /// Seconds and nanoseconds.
    pub mtime: (i64, i64),
    /// Owner and group.
    pub owner: (u32, u32),
    /// Length of a file, device number of a device.
    pub size: u64,
    /// Text of a symlink.
    pub target: Option<PathBuf>,
}

/// Everything beneath a folder, and the folder itself under the empty path. What vanishes meanwhile is left out.
///
/// # Panics
/// When something cannot be read for another reason.
#[must_use]
pub fn facts(root: &Path) -> BTreeMap<PathBuf, Fact> {
    let mut found = BTreeMap::new();
    let mut open = vec![PathBuf::new()];
    while let Some(path) = open.pop() {
        // join("") would add a slash, and so follow the root were it a link.
        let full = if path == Path::new("") { root.to_owned() } else { root.join(&path) };
        let Some(fact) = fact(&full) else { continue };
        if fact.kind == "dir" {
            let Ok(dir) = fs::read_dir(&full) else {
                continue;
            };
            open.extend(dir.flatten().map(|entry| path.join(entry.file_name())));
        }
        found.insert(path, fact);
    }
    found
}

fn fact(path: &Path) -> Option<Fact> {
    let meta = match fs::symlink_metadata(path) {
        Ok(meta) => meta,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return None,
        Err(error) => panic!("{}: {error}", path.display()),
    };
    let kind = meta.file_type();
    let (kind, size) = match () {
        () if kind.is_dir() => ("dir", 0),
        () if kind.is_file() => ("file", meta.len()),
        () if kind.is_symlink() => ("link", 0),
        () if kind.is_fifo() => ("fifo", 0),
        () if kind.is_socket() => ("socket", 0),
        () if kind.is_block_device() => ("block", meta.rdev()),
        () => ("char", meta.rdev()),
    };
    Some(Fact {
        kind,
        mode: if kind == "link" { 0 } else { meta.mode() & 0o7777 },
        mtime: (meta.mtime(), meta.mtime_nsec()),
        owner: (meta.uid(), meta.gid()),
        size,
        target: if kind == "link" { fs::read_link(path).ok() } else { None },
    })
}

/// What differs between two trees, content included: one line each, none for equal trees. Owners count as root only.
#[must_use]
pub fn differences(a: &Path, b: &Path) -> Vec<String> {
    let (ours, theirs) = (facts(a), facts(b));
    let mut found = Vec::new();
    for path in ours.keys().chain(theirs.keys().filter(|path| !ours.contains_key(*path))) {
        let name = path.display();
        match (ours.get(path), theirs.get(path)) {
            (Some(_), None) => found.push(format!("{name:?} is missing")),
            (None, Some(_)) => found.push(format!("{name:?} is too many")),
            (Some(one), Some(other)) if !alike(one, other) => {
                found.push(format!("{name:?}: {one:?} became {other:?}"));
            }
            (Some(one), _) if one.kind == "file" && !same_content(&a.join(path), &b.join(path)) => {
                found.push(format!("{name:?}: other content"));
            }
            _ => {}
        }
    }
    found
}

fn alike(one: &Fact, other: &Fact) -> bool {
    let owner = if oracle::root() { other.owner } else { one.owner };
    *one == Fact { owner, ..other.clone() }
}

fn same_content(a: &Path, b: &Path) -> bool {
    let (Ok(a), Ok(b)) = (fs::File::open(a), fs::File::open(b)) else {
        return false;
    };
    let (mut ours, mut theirs) = (vec![0; 1 << 18], vec![0; 1 << 18]);
    let mut at = 0;
    loop {
        let (Ok(len), Ok(other)) = (a.read_at(&mut ours, at), b.read_at(&mut theirs, at)) else {
            return false;
        };
        // A short read before the end does not happen on a local disk; it would show as a difference.
        if ours[..len] != theirs[..other] {
            return false;
        }
        if len == 0 {
            return true;
        }
        at += len as u64;
    }
}

/// Whether two trees are equal; if not, what differs first.
///
/// # Errors
/// With up to ten lines of [`differences`].
pub fn equal(a: &Path, b: &Path) -> Result<(), String> {
    let found = differences(a, b);
    if found.is_empty() {
        return Ok(());
    }
    let mut text = format!("{} differences", found.len());
    for line in found.iter().take(10) {
        write!(text, "\n  {line}").expect("a string takes everything");
    }
    Err(text)
}

/// Asserts that two trees are equal, by our own comparison and, where it is installed, by rsync's.
///
/// # Panics
/// When they are not.
#[track_caller]
pub fn assert_equal(a: &Path, b: &Path) {
    if let Err(text) = equal(a, b) {
        panic!("{} and {}: {text}", a.display(), b.display());
    }
    if let Some(found) = oracle::rsync_differences(a, b) {
        assert_eq!(found, "", "rsync finds differences");
    }
}
