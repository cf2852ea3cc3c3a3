//! How it is said: protocol versions, messages, and the one place that parses a peer.

pub mod body;
pub mod codec;
pub mod convert;
pub mod frame;
pub mod message;
pub mod status;
pub mod version;

/// Code generated from `schema/driftless.proto`. Only this room and the two ends' service bindings name it.
#[expect(missing_docs, clippy::too_many_lines, reason = "generated")]
#[rustfmt::skip]
#[path = "../gen/driftless.v1.rs"]
pub mod generated;

/// The schema as a serialized `FileDescriptorSet`, for server reflection.
pub const DESCRIPTOR: &[u8] = include_bytes!("../gen/driftless.v1.bin");
