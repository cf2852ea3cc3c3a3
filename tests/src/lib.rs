//! The world in which the suite runs: real servers, real agents, and the weather between them.
//!
//! * [`world`]: a folder of its own for each test, and both programs, built once.
//! * [`server`]: a real `driftlessd` on a free port, started, killed and restarted.
//! * [`agent`]: a real `driftless`, run to its end or left watching.
//! * [`postgres`]: a real PostgreSQL, to be dumped.
//! * [`service`]: a real `driftless run`: a config with many jobs.
//! * [`wire`]: a TCP proxy that cuts, stalls, delays and throttles.
//! * [`trees`]: source trees with every kind of entry, and what it means that two trees are equal.
//! * [`certs`]: certificates, good and bad.
//! * [`oracle`]: other programs whose judgement counts, and how a test is skipped where one is missing.
//! * [`soak`]: random work and bad weather for as long as one likes; the program beside this library runs it.
//! * [`wait`]: waiting until something holds, with one patience for the whole suite.
//!
//! Four variables steer it:
//!
//! | variable | effect |
//! |---|---|
//! | `DRIFTLESS_BIN_DIR` | take `driftless` and `driftlessd` from there instead of building them |
//! | `DRIFTLESS_TEST_PATIENCE_MS` | how long to wait for anything (default 30000) |
//! | `DRIFTLESS_BROKEN` | every agent runs with this mechanism broken (`agent/src/broken.rs`): claims about it fail |
//! | `CI=true` | a missing oracle fails the test instead of skipping it |

pub mod agent;
pub mod certs;
pub mod oracle;
pub mod postgres;
pub mod server;
pub mod service;
pub mod soak;
pub mod trees;
pub mod wait;
pub mod wire;
pub mod world;

pub use world::World;
