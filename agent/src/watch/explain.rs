//! Explain: what is known of one path: who sees it, which rule speaks of it, and how far its copy is.

use driftless_proto::disk::Root;
use driftless_proto::model::entry::Kind;
use driftless_proto::model::path::{Escaped, RelPath};
use serde_json::{Value, json};

use super::answers::{Answering, lock};
use super::desk::State;
use crate::journal::Journal;
use crate::pending::Scope;

/// The answer about a path that is not excluded.
pub(super) fn explain(
    watch: &Answering,
    path: &RelPath,
    root: Option<&Root>,
    journal: Option<&Journal>,
) -> Value {
    let found = root.map(|root| root.found(path));
    let is_dir = matches!(&found, Some(Ok(found)) if found.entry.is_dir());
    let mut answer = watch.answer("kept");
    answer["path"] = path.to_string().into();
    answer["stands"] = match &found {
        Some(Ok(found)) => kind(&found.entry.kind).into(),
        Some(Err(error)) if error.kind() == std::io::ErrorKind::NotFound => Value::Null,
        Some(Err(error)) => format!("cannot be looked at: {error}").into(),
        None => "the source is not there".into(),
    };
    let included = watch.rules.deciding(path, is_dir).map(|(_, rule)| Escaped(rule).to_string());
    answer["rule"] = included.into();

    let row = journal.and_then(|journal| journal.glance(path).ok().flatten());
    let item = journal.and_then(|journal| journal.item(path).ok().flatten());
    answer["copy_has_it"] = journal.map(|_| row.is_some() || item.is_some() || path.is_root()).into();
    answer["acked"] = row.as_ref().map_or(Value::Null, |row| {
        json!({
            "at": row.acked.and_then(|at| jiff::Timestamp::new(at.sec, at.nsec.try_into().ok()?).ok()).map(|at| at.to_string()),
            "size": row.entry.size(),
            "blake3": row.digest.map(|digest| digest.to_string()),
            "unchanged_since": found.as_ref().and_then(|found| found.as_ref().ok()).and_then(|found| row.stamp.tells(&found.stat)),
        })
    });

    let picture = lock(&watch.picture);
    answer["held"] =
        picture.held.as_ref().map_or(Value::Null, |held| json!({ "reason": held.reason, "plan": held.plan }));
    let apart = picture.apart.iter().find(|(apart, _)| path.is_within(apart));
    answer["left_alone"] =
        apart.map_or(Value::Null, |(apart, why)| json!({ "path": apart.to_string(), "why": why }));
    answer["engine"] = picture.engine.into();
    answer["engine_note"] = picture.engine_note.clone().into();
    drop(picture);

    let state = watch.desk.lock();
    // The name of a file is seen by whoever sees the directory that it is in.
    let dir = if is_dir { Some(path.clone()) } else { path.parent() };
    let polled = std::iter::successors(dir, RelPath::parent)
        .find_map(|dir| state.unwatched.get(&dir).map(|why| json!({ "path": dir.to_string(), "why": why })));
    answer["polled"] = polled.into();
    answer["connected"] = state.waits.offline.is_none().into();
    answer["compared"] = state.waits.uncompared.is_none().into();
    answer["pending_seconds"] = state.pending.since(path).map(|since| since.elapsed().as_secs_f64()).into();
    answer["in_flight"] = is_in_flight(&state, path).into();
    answer["error"] = state.failures.get(path).map_or(Value::Null, |failures| {
        let ago = failures.at.elapsed().unwrap_or_default().as_secs_f64();
        json!({ "text": failures.text, "count": failures.count, "seconds_ago": ago })
    });
    answer
}

/// Whether a task on its way is about a path, or about everything beneath one above it.
fn is_in_flight(state: &State, path: &RelPath) -> bool {
    let scope = Scope::of(path.clone());
    let about =
        |dirty: &crate::pending::Dirty| dirty.path == *path || dirty.subtree && scope.concerns_dirty(dirty);
    state.tasks.values().flat_map(|task| &task.retry).any(about)
}

fn kind(kind: &Kind) -> &'static str {
    match kind {
        Kind::Block(_) => "a block device",
        Kind::Char(_) => "a character device",
        Kind::Dir => "a directory",
        Kind::Fifo => "a fifo",
        Kind::File { .. } => "a file",
        Kind::Socket => "a socket",
        Kind::Symlink { .. } => "a symlink",
    }
}
