//! doctor: the way to the server, asked as a watch would ask, with a dry run that sends nothing.

use std::sync::Arc;
use std::time::SystemTime;

use driftless_proto::model::options::{Options, Terms};
use driftless_proto::model::problem::{Refusal, RefusalReason};
use driftless_proto::transfer::link::{Ended, Rate};
use driftless_proto::transfer::observer::Silent;
use driftless_proto::transfer::sender::{self, Config, Task};
use driftless_proto::transfer::view::View;
use driftless_proto::wire::message::{FromSender, Welcome};
use tokio::runtime::{Builder, Handle};

use super::Findings;
use crate::cli::Invocation;
use crate::cli::operand::Remote;
use crate::connect::{ConnectError, Server};
use crate::console::Console;
use crate::push::{hello, place};
use crate::run::{open, remote, server};

/// Clocks that differ by this many seconds make times in logs and plans hard to read; the wire adds some of it, and the
/// server tells whole seconds.
const CLOCK: f64 = 3.0;

/// Asks the server everything. What one question shows to be in the way ends the rest.
pub(super) fn look(findings: &mut Findings, pair: &Invocation, console: &Arc<Console>) {
    let prepared = remote(pair.dest.as_ref()).and_then(|remote| Ok((remote, server(pair, remote)?)));
    let (remote, server) = match prepared {
        Ok(prepared) => prepared,
        Err(error) => return findings.fail("trust", error.to_string(), "see the message"),
    };
    let runtime = match Builder::new_multi_thread().worker_threads(1).enable_all().build() {
        Ok(runtime) => runtime,
        Err(error) => return findings.fail("server", format!("start: {error}"), "see the message"),
    };
    let handle = runtime.handle().clone();
    let before = SystemTime::now();
    match handle.block_on(server.date()) {
        Err(error) => refused(findings, remote, &error),
        Ok(date) => {
            let trusted =
                if pair.trust.plaintext { "without TLS, on this host" } else { "its certificate is trusted" };
            findings.ok("server", format!("{} answers, {trusted}", server.address()));
            clock(findings, date, before);
            module(findings, pair, remote, &server, console, &handle);
        }
    }
    runtime.shutdown_background();
}

/// The server's clock against ours, which is at least `before` when it was told.
fn clock(findings: &mut Findings, date: Option<SystemTime>, before: SystemTime) {
    let Some(date) = date else {
        return findings.warn("clock", "the server did not tell its time", "compare the two clocks by hand");
    };
    let now = SystemTime::now();
    let seconds =
        |later: SystemTime, earlier: SystemTime| later.duration_since(earlier).map(|d| d.as_secs_f64());
    let (behind, ahead) = (seconds(before, date).unwrap_or(0.0), seconds(date, now).unwrap_or(0.0));
    if behind > CLOCK {
        let text = format!("the server's clock is {behind:.0} s behind this host's");
        findings.warn("clock", text, "timedatectl set-ntp true, on both hosts");
    } else if ahead > CLOCK {
        let text = format!("the server's clock is {ahead:.0} s ahead of this host's");
        findings.warn("clock", text, "timedatectl set-ntp true, on both hosts");
    } else {
        findings.ok("clock", format!("the server's clock agrees with this host's within {CLOCK:.0} s"));
    }
}

/// Login, module, rights, and what it keeps.
fn module(
    findings: &mut Findings,
    pair: &Invocation,
    remote: &Remote,
    server: &Server,
    console: &Arc<Console>,
    handle: &Handle,
) {
    let mut invocation = pair.clone();
    invocation.options = Options { dry_run: true, ..pair.options.clone() };
    let opened = hello(&invocation, vec![place(remote)], None)
        .and_then(|hello| handle.block_on(open::<FromSender>(server, hello)));
    let session = match opened {
        Ok(session) => session,
        Err(error) => return refused(findings, remote, &error),
    };
    findings.ok("login", format!("module {} lets us in", remote.module));
    findings.ok("module", "it takes pushes (read only = no)");
    keeps(findings, pair, &session.welcome);
    let (tasks, queue) = sender::queue();
    tasks.submit(Task::Finish);
    let config = Config {
        view: View::default(),
        terms: Terms::new(&invocation.options, &session.welcome.keeps),
        early: false,
        withhold: None,
        rate: Rate::new(invocation.options.bwlimit),
        options: invocation.options,
        rules: invocation.rules,
        empty: false,
        record: false,
        missing: Vec::new(),
    };
    // A polite end; nothing hangs on it.
    let _ended = sender::run(config, session.link, queue, Arc::new(Silent));
    console.report.progress().finish();
}

fn keeps(findings: &mut Findings, pair: &Invocation, welcome: &Welcome) {
    let keeps = &welcome.keeps;
    let wanted = pair.options.owner || pair.options.group;
    if wanted && !keeps.owners {
        let cure =
            "uid = root, or `fake super = yes`, in the module; or --no-o --no-g, if it does not matter";
        findings.warn("owners", "the module keeps no owners: its files belong to its own user", cure);
    } else if keeps.owners {
        let how = if keeps.numeric_ids { "by number" } else { "by name" };
        findings.ok("owners", format!("the module keeps owners, {how}"));
    } else {
        findings.ok("owners", "not kept, and not asked for");
    }
    if keeps.time_granularity_ns > 1_000 {
        let text = format!("the module's file system keeps times to {} ns only", keeps.time_granularity_ns);
        findings.warn(
            "times",
            text,
            "two changes within that time may look alike until contents are compared",
        );
    }
    if welcome.empty {
        findings.ok("copy", "nothing is there yet: the first run sends everything");
    } else {
        findings.ok("copy", "something is there: the first run compares");
    }
}

/// Which of the questions this answers, and what to do.
fn refused(findings: &mut Findings, remote: &Remote, error: &ConnectError) {
    let text = error.to_string();
    match error {
        ConnectError::Io { .. } | ConnectError::Timeout(_) => {
            findings.fail(
                "server",
                text,
                "is driftlessd running there, on that port, and does a firewall let us through?",
            );
        }
        ConnectError::Tls { .. } => {
            findings.fail(
                "certificate",
                text,
                "--ca FILE, or --fingerprint with what `driftlessd fingerprint` prints there",
            );
        }
        ConnectError::Ended(Ended::Refused(Refusal { reason, .. })) => match reason {
            RefusalReason::AuthenticationNeeded => {
                findings.fail("login", text, "user@ in the destination, and --password-file FILE");
            }
            RefusalReason::Access => {
                let cure = format!(
                    "is there a module {}, is this host in its `hosts allow`, and are user and password right? \
                     `driftlessd check` and its log say which",
                    remote.module
                );
                findings.fail("login", text, cure);
            }
            RefusalReason::Busy => findings.fail("login", text, "`max connections` of the module, or wait"),
            RefusalReason::Rights => findings.fail("module", text, "`read only = no` in the module"),
            RefusalReason::Destination | RefusalReason::Source => {
                findings.fail(
                    "module",
                    text,
                    "the module's path, or the directory above the destination, must exist there",
                );
            }
            _ => findings.fail("module", text, "see the message"),
        },
        ConnectError::Password(_) => findings.fail("login", text, "mend the password file"),
        _ => findings.fail("server", text, "see the message"),
    }
}
