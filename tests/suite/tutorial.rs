//! The tutorial that everybody follows, from its config to its loop, with our two programs in place of three others.

use std::fs;
use std::net::{Ipv4Addr, TcpListener, TcpStream};
use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _, chown};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::OnceLock;
use std::time::SystemTime;

use driftless_tests::World;
use driftless_tests::agent::Agent;
use driftless_tests::oracle::{find, root_or_skip, slash};
use driftless_tests::server::{Server, driftlessd};
use driftless_tests::trees::{assert_equal, every_kind, facts, names, plant};
use driftless_tests::wait::{until, until_ok};

const USER: &str = "rsync_backup";
const MODULE: &str = "backup-dev";

/// The system user `rsync` and its group, made where missing; `None`, after a loud skip, without root.
fn system_user() -> Option<(u32, u32)> {
    /// Made once: of two useradd(8) at the same time the later one gives the user another number.
    static MADE: OnceLock<(u32, u32)> = OnceLock::new();
    root_or_skip().then(|| *MADE.get_or_init(make_system_user))
}

fn make_system_user() -> (u32, u32) {
    let id = |flag| {
        let out = Command::new("id").args([flag, "rsync"]).output().expect("id runs");
        String::from_utf8_lossy(&out.stdout).trim().parse().ok()
    };
    if id("-u").is_none() {
        let args = ["--system", "--user-group", "--no-create-home", "--shell", "/usr/sbin/nologin", "rsync"];
        let status = Command::new("useradd").args(args).status().expect("useradd runs");
        assert!(status.success(), "useradd: {status}");
    }
    (id("-u").expect("the user rsync"), id("-g").expect("the group of rsync"))
}

/// The tutorial's server, on a folder that belongs to the system user.
struct Tutorial {
    agent: Agent,
    server: Server,
    module: PathBuf,
    config: String,
    world: World,
}

impl Tutorial {
    fn new() -> Option<Self> {
        let (uid, gid) = system_user()?;
        let world = World::new();
        let module = world.dir("backup");
        chown(&module, Some(uid), Some(gid)).expect("chown");
        let secrets = world.file("rsync.password", "rsync_backup:123456\n");
        let at = |name: &str| world.path(name).display().to_string();
        let config = format!(
            "uid = rsync\ngid = rsync\nfake super = yes\nuse chroot = no\nmax connections = 200\npid file = {}\n\
             lock file = {}\nlog file = {}\nignore errors\nread only = false\nlist = false\nhosts allow = 127.0.0.0/8\n\
             auth users = {USER}\nsecrets file = {}\n#####################################\n[{MODULE}]\n\
             comment = \"backup dir by driftless\"\npath = {}\n",
            at("rsyncd.pid"),
            at("rsync.lock"),
            at("rsyncd.log"),
            secrets.display(),
            module.display()
        );
        let globals = format!("port = 0\naddress = 127.0.0.1\nstate dir = {}\n", at("server-state"));
        let server = Server::configured(&world, &(globals + &config), &world.path("rsyncd.log"));
        let agent =
            world.agent(&server).as_user(USER).option("--password-file", world.file("client.pw", "123456\n"));
        Some(Self { agent, server, module, config, world })
    }
}

/// A stock rsync daemon on the same config, another port.
struct Stock {
    child: Child,
    port: u16,
}

impl Stock {
    fn serve(tutorial: &Tutorial) -> Option<Self> {
        let rsync = find("rsync")?;
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).expect("a port");
        let port = listener.local_addr().expect("an address").port();
        drop(listener);
        let config: String = tutorial
            .config
            .lines()
            .filter(|line| !line.contains(" file = ") || line.contains("secrets"))
            .map(|line| format!("{line}\n"))
            .collect();
        let log = tutorial.world.path("stock.log");
        let lock = tutorial.world.path("stock.lock");
        let config = format!("log file = {}\nlock file = {}\n{config}", log.display(), lock.display());
        let config = tutorial.world.file("stock.conf", config);
        let mut child = Command::new(rsync)
            .args(["--daemon", "--no-detach", "--address=127.0.0.1", &format!("--port={port}")])
            .arg(format!("--config={}", config.display()))
            .stdin(Stdio::null())
            .spawn()
            .expect("rsync runs");
        until("the stock daemon listens", || {
            assert!(child.try_wait().expect("wait").is_none(), "the stock daemon ended: {}", log.display());
            TcpStream::connect((Ipv4Addr::LOCALHOST, port)).is_ok()
        });
        Some(Self { child, port })
    }

    /// Pulls the module with the stock client.
    fn pull(&self, world: &World, dest: &Path) {
        let out = Command::new("rsync")
            .args(["-a", &format!("--port={}", self.port)])
            .arg(format!("--password-file={}", world.path("client.pw").display()))
            .arg(format!("{USER}@127.0.0.1::{MODULE}/"))
            .arg(dest)
            .output()
            .expect("rsync runs");
        assert!(out.status.success(), "{}", String::from_utf8_lossy(&out.stderr));
    }
}

impl Drop for Stock {
    fn drop(&mut self) {
        self.child.kill().expect("kill");
        self.child.wait().expect("wait");
    }
}

/// Asserts that everything in the module belongs to the system user.
fn belongs_to_rsync(module: &Path) {
    let owner = fs::metadata(module).expect("stat");
    for (path, fact) in facts(module) {
        assert_eq!(fact.owner, (owner.uid(), owner.gid()), "{}", path.display());
    }
}

#[test]
fn a_file_is_pushed_and_pulled_as_the_tutorial_does() {
    let Some(tutorial) = Tutorial::new() else {
        return;
    };
    let world = &tutorial.world;
    let file = world.file("hosts", "127.0.0.1 localhost\n");
    let (file, dir) = (file.clone(), world.dir("back"));
    tutorial.agent.push("-avzP", &file, MODULE).ok();
    assert_eq!(names(&tutorial.module), ["hosts"]);
    belongs_to_rsync(&tutorial.module);
    tutorial.agent.pull("-avzP", &format!("{MODULE}/"), &dir).ok();
    assert_eq!(fs::read(dir.join("hosts")).expect("read"), b"127.0.0.1 localhost\n");

    let by_env = tutorial.agent.clone().without("--password-file").env("RSYNC_PASSWORD", "123456");
    by_env.push("-avzP", &file, &format!("{MODULE}/again")).ok();
    assert_eq!(names(&tutorial.module), ["again", "hosts"]);
}

#[test]
fn a_tree_of_foreign_owners_comes_back_from_fake_super() {
    let Some(tutorial) = Tutorial::new() else {
        return;
    };
    let src = tutorial.world.path("src");
    every_kind(&src);
    tutorial.agent.push("-a", slash(&src), MODULE).ok();
    belongs_to_rsync(&tutorial.module);
    let back = tutorial.world.path("back");
    tutorial.agent.pull("-a", &format!("{MODULE}/"), &back).ok();
    assert_equal(&src, &back);
    if let Some(stock) = Stock::serve(&tutorial) {
        let back = tutorial.world.path("stock-back");
        stock.pull(&tutorial.world, &back);
        assert_equal(&src, &back);
    }
}

#[test]
fn a_second_push_under_fake_super_finds_nothing_to_do() {
    let Some(tutorial) = Tutorial::new() else {
        return;
    };
    let src = tutorial.world.path("src");
    every_kind(&src);
    tutorial.agent.push("-a", slash(&src), MODULE).ok();
    let again = tutorial.agent.push("-a --delete --stats", slash(&src), MODULE).ok();
    assert_eq!(again.stat("Number of regular files transferred"), 0);
    assert_eq!(again.stat("Number of created files"), 0);
}

#[test]
fn a_backup_made_by_stock_rsync_is_taken_over() {
    let Some(tutorial) = Tutorial::new() else {
        return;
    };
    let Some(stock) = Stock::serve(&tutorial) else {
        return;
    };
    let world = &tutorial.world;
    let src = world.path("src");
    every_kind(&src);
    let out = Command::new("rsync")
        .args(["-a", &format!("--port={}", stock.port)])
        .arg(format!("--password-file={}", world.path("client.pw").display()))
        .arg(slash(&src))
        .arg(format!("{USER}@127.0.0.1::{MODULE}"))
        .output()
        .expect("rsync runs");
    assert!(out.status.success(), "{}", String::from_utf8_lossy(&out.stderr));
    let back = world.path("back");
    tutorial.agent.pull("-a", &format!("{MODULE}/"), &back).ok();
    assert_equal(&src, &back);
    let push = tutorial.agent.push("-a --delete --stats", slash(&src), MODULE).ok();
    assert_eq!(push.stat("Number of regular files transferred"), 0);
}

#[test]
fn the_tutorials_loop_becomes_one_watch() {
    let Some(tutorial) = Tutorial::new() else {
        return;
    };
    let world = &tutorial.world;
    let src = world.path("python_code");
    plant(&src, &["a.py=1", "old.py=2", "dir/b.py=3", "link->a.py"]);
    let mut watch = tutorial.agent.watch("-a --delete", slash(&src), MODULE);
    let back = world.path("back");
    let mut arrives = |what: &str| {
        until_ok(what, || {
            // The judge is a pull: on the server's own disk owners and links look different under fake super.
            tutorial.agent.pull("-a --delete", &format!("{MODULE}/"), &back).ok();
            driftless_tests::trees::equal(&src, &back)
        });
        watch.runs();
    };
    arrives("the first reconcile");
    plant(&src, &["new.py=created"]);
    arrives("create");
    plant(&src, &["a.py=written"]);
    arrives("write");
    fs::remove_file(src.join("old.py")).expect("rm");
    arrives("delete");
    fs::rename(src.join("dir"), src.join("renamed")).expect("mv");
    arrives("rename");
    fs::set_permissions(src.join("a.py"), fs::Permissions::from_mode(0o755)).expect("chmod");
    arrives("chmod");
    plant(&src, &["a/b/c/f=leaf"]);
    arrives("mkdir -p a/b/c; echo > a/b/c/f");
    belongs_to_rsync(&tutorial.module);
    if let Some(stock) = Stock::serve(&tutorial) {
        let back = world.path("stock-back");
        // rsync compares whole seconds: a directory it makes within the second of its source's time keeps the time
        // at which it was made.
        let made = fs::metadata(src.join("a/b/c/f")).expect("stat").mtime();
        until("the clock is in another second", || {
            let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).expect("a clock");
            now.as_secs() as i64 > made
        });
        stock.pull(world, &back);
        assert_equal(&src, &back);
    }
}

#[test]
fn a_folder_of_roots_refuses_a_server_that_dropped_its_groups() {
    let Some(tutorial) = Tutorial::new() else {
        return;
    };
    chown(&tutorial.module, Some(0), Some(0)).expect("chown");
    fs::set_permissions(&tutorial.module, fs::Permissions::from_mode(0o770)).expect("chmod");
    let out = tutorial.agent.push("-a", tutorial.world.file("f", "1"), MODULE).exits(23);
    assert!(out.stderr.contains("Permission denied"), "{}", out.stderr);
    assert_eq!(names(&tutorial.module), [""; 0]);
    tutorial.server.logs("Permission denied");
}

#[test]
fn the_tutorials_malformed_address_lists_are_refused_with_both_lines_named() {
    let world = World::new();
    let path = world.dir("m");
    let config = format!(
        "port = 0\nhosts allow = 192.168.0/0/24\nhosts deny = 0.0.0.0/32\nstate dir = {}\n[m]\npath = {}\n",
        world.path("state").display(),
        path.display()
    );
    let config = world.file("rsyncd.conf", config);
    for command in ["check", "serve"] {
        let out = driftlessd(&[command, "--config", &config.to_string_lossy()], "").exits(1);
        let said = out.stdout + &out.stderr;
        for (line, value) in [(2, "192.168.0/0/24"), (3, "0.0.0.0/32")] {
            let found = said.lines().any(|text| {
                text.contains(value)
                    && (text.contains(&format!(":{line}:")) || text.contains(&format!("line {line}")))
            });
            assert!(found, "{command} does not name line {line} and {value}:\n{said}");
        }
        assert!(said.contains("192.168.0.0/24"), "{command} does not show the intended form:\n{said}");
    }
}
