//! A folder of its own for each test, and both programs, built once.

use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::OnceLock;

use tempfile::TempDir;

use crate::agent::Agent;
use crate::server::{Server, Setup};

/// Where one test happens. Everything in it goes away with it.
pub struct World {
    dir: TempDir,
}

impl Default for World {
    fn default() -> Self {
        Self::new()
    }
}

impl World {
    /// An empty world in the system's folder for temporary files.
    ///
    /// # Panics
    /// When the folder cannot be made or the programs cannot be built.
    #[must_use]
    pub fn new() -> Self {
        Self::in_dir(&std::env::temp_dir())
    }

    /// An empty world on the file system that holds `parent`.
    ///
    /// # Panics
    /// As [`World::new`].
    #[must_use]
    pub fn in_dir(parent: &Path) -> Self {
        let dir =
            tempfile::Builder::new().prefix("driftless-").tempdir_in(parent).expect("a temporary folder");
        // Servers drop to other users, who must still get to their modules beneath.
        fs::set_permissions(dir.path(), fs::Permissions::from_mode(0o755)).expect("chmod");
        Self { dir }
    }

    /// A path in this world, whether or not anything is there.
    #[must_use]
    pub fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    /// A folder in this world, made where missing.
    ///
    /// # Panics
    /// When it cannot be made.
    pub fn dir(&self, name: &str) -> PathBuf {
        let path = self.path(name);
        fs::create_dir_all(&path).expect("mkdir");
        path
    }

    /// A file in this world with this content and mode 600.
    ///
    /// # Panics
    /// When it cannot be written.
    pub fn file(&self, name: &str, content: impl AsRef<[u8]>) -> PathBuf {
        let path = self.path(name);
        fs::write(&path, content).expect("write");
        fs::set_permissions(&path, fs::Permissions::from_mode(0o600)).expect("chmod");
        path
    }

    /// Leaves the folder where it is, to be looked at, and says where.
    #[must_use]
    pub fn keep(self) -> PathBuf {
        self.dir.keep()
    }

    /// A server to be set up: by default one user `driftless` and no module.
    #[must_use]
    pub fn server(&self) -> Setup<'_> {
        Setup::new(self)
    }

    /// A server with one module `backup` that the user `driftless` may read and write.
    #[must_use]
    pub fn backup(&self) -> Server {
        self.server().module("backup", &[]).start()
    }

    /// An agent that knows this server: its port, its fingerprint and the user's password.
    #[must_use]
    pub fn agent(&self, server: &Server) -> Agent {
        Agent::knowing(self, server)
    }

    /// An agent that knows no server.
    #[must_use]
    pub fn stranger(&self) -> Agent {
        Agent::new(self)
    }
}

/// The profile that the programs are built in.
static PROFILE: OnceLock<&str> = OnceLock::new();

/// Builds both programs in this profile instead of `world`: for measurements.
///
/// # Panics
/// When the programs were built before.
pub fn build_in(profile: &'static str) {
    assert!(PROFILE.set(profile).is_ok(), "the programs are built already");
}

/// The path of `driftless` or `driftlessd`.
///
/// `cargo test` builds no other package's programs, so the first call builds both, in the profile `world`: fast
/// enough to move gigabytes, with every assertion on. `DRIFTLESS_BIN_DIR` names a folder to take them from instead.
///
/// # Panics
/// When they cannot be built.
#[must_use]
pub fn program(name: &str) -> PathBuf {
    static BUILT: OnceLock<PathBuf> = OnceLock::new();
    BUILT.get_or_init(|| std::env::var_os("DRIFTLESS_BIN_DIR").map_or_else(build, PathBuf::from)).join(name)
}

fn build() -> PathBuf {
    let profile = PROFILE.get_or_init(|| "world");
    // A test runs from TARGET/PROFILE/deps, a program from TARGET/PROFILE.
    let own = std::env::current_exe().expect("the path of this program");
    let profile_dir =
        own.ancestors().skip(1).find(|dir| !dir.ends_with("deps")).expect("a folder of a profile");
    let target = profile_dir.parent().expect("a target folder").to_owned();
    let mut cargo = Command::new(env!("CARGO"));
    // What cargo tells a test about its own package: a build script that looks at it would have half of everything built
    // anew, once for the tests and once for who is not started by cargo.
    for (name, _) in std::env::vars_os() {
        if ["CARGO_PKG_", "CARGO_MANIFEST_"]
            .iter()
            .any(|own| name.as_encoded_bytes().starts_with(own.as_bytes()))
        {
            cargo.env_remove(name);
        }
    }
    let status = cargo
        .current_dir(workspace())
        .args(["build", "--quiet", "--locked", "--profile", profile])
        .args(["-p", "driftless-agent", "-p", "driftless-server"])
        .arg("--target-dir")
        .arg(&target)
        .status()
        .expect("cargo runs");
    assert!(status.success(), "the programs do not build");
    target.join(profile)
}

/// The folder of the workspace.
#[must_use]
pub fn workspace() -> &'static Path {
    Path::new(concat!(env!("CARGO_MANIFEST_DIR"), "/.."))
}
