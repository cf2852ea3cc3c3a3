//! The agent: watches directories and keeps a verified copy of them on a Driftless server; also pushes, pulls and
//! restores by hand. `driftless` is its only program.
//!
//! * [`cli`]: what was typed becomes one [`cli::Invocation`].
//! * [`run`]: what an invocation sets in motion, and how it ends ([`exit`]).
//! * [`events`], [`stats`]: what inotifywait(1) and inotifywatch(1) do, with a command line of their own.
//! * [`report`], [`progress`]: what the operator sees meanwhile, in rsync's words and formats.
//! * [`job`], [`supervise`]: a service: many watches in one process, and its config.
//! * [`password`], [`state`]: what the agent knows between runs.
//! * [`restore`]: what was lost comes back.
//! * [`verify`]: whether a copy is one; [`doctor`]: whether a watch would run.
//! * [`import`]: what lsyncd, sersync and scripts were told, as our own config.
//! * [`plan`], [`control`], [`metrics`]: what the operator decides about a watch, and what a watch tells.

mod broken;
pub mod cli;
pub mod connect;
pub mod console;
pub mod control;
mod copy;
pub mod doctor;
pub mod events;
pub mod exit;
pub mod guard;
pub mod import;
pub mod job;
pub mod journal;
mod list;
mod local;
mod log;
pub mod metrics;
pub mod password;
pub mod pending;
pub mod plan;
pub mod progress;
mod pull;
mod push;
pub mod report;
pub mod restore;
pub mod run;
pub mod state;
pub mod stats;
pub mod supervise;
pub mod verify;
mod voice;
mod watch;
pub mod watcher;
