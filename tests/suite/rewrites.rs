//! The brake on rewrites: when most of a source gets another content, the copy keeps what it has until somebody has agreed.

use std::fs;
use std::path::Path;

use driftless_tests::World;
use driftless_tests::agent::{Agent, Running};
use driftless_tests::oracle::slash;
use driftless_tests::server::Server;
use driftless_tests::trees::{equal, names, plant};
use driftless_tests::wait::{stays, until, until_ok};

const FILES: usize = 300;

/// A source of many files under watch with a brake on rewrites, and its copy.
struct Braked {
    src: std::path::PathBuf,
    server: Server,
    agent: Agent,
    watch: Running,
    options: &'static str,
    // Dropped last: the folder outlives the programs.
    _world: World,
}

impl Braked {
    fn with(options: &'static str) -> Self {
        let world = World::new();
        let src = world.path("src");
        for i in 0..FILES {
            plant(&src, &[&format!("d{}/{i}=precious {i}", i % 10)]);
        }
        let server = world.backup();
        let agent = world.agent(&server);
        let watch = agent.watch(options, slash(&src), "backup");
        let braked = Self { src, server, agent, watch, options, _world: world };
        until_ok("the first reconcile", || equal(&braked.src, braked.copy()));
        let known = format!("\"known_entries\":{},", FILES + 10);
        until("the copy is known", || braked.agent.operate("status --json").stdout.contains(&known));
        braked
    }

    fn copy(&self) -> &Path {
        self.server.module("backup")
    }

    fn start_again(&mut self) {
        self.watch.kill();
        self.watch = self.agent.watch(self.options, slash(&self.src), "backup");
    }

    fn file(&self, i: usize) -> std::path::PathBuf {
        self.src.join(format!("d{}/{i}", i % 10))
    }

    /// Overwrites two files of three.
    fn overwrite(&self) {
        for i in (0..FILES).filter(|i| i % 3 < 2) {
            fs::write(self.file(i), format!("@#$%& {i}")).expect("write");
        }
    }

    fn says(&self, text: &str) {
        until(format!("it says {text:?}"), || self.watch.log().contains(text));
    }

    fn says_again(&self, first: &str, text: &str) {
        until(format!("it says {text:?} after {first:?}"), || {
            self.watch.log().rsplit_once(first).is_some_and(|(_, after)| after.contains(text))
        });
    }

    /// Files of the copy with a content that begins so.
    fn having(&self, start: &str) -> usize {
        let of = |name: &String| fs::read_to_string(self.copy().join(name)).unwrap_or_default();
        names(self.copy()).iter().filter(|name| !name.ends_with('/') && of(name).starts_with(start)).count()
    }

    fn decide(&self, decision: &str, state: &str) {
        let id = self.agent.plan(state);
        self.agent.operate(&format!("plan {decision} {id}")).ok();
    }

    #[track_caller]
    fn arrives(&mut self) {
        until_ok("it arrives", || equal(&self.src, self.copy()));
        self.watch.runs();
        until("no plan is left", || self.agent.operate("plan list").stdout.starts_with("no plans"));
    }
}

#[test]
fn a_mass_of_rewrites_is_held_while_the_rest_flows_until_it_is_approved() {
    for options in ["-a --delete --rewrite-brake=100:30%", "-a --rewrite-brake=100:30%"] {
        let mut braked = Braked::with(options);
        braked.overwrite();
        braked.says("would be rewritten");
        braked.says("the brake is 100:30%");
        plant(&braked.src, &["new=1", "d0/new=2"]);
        until("what is new flows", || {
            braked.copy().join("new").exists() && braked.copy().join("d0/new").exists()
        });
        if options.contains("delete") {
            fs::remove_file(braked.file(2)).expect("rm");
            until("deletions leave", || !braked.copy().join("d2/2").exists());
        }
        // Some leave before a mass of them can be told from daily work: never more than the brake says.
        stays("the copy has the most", || braked.having("@#$%&") <= 100);
        // What was on its way when the stream was closed may be in the plan though it has arrived.
        until("the plan names all that is held", || {
            let id = braked.agent.plan("held");
            let shown = braked.agent.operate(&format!("plan show {id}")).stdout;
            let entries = shown.lines().find_map(|line| line.strip_prefix("entries ")).expect("a count");
            let least = 200 - braked.having("@#$%&");
            shown.contains("\nkind rewrites\n") && (least..=200).contains(&entries.parse().expect("a number"))
        });
        let status = braked.agent.operate("status").stdout;
        assert!(status.contains("rewrites are held: "), "{status}");
        braked.decide("approve", "held");
        braked.arrives();
        assert_eq!(braked.having("@#$%&"), 200);
        // Daily work goes on.
        fs::write(braked.file(0), "edited").expect("write");
        braked.arrives();
    }
}

#[test]
fn rewrites_made_while_nobody_watched_stay_off_the_copy_once_rejected() {
    let mut braked = Braked::with("-a --delete --rewrite-brake=100:30%");
    braked.watch.kill();
    braked.overwrite();
    plant(&braked.src, &["meanwhile=1"]);
    braked.start_again();
    braked.says("200 of 310 entries (64 %) would be rewritten, the brake is 100:30%");
    braked.says("but for the rewrites that are held");
    until("the rest flows", || braked.copy().join("meanwhile").exists());
    assert_eq!(braked.having("@#$%&"), 0);
    braked.decide("reject", "held");
    braked.says_again("no longer held", "in sync");
    assert_eq!(braked.having("@#$%&"), 0);

    // A file that changes again is the source's, and so is every one that was not held.
    fs::write(braked.file(0), "written anew").expect("write");
    fs::write(braked.file(2), "daily work").expect("write");
    let reads =
        |name: &str, want: &str| fs::read_to_string(braked.copy().join(name)).is_ok_and(|text| text == want);
    until("it arrives", || reads("d0/0", "written anew") && reads("d2/2", "daily work"));
    assert_eq!(braked.having("@#$%&"), 0);

    // The next starts know of the decision, with the brake and without it.
    for options in [braked.options, "-a --delete"] {
        braked.watch.kill();
        braked.watch = braked.agent.watch(options, slash(&braked.src), "backup");
        braked.says("in sync");
        stays("the copy keeps what it has", || braked.having("precious") == FILES - 2);
    }
    let rejected = braked.agent.plan("rejected");
    let shown = braked.agent.operate(&format!("plan show {rejected}")).stdout;
    assert!(shown.contains("\nentries 199\n") && !shown.contains(" d0/0\n"), "{shown}");
    braked.decide("approve", "rejected");
    braked.arrives();
}

#[test]
fn what_is_held_is_not_replaced_by_way_of_a_rename() {
    let mut braked = Braked::with("-a --delete --rewrite-brake=20:5%");
    braked.overwrite();
    braked.says("would be rewritten");
    braked.says("but for the rewrites that are held");
    let before = braked.having("precious");
    assert!(before >= FILES - 20, "{before}");
    // As those do who name what they have encrypted, and as every careful save does.
    for i in (0..30).filter(|i| i % 3 == 0) {
        fs::rename(braked.file(i), braked.file(i).with_extension("locked")).expect("mv");
    }
    for i in (0..12).filter(|i| i % 3 == 2) {
        let beside = format!("beside {i}");
        fs::write(braked.src.join(&beside), "another content").expect("write");
        until("it is there for long enough to be sent", || braked.copy().join(&beside).exists());
        fs::rename(braked.src.join(&beside), braked.file(i)).expect("mv");
        until("it has gone", || !braked.copy().join(&beside).exists());
    }
    plant(&braked.src, &["last=1"]);
    until("the rest flows", || braked.copy().join("last").exists());
    stays("no file lost what it was", || braked.having("precious") == before);
    let locked = names(braked.copy()).iter().filter(|name| name.ends_with(".locked")).count();
    assert_eq!(locked, 10, "a rename is a rename");
    // The first 20 may have left before it was held.
    until("the plan has them", || {
        let id = braked.agent.plan("held");
        braked.agent.operate(&format!("plan show {id}")).stdout.contains(" d7/27.locked\n")
    });
    braked.decide("approve", "held");
    braked.arrives();
}
