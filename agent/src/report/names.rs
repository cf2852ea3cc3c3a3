//! The line that `-v` prints for a change.

use driftless_proto::model::change::{Action, Change};
use driftless_proto::model::path::Escaped;

/// The line for a change; `None` where rsync's `-v` prints none: a file or symlink of which only attributes changed.
/// Directories end with a slash, symlinks show their text.
#[must_use]
pub fn line(change: &Change) -> Option<String> {
    let slash = if change.dir { "/" } else { "" };
    let name = format!("{}{slash}", change.path);
    let shown = match change.action {
        Action::Removed => return Some(format!("deleting {name}")),
        Action::Created | Action::Renamed => true,
        Action::Updated(difference) => {
            difference.content || difference.kind || (change.dir && difference.any())
        }
    };
    shown.then(|| match &change.target {
        Some(target) => format!("{name} -> {}", Escaped(target)),
        None => name,
    })
}

#[cfg(test)]
mod tests {
    use driftless_proto::model::options::Difference;
    use driftless_proto::model::path::RelPath;

    use super::*;

    #[test]
    fn names_as_rsync_prints_them() {
        let content = Action::Updated(Difference { content: true, time: true, ..Difference::default() });
        let mode = Action::Updated(Difference { mode: true, ..Difference::default() });
        type Row = (&'static [u8], bool, Option<&'static [u8]>, Action, Option<&'static str>);
        let table: [Row; 13] = [
            (b"", true, None, Action::Created, Some("./")),
            (b"a/b", false, None, Action::Created, Some("a/b")),
            (b"a", true, None, Action::Created, Some("a/")),
            (b"l", false, Some(b"a/x"), Action::Created, Some("l -> a/x")),
            (b"l", false, Some(b"x\n"), content, Some("l -> x\\#012")),
            (b"n\nl", false, None, content, Some("n\\#012l")),
            (b"b\xff", false, None, Action::Renamed, Some("b\\#377")),
            (b"a", false, None, mode, None),
            (b"l", false, Some(b"x"), mode, None),
            (b"d", true, None, mode, Some("d/")),
            (b"q/w", true, None, Action::Removed, Some("deleting q/w/")),
            (b"q", false, None, Action::Removed, Some("deleting q")),
            (b"l", false, Some(b"x"), Action::Removed, Some("deleting l")),
        ];
        for (path, dir, target, action, want) in table {
            let path = if path.is_empty() { RelPath::root() } else { RelPath::parse(path).expect("path") };
            let change = Change { path, dir, target: target.map(Into::into), action };
            assert_eq!(line(&change).as_deref(), want, "{change:?}");
        }
    }
}
