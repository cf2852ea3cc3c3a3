//! control: what a running watch can be asked: a unix socket for each watch in `STATE_DIR/control`, for its own user and
//! root only. A request is one line, its answer one line of JSON, and then the end: a later request adds a word.
//!
//! * [`Control`]: the watch's side, [`Answers`]: what it must know; [`picture`]: what it tells; [`target`]: which
//!   paths are meant.
//! * `status`, `check`, `wait`, `explain`: the commands that ask.
//!
//! Touches: its socket. Never: the source, the network.

mod check;
mod explain;
pub(crate) mod operands;
pub(crate) mod picture;
pub(crate) mod schedule;
mod status;
pub mod target;
mod wait;

use std::fs::DirBuilder;
use std::io::{self, BufRead, BufReader, Read, Write};
use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use std::os::unix::fs::DirBuilderExt;
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use driftless_proto::model::path::RelPath;
use rustix::event::{EventfdFlags, PollFd, PollFlags, Timespec, eventfd, poll};
use rustix::fs::{AtFlags, CWD, Mode, OFlags};
use serde_json::{Value, json};

pub use check::{MAX_AGE, run as check};
pub use explain::run as explain;
pub use status::run as status;
pub use wait::run as wait;

use self::target::Target;
use crate::plan::Watched;

/// Longest request, in bytes.
const REQUEST_LEN: u64 = 64 * 1024;

/// A peer that says nothing for this long is let go: it must not keep the others waiting.
const PATIENCE: Duration = Duration::from_secs(2);

/// How often it is looked whether another process still answers for this watch.
const AGAIN: Timespec = Timespec { tv_sec: 1, tv_nsec: 0 };

/// Requests that are being answered at once, each on a thread of its own; the status is not among them.
const ANSWERED_MAX: usize = 256;

/// What a watch can be asked.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Request {
    /// `acked PATH...`: what the journal says was acknowledged of these files. The paths lie beneath the source, as base64.
    Acked(Vec<RelPath>),
    /// `distrust PATH...`: what the journal says of these paths is not so: they are to be looked at, and sent by their
    /// content.
    Distrust(Vec<RelPath>),
    /// `explain TARGET`: everything about one path.
    Explain(Target),
    /// `operands`: what it keeps where, as [`operands`] has it.
    Operands,
    /// `status`: the picture.
    Status,
    /// `wait MILLISECONDS TARGET`, 0 for no limit: an answer once everything written before is durable.
    Wait(Target, Option<Duration>),
}

impl Request {
    fn parse(line: &str) -> Option<Self> {
        let mut words = line.split_whitespace();
        let request = match words.next()? {
            verb @ ("acked" | "distrust") => {
                let paths = words.by_ref().map(path_of).collect::<Option<Vec<_>>>()?;
                if paths.is_empty() {
                    return None;
                }
                if verb == "acked" { Self::Acked(paths) } else { Self::Distrust(paths) }
            }
            "explain" => Self::Explain(Target::parse(&mut words)?),
            "operands" => Self::Operands,
            "status" => Self::Status,
            "wait" => {
                let limit = words.next()?.parse().ok()?;
                Self::Wait(Target::parse(&mut words)?, (limit > 0).then(|| Duration::from_millis(limit)))
            }
            _ => return None,
        };
        words.next().is_none().then_some(request)
    }
}

fn path_of(word: &str) -> Option<RelPath> {
    let bytes = URL_SAFE_NO_PAD.decode(word.strip_prefix('/')?).ok()?;
    if bytes.is_empty() { Some(RelPath::root()) } else { RelPath::parse(&bytes).ok() }
}

/// The requests with this verb for these paths: as many as it takes, and how many paths are in each.
pub(crate) fn requests(verb: &str, paths: &[RelPath]) -> Vec<(String, usize)> {
    let mut requests: Vec<(String, usize)> = Vec::new();
    for path in paths {
        let word = format!(" /{}", URL_SAFE_NO_PAD.encode(path.as_bytes()));
        match requests.last_mut() {
            Some((request, count)) if request.len() + word.len() < REQUEST_LEN as usize => {
                request.push_str(&word);
                *count += 1;
            }
            _ => requests.push((format!("{verb}{word}"), 1)),
        }
    }
    requests
}

/// What a watch answers. Called from several threads.
pub(crate) trait Answers: Send + Sync {
    /// What was acknowledged of these files, one answer each.
    fn acked(&self, paths: &[RelPath]) -> Value;

    /// Takes the word of somebody who looked that the copy does not hold what the journal says.
    fn distrust(&self, paths: &[RelPath]) -> Value;

    /// What is known of a path.
    fn explain(&self, target: &Target) -> Value;

    /// What it keeps where; see [`operands`].
    fn operands(&self) -> Value;

    /// The picture. Must not take long: whoever asks next waits.
    fn status(&self) -> Value;

    /// Returns once everything that was written before is durable, or when it is time, or when whoever asked has
    /// `gone`: then `Null`.
    fn wait(&self, target: &Target, until: Option<Instant>, gone: &dyn Fn() -> bool) -> Value;
}

/// A watch that answers. Dropping it takes its socket away.
pub(crate) struct Control {
    dir: Arc<OwnedFd>,
    name: String,
    stop: Arc<OwnedFd>,
    /// Nobody gets an answer any more.
    closed: Arc<AtomicBool>,
    /// Returns whether the socket is ours.
    thread: Option<JoinHandle<bool>>,
}

impl Control {
    /// Answers for this watch; while another process does, which then has the journal too, once that has ended.
    ///
    /// # Errors
    /// When the socket cannot be made.
    pub(crate) fn start(state_dir: &Path, watch: &Watched, answers: Arc<dyn Answers>) -> io::Result<Self> {
        let dir = Arc::new(open_dir(state_dir)?);
        let name = name(watch);
        let mut listener = listen(&dir, &name)?;
        let stop = Arc::new(eventfd(0, EventfdFlags::CLOEXEC | EventfdFlags::NONBLOCK)?);
        let closed = Arc::new(AtomicBool::new(false));
        let desk = Desk { answers, closed: Arc::clone(&closed), answered: Arc::default() };
        let (stopped, beneath, own) = (Arc::clone(&stop), Arc::clone(&dir), name.clone());
        let work = move || {
            loop {
                if let Some(listener) = listener {
                    desk.serve(&listener, &stopped);
                    return true;
                }
                let mut fds = [PollFd::new(&*stopped, PollFlags::IN)];
                if poll(&mut fds, Some(&AGAIN)).is_ok_and(|ready| ready > 0) {
                    return false;
                }
                // It could be made at the start, had it been free.
                listener = listen(&beneath, &own).unwrap_or_default();
            }
        };
        let thread = std::thread::Builder::new().name("control".into()).spawn(work)?;
        Ok(Self { dir, name, stop, closed, thread: Some(thread) })
    }
}

/// The socket of this name, in place of one that was left behind; `None` while somebody answers there.
fn listen(dir: &OwnedFd, name: &str) -> io::Result<Option<UnixListener>> {
    let path = beneath(dir, name);
    if UnixStream::connect(&path).is_ok() {
        return Ok(None);
    }
    // Left behind by a watch that was killed.
    match rustix::fs::unlinkat(dir, name, AtFlags::empty()) {
        Ok(()) | Err(rustix::io::Errno::NOENT) => {}
        Err(error) => return Err(error.into()),
    }
    // The folder keeps others out from the start; the mode says the same.
    let listener = UnixListener::bind(&path)?;
    rustix::fs::chmodat(dir, name, Mode::RUSR | Mode::WUSR, AtFlags::empty())?;
    listener.set_nonblocking(true)?;
    Ok(Some(listener))
}

impl Drop for Control {
    fn drop(&mut self) {
        self.closed.store(true, Ordering::Relaxed);
        // A counter at its limit would fail, but then the thread has been told already.
        rustix::io::write(&self.stop, &1_u64.to_ne_bytes()).ok();
        let ours = self.thread.take().is_some_and(|thread| thread.join().unwrap_or_default());
        if ours {
            // Left behind, it is taken away by the next watch.
            rustix::fs::unlinkat(&self.dir, &*self.name, AtFlags::empty()).ok();
        }
    }
}

/// Where requests come in.
struct Desk {
    answers: Arc<dyn Answers>,
    closed: Arc<AtomicBool>,
    answered: Arc<AtomicUsize>,
}

impl Desk {
    fn serve(&self, listener: &UnixListener, stop: &OwnedFd) {
        loop {
            let mut fds = [PollFd::new(listener, PollFlags::IN), PollFd::new(stop, PollFlags::IN)];
            match poll(&mut fds, None) {
                Err(rustix::io::Errno::INTR) => continue,
                Err(_) => return,
                Ok(_) => {}
            }
            if !fds[1].revents().is_empty() {
                return;
            }
            if let Ok((stream, _)) = listener.accept() {
                // Whoever goes away early wants no answer.
                let _gone = self.take(stream);
            }
        }
    }

    fn take(&self, stream: UnixStream) -> io::Result<()> {
        stream.set_nonblocking(false)?;
        stream.set_read_timeout(Some(PATIENCE))?;
        stream.set_write_timeout(Some(PATIENCE))?;
        let peer = rustix::net::sockopt::socket_peercred(stream.as_fd())?.uid;
        if peer != rustix::process::geteuid() && !peer.is_root() {
            return Err(io::ErrorKind::PermissionDenied.into());
        }
        let mut line = String::new();
        BufReader::new(&stream).take(REQUEST_LEN).read_line(&mut line)?;
        match Request::parse(&line) {
            Some(Request::Status) => say(&stream, &self.answers.status()),
            Some(request) => self.answer(stream, request),
            None => say(&stream, &json!({ "error": "this watch does not know that request" })),
        }
    }

    /// Answers on a thread of its own: it may take as long as the server is away.
    fn answer(&self, stream: UnixStream, request: Request) -> io::Result<()> {
        if self.answered.fetch_add(1, Ordering::Relaxed) >= ANSWERED_MAX {
            self.answered.fetch_sub(1, Ordering::Relaxed);
            return say(&stream, &json!({ "error": "too many ask at once" }));
        }
        let (answers, closed) = (Arc::clone(&self.answers), Arc::clone(&self.closed));
        let answered = Arc::clone(&self.answered);
        let work = move || {
            let gone = || closed.load(Ordering::Relaxed) || has_gone(&stream);
            let answer = match &request {
                Request::Acked(paths) => answers.acked(paths),
                Request::Distrust(paths) => answers.distrust(paths),
                Request::Explain(target) => answers.explain(target),
                Request::Operands => answers.operands(),
                Request::Status => answers.status(),
                Request::Wait(target, limit) => {
                    answers.wait(target, limit.map(|limit| Instant::now() + limit), &gone)
                }
            };
            if !answer.is_null() {
                say(&stream, &answer).ok();
            }
            answered.fetch_sub(1, Ordering::Relaxed);
        };
        std::thread::Builder::new().name("answer".into()).spawn(work)?;
        Ok(())
    }
}

fn say(mut stream: &UnixStream, answer: &Value) -> io::Result<()> {
    stream.write_all(format!("{answer}\n").as_bytes())
}

/// Whether the other end was closed.
fn has_gone(stream: &UnixStream) -> bool {
    let mut fds = [PollFd::new(stream, PollFlags::empty())];
    let now = Timespec { tv_sec: 0, tv_nsec: 0 };
    poll(&mut fds, Some(&now)).is_ok() && !fds[0].revents().is_empty()
}

/// Asks every watch of a state folder. What does not answer is no watch.
pub(crate) fn ask_all(state_dir: &Path, request: &str) -> io::Result<Vec<Value>> {
    let asked = ask_each(state_dir, request, Some(PATIENCE * 2))?;
    Ok(asked.into_iter().filter_map(Result::ok).collect())
}

/// Asks every watch of a state folder, all at once; what came of each, in the order of their sockets' names. A watch
/// that was killed has left a socket behind at which the connection is refused.
fn ask_each(
    state_dir: &Path,
    request: &str,
    patience: Option<Duration>,
) -> io::Result<Vec<io::Result<Value>>> {
    let dir = open_dir(state_dir)?;
    let mut names = Vec::new();
    for name in rustix::fs::Dir::read_from(&dir)? {
        let name = name?;
        let name = name.file_name().to_str().unwrap_or_default();
        if name.ends_with(".sock") {
            names.push(name.to_owned());
        }
    }
    names.sort();
    Ok(std::thread::scope(|scope| {
        let ask = |name: &String| {
            let path = beneath(&dir, name);
            scope.spawn(move || ask(&path, request, patience))
        };
        let asked: Vec<_> = names.iter().map(ask).collect();
        let panicked = || Err(io::Error::other("asking failed"));
        asked.into_iter().map(|asked| asked.join().unwrap_or_else(|_| panicked())).collect()
    }))
}

/// Asks the watch of this source and destination; `None` where none runs.
pub(crate) fn ask_one(state_dir: &Path, watch: &Watched, request: &str) -> Option<Value> {
    let dir = open_dir(state_dir).ok()?;
    ask(&beneath(&dir, &name(watch)), request, Some(PATIENCE * 2)).ok()
}

fn ask(path: &Path, request: &str, patience: Option<Duration>) -> io::Result<Value> {
    let mut stream = UnixStream::connect(path)?;
    stream.set_read_timeout(patience)?;
    stream.write_all(format!("{request}\n").as_bytes())?;
    let mut text = String::new();
    stream.read_to_string(&mut text)?;
    if text.is_empty() {
        return Err(io::ErrorKind::UnexpectedEof.into());
    }
    serde_json::from_str(&text).map_err(io::Error::from)
}

fn open_dir(state_dir: &Path) -> io::Result<OwnedFd> {
    let path = state_dir.join("control");
    DirBuilder::new().recursive(true).mode(0o700).create(&path)?;
    let flags = OFlags::DIRECTORY | OFlags::CLOEXEC;
    Ok(rustix::fs::openat(CWD, &path, flags, Mode::empty())?)
}

/// A socket's path may have 108 bytes only (`unix(7)`), a state folder's any number: so it is named by way of the open
/// folder.
fn beneath(dir: &OwnedFd, name: &str) -> PathBuf {
    format!("/proc/self/fd/{}/{name}", dir.as_raw_fd()).into()
}

fn name(watch: &Watched) -> String {
    let mut hasher = blake3::Hasher::new();
    for part in [&watch.source, &watch.destination] {
        hasher.update(&(part.len() as u64).to_le_bytes()).update(part.as_bytes());
    }
    format!("{}.sock", &hasher.finalize().to_hex()[..16])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn requests_about_paths_are_as_many_as_it_takes_and_are_read_back() {
        let paths: Vec<RelPath> = (0..5000)
            .map(|n| RelPath::parse(format!("a directory/n\u{e4}me {n}\n").as_bytes()).expect("path"))
            .chain([RelPath::root()])
            .collect();
        let requests = requests("acked", &paths);
        assert!(requests.len() > 1);
        let mut read = Vec::new();
        for (request, count) in requests {
            assert!(request.len() < REQUEST_LEN as usize);
            let Some(Request::Acked(some)) = Request::parse(&format!("{request}\n")) else {
                panic!("{request}");
            };
            assert_eq!(some.len(), count);
            read.extend(some);
        }
        assert_eq!(read, paths);
        assert_eq!(Request::parse("status\n"), Some(Request::Status));
        for wrong in ["", "acked", "acked x", "acked /!", "distrust /Li4", "status now"] {
            assert_eq!(Request::parse(wrong), None, "{wrong}");
        }
    }
}
