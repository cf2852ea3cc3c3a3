//! The agent: watches directories and keeps a verified copy of them on a Driftless server; also pushes, pulls and
//! restores by hand. `driftless` is its only program.
//!
//! * [`cli`]: what was typed becomes one [`cli::Invocation`].
//! * [`run`]: what an invocation sets in motion, and how it ends ([`exit`]).
//! * [`report`], [`progress`]: what the operator sees meanwhile, in rsync's words and formats.
//! * [`password`], [`state`]: what the agent knows between runs.
//! * [`plan`], [`control`]: what the operator decides about a watch, and what a watch tells.

pub mod cli;
pub mod connect;
pub mod console;
pub mod control;
mod copy;
pub mod exit;
pub mod guard;
pub mod journal;
mod list;
mod local;
pub mod password;
pub mod pending;
pub mod plan;
pub mod progress;
mod pull;
mod push;
pub mod report;
pub mod run;
pub mod state;
mod watch;
pub mod watcher;
