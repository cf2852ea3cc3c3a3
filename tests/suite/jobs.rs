//! Many jobs in one process: none disturbs another, a reload touches only what has changed, and what is said is true.

use std::fs;
use std::os::unix::net::UnixDatagram;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use driftless_tests::World;
use driftless_tests::server::Server;
use driftless_tests::service::{Service, to};
use driftless_tests::trees::{equal, plant};
use driftless_tests::wait::{eventually, until, until_ok};
use driftless_tests::wire::Wire;
use rustix::process::Signal;
use serde_json::Value;

/// A world with a server and a folder `src/NAME` for each of these modules.
pub(crate) fn host(modules: &[&str]) -> (World, Server) {
    let world = World::new();
    let mut setup = world.server();
    for module in modules {
        world.dir(&format!("src/{module}"));
        setup = setup.module(module, &[]);
    }
    let server = setup.start();
    (world, server)
}

/// A job that keeps `src/NAME` in the module of that name, and what else its lines say.
pub(crate) fn job(world: &World, name: &str, lines: &str) -> String {
    let source = world.path(&format!("src/{name}"));
    format!(
        "[[job]]\nname = \"{name}\"\nsource = \"{}/\"\ndestination = \"{}\"\n{lines}\n",
        source.display(),
        to(name)
    )
}

/// What `driftless status --json` tells of a job, one for each destination.
pub(crate) fn told(service: &Service, job: &str) -> Vec<Value> {
    let out = service.operate("status --json");
    let all: Vec<Value> = serde_json::from_str(&out.stdout).unwrap_or_default();
    all.into_iter().filter(|watch| watch["job"] == job).collect()
}

/// Waits until the copy is what the source is.
#[track_caller]
pub(crate) fn arrives(source: &Path, copy: &Path) {
    until_ok(format_args!("{} is like {}", copy.display(), source.display()), || equal(source, copy));
}

#[test]
fn a_reload_leaves_alone_what_has_not_changed_and_a_bad_config_changes_nothing() {
    let (world, server) = host(&["stays", "goes", "changes", "comes"]);
    let src = |name: &str| world.path(&format!("src/{name}"));
    for name in ["stays", "goes", "changes", "comes"] {
        plant(&src(name), &["d/f=1"]);
    }
    let stays = job(&world, "stays", "delete = true");
    let old = format!("{stays}{}{}", job(&world, "goes", ""), job(&world, "changes", ""));
    let mut service = Service::start(&world, &server, &old);
    for name in ["stays", "goes", "changes"] {
        arrives(&src(name), server.module(name));
    }
    until("all is in sync", || service.log().matches("in sync").count() == 3);

    service.reload(&format!("{old}{}", job(&world, "comes", "brake = 7")));
    assert!(service.log().contains("agent.toml:"), "{}", service.log());
    assert!(
        service.log().contains("job comes: brake: an integer stands here: a string"),
        "{}",
        service.log()
    );
    plant(&src("goes"), &["still=here"]);
    arrives(&src("goes"), server.module("goes"));

    // What is written while it reads is seen: the watch never stops.
    plant(&src("stays"), &["during=1"]);
    let new = format!("{stays}{}{}", job(&world, "changes", "exclude = \"*.o\""), job(&world, "comes", ""));
    service.reload(&new);
    plant(&src("stays"), &["after=1"]);
    plant(&src("changes"), &["a.o=1", "a.c=1"]);
    plant(&src("goes"), &["unseen=1"]);
    for name in ["stays", "comes"] {
        arrives(&src(name), server.module(name));
    }
    until("the changed job takes its new rule", || server.module("changes").join("a.c").exists());
    assert!(!server.module("changes").join("a.o").exists());
    assert!(!server.module("goes").join("unseen").exists());
    assert_eq!(told(&service, "goes").len(), 0);
    assert_eq!(told(&service, "comes").len(), 1);
    let log = service.log();
    assert_eq!(log.matches("job stays: connected to").count(), 1, "{log}");
    assert_eq!(log.matches("job changes: connected to").count(), 2, "{log}");
    service.running().signal(Signal::TERM);
    assert_eq!(service.running().wait(), Some(0));
}

#[test]
fn a_scheduled_comparison_finds_what_no_event_tells_and_has_its_commands_around_it() {
    let (world, server) = host(&["code"]);
    let src = world.path("src/code");
    plant(&src, &["f=1", "d/g=2"]);
    let log = world.path("steps");
    let step = |name: &str| {
        format!("{name} = \"echo {name} $DRIFTLESS_JOB $DRIFTLESS_EXIT >>{}; echo out\"", log.display())
    };
    let lines = format!("delete = true\nschedule = \"* * * * * *\"\n{}\n{}", step("before"), step("after"));
    let mut service = Service::start(&world, &server, &job(&world, "code", &lines));
    arrives(&src, server.module("code"));
    // Somebody works on the copy: no event of the source tells of that.
    fs::remove_file(server.module("code").join("d/g")).expect("rm");
    plant(server.module("code"), &["stray=1"]);
    arrives(&src, server.module("code"));
    until("a run is told", || {
        told(&service, "code").first().is_some_and(|job| job["schedule"]["last"]["exit"] == 0)
    });
    let steps = fs::read_to_string(&log).expect("steps");
    assert!(steps.starts_with("before code\nafter code 0\n"), "{steps}");
    service.says("job code: before: out");
    // The live changes never waited for any of that.
    assert_eq!(service.log().matches("job code: connected to").count(), 1, "{}", service.log());
    service.running().runs();
}

#[test]
fn a_job_that_only_runs_by_its_schedule_lies_still_between_its_runs() {
    let (world, server) = host(&["nightly"]);
    let src = world.path("src/nightly");
    plant(&src, &["f=1"]);
    let lines = "delete = true\nmode = \"scheduled\"\nschedule = ";
    let mut service =
        Service::start(&world, &server, &job(&world, "nightly", &format!("{lines}\"0 0 1 1 *\"")));
    let waits = eventually("it answers", || told(&service, "nightly").pop());
    assert_eq!(waits["schedule"]["state"], "waiting");
    assert_eq!((&waits["connected"], &waits["trouble"]), (&Value::Null, &Value::Null));
    let text = service.operate("status").ok().stdout;
    assert!(
        text.contains("job nightly: ") && text.contains("schedule 0 0 1 1 *: waiting, next 20"),
        "{text}"
    );
    assert!(!text.contains("connected") && !text.contains("engine"), "{text}");
    assert!(!server.module("nightly").join("f").exists());

    service.reload(&job(&world, "nightly", &format!("{lines}\"* * * * * *\"")));
    arrives(&src, server.module("nightly"));
    until("its run is told", || {
        told(&service, "nightly").first().is_some_and(|job| job["schedule"]["last"]["exit"] == 0)
    });
    // An emptied source empties no copy, by schedule either.
    fs::remove_file(src.join("f")).expect("rm");
    until("the run tells what is held", || {
        told(&service, "nightly").first().is_some_and(|job| job["schedule"]["last"]["exit"] == 25)
    });
    assert!(server.module("nightly").join("f").exists());
    assert!(service.operate("plan list").ok().stdout.contains("  held "), "{}", service.log());
}

#[test]
fn a_run_whose_before_fails_does_not_happen_and_after_knows() {
    let (world, server) = host(&["a", "b"]);
    let out = world.path("out");
    for name in ["a", "b"] {
        plant(&world.path(&format!("src/{name}")), &["f=1"]);
    }
    let lines = |before: &str, name: &str| {
        format!(
            "mode = \"scheduled\"\nschedule = \"* * * * * *\"\nbefore = {before}\nafter = \"echo {name} $DRIFTLESS_EXIT >>{}\"",
            out.display()
        )
    };
    let jobs = job(&world, "a", &lines("\"exit 3\"", "a"))
        + &job(&world, "b", &lines("{ command = [\"sleep\", \"600\"], timeout = \"1s\" }", "b"));
    let service = Service::start(&world, &server, &jobs);
    until("both have ended", || {
        fs::read_to_string(&out).is_ok_and(|out| out.contains("a 3\n") && out.contains("b 124\n"))
    });
    service.says("job a: before ended with exit code 3: the run does not happen");
    service.says("job b: before took longer than 1 s and was killed: the run does not happen");
    let last = eventually("it is told", || {
        told(&service, "a").pop().filter(|job| job["schedule"]["last"].is_object())
    });
    assert_eq!(last["schedule"]["last"]["exit"], 3);
    for name in ["a", "b"] {
        assert!(!server.module(name).join("f").exists());
    }
}

#[test]
fn what_cannot_go_on_tries_again_and_says_so_and_the_others_never_notice() {
    let (world, mut server) = host(&["good", "bad"]);
    let wrong = world.file("wrong", "not the password\n");
    plant(&world.path("src/bad"), &["f=1"]);
    let bad = |file: &Path| job(&world, "bad", &format!("password-file = \"{}\"", file.display()));
    let unsourced = job(&world, "late", "").replace(&to("late"), &to("good/late"));
    let jobs = format!("{}{}{unsourced}", job(&world, "good", ""), bad(&wrong));
    let mut service = Service::start(&world, &server, &jobs);
    for job in ["bad", "late"] {
        until(format_args!("{job} says why"), || {
            told(&service, job)
                .first()
                .is_some_and(|job| job["trouble"].as_str().is_some_and(|why| !why.is_empty()))
        });
    }
    plant(&world.path("src/good"), &["g=1"]);
    until("the good one copies", || server.module("good").join("g").exists());
    // What was in the way goes.
    plant(&world.path("src/late"), &["l=1"]);
    until("the late source is kept", || server.module("good").join("late/l").exists());
    fs::write(&wrong, format!("{}\n", driftless_tests::server::PASSWORD)).expect("write");
    arrives(&world.path("src/bad"), server.module("bad"));
    until("it says that all is well", || {
        told(&service, "bad").first().is_some_and(|job| job["trouble"].is_null())
    });
    server.kill();
    until("all say that the server is away", || {
        ["good", "bad", "late"]
            .iter()
            .all(|job| told(&service, job).first().is_some_and(|job| job["trouble"].is_string()))
    });
    service.running().runs();
}

#[test]
fn systemd_is_told_and_the_watchdog_fed() {
    let (world, server) = host(&["code"]);
    let path = world.path("notify");
    let socket = UnixDatagram::bind(&path).expect("a socket");
    socket.set_read_timeout(Some(driftless_tests::wait::patience())).expect("timeout");
    let code = job(&world, "code", "");
    let mut service = Service::start_with(&world, &server, &code, |agent| {
        let agent = agent.env("NOTIFY_SOCKET", &path.display().to_string()).env("WATCHDOG_USEC", "400000");
        // As systemd does: the watchdog is for this process alone.
        agent.within(&["sh", "-c", "WATCHDOG_PID=$$ exec \"$@\"", "sh"])
    });
    // Every message up to the first that holds this.
    let hears = |what: &str| {
        let mut heard = String::new();
        let end = Instant::now() + driftless_tests::wait::patience();
        while !heard.contains(what) {
            assert!(Instant::now() < end, "{what} in {heard}");
            let mut bytes = [0; 4096];
            let len =
                socket.recv(&mut bytes).unwrap_or_else(|error| panic!("{what}: {error}; heard {heard}"));
            heard += &(String::from_utf8_lossy(&bytes[..len]).into_owned() + "\n");
        }
        heard
    };
    assert!(hears("READY=1").contains("STATUS=1 jobs"));
    let begun = Instant::now();
    (0..5).for_each(|_| drop(hears("WATCHDOG=1")));
    assert!(begun.elapsed() < Duration::from_secs(10), "{:?}", begun.elapsed());
    service.write(&code);
    service.running().signal(Signal::HUP);
    hears("RELOADING=1");
    assert!(hears("READY=1").contains("STATUS=1 jobs"));
    service.write("[[job]]\n");
    service.running().signal(Signal::HUP);
    hears("RELOADING=1");
    assert!(hears("READY=1").contains("was refused"));
    service.running().signal(Signal::TERM);
    hears("STOPPING=1");
    assert_eq!(service.running().wait(), Some(0));
}

#[test]
fn a_limit_on_bandwidth_is_lifted_under_a_file_that_waits_for_it() {
    let (world, server) = host(&["code"]);
    let src = world.path("src/code");
    let slow = job(
        &world,
        "code",
        "bwlimit = [{ from = \"23:58\", to = \"23:57\", limit = \"8\" }, { limit = \"8\" }]",
    );
    let mut service = Service::start(&world, &server, &slow);
    service.says("in sync");
    driftless_tests::trees::write_noise(&src.join("big"), 4 << 20, 1);
    until("it is on its way", || {
        told(&service, "code").first().is_some_and(|job| job["in_flight"].as_u64() >= Some(1))
    });
    let begun = Instant::now();
    // It would take more than eight minutes.
    service.reload(&job(&world, "code", ""));
    arrives(&src, server.module("code"));
    assert!(begun.elapsed() < Duration::from_secs(30), "{:?}", begun.elapsed());
    assert_eq!(service.log().matches("connected to").count(), 1, "{}", service.log());
}

#[test]
fn the_log_file_is_followed_when_it_is_moved_away() {
    let (world, server) = host(&["code"]);
    let log: PathBuf = world.path("agent.log");
    let code = job(&world, "code", "");
    let mut service = Service::start(&world, &server, &code);
    service.says("in sync");
    // The head of the file is the service's own: a log file stands before [defaults].
    let config = fs::read_to_string(world.path("agent.toml")).expect("config");
    fs::write(world.path("agent.toml"), format!("log-file = \"{}\"\n{config}", log.display()))
        .expect("write");
    service.running().signal(Signal::HUP);
    until("it writes there", || fs::read_to_string(&log).is_ok_and(|log| log.contains("reloaded: 1 jobs")));
    fs::rename(&log, world.path("agent.log.1")).expect("mv");
    service.running().signal(Signal::HUP);
    until("it writes there", || fs::read_to_string(&log).is_ok_and(|log| log.contains("] reloaded: 1 jobs")));
}

#[test]
fn a_stream_on_which_nothing_moves_is_opened_anew_after_its_timeout() {
    let (world, server) = host(&["code"]);
    let wire = Wire::to(server.address());
    let line = format!("timeout = \"1s\"\nport = {}", wire.address().port());
    let mut service = Service::start(&world, &server, &job(&world, "code", &line));
    service.says("in sync");
    // Nothing is under way, so nothing has to move.
    driftless_tests::wait::stays("it is connected", || !service.log().contains("nothing moved"));
    wire.stall(true);
    plant(&world.path("src/code"), &["f=1"]);
    service.says("job code: nothing moved for 1 s (timeout)");
    wire.stall(false);
    arrives(&world.path("src/code"), server.module("code"));
    service.running().runs();
}
