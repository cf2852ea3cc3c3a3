//! `driftlessd serve`: from the config to a server that listens, and from SIGTERM to one that has let go.

use std::net::SocketAddr;
use std::process::ExitCode;
use std::sync::Arc;
use std::time::Duration;

use driftless_proto::limits;
use driftless_proto::wire::DESCRIPTOR;
use driftless_proto::wire::body::Heads;
use driftless_proto::wire::generated::driftless_server::DriftlessServer;
use tokio::net::TcpListener;
use tokio::signal::unix::{SignalKind, signal};
use tonic::body::Body;
use tonic::codegen::http::Request;
use tonic::service::LayerExt as _;
use tonic::transport::Server;
use tower::util::MapRequestLayer;

use crate::Serve;
use crate::accept;
use crate::config::Config;
use crate::group_cache::DiskCache;
use crate::log::Logs;
use crate::permit::Gate;
use crate::pidfile::PidFile;
use crate::receive::Kept;
use crate::service::Service;
use crate::sessions::Sessions;
use crate::state::State;
use crate::tls::Identity;

/// Streams of one connection. Agents open one; tools that look around open a few.
const STREAMS: u32 = 8;

/// How long a stop waits for pushes and pulls that are under way. Watches are told to end at once: they go on with the
/// next server where they were.
const DRAIN: Duration = Duration::from_secs(30);

/// Serves until SIGTERM or SIGINT. Exit 0 then, 1 when it could not start.
pub(crate) fn run(serve: &Serve) -> ExitCode {
    match try_run(serve) {
        Ok(()) => ExitCode::SUCCESS,
        Err(text) => {
            eprintln!("driftlessd: {text}");
            ExitCode::from(1)
        }
    }
}

fn try_run(serve: &Serve) -> Result<(), String> {
    let mut config = Config::load(&serve.config).map_err(|error| error.to_string())?;
    if let Some(folder) = &serve.state_dir {
        config.state_dir.clone_from(folder);
    }
    if let Some(file) = &serve.log_file {
        config.log_file = Some(file.clone());
    }
    let logs = Arc::new(Logs::open(config.log_file.as_deref(), config.modules.iter().map(|m| &**m)));
    for note in &config.notes {
        logs.daemon(note);
    }
    if !config.may_serve() {
        for note in config.notes.iter().filter(|_| config.log_file.is_some()) {
            eprintln!("{note}");
        }
        return Err(format!("{} cannot be served as it is", serve.config.display()));
    }
    let addresses = config.listen(serve.address, serve.port)?;
    // Modes are given explicitly; what a client leaves open follows the umask the operator started us with.
    let umask = rustix::process::umask(rustix::fs::Mode::empty()).as_raw_mode();
    let pid_file = config
        .pid_file
        .as_deref()
        .map(|path| PidFile::claim(path).map_err(|error| format!("pid file {}: {error}", path.display())));
    let _pid_file = pid_file.transpose()?;
    let state = State::open(&config.state_dir)
        .map_err(|error| format!("state dir {}: {error}", config.state_dir.display()))?;
    let groups = DiskCache::open(&config.state_dir)
        .map_err(|error| format!("state dir {}: {error}", config.state_dir.display()))?;
    raise_descriptor_limit();
    let keeping = Keeping { state, partials: Arc::default(), groups: Arc::new(groups) };
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build()
        .map_err(|error| format!("start: {error}"))?;
    let served = runtime.block_on(listen_and_serve(&config, &addresses, logs, keeping, umask));
    // Whoever still holds a thread here is one that DRAIN did not wait for.
    runtime.shutdown_timeout(Duration::from_millis(500));
    served
}

/// What a server keeps from one transfer to the next.
struct Keeping {
    state: State,
    partials: Arc<Kept>,
    groups: Arc<DiskCache>,
}

async fn listen_and_serve(
    config: &Config,
    addresses: &[SocketAddr],
    logs: Arc<Logs>,
    keeping: Keeping,
    umask: u32,
) -> Result<(), String> {
    let Keeping { state, partials, groups } = keeping;
    tokio::spawn(forget_old(Arc::clone(&partials)));
    let mut listeners = Vec::new();
    for address in addresses {
        let listener = bind(*address).await.map_err(|error| format!("listen on {address}: {error}"))?;
        listeners.push(listener);
    }
    let acceptor = acceptor(config, &logs)?;
    let running = Arc::new(());
    let service = Service {
        gate: Arc::new(Gate::new(config.modules.clone())),
        logs: Arc::clone(&logs),
        state,
        sessions: Sessions::default(),
        partials,
        groups,
        umask,
        running: Arc::clone(&running),
    };
    let sessions = service.sessions.clone();
    let (health_reporter, health) = tonic_health::server::health_reporter();
    health_reporter.set_serving::<DriftlessServer<Service>>().await;
    let reflection = tonic_reflection::server::Builder::configure()
        .register_encoded_file_descriptor_set(DESCRIPTOR)
        .register_encoded_file_descriptor_set(tonic_health::pb::FILE_DESCRIPTOR_SET)
        .build_v1()
        .map_err(|error| format!("reflection: {error}"))?;
    let bound: Vec<SocketAddr> = listeners.iter().filter_map(|l| l.local_addr().ok()).collect();
    let incoming = accept::incoming(listeners, acceptor, Arc::clone(&logs));
    for address in &bound {
        logs.daemon(format_args!("driftlessd {} listening on {address}", env!("CARGO_PKG_VERSION")));
    }
    if config.log_file.is_some() {
        for address in &bound {
            eprintln!("driftlessd {} listening on {address}", env!("CARGO_PKG_VERSION"));
        }
    }
    // Not started by systemd: nobody to tell.
    let _untold = sd_notify::notify(false, &[sd_notify::NotifyState::Ready]);
    let transfer = DriftlessServer::new(service).max_decoding_message_size(limits::FRAME_MAX);
    let transfer =
        MapRequestLayer::new(|request: Request<Body>| request.map(Heads::new)).named_layer(transfer);
    let server = Server::builder()
        .max_concurrent_streams(STREAMS)
        .initial_stream_window_size(limits::WINDOW)
        .initial_connection_window_size(limits::WINDOW)
        .max_frame_size(limits::HTTP2_FRAME)
        .http2_keepalive_interval(Some(limits::KEEPALIVE_EVERY))
        .http2_keepalive_timeout(Some(limits::KEEPALIVE_ANSWER))
        .add_service(health)
        .add_service(reflection)
        .add_service(transfer)
        .serve_with_incoming(incoming);
    tokio::select! {
        ended = server => return ended.map_err(|error| format!("serve: {error}")),
        why = stopped(&logs) => logs.daemon(format_args!("{why}: stopping")),
    }
    let _untold = sd_notify::notify(false, &[sd_notify::NotifyState::Stopping]);
    health_reporter.set_not_serving::<DriftlessServer<Service>>().await;
    sessions.stop_all();
    // One is ours, one is the service's own.
    let let_go = || Arc::strong_count(&running) <= 2 && sessions.is_empty();
    if !drained(let_go).await {
        logs.daemon("stopped with transfers under way");
    }
    // The last acks are still on their way to the sockets.
    tokio::time::sleep(Duration::from_millis(200)).await;
    Ok(())
}

/// Waits for what is under way, within [`DRAIN`]; false when it is not over by then.
async fn drained(is_over: impl Fn() -> bool) -> bool {
    let over = async {
        while !is_over() {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    };
    tokio::time::timeout(DRAIN, over).await.is_ok()
}

/// What encrypts connections, unless the config says plaintext. A certificate that the server made itself is announced,
/// so that agents can be given its fingerprint.
fn acceptor(config: &Config, logs: &Logs) -> Result<Option<tokio_rustls::TlsAcceptor>, String> {
    if config.plaintext {
        return Ok(None);
    }
    let identity = Identity::load(config).map_err(|error| error.to_string())?;
    if identity.self_signed {
        let fingerprint = identity.fingerprint();
        logs.daemon(format_args!("self-signed certificate; agents take it with --fingerprint {fingerprint}"));
    }
    let tls = identity.server_config(config).map_err(|error| error.to_string())?;
    Ok(Some(tls.into()))
}

/// Lets go of what cut uploads left, in time, whether or not anybody comes back.
async fn forget_old(partials: Arc<Kept>) {
    loop {
        tokio::time::sleep(Duration::from_secs(60)).await;
        partials.expire();
    }
}

/// Lets us open as many files as the hard limit allows: each transfer holds some hundreds.
fn raise_descriptor_limit() {
    use rustix::process::{Resource, getrlimit, setrlimit};
    let mut limit = getrlimit(Resource::Nofile);
    limit.current = limit.maximum;
    // With the old limit fewer clients fit; each that does not is told.
    let _kept = setrlimit(Resource::Nofile, limit);
}

/// Binds an address. A host without IPv6 gets every IPv4 address where every address was meant.
async fn bind(address: SocketAddr) -> std::io::Result<TcpListener> {
    match TcpListener::bind(address).await {
        Err(error) if address.ip() == std::net::Ipv6Addr::UNSPECIFIED && error.raw_os_error() == NO_IPV6 => {
            TcpListener::bind((std::net::Ipv4Addr::UNSPECIFIED, address.port())).await
        }
        bound => bound,
    }
}

/// What `socket(2)` says on a host without IPv6.
const NO_IPV6: Option<i32> = Some(rustix::io::Errno::AFNOSUPPORT.raw_os_error());

/// Returns on SIGTERM or SIGINT. SIGHUP only opens the logs anew, for logrotate(8); as in rsync it is no reload.
async fn stopped(logs: &Logs) -> &'static str {
    let kinds = [SignalKind::terminate(), SignalKind::interrupt(), SignalKind::hangup()];
    let [Ok(mut terminate), Ok(mut interrupt), Ok(mut hangup)] = kinds.map(signal) else {
        return std::future::pending().await;
    };
    loop {
        tokio::select! {
            _ = terminate.recv() => return "SIGTERM",
            _ = interrupt.recv() => return "SIGINT",
            _ = hangup.recv() => logs.reopen(),
        }
    }
}
