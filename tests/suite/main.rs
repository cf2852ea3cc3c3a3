//! The suite: one claim per test, each named as its claim.
//!
//! One program, so that everything links once and no file is forgotten. Topic by topic; the world in which it all
//! happens is the library beside it.

/// One claim, tested with each engine.
macro_rules! with_each_engine {
    ($($claim:ident)*) => {
        mod with_inotify { $(#[test] fn $claim() { super::$claim("inotify"); })* }
        mod with_fanotify { $(#[test] fn $claim() { super::$claim("fanotify"); })* }
        mod with_poll { $(#[test] fn $claim() { super::$claim("poll"); })* }
    };
}

mod brakes;
mod broken;
mod cases;
mod commands;
mod cost;
mod delta;
mod doctor;
mod durability;
mod engines;
mod faults;
mod five_jobs;
mod grpc;
mod house;
mod import;
mod inotify_tools;
mod jobs;
mod offline;
mod operands;
mod plans;
mod postgres;
mod programs;
mod push_pull;
mod refusals;
mod restoring;
mod rewrites;
mod seeing;
mod settling;
mod status;
mod strangers;
mod turmoil;
mod tutorial;
mod verifying;
mod watch_faults;
mod watching;
mod wrong_configs;
