//! `driftless sync HOST::`: the modules that a server lists.

use driftless_proto::model::path::Escaped;
use tokio::runtime::Handle;

use crate::cli::Invocation;
use crate::console::Console;
use crate::exit::Exit;
use crate::run::{remote, server};

/// Prints name and comment of each module, in rsync's columns.
pub(crate) fn run(invocation: &Invocation, console: &Console, handle: &Handle) -> Exit {
    let reply = remote(invocation.sources.first())
        .and_then(|remote| server(invocation, remote))
        .and_then(|server| handle.block_on(server.modules()));
    match reply {
        Ok(reply) => {
            for module in reply.modules {
                let (name, comment) = (Escaped(module.name.as_bytes()), Escaped(module.comment.as_bytes()));
                console.report.note(&format!("{:<15}\t{comment}", name.to_string()));
            }
            Exit::Ok
        }
        Err(error) => console.refused(&error),
    }
}
