//! micro: the hot loops alone, without sockets.
fn main() {}
