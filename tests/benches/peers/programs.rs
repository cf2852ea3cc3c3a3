//! programs: the peers and ours, started side by side, each with a module of its own.
//!
//! Never: a claim that a peer was measured when it is not installed.

use std::fs;
use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use driftless_tests::World;
use driftless_tests::agent::{Agent, Running};
use driftless_tests::certs::Authority;
use driftless_tests::oracle::{root, slash};
use driftless_tests::server::Server;
use driftless_tests::wait::until;
use driftless_tests::wire::Wire;
use rustix::process::{Pid, Signal, kill_process_group};

use crate::rows::{Link, Program};

/// The path of a program on this machine.
pub(crate) fn installed(program: &str) -> Option<PathBuf> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let sbin = ["/usr/sbin", "/sbin"].map(PathBuf::from);
    std::env::split_paths(&path).chain(sbin).map(|dir| dir.join(program)).find(|file| file.is_file())
}

/// A process that ends with its owner.
pub(crate) struct Kept(Child);

impl Kept {
    /// Starts it with its output in this file.
    pub(crate) fn start(command: &mut Command, log: &Path) -> Self {
        let log = fs::File::options().create(true).append(true).open(log).expect("a log");
        let stderr = log.try_clone().expect("dup");
        Self(command.stdin(Stdio::null()).stdout(log).stderr(stderr).spawn().expect("it runs"))
    }

    /// Its process.
    pub(crate) fn pid(&self) -> Pid {
        Pid::from_child(&self.0)
    }
}

impl Drop for Kept {
    fn drop(&mut self) {
        // What it has started goes with it, where it leads a group. Ended already is as good.
        let _ = kill_process_group(self.pid(), Signal::KILL);
        drop(self.0.kill());
        drop(self.0.wait());
    }
}

/// A port that nobody listens on now.
pub(crate) fn free_address() -> SocketAddr {
    TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).and_then(|socket| socket.local_addr()).expect("a port")
}

/// Waits until somebody listens there.
pub(crate) fn listens(what: &str, address: SocketAddr) {
    until(format_args!("{what} listens"), || TcpStream::connect(address).is_ok());
}

/// A plaintext `rsync --daemon` with these modules.
pub(crate) struct Daemon {
    /// Where it listens.
    pub(crate) address: SocketAddr,
    process: Kept,
}

impl Daemon {
    /// Starts it.
    pub(crate) fn start(world: &World, modules: &[(&str, &Path)]) -> Self {
        let address = free_address();
        let mut config = format!(
            "port = {}\naddress = 127.0.0.1\nuse chroot = no\nread only = no\nreverse lookup = no\nmunge symlinks = no\npid file = {}\nlog file = {}\n",
            address.port(),
            world.path("rsyncd.pid").display(),
            world.path("rsyncd.log").display(),
        );
        if root() {
            config += "uid = 0\ngid = 0\n";
        }
        for (name, path) in modules {
            config += &format!("[{name}]\npath = {}\n", path.display());
        }
        let config = world.file("rsyncd.conf", config);
        let mut command = Command::new("rsync");
        command.args(["--daemon", "--no-detach", "--config"]).arg(config);
        let process = Kept::start(&mut command, &world.path("rsyncd.out"));
        listens("rsync --daemon", address);
        Self { address, process }
    }

    /// Its process.
    pub(crate) fn pid(&self) -> Pid {
        self.process.pid()
    }
}

/// TLS around the daemon: a stunnel before it, and one before the client. The client does not check the certificate.
struct Tunnel {
    direct: SocketAddr,
    counted: SocketAddr,
    wire: Wire,
    processes: [Kept; 2],
}

impl Tunnel {
    fn start(world: &World, daemon: SocketAddr) -> Self {
        let cert = Authority::new().certify(world, "tunnel", &["localhost"], 2049);
        let [outside, direct, counted] = [free_address(), free_address(), free_address()];
        let common = "foreground = yes\npid =\nsyslog = no\ndebug = err\nsslVersionMin = TLSv1.3\n";
        let service = |name: &str, accept: SocketAddr, connect: SocketAddr| {
            format!("[{name}]\naccept = {accept}\nconnect = {connect}\n")
        };
        let key = format!("cert = {}\nkey = {}\n", cert.cert_file.display(), cert.key_file.display());
        let server = format!("{common}{}{key}", service("rsync", outside, daemon));
        let start = |name: &str, config: String| {
            let file = world.file(&format!("{name}.conf"), config);
            Kept::start(Command::new("stunnel").arg(file), &world.path(&format!("{name}.out")))
        };
        let server = start("stunnel-server", server);
        listens("stunnel", outside);
        let wire = Wire::to(outside);
        let services = service("direct", direct, outside) + &service("counted", counted, wire.address());
        let client = start("stunnel-client", format!("{common}client = yes\n{services}"));
        listens("stunnel", direct);
        listens("stunnel", counted);
        Self { direct, counted, wire, processes: [server, client] }
    }
}

/// Which way a client goes to its server.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Route {
    /// Straight.
    Direct,
    /// Through the wire, which counts, and delays and throttles where the row says so.
    Wired,
}

/// Everything one row needs to run.
pub(crate) struct Fleet {
    // Before the world: their files lie in it.
    ours: Server,
    daemon: Daemon,
    tunnel: Option<Tunnel>,
    agent: Agent,
    wires: [Wire; 2],
    world: World,
}

impl Fleet {
    /// Starts the servers with empty modules beneath `dir`, on the file system that is measured.
    pub(crate) fn start(dir: &Path, tunnel: bool, link: Option<Link>) -> Self {
        let world = World::in_dir(dir);
        let ours = world.server().module("ours", &[]).start();
        let modules = [("daemon", world.dir("modules/daemon")), ("tunnel", world.dir("modules/tunnel"))];
        let daemon = Daemon::start(&world, &modules.each_ref().map(|(name, path)| (*name, path.as_path())));
        let tunnel = tunnel.then(|| Tunnel::start(&world, daemon.address));
        let agent = world.agent(&ours);
        let wires = [Wire::to(ours.address()), Wire::to(daemon.address)];
        for wire in &wires {
            if let Some(link) = link {
                wire.delay(Duration::from_millis(link.round_trip_ms) / 2);
                wire.throttle(link.bits_per_sec / 8);
            }
        }
        Self { ours, daemon, tunnel, agent, wires, world }
    }

    /// A folder beside the modules, made where missing.
    pub(crate) fn dir(&self, name: &str) -> PathBuf {
        self.world.dir(name)
    }

    /// The folder of a program's module.
    pub(crate) fn module(&self, program: Program) -> PathBuf {
        self.world.path("modules").join(match program {
            Program::Ours => "ours",
            Program::Daemon => "daemon",
            Program::Tunnel => "tunnel",
        })
    }

    /// The processes of a program's server, and what stands between.
    pub(crate) fn servers(&self, program: Program) -> Vec<Pid> {
        match program {
            Program::Ours => vec![self.ours.pid()],
            Program::Daemon => vec![self.daemon.pid()],
            Program::Tunnel => {
                let between = self.tunnel.iter().flat_map(|tunnel| tunnel.processes.iter().map(Kept::pid));
                between.chain([self.daemon.pid()]).collect()
            }
        }
    }

    /// Bytes that a program's wire has carried so far, both ways.
    pub(crate) fn carried(&self, program: Program) -> u64 {
        match program {
            Program::Ours => self.wires[0].total(),
            Program::Daemon => self.wires[1].total(),
            Program::Tunnel => self.tunnel.as_ref().map_or(0, |tunnel| tunnel.wire.total()),
        }
    }

    /// The client's command that pushes the contents of `source` to its module.
    pub(crate) fn push(&self, program: Program, route: Route, options: &str, source: &Path) -> Command {
        match program {
            Program::Ours => {
                let agent = self.agent(route);
                agent.command("push", options, &[&slash(source), &agent.remote("ours")])
            }
            _ => rsync(options, slash(source), self.url(program, route)),
        }
    }

    /// The client's command that pulls the contents of its module into `dest`.
    pub(crate) fn pull(&self, program: Program, route: Route, options: &str, dest: &Path) -> Command {
        match program {
            Program::Ours => {
                let agent = self.agent(route);
                agent.command("pull", options, &[&agent.remote("ours/"), &dest])
            }
            _ => rsync(options, self.url(program, route), slash(dest)),
        }
    }

    /// Starts `driftless watch` on a source, through the wire.
    pub(crate) fn watch(&self, source: &Path) -> Running {
        let agent = self.agent(Route::Wired);
        agent.watch("-a --delete", slash(source), "ours")
    }

    fn agent(&self, route: Route) -> Agent {
        let agent = self.agent.clone();
        if route == Route::Wired { agent.through(&self.wires[0]) } else { agent }
    }

    /// Where a peer's client connects to.
    pub(crate) fn url(&self, program: Program, route: Route) -> String {
        let (address, module) = match (program, route, &self.tunnel) {
            (Program::Tunnel, Route::Direct, Some(tunnel)) => (tunnel.direct, "tunnel"),
            (Program::Tunnel, Route::Wired, Some(tunnel)) => (tunnel.counted, "tunnel"),
            (_, Route::Direct, _) => (self.daemon.address, "daemon"),
            (_, Route::Wired, _) => (self.wires[1].address(), "daemon"),
        };
        format!("rsync://{address}/{module}/")
    }
}

fn rsync(options: &str, from: impl AsRef<std::ffi::OsStr>, to: impl AsRef<std::ffi::OsStr>) -> Command {
    let mut command = Command::new("rsync");
    command.args(options.split_whitespace()).arg(from).arg(to);
    command
}
