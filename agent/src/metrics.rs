//! metrics: what the watches of a state folder tell, for Prometheus: its text format 0.0.4 over HTTP.
//!
//! The watches are asked by their control sockets for each scrape, as `driftless status` asks them, whichever process
//! they run in: one address for each state folder is enough.
//!
//! Touches: the address it listens on, the control sockets. Never: the source, the server.

use std::io;
use std::net::{IpAddr, Ipv4Addr, SocketAddr, TcpListener};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use http::{Method, Request, Response, StatusCode, header};
use http_body_util::Full;
use hyper::body::{Bytes, Incoming};
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use prometheus::{CounterVec, Gauge, GaugeVec, Opts, Registry, TEXT_FORMAT, TextEncoder};
use serde_json::Value;
use tokio::runtime::Handle;
use tokio::sync::Semaphore;

use crate::control::ask_all;

/// Connections that are served at once; more wait.
const CONNECTIONS: usize = 8;

/// A connection that lasts longer is closed: the watches answer within seconds.
const PATIENCE: Duration = Duration::from_secs(20);

/// After a connection could not be taken, for want of descriptors as a rule.
const PAUSE: Duration = Duration::from_millis(100);

/// What every watch is told apart by.
const LABELS: [&str; 3] = ["job", "source", "destination"];

/// Reads `PORT`, which is one of 127.0.0.1, or `ADDRESS:PORT`.
///
/// # Errors
/// What was expected, in words.
pub fn address(typed: &str) -> Result<SocketAddr, String> {
    let port = |text: &str| text.parse().ok().map(|port| SocketAddr::from((Ipv4Addr::LOCALHOST, port)));
    port(typed).or_else(|| typed.parse().ok()).ok_or_else(|| "expected PORT or ADDRESS:PORT".into())
}

/// Whether others than this host may get there.
#[must_use]
pub fn is_open(address: IpAddr) -> bool {
    !address.to_canonical().is_loopback()
}

/// Metrics that are served. Dropping it ends that.
pub struct Metrics {
    address: SocketAddr,
    task: tokio::task::AbortHandle,
}

impl Metrics {
    /// Where it listens.
    #[must_use]
    pub fn address(&self) -> SocketAddr {
        self.address
    }
}

impl Drop for Metrics {
    fn drop(&mut self) {
        self.task.abort();
    }
}

/// Serves the metrics of every watch of a state folder at `/metrics`.
///
/// # Errors
/// When the address cannot be had.
pub fn start(address: SocketAddr, state_dir: &Path, handle: &Handle) -> io::Result<Metrics> {
    let at = |error: io::Error| io::Error::new(error.kind(), format!("metrics at {address}: {error}"));
    let listener = TcpListener::bind(address).map_err(at)?;
    listener.set_nonblocking(true)?;
    let address = listener.local_addr()?;
    let listener = {
        let _runtime = handle.enter();
        tokio::net::TcpListener::from_std(listener)?
    };
    let state_dir = Arc::new(state_dir.to_owned());
    let task = handle.spawn(serve(listener, state_dir)).abort_handle();
    Ok(Metrics { address, task })
}

async fn serve(listener: tokio::net::TcpListener, state_dir: Arc<PathBuf>) {
    let slots = Arc::new(Semaphore::new(CONNECTIONS));
    loop {
        let Ok(slot) = Arc::clone(&slots).acquire_owned().await else { return };
        let Ok((stream, _)) = listener.accept().await else {
            tokio::time::sleep(PAUSE).await;
            continue;
        };
        let state_dir = Arc::clone(&state_dir);
        tokio::spawn(async move {
            let service = service_fn(move |request| answer(request, Arc::clone(&state_dir)));
            let connection =
                http1::Builder::new().keep_alive(false).serve_connection(TokioIo::new(stream), service);
            // Whoever goes away early wants no answer.
            let _gone = tokio::time::timeout(PATIENCE, connection).await;
            drop(slot);
        });
    }
}

async fn answer(
    request: Request<Incoming>,
    state_dir: Arc<PathBuf>,
) -> Result<Response<Full<Bytes>>, http::Error> {
    let plain = |status: StatusCode, text: &'static str| {
        Response::builder()
            .status(status)
            .header(header::CONTENT_TYPE, "text/plain; charset=utf-8")
            .body(Full::from(text))
    };
    if ![Method::GET, Method::HEAD].contains(request.method()) {
        return plain(StatusCode::METHOD_NOT_ALLOWED, "only GET is understood\n");
    }
    if request.uri().path() != "/metrics" {
        return plain(StatusCode::NOT_FOUND, "see /metrics\n");
    }
    let asked = tokio::task::spawn_blocking(move || {
        let watches = ask_all(&state_dir, "status").map_err(|error| error.to_string())?;
        text(&watches, SystemTime::now()).map_err(|error| error.to_string())
    });
    match asked.await {
        Ok(Ok(text)) => Response::builder().header(header::CONTENT_TYPE, TEXT_FORMAT).body(Full::from(text)),
        _ => plain(StatusCode::INTERNAL_SERVER_ERROR, "the watches cannot be asked\n"),
    }
}

/// A metric of each watch: its name, what it is, and its value in a picture; `None` where there is none.
type Metric = (&'static str, &'static str, fn(&Value) -> Option<f64>);

fn yes(is: bool) -> Option<f64> {
    Some(f64::from(u8::from(is)))
}

/// Names and units by Prometheus' rules (prometheus.io/docs/practices/naming).
const GAUGES: &[Metric] = &[
    ("connected", "Whether there is a stream to the server.", |w| yes(w["connected"].is_string())),
    ("source_present", "Whether the source is there.", |w| yes(w["source_gone_seconds"].is_null())),
    ("compared", "Whether everything has been compared since the start.", |w| {
        yes(w["uncompared_seconds"].is_null())
    }),
    ("pending_changes", "Changes that wait to be sent.", |w| w["pending"].as_f64()),
    ("in_flight_changes", "Changes that were sent and are not durable yet.", |w| w["in_flight"].as_f64()),
    ("oldest_change_seconds", "Age of the oldest change that is not durable; 0 when all are.", |w| {
        Some(w["oldest_change_seconds"].as_f64().unwrap_or(0.0))
    }),
    ("queued_bytes", "Bytes of files that are not durable yet, as far as known.", |w| {
        w["bytes_queued"].as_f64()
    }),
    ("watched_directories", "Directories that the engine watches.", |w| w["directories"]["watched"].as_f64()),
    ("polled_directories", "Directories that are polled since they cannot be watched.", |w| {
        w["directories"]["polled"].as_f64()
    }),
    ("failing_paths", "Paths that failed and are tried again.", |w| w["failing"].as_f64()),
    ("left_alone_paths", "Paths that are left alone on both ends.", |w| {
        w["left_alone"].as_array().map(|paths| paths.len() as f64)
    }),
    ("deletions_held", "Whether deletions are held.", |w| yes(w["held"].is_object())),
    ("known_entries", "Entries that the copy is known to hold.", |w| w["known_entries"].as_f64()),
    ("last_reconcile_duration_seconds", "How long the last comparison took.", |w| {
        w["last_reconcile"]["took_seconds"].as_f64()
    }),
    ("last_reconcile_successful", "Whether no path failed in the last comparison.", |w| {
        w["last_reconcile"]["well"].as_bool().and_then(yes)
    }),
];

/// As above; what is told as an age becomes the time when it was.
const TIMES: &[Metric] = &[
    ("last_ack_timestamp_seconds", "When something was last acknowledged.", |w| {
        w["last_ack_seconds"].as_f64()
    }),
    ("last_overflow_timestamp_seconds", "When events were last lost.", |w| {
        w["overflows"]["last_seconds_ago"].as_f64()
    }),
    ("last_reconcile_timestamp_seconds", "When the last comparison ended.", |w| {
        w["last_reconcile"]["seconds_ago"].as_f64()
    }),
];

const COUNTERS: &[Metric] = &[
    ("acked_changes_total", "Changes that were acknowledged as durable.", |w| w["acked_changes"].as_f64()),
    ("overflows_total", "Times that events were lost, and everything compared.", |w| {
        w["overflows"]["count"].as_f64()
    }),
];

fn labels(watch: &Value) -> [&str; LABELS.len()] {
    LABELS.map(|label| watch[label].as_str().unwrap_or_default())
}

fn text(watches: &[Value], now: SystemTime) -> Result<String, prometheus::Error> {
    let now = now.duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default().as_secs_f64();
    let registry = Registry::new();
    let opts = |name: &str, help: &str| Opts::new(format!("driftless_{name}"), help);

    let count = Gauge::with_opts(opts("watches", "Watches that run with this state folder."))?;
    count.set(watches.len() as f64);
    registry.register(Box::new(count))?;
    let version = opts("build_info", "1, with the version of the agent.")
        .const_label("version", env!("CARGO_PKG_VERSION"));
    let build = Gauge::with_opts(version)?;
    build.set(1.0);
    registry.register(Box::new(build))?;

    for (metrics, are_ages) in [(GAUGES, false), (TIMES, true)] {
        for (name, help, value) in metrics {
            let family = GaugeVec::new(opts(name, help), &LABELS)?;
            for watch in watches {
                if let Some(value) = value(watch) {
                    let value = if are_ages { now - value } else { value };
                    family.get_metric_with_label_values(&labels(watch))?.set(value);
                }
            }
            registry.register(Box::new(family))?;
        }
    }
    for (name, help, value) in COUNTERS {
        let family = CounterVec::new(opts(name, help), &LABELS)?;
        for watch in watches {
            if let Some(value) = value(watch) {
                family.get_metric_with_label_values(&labels(watch))?.inc_by(value);
            }
        }
        registry.register(Box::new(family))?;
    }
    TextEncoder::new().encode_to_string(&registry.gather())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_is_a_loopback_port_unless_it_says_more() {
        let is = |typed: &str, want: &str| assert_eq!(address(typed), Ok(want.parse().expect("address")));
        is("9731", "127.0.0.1:9731");
        is("0.0.0.0:9731", "0.0.0.0:9731");
        is("[::1]:9731", "[::1]:9731");
        for bad in ["", "host", "localhost:1", "65536", "1.2.3.4"] {
            assert!(address(bad).is_err(), "{bad}");
        }
        let open = |typed: &str| is_open(address(typed).expect("address").ip());
        assert!(!open("1") && !open("[::1]:1") && !open("[::ffff:127.0.0.1]:1"));
        assert!(open("0.0.0.0:1") && open("[::]:1") && open("192.0.2.1:1"));
    }

    #[test]
    fn what_has_no_value_has_no_line() {
        let watch = serde_json::json!({ "source": "/s\"", "destination": "h::m", "pending": 3 });
        let text = text(&[watch], SystemTime::UNIX_EPOCH).expect("text");
        assert!(text.contains("driftless_watches 1\n"), "{text}");
        let line = "driftless_pending_changes{destination=\"h::m\",job=\"\",source=\"/s\\\"\"} 3\n";
        assert!(text.contains(line), "{text}");
        assert!(!text.contains("driftless_queued_bytes"), "{text}");
    }
}
