//! Metrics for Prometheus, scraped as it scrapes them.

use std::collections::BTreeMap;
use std::io::{Read as _, Write as _};
use std::net::{SocketAddr, TcpStream};
use std::process::{Command, Stdio};

use driftless_tests::World;
use driftless_tests::agent::Running;
use driftless_tests::oracle::{look, slash};
use driftless_tests::trees::plant;
use driftless_tests::wait::{eventually, until};

/// Where a watch says that it serves them.
fn served(watch: &Running) -> SocketAddr {
    eventually("it says where", || {
        let log = watch.log();
        let line = log.lines().find_map(|line| line.strip_prefix("metrics at http://"))?;
        line.strip_suffix("/metrics")?.parse().ok()
    })
}

/// Head and body of an answer.
fn ask(address: SocketAddr, request: &str) -> (String, String) {
    let mut stream = TcpStream::connect(address).expect("connect");
    write!(stream, "{request} HTTP/1.1\r\nHost: localhost\r\n\r\n").expect("write");
    let mut answer = String::new();
    stream.read_to_string(&mut answer).expect("it closes the connection");
    let (head, body) = answer.split_once("\r\n\r\n").expect("a head");
    (head.to_owned(), body.to_owned())
}

/// Reads the text format 0.0.4, strictly: every sample after its own HELP and TYPE, no family twice, no sample twice,
/// names and labels as they must be, counters with `_total`. Gives the samples by name and labels.
fn samples(text: &str) -> BTreeMap<String, f64> {
    assert!(text.ends_with('\n'), "the last line ends");
    let is_name = |name: &str| {
        name.starts_with(|c: char| c.is_ascii_alphabetic() || c == '_')
            && name.chars().all(|c| c.is_ascii_alphanumeric() || c == '_')
    };
    let mut families = BTreeMap::new();
    let mut family = String::new();
    let mut samples = BTreeMap::new();
    for line in text.lines() {
        if let Some(help) = line.strip_prefix("# HELP ") {
            let (name, text) = help.split_once(' ').expect("a text");
            assert!(is_name(name) && !text.is_empty(), "{line}");
            assert!(families.insert(name.to_owned(), None).is_none(), "twice: {line}");
            name.clone_into(&mut family);
        } else if let Some(kind) = line.strip_prefix("# TYPE ") {
            let (name, kind) = kind.split_once(' ').expect("a type");
            assert!(name == family && ["counter", "gauge"].contains(&kind), "{line}");
            assert_eq!(name.ends_with("_total"), kind == "counter", "{line}");
            *families.get_mut(name).expect("HELP comes first") = Some(kind.to_owned());
        } else {
            let (series, value) = line.rsplit_once(' ').expect("a value");
            let (name, labels) = series.split_once('{').map_or((series, None), |(name, rest)| {
                (name, Some(rest.strip_suffix('}').expect("labels end")))
            });
            assert!(name == family && families[name].is_some(), "{line}");
            for label in labels.into_iter().flat_map(|labels| labels.split("\",")) {
                let (name, value) = label.split_once("=\"").expect("a label");
                assert!(is_name(name) && !value.contains('\n'), "{line}");
            }
            let value: f64 = value.parse().expect("a number");
            assert!(samples.insert(series.to_owned(), value).is_none(), "twice: {line}");
        }
    }
    samples
}

/// The value of a metric of the only watch.
fn value(samples: &BTreeMap<String, f64>, name: &str) -> Option<f64> {
    let mut of_name = samples.iter().filter(|(series, _)| series.split('{').next() == Some(name));
    let value = of_name.next().map(|(_, value)| *value);
    assert!(of_name.next().is_none(), "{name} twice");
    value
}

#[test]
fn metrics_are_told_in_the_text_format_and_follow_what_happens() {
    let world = World::new();
    let src = world.path("src");
    plant(&src, &["d/f=1", "g=2"]);
    let mut server = world.backup();
    let agent = world.agent(&server);
    let mut watch = agent.watch("-a --delete --metrics 127.0.0.1:0", slash(&src), "backup");
    let address = served(&watch);
    assert!(address.ip().is_loopback());
    agent.operate("wait --all").ok();

    let (head, body) = ask(address, "GET /metrics");
    assert!(head.starts_with("HTTP/1.1 200 "), "{head}");
    let kind = "content-type: text/plain; version=0.0.4";
    assert!(head.to_lowercase().lines().any(|line| line.starts_with(kind)), "{head}");
    let now = samples(&body);
    for (name, want) in [
        ("driftless_watches", 1.0),
        ("driftless_connected", 1.0),
        ("driftless_compared", 1.0),
        ("driftless_source_present", 1.0),
        ("driftless_pending_changes", 0.0),
        ("driftless_oldest_change_seconds", 0.0),
        ("driftless_queued_bytes", 0.0),
        ("driftless_watched_directories", 2.0),
        ("driftless_failing_paths", 0.0),
        ("driftless_deletions_held", 0.0),
        ("driftless_overflows_total", 0.0),
    ] {
        assert_eq!(value(&now, name), Some(want), "{name} in\n{body}");
    }
    assert!(value(&now, "driftless_acked_changes_total") > Some(0.0), "{body}");
    assert!(value(&now, "driftless_last_ack_timestamp_seconds") > Some(1.6e9), "{body}");
    let labels = format!("job=\"\",source=\"{}\"}}", src.display());
    assert!(now.keys().any(|series| series.ends_with(&labels)), "{body}");
    // Our own reading above is strict; this one is welcome where it is there.
    if let Some(promtool) = look("promtool") {
        let mut check = Command::new(promtool)
            .args(["check", "metrics"])
            .stdin(Stdio::piped())
            .spawn()
            .expect("promtool");
        check.stdin.take().expect("a pipe").write_all(body.as_bytes()).expect("write");
        assert!(check.wait().expect("wait").success());
    }

    server.kill();
    plant(&src, &["waits=12345"]);
    until("the metrics follow", || {
        let now = samples(&ask(address, "GET /metrics").1);
        value(&now, "driftless_connected") == Some(0.0)
            && value(&now, "driftless_queued_bytes") == Some(5.0)
            && value(&now, "driftless_oldest_change_seconds") > Some(0.0)
    });

    let (head, body) = ask(address, "HEAD /metrics");
    assert!(head.starts_with("HTTP/1.1 200 ") && body.is_empty(), "{head}");
    assert!(ask(address, "GET /").0.starts_with("HTTP/1.1 404 "));
    assert!(ask(address, "POST /metrics").0.starts_with("HTTP/1.1 405 "));
    // Whoever says nothing does not keep the others waiting.
    let silent: Vec<_> = (0..4).map(|_| TcpStream::connect(address).expect("connect")).collect();
    assert!(ask(address, "GET /metrics").0.starts_with("HTTP/1.1 200 "));
    drop(silent);
    watch.runs();

    let port = address.port().to_string();
    let other = world.path("other");
    plant(&other, &["f=1"]);
    let mut taken = agent.watch(&format!("-a --metrics {port}"), slash(&other), "backup/other");
    assert_eq!(taken.wait(), Some(10), "{}", taken.log());
    assert!(taken.log().contains(&format!("metrics at 127.0.0.1:{port}: ")), "{}", taken.log());
}

#[test]
fn metrics_that_other_hosts_may_read_are_served_only_when_that_is_typed() {
    let world = World::new();
    let src = world.path("src");
    plant(&src, &["f=1"]);
    let server = world.backup();
    let agent = world.agent(&server);
    let watch = agent.watch("-a --metrics 0.0.0.0:0", slash(&src), "backup");
    until("it is said", || watch.log().contains("other hosts may read the metrics"));
    agent.run("push", "-a --metrics 1", &[&slash(&src), &agent.remote("backup")]).exits(1);
    agent.run("watch", "-a --metrics localhost:1", &[&slash(&src), &agent.remote("backup")]).exits(1);
}
