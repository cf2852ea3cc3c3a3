//! events: what an inotifywait of somebody else's waits for, and what it does not see.
//!
//! Touches: nothing.

use std::ffi::OsString;
use std::os::unix::ffi::OsStringExt as _;

use super::filter::Filter;
use super::mask::Mask;
use super::{Face, Stop, options};

/// What a command line of inotifywait asks for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Asked {
    /// `-m`.
    pub monitor: bool,
    /// `-r`.
    pub recursive: bool,
    /// Whether `--exclude` or `--include` holds some events back.
    pub filtered: bool,
    /// What it names, `@PATH` left out.
    pub watched: Vec<String>,
    /// The events of which a copy falls behind without them: those not asked for.
    pub missing: Vec<&'static str>,
}

/// The events that change what a copy should be. One of each row's is enough.
const NEEDED: &[(&str, Mask)] = &[
    ("modify or close_write", Mask(Mask::MODIFY.0 | Mask::CLOSE_WRITE.0)),
    ("create", Mask::CREATE),
    ("delete", Mask::DELETE),
    ("moved_from", Mask::MOVED_FROM),
    ("moved_to", Mask::MOVED_TO),
    ("attrib", Mask::ATTRIB),
];

/// Reads the words behind `inotifywait`.
///
/// # Errors
/// What inotifywait would have said about them.
pub fn asked(args: Vec<OsString>) -> Result<Asked, String> {
    let face = Face { program: "inotifywait".to_owned(), compat: true };
    let args = args.into_iter().map(OsString::into_vec).collect();
    let options = options::parse(&face, args, false).map_err(|stop| match stop {
        Stop::Help => "only help was asked for".to_owned(),
        Stop::Wrong(why) => String::from_utf8_lossy(&why).into_owned(),
    })?;
    let named = options.operands.iter().filter(|operand| !operand.starts_with(b"@"));
    let missing =
        NEEDED.iter().filter(|(_, events)| !options.events.intersects(*events)).map(|(name, _)| *name);
    Ok(Asked {
        monitor: options.monitor,
        recursive: options.recursive,
        filtered: !matches!(options.filter, Filter::All),
        watched: named.map(|operand| String::from_utf8_lossy(operand).into_owned()).collect(),
        missing: missing.collect(),
    })
}
