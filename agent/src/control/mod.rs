//! control: what a running watch can be asked: a unix socket for each watch in `STATE_DIR/control`, for its own user and
//! root only. A request is one line, its answer one line of JSON, and then the end: a later request adds a word.
//!
//! * [`Control`]: the watch's side; [`picture`]: what it tells; `status`: `driftless status`.
//!
//! Touches: its socket. Never: the source, the network.

pub(crate) mod operands;
pub(crate) mod picture;
pub(crate) mod schedule;
mod status;

use std::fs::DirBuilder;
use std::io::{self, BufRead, BufReader, Read, Write};
use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use std::os::unix::fs::DirBuilderExt;
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use driftless_proto::model::path::RelPath;
use rustix::event::{EventfdFlags, PollFd, PollFlags, Timespec, eventfd, poll};
use rustix::fs::{AtFlags, CWD, Mode, OFlags};
use serde_json::{Value, json};

pub use status::run;

use crate::plan::Watched;

/// Longest request, in bytes.
const REQUEST_LEN: u64 = 8192;

/// A peer that says nothing for this long is let go: it must not keep the others waiting.
const PATIENCE: Duration = Duration::from_secs(2);

/// How often it is looked whether another process still answers for this watch.
const AGAIN: Timespec = Timespec { tv_sec: 1, tv_nsec: 0 };

/// What a watch can be asked.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Request {
    /// `status`: the picture.
    Status,
    /// `operands`: what it keeps where, as [`operands`] has it.
    Operands,
    /// `acked PATH...`: what the journal says was acknowledged of these files.
    Acked(Vec<RelPath>),
    /// `distrust PATH...`: what the journal says of these paths is not so: they are to be looked at, and sent by their
    /// content. The paths lie beneath the source, as base64.
    Distrust(Vec<RelPath>),
}

impl Request {
    fn parse(line: &str) -> Option<Self> {
        let mut words = line.split_ascii_whitespace();
        match (words.next()?, words.clone().next()) {
            ("status", None) => Some(Self::Status),
            ("operands", None) => Some(Self::Operands),
            ("acked", Some(_)) => words.map(path_of).collect::<Option<_>>().map(Self::Acked),
            ("distrust", Some(_)) => words.map(path_of).collect::<Option<_>>().map(Self::Distrust),
            _ => None,
        }
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

/// Gives the answer to a request.
pub(crate) type Answer = Box<dyn Fn(Request) -> Value + Send>;

/// A watch that answers. Dropping it takes its socket away.
pub(crate) struct Control {
    dir: Arc<OwnedFd>,
    name: String,
    stop: Arc<OwnedFd>,
    /// Returns whether the socket is ours.
    thread: Option<JoinHandle<bool>>,
}

impl Control {
    /// Answers for this watch; while another process does, which then has the journal too, once that has ended.
    ///
    /// # Errors
    /// When the socket cannot be made.
    pub(crate) fn start(state_dir: &Path, watch: &Watched, answers: Answer) -> io::Result<Self> {
        let dir = Arc::new(open_dir(state_dir)?);
        let name = name(watch);
        let mut listener = listen(&dir, &name)?;
        let stop = Arc::new(eventfd(0, EventfdFlags::CLOEXEC | EventfdFlags::NONBLOCK)?);
        let (stopped, beneath, own) = (Arc::clone(&stop), Arc::clone(&dir), name.clone());
        let work = move || {
            loop {
                if let Some(listener) = listener {
                    serve(&listener, &stopped, &answers);
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
        Ok(Self { dir, name, stop, thread: Some(thread) })
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
        // A counter at its limit would fail, but then the thread has been told already.
        rustix::io::write(&self.stop, &1_u64.to_ne_bytes()).ok();
        let ours = self.thread.take().is_some_and(|thread| thread.join().unwrap_or_default());
        if ours {
            // Left behind, it is taken away by the next watch.
            rustix::fs::unlinkat(&self.dir, &*self.name, AtFlags::empty()).ok();
        }
    }
}

fn serve(listener: &UnixListener, stop: &OwnedFd, answers: &Answer) {
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
            let _gone = answer(&stream, answers);
        }
    }
}

fn answer(mut stream: &UnixStream, answers: &Answer) -> io::Result<()> {
    stream.set_nonblocking(false)?;
    stream.set_read_timeout(Some(PATIENCE))?;
    stream.set_write_timeout(Some(PATIENCE))?;
    let peer = rustix::net::sockopt::socket_peercred(stream.as_fd())?.uid;
    if peer != rustix::process::geteuid() && !peer.is_root() {
        return Err(io::ErrorKind::PermissionDenied.into());
    }
    let mut line = String::new();
    BufReader::new(stream).take(REQUEST_LEN).read_line(&mut line)?;
    let answer = match Request::parse(&line) {
        Some(request) => answers(request),
        None => json!({ "error": "this watch does not know that request" }),
    };
    stream.write_all(format!("{answer}\n").as_bytes())
}

/// Asks every watch of a state folder. What does not answer is no watch.
pub(crate) fn ask_all(state_dir: &Path, request: &str) -> io::Result<Vec<Value>> {
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
    Ok(names.iter().filter_map(|name| ask(&beneath(&dir, name), request).ok()).collect())
}

/// Asks the watch of this source and destination; `None` where none runs.
pub(crate) fn ask_one(state_dir: &Path, watch: &Watched, request: &str) -> Option<Value> {
    let dir = open_dir(state_dir).ok()?;
    ask(&beneath(&dir, &name(watch)), request).ok()
}

fn ask(path: &Path, request: &str) -> io::Result<Value> {
    let mut stream = UnixStream::connect(path)?;
    stream.set_read_timeout(Some(PATIENCE * 2))?;
    stream.write_all(format!("{request}\n").as_bytes())?;
    let mut text = String::new();
    stream.read_to_string(&mut text)?;
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
        let paths: Vec<RelPath> = (0..900)
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
