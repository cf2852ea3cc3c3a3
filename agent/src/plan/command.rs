//! plan: `driftless plan list|show|approve|reject`. It works on the folder alone, with a running watch and without one:
//! a watch notices by itself.

use std::io::Write as _;
use std::path::Path;

use super::{Kind, Plan, State, Store};
use crate::exit::Exit;
use crate::state::StateDir;

/// What to do with plans.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Act {
    /// Name them all.
    List,
    /// Print one as it lies on disk.
    Show(String),
    /// Let what it holds go.
    Approve(String),
    /// Let the copy keep what it holds.
    Reject(String),
}

/// Does it, and says what came of it.
#[must_use]
pub fn run(act: &Act, state_dir: Option<&Path>) -> Exit {
    match try_run(act, state_dir) {
        Ok(text) => {
            // Nobody may be listening any more (`| head`); that is not our failure.
            std::io::stdout().write_all(text.as_bytes()).ok();
            Exit::Ok
        }
        Err(why) => {
            writeln!(std::io::stderr(), "driftless: {why}").ok();
            Exit::File
        }
    }
}

fn try_run(act: &Act, state_dir: Option<&Path>) -> Result<String, String> {
    let state = StateDir::open(state_dir).map_err(|error| error.to_string())?;
    let store = Store::open(state.path()).map_err(|error| error.to_string())?;
    let text = match act {
        Act::List => store.all().map(|plans| list(&plans)),
        Act::Show(id) => store.load(id).map(|plan| plan.text()),
        Act::Approve(id) => store.decide(id, State::Approved).map(|plan| approved(&plan)),
        Act::Reject(id) => store.decide(id, State::Rejected).map(|plan| rejected(&plan)),
    };
    text.map_err(|error| error.to_string())
}

fn list(plans: &[Plan]) -> String {
    if plans.is_empty() {
        return "no plans: nothing is held\n".into();
    }
    let line = |plan: &Plan| {
        let time = jiff::Timestamp::from_second(plan.time).unwrap_or_default();
        format!(
            "{}  {time}  {:<8}  {:<9}  {:>9}  {} -> {}: {}\n",
            plan.id,
            plan.state.word(),
            plan.kind.word(),
            plan.entries(),
            plan.watch.source,
            plan.watch.destination,
            plan.reason,
        )
    };
    plans.iter().map(line).collect()
}

fn approved(plan: &Plan) -> String {
    let what = match plan.kind {
        Kind::Deletions => {
            format!("{} entries will be deleted from {}", plan.entries(), plan.watch.destination)
        }
        Kind::Mount => format!(
            "what is mounted takes the place of what {} has there ({} entries)",
            plan.watch.destination,
            plan.entries()
        ),
        Kind::Rewrites => format!(
            "{} files of {} will get the content that they have in the source",
            plan.entries(),
            plan.watch.destination
        ),
        Kind::Root if plan.root.is_none() => format!(
            "whatever directory comes to {} next becomes the source, and all that it lacks will be deleted from {}",
            plan.watch.source, plan.watch.destination
        ),
        Kind::Root => format!(
            "the directory at {} becomes the source, and {} entries that it lacks will be deleted from {}",
            plan.watch.source,
            plan.entries(),
            plan.watch.destination
        ),
    };
    format!("plan {} approved: {what}\n", plan.id)
}

fn rejected(plan: &Plan) -> String {
    let (id, destination) = (&plan.id, &plan.watch.destination);
    match plan.kind {
        Kind::Deletions => format!(
            "plan {id} rejected: {destination} keeps {} entries, each until it is seen in the source again\n",
            plan.entries()
        ),
        Kind::Mount => format!(
            "plan {id} rejected: {destination} keeps what it has there for as long as the mounts stay so\n"
        ),
        Kind::Rewrites => format!(
            "plan {id} rejected: {destination} keeps what it has of {} files, each until it changes again\n",
            plan.entries()
        ),
        Kind::Root if plan.root.is_none() => {
            format!("plan {id} rejected: {destination} stays as it is until the source is back\n")
        }
        Kind::Root => format!(
            "plan {id} rejected: the directory at {} becomes the source, and {destination} keeps {} entries that it \
             lacks, each until it is seen there again\n",
            plan.watch.source,
            plan.entries()
        ),
    }
}
