//! plan: the folder of plans. A watch and the operator's commands write to it at the same time: every change is made
//! under a lock, and a file is always whole.
//!
//! Touches: `STATE_DIR/plans`.

use std::fs::{DirBuilder, File};
use std::io::{self, Read, Write};
use std::os::fd::OwnedFd;
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};

use rustix::fs::{AtFlags, FlockOperation, Mode, OFlags};

use super::{Plan, State, Watched, is_id};

/// Why a plan could not be read or written.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum StoreError {
    /// The disk.
    #[error("{path}: {error}")]
    Io {
        /// The folder or the file.
        path: String,
        /// What went wrong.
        error: io::Error,
    },
    /// There is no such plan; it may have been carried out, or replaced when what it held changed.
    #[error("there is no plan {0} (driftless plan list names them; see driftless plan --help)")]
    Unknown(String),
    /// A file that is no plan. Nobody knows what it decided.
    #[error("{0}: not a plan of this version; no deletion leaves before it is mended or removed")]
    Damaged(String),
    /// The decision says nothing new.
    #[error("plan {0} is {1} already")]
    Already(String, &'static str),
}

/// The open folder.
#[derive(Debug)]
pub struct Store {
    path: PathBuf,
    dir: OwnedFd,
}

/// Tells whether a folder has changed since it was last asked.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Stamp(Option<(i64, u64)>);

impl Store {
    /// Opens the folder beneath a state folder; made when missing.
    ///
    /// # Errors
    /// When that fails.
    pub fn open(state_dir: &Path) -> Result<Self, StoreError> {
        let path = state_dir.join("plans");
        let failed = |error| StoreError::Io { path: path.display().to_string(), error };
        DirBuilder::new().recursive(true).mode(0o700).create(&path).map_err(failed)?;
        let flags = OFlags::DIRECTORY | OFlags::CLOEXEC;
        let dir = rustix::fs::open(&path, flags, Mode::empty()).map_err(|e| failed(e.into()))?;
        Ok(Self { path, dir })
    }

    /// Changes whenever a plan is made, decided or dropped.
    #[must_use]
    pub fn stamp(&self) -> Stamp {
        let stat = rustix::fs::fstat(&self.dir).ok();
        #[allow(clippy::unnecessary_cast, reason = "integer widths of `struct stat` differ by machine")]
        Stamp(stat.map(|stat| (stat.st_mtime as i64, stat.st_mtime_nsec as u64)))
    }

    /// Every plan, the oldest first. A file whose name is no id is passed over.
    ///
    /// # Errors
    /// When the folder or a plan in it cannot be read: what it says about a decision must not count as none.
    pub fn all(&self) -> Result<Vec<Plan>, StoreError> {
        let mut plans = Vec::new();
        let names = rustix::fs::Dir::read_from(&self.dir).map_err(|e| self.failed("", e.into()))?;
        for name in names {
            let name = name.map_err(|e| self.failed("", e.into()))?;
            let Some(id) = name.file_name().to_str().ok().filter(|name| is_id(name)) else { continue };
            match self.load(id) {
                Ok(plan) => plans.push(plan),
                // Gone since.
                Err(StoreError::Unknown(_)) => {}
                Err(error) => return Err(error),
            }
        }
        plans.sort_by(|a, b| (a.time, &a.id).cmp(&(b.time, &b.id)));
        Ok(plans)
    }

    /// The plans of one watch.
    ///
    /// # Errors
    /// As [`Store::all`].
    pub fn of(&self, watch: &Watched) -> Result<Vec<Plan>, StoreError> {
        Ok(self.all()?.into_iter().filter(|plan| plan.watch == *watch).collect())
    }

    /// One plan.
    ///
    /// # Errors
    /// When there is none, or its file cannot be read.
    pub fn load(&self, id: &str) -> Result<Plan, StoreError> {
        if !is_id(id) {
            return Err(StoreError::Unknown(
                driftless_proto::model::path::Escaped(id.as_bytes()).to_string(),
            ));
        }
        let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let file = match rustix::fs::openat(&self.dir, id, flags, Mode::empty()) {
            Err(rustix::io::Errno::NOENT) => return Err(StoreError::Unknown(id.into())),
            opened => opened.map_err(|error| self.failed(id, error.into()))?,
        };
        let mut bytes = Vec::new();
        File::from(file).read_to_end(&mut bytes).map_err(|error| self.failed(id, error))?;
        let text = String::from_utf8(bytes).ok();
        text.and_then(|text| Plan::parse(&text)).ok_or_else(|| StoreError::Damaged(self.name(id)))
    }

    /// Writes a plan, in place of one with its id.
    ///
    /// # Errors
    /// When the disk refuses; then nothing has changed.
    pub fn save(&self, plan: &Plan) -> Result<(), StoreError> {
        let _lock = self.lock()?;
        self.write(plan)
    }

    /// Books the operator's decision and returns the plan as it was. A rejected plan may be approved later; an approved
    /// one may be under way already and is not called back.
    ///
    /// # Errors
    /// When there is none, when it says nothing new, and when the disk refuses.
    pub fn decide(&self, id: &str, state: State) -> Result<Plan, StoreError> {
        let _lock = self.lock()?;
        let plan = self.load(id)?;
        if plan.state == state || plan.state == State::Approved {
            return Err(StoreError::Already(id.into(), plan.state.word()));
        }
        self.write(&Plan { state, ..plan.clone() })?;
        Ok(plan)
    }

    /// Drops a plan; one that is gone is as good. With `only`, only while it is in this state: what was decided a moment
    /// ago stays decided. Returns whether there was one to drop.
    ///
    /// # Errors
    /// When the disk refuses.
    pub fn drop_plan(&self, id: &str, only: Option<State>) -> Result<bool, StoreError> {
        let _lock = self.lock()?;
        match self.load(id) {
            Ok(plan) if only.is_none_or(|only| plan.state == only) => {}
            Ok(_) | Err(StoreError::Unknown(_)) => return Ok(false),
            Err(error) => return Err(error),
        }
        rustix::fs::unlinkat(&self.dir, id, AtFlags::empty()).map_err(|e| self.failed(id, e.into()))?;
        self.sync()?;
        Ok(true)
    }

    fn write(&self, plan: &Plan) -> Result<(), StoreError> {
        let temp = format!("{}.new", plan.id);
        let write = || {
            let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::TRUNC | OFlags::NOFOLLOW | OFlags::CLOEXEC;
            let file = rustix::fs::openat(&self.dir, &*temp, flags, Mode::from_raw_mode(0o600))?;
            let mut file = File::from(file);
            file.write_all(plan.text().as_bytes())?;
            file.sync_all()?;
            rustix::fs::renameat(&self.dir, &*temp, &self.dir, &*plan.id)?;
            Ok(())
        };
        write().map_err(|error| self.failed(&plan.id, error))?;
        self.sync()
    }

    fn sync(&self) -> Result<(), StoreError> {
        rustix::fs::fsync(&self.dir).map_err(|error| self.failed("", error.into()))
    }

    /// Held until the file returned is dropped.
    fn lock(&self) -> Result<OwnedFd, StoreError> {
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
        // A descriptor of its own: locks belong to open files, and this one must not outlive the change.
        let lock = rustix::fs::openat(&self.dir, ".", flags, Mode::empty());
        let lock = lock.and_then(|lock| {
            rustix::fs::flock(&lock, FlockOperation::LockExclusive)?;
            Ok(lock)
        });
        lock.map_err(|error| self.failed("", error.into()))
    }

    fn name(&self, id: &str) -> String {
        self.path.join(id).display().to_string()
    }

    fn failed(&self, id: &str, error: io::Error) -> StoreError {
        StoreError::Io { path: self.name(id), error }
    }
}
