//! The suite: one claim per test, each named as its claim.
//!
//! One program, so that everything links once and no file is forgotten. Topic by topic; the world in which it all
//! happens is the library beside it.
fn main() {}
