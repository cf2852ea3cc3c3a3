//! A host with five jobs in one process, through everything that befalls it: a dead link, a full disk, a kill, reloads. Each
//! time the other jobs never notice, and `driftless status` says what is so.

use std::fs;
use std::path::{Path, PathBuf};

use driftless_tests::World;
use driftless_tests::postgres::Postgres;
use driftless_tests::server::Server;
use driftless_tests::service::{Service, to};
use driftless_tests::trees::{plant, write_noise};
use driftless_tests::wait::until;
use driftless_tests::wire::Wire;
use rustix::process::Signal;
use serde_json::Value;

use crate::faults::SmallDisk;
use crate::jobs::{arrives, told};

/// Its folders, and where they are kept.
struct Host {
    service: Service,
    server: Server,
    wire: Wire,
    postgres: Option<Postgres>,
    rows: u32,
    // Unmounted once no program works on it, and before the world is removed with the place where it lay.
    _disk: SmallDisk,
    world: World,
}

const SOURCES: [&str; 5] = ["code", "database", "spool", "nightly", "polled"];

impl Host {
    fn new() -> Option<Self> {
        let world = World::new();
        let disk = SmallDisk::mount(&world.dir("small"), 8)?;
        let mut setup = world.server();
        for name in SOURCES {
            plant(&world.path(&format!("src/{name}")), &["d/first=1"]);
            setup = setup.module(name, &[]);
        }
        let server = setup.module_at("far", &world.dir("small/far"), &[]).start();
        let wire = Wire::to(server.address());
        let postgres = Postgres::start(&world);
        if let Some(postgres) = &postgres {
            postgres.sql("create table shop (line text)");
        }
        let jobs = jobs(&world, &wire, postgres.as_ref());
        let service = Service::start(&world, &server, &jobs);
        Some(Self { service, server, wire, postgres, rows: 0, world, _disk: disk })
    }

    fn src(&self, name: &str) -> PathBuf {
        self.world.path(&format!("src/{name}"))
    }

    /// Every job but these brings across what happens now.
    fn all_live_but(&mut self, not: &[&str], what: &str) {
        self.service.running().runs();
        let live = |name: &&str| !not.contains(name) && *name != "database";
        for name in SOURCES.iter().filter(|name| live(name)) {
            plant(&self.src(name), &[&format!("d/{what}=1"), &format!("{what}/deep/er=2")]);
        }
        for name in SOURCES.iter().filter(|name| live(name)) {
            arrives(&self.src(name), self.server.module(name));
        }
        if !not.contains(&"far") && !not.contains(&"spool") {
            arrives(&self.src("spool"), self.server.module("far"));
        }
        if not.contains(&"database") {
            return;
        }
        let Some(postgres) = &self.postgres else { return };
        self.rows += 1;
        let row = format!("row {} {what}", self.rows);
        postgres.sql(&format!("insert into shop values ('{row}')"));
        let dump = self.server.module("database").join("shop.sql");
        until(format_args!("the dump has {row:?}"), || {
            fs::read_to_string(&dump).is_ok_and(|dump| dump.contains(&row))
        });
    }

    /// How many destinations this holds of, by `driftless status`, and what all say.
    fn count(&self, holds: impl Fn(&Value) -> bool) -> usize {
        SOURCES.iter().flat_map(|job| told(&self.service, job)).filter(|watch| holds(watch)).count()
    }

    #[track_caller]
    fn status(&self, what: &str, job: &str, holds: impl Fn(&Value) -> bool) {
        until(
            format_args!("the status of {job} says that {what}; it says {:?}", told(&self.service, job)),
            || told(&self.service, job).iter().any(&holds),
        );
    }
}

/// The config. The database is planned by the second, the job by schedule alone every other one.
fn jobs(world: &World, wire: &Wire, postgres: Option<&Postgres>) -> String {
    let source = |name: &str| world.path(&format!("src/{name}")).display().to_string();
    let dump = Path::new(&source("database")).join("shop.sql");
    // Where there is no PostgreSQL the test has said so, and a file stands for the dump.
    let words =
        postgres.map_or_else(|| vec!["touch".into(), dump.display().to_string()], |it| it.dump(&dump));
    let before = words.iter().map(|word| format!("\"{word}\"")).collect::<Vec<_>>().join(", ");
    format!(
        r#"delete = true
[[job]]
name = "code"
source = "{code}/"
destination = {{ to = "{to_code}", port = {port} }}
exclude = ["*.o"]
[[job]]
name = "database"
source = "{database}/"
destination = "{to_database}"
mode = "scheduled"
schedule = "* * * * * *"
before = {{ command = [{before}], timeout = "1m" }}
[[job]]
name = "spool"
source = "{spool}/"
destinations = ["{to_spool}", "{to_far}"]
[[job]]
name = "nightly"
source = "{nightly}/"
destination = "{to_nightly}"
mode = "scheduled"
schedule = "*/2 * * * * *"
[[job]]
name = "polled"
source = "{polled}/"
destination = "{to_polled}"
engine = "poll"
"#,
        code = source("code"),
        to_code = to("code"),
        port = wire.address().port(),
        database = source("database"),
        to_database = to("database"),
        spool = source("spool"),
        to_spool = to("spool"),
        to_far = to("far"),
        nightly = source("nightly"),
        to_nightly = to("nightly"),
        polled = source("polled"),
        to_polled = to("polled"),
    )
}

#[test]
fn five_jobs_of_one_host_go_through_everything_and_none_disturbs_another() {
    let Some(mut host) = Host::new() else { return };
    host.all_live_but(&[], "start");
    until("all six destinations are told, and well", || host.count(|watch| watch["trouble"].is_null()) == 6);
    host.status("it is polled", "polled", |watch| watch["engine"] == "poll");
    until("what has no watch says when it ran", || {
        host.count(|watch| watch["schedule"]["last"]["exit"] == 0) == 2
    });

    // The link of one job is cut.
    host.wire.cut();
    plant(&host.src("code"), &["d/meanwhile=1"]);
    host.status("it is cut off, and since when", "code", |watch| {
        watch["connected"].is_null()
            && watch["trouble"].is_string()
            && watch["oldest_change_seconds"].is_number()
    });
    host.all_live_but(&["code"], "cut");
    assert_eq!(host.count(|watch| watch["trouble"].is_string()), 1);
    host.wire.mend();
    host.all_live_but(&[], "mended");
    host.status("it is connected", "code", |watch| {
        watch["connected"].is_string() && watch["trouble"].is_null()
    });

    // What is waited for is there, on every destination.
    for name in ["code", "spool", "polled"] {
        plant(&host.src(name), &["waited/for=1"]);
        let wait = format!("wait {} --timeout 60s", host.src(name).display());
        host.service.operate(&wait).ok();
        assert!(host.server.module(name).join("waited/for").exists(), "{name}");
    }
    assert!(host.server.module("far").join("waited/for").exists());
    // What only runs by its schedule is not waited for, and says why.
    let late = host.service.operate(&format!("wait {} --timeout 1s", host.src("nightly").display()));
    assert!(late.code != Some(0), "{}", late.stderr);

    // The disk of one destination is full.
    write_noise(&host.src("spool").join("large"), 12 << 20, 7);
    host.status("the disk is full there", "spool", |watch| {
        watch["destination"].as_str().is_some_and(|to| to.ends_with("::far"))
            && watch["last_problem"]["text"].as_str().is_some_and(|text| text.contains("No space left"))
    });
    host.all_live_but(&["far"], "full");
    fs::remove_file(host.src("spool").join("large")).expect("rm");
    host.all_live_but(&[], "roomy");

    // It is killed, and the host goes on.
    host.service.running().kill();
    assert_eq!(host.service.operate("status").code, Some(10));
    for name in ["code", "spool", "polled"] {
        fs::rename(host.src(name).join("d"), host.src(name).join("e")).expect("mv");
    }
    host.service.restart();
    host.all_live_but(&[], "restarted");

    // A job goes, and the others stay as they are.
    let connected =
        |host: &Host, job: &str| host.service.log().matches(&format!("job {job}: connected to")).count();
    let before = ["code", "spool", "polled"].map(|job| connected(&host, job));
    let jobs = jobs(&host.world, &host.wire, host.postgres.as_ref());
    let (start, end) = (jobs.find("[[job]]\nname = \"nightly\""), jobs.find("[[job]]\nname = \"polled\""));
    let without = jobs[..start.expect("it is there")].to_owned() + &jobs[end.expect("it is there")..];
    host.service.reload(&without);
    host.all_live_but(&["nightly"], "reloaded");
    assert_eq!(told(&host.service, "nightly").len(), 0);
    host.service.reload("[[job]]\nname = \"code\"\n");
    host.all_live_but(&["nightly"], "refused");
    assert_eq!(["code", "spool", "polled"].map(|job| connected(&host, job)), before);

    host.service.running().signal(Signal::TERM);
    assert_eq!(host.service.running().wait(), Some(0));
    for name in SOURCES.iter().chain(&["far"]) {
        let left = driftless_tests::agent::leftovers(host.server.module(name));
        assert!(left.is_empty(), "{name}: {left:?}");
    }
}
