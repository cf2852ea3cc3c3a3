//! x
use crate::cli::Invocation; use crate::console::Console; use crate::exit::Exit; use std::sync::Arc; use tokio::runtime::Handle;
pub(crate) fn run(_: &Invocation, _: &Arc<Console>, _: &Handle) -> Exit { Exit::Unsupported }
