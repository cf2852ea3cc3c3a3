//! supervise: the commands around a scheduled run. Each is the leader of a process group of its own, which is killed whole
//! when its time is over; its output goes to the log, line by line.
//!
//! Touches: whatever the operator's command touches. Never: a source or a destination by itself.

use std::io::{self, BufRead as _, BufReader, Read};
use std::os::unix::process::{CommandExt as _, ExitStatusExt as _};
use std::process::{Child, Command, Stdio};
use std::sync::mpsc::{Sender, channel};
use std::thread::sleep;
use std::time::{Duration, Instant};

use driftless_proto::model::path::Escaped;
use rustix::process::{Pid, Signal, kill_process_group};

use super::stop::Stop;
use crate::job::Step;
use crate::voice::Voice;

/// How often it is looked whether a command has ended.
const LOOK: Duration = Duration::from_millis(20);

/// How long a command has to clean up between SIGTERM and SIGKILL.
const GRACE: Duration = Duration::from_secs(3);

/// How long its last lines are waited for: a process that it left behind may hold its output open for days.
const LAST_LINES: Duration = Duration::from_secs(1);

/// Longest line of output that stays one, in bytes.
const LINE: u64 = 4096;

/// A command that did not do what it was for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Failed {
    /// Its exit code; as a shell has it, 124 when its time was over, 126 when it could not be started, and 128 more than
    /// the signal that ended it.
    pub(super) code: u8,
    /// What happened, as a clause.
    pub(super) why: String,
}

/// Runs it to its end, or until its time is over or `stop` is said.
///
/// # Errors
/// Everything but exit code 0.
pub(super) fn run(
    step: &Step,
    name: &'static str,
    environment: &[(&str, String)],
    voice: &Voice,
    stop: &Stop,
) -> Result<(), Failed> {
    let failed = |code, why: String| Err(Failed { code, why: format!("{name} {why}") });
    let started = Command::new(&step.command[0])
        .args(&step.command[1..])
        .envs(environment.iter().map(|(name, value)| (name, value)))
        // A command is not the service, and has no business with its passwords.
        .env_remove("NOTIFY_SOCKET")
        .env_remove("DRIFTLESS_PASSWORD")
        .env_remove("RSYNC_PASSWORD")
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .process_group(0)
        .spawn();
    let mut child = match started {
        Ok(child) => child,
        Err(error) => return failed(126, format!("cannot be started: {error}")),
    };
    let (done, drained) = channel();
    read(child.stdout.take(), name, voice, false, &done);
    read(child.stderr.take(), name, voice, true, &done);
    drop(done);
    let until = Instant::now() + step.timeout;
    let ended = loop {
        match child.try_wait() {
            Ok(Some(status)) => break Ok(status),
            Err(error) => break Err((126, format!("cannot be waited for: {error}"))),
            Ok(None) if stop.is_told() => break Err((143, "was stopped".to_owned())),
            Ok(None) if Instant::now() >= until => {
                break Err((
                    124,
                    format!("took longer than {} s and was killed", step.timeout.as_secs_f64()),
                ));
            }
            Ok(None) => sleep(LOOK),
        }
    };
    if ended.is_err() {
        kill(&mut child);
    }
    // Both readers at their end, or not soon.
    drained.recv_timeout(LAST_LINES).ok();
    match ended {
        Err((code, why)) => failed(code, why),
        Ok(status) => match (status.code(), status.signal()) {
            (Some(0), _) => Ok(()),
            (Some(code), _) => {
                failed(u8::try_from(code).unwrap_or(255), format!("ended with exit code {code}"))
            }
            (None, signal) => {
                let signal = signal.unwrap_or(0);
                failed(u8::try_from(128 + signal).unwrap_or(255), format!("was ended by signal {signal}"))
            }
        },
    }
}

/// Ends the whole group: politely, then for good. Until its leader has been waited for nobody else gets the number.
fn kill(child: &mut Child) {
    let group = Pid::from_child(child);
    kill_process_group(group, Signal::TERM).ok();
    let until = Instant::now() + GRACE;
    while Instant::now() < until && matches!(child.try_wait(), Ok(None)) {
        sleep(LOOK);
    }
    // What the leader started may outlive it, and may not have listened.
    kill_process_group(group, Signal::KILL).ok();
    child.wait().ok();
}

/// Says what a command prints; `done` is dropped at its end.
fn read(
    pipe: Option<impl Read + Send + 'static>,
    name: &'static str,
    voice: &Voice,
    problem: bool,
    done: &Sender<()>,
) {
    let Some(pipe) = pipe else { return };
    let (voice, done) = (voice.clone(), done.clone());
    let work = move || {
        let mut lines = BufReader::new(pipe);
        let mut line = Vec::new();
        while next_line(&mut lines, &mut line).is_ok_and(|more| more) {
            let text = format!("{name}: {}", Escaped(&line));
            if problem { voice.problem("", &text) } else { voice.say("", &text) }
        }
        drop(done);
    };
    // Without a thread the pipe is closed, and the command is told of it.
    std::thread::Builder::new().name(name.into()).spawn(work).ok();
}

/// Reads the next line, without its end, or as much of it as [`LINE`] allows; false at the end of the output.
fn next_line(from: &mut impl io::BufRead, line: &mut Vec<u8>) -> io::Result<bool> {
    line.clear();
    from.take(LINE).read_until(b'\n', line)?;
    let more = !line.is_empty();
    if line.last() == Some(&b'\n') {
        line.pop();
    }
    Ok(more)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn step(line: &str, timeout: Duration) -> Step {
        Step { command: vec!["/bin/sh".into(), "-c".into(), line.into()], timeout }
    }

    fn outcome(line: &str, timeout: Duration) -> Result<(), Failed> {
        let environment = [("DRIFTLESS_JOB", "j".to_owned())];
        run(&step(line, timeout), "before", &environment, &Voice::default(), &Stop::default())
    }

    #[test]
    fn a_command_ends_as_a_shell_would_tell() {
        let long = Duration::from_secs(60);
        assert_eq!(outcome("test \"$DRIFTLESS_JOB\" = j", long), Ok(()));
        let table = [
            ("exit 3", 3, "before ended with exit code 3"),
            ("kill -9 $$", 137, "before was ended by signal 9"),
        ];
        for (line, code, why) in table {
            assert_eq!(outcome(line, long), Err(Failed { code, why: why.into() }), "{line}");
        }
        let absent = Step { command: vec!["/no/such/program".into()], timeout: long };
        let failed =
            run(&absent, "after", &[], &Voice::default(), &Stop::default()).expect_err("no such program");
        assert_eq!(failed.code, 126);
    }

    #[test]
    fn a_command_whose_time_is_over_is_killed_with_all_that_it_started() {
        let dir = tempfile::tempdir().expect("dir");
        let pid = dir.path().join("pid");
        // The grandchild heeds no polite word.
        let line = format!("(trap '' TERM; echo $BASHPID; exec sleep 600) >{} & wait", pid.display());
        let step = Step {
            command: vec!["/bin/bash".into(), "-c".into(), line.into()],
            timeout: Duration::from_millis(300),
        };
        let failed = run(&step, "before", &[], &Voice::default(), &Stop::default()).expect_err("too long");
        assert_eq!(failed.code, 124);
        let pid =
            rustix::fs::openat(rustix::fs::CWD, &pid, rustix::fs::OFlags::RDONLY, rustix::fs::Mode::empty());
        let mut text = String::new();
        std::fs::File::from(pid.expect("pid file")).read_to_string(&mut text).expect("read");
        let pid = Pid::from_raw(text.trim().parse().expect("a number")).expect("a pid");
        let gone = || {
            let stat = rustix::process::test_kill_process(pid);
            // Whoever inherits it may take a while to notice that it is dead.
            stat.is_err() || zombie(pid)
        };
        let end = Instant::now() + Duration::from_secs(20);
        while !gone() {
            assert!(Instant::now() < end, "it outlived its group");
            sleep(LOOK);
        }
    }

    fn zombie(pid: Pid) -> bool {
        let path = format!("/proc/{}/stat", pid.as_raw_nonzero());
        let file =
            rustix::fs::openat(rustix::fs::CWD, path, rustix::fs::OFlags::RDONLY, rustix::fs::Mode::empty());
        let mut text = String::new();
        file.is_ok_and(|file| {
            std::fs::File::from(file).read_to_string(&mut text).is_ok() && text.contains(") Z ")
        })
    }

    #[test]
    fn a_line_without_an_end_does_not_grow_for_ever() {
        let mut line = Vec::new();
        let mut from = BufReader::new(io::repeat(b'x').take(2 * LINE).chain(&b"\nend"[..]));
        let mut lens = Vec::new();
        while next_line(&mut from, &mut line).expect("read") {
            lens.push(line.len());
        }
        let whole = usize::try_from(LINE).expect("small");
        assert_eq!(lens, [whole, whole, 0, 3]);
    }
}
