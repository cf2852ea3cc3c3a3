//! One pattern: which part of a path it is held against, and whether it matches there.

use super::wildcard::{Frame, Wildcard};

/// A path as patterns see it.
pub(super) struct Subject<'a> {
    /// Relative to the transfer root, not empty.
    path: &'a [u8],
    is_dir: bool,
    /// Where the last component begins; most patterns want just that.
    name_at: usize,
}

impl<'a> Subject<'a> {
    pub(super) fn new(path: &'a [u8], is_dir: bool) -> Self {
        let name_at = path.iter().rposition(|&b| b == b'/').map_or(0, |slash| slash + 1);
        Self { path, is_dir, name_at }
    }

    /// The last `count` components; none when the path has fewer.
    fn last(&self, count: usize) -> Option<&'a [u8]> {
        if count == 1 {
            return Some(&self.path[self.name_at..]);
        }
        let mut slashes = 0;
        let before = self.path.iter().rposition(|&b| {
            slashes += usize::from(b == b'/');
            slashes == count
        });
        match before {
            Some(slash) => Some(&self.path[slash + 1..]),
            None => (slashes + 1 == count).then_some(self.path),
        }
    }
}

/// What a pattern is held against.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Scope {
    /// The whole path, or what follows any slash in it.
    Anywhere,
    /// The last so many components, at least one.
    Last(usize),
    /// The whole path.
    Whole,
}

/// How the text of a pattern is compared.
#[derive(Clone, Debug)]
enum Matcher {
    /// No wildcard in it: byte by byte, backslashes too.
    Literal(Box<[u8]>),
    /// A malformed bracket or a backslash at the end. rsync takes such a pattern, and it matches nothing.
    Never,
    Wild(Wildcard),
}

/// A parsed pattern.
///
/// The rules of `rsync(1)`, PATTERN MATCHING RULES, and where they are silent what rsync 3.5.0 does:
///
/// * a final slash (of a pattern longer than one byte) restricts it to directories and is dropped;
/// * a leading slash ties it to the transfer root;
/// * otherwise it is held against the last component, or, with n slashes in it, the last n + 1. Slashes are
///   counted in the text, so one inside brackets, which can match nothing, makes the pattern match nothing;
/// * otherwise, with a `**` in it, it may begin after any slash; beginning with `**` it has the whole path, with
///   a slash before it so that a `**/` can match nothing;
/// * with `***` at its end, a directory is held against it with a slash after it.
#[derive(Clone, Debug)]
pub(super) struct Pattern {
    dirs_only: bool,
    matcher: Matcher,
    scope: Scope,
}

impl Pattern {
    /// Never fails: every text is a pattern, though some match nothing. `text` is not empty.
    pub(super) fn parse(text: &[u8]) -> Self {
        let (text, dirs_only) = match text {
            [rest @ .., b'/'] if !rest.is_empty() => (rest, true),
            _ => (text, false),
        };
        let wild = text.iter().any(|b| b"*?[".contains(b));
        let crosses = text.windows(2).any(|pair| pair == b"**");
        let (body, anchored) = match text {
            [b'/', rest @ ..] => (rest, true),
            _ => (text, false),
        };
        let leading = crosses && text.starts_with(b"**");
        let scope = if anchored || leading {
            Scope::Whole
        } else if crosses {
            Scope::Anywhere
        } else {
            Scope::Last(text.iter().filter(|&&b| b == b'/').count() + 1)
        };
        let frame = Frame {
            after_any_slash: scope == Scope::Anywhere,
            slash_before: leading,
            slash_after: text.ends_with(b"***"),
        };
        let matcher = if wild {
            Wildcard::parse(body, frame).map_or(Matcher::Never, Matcher::Wild)
        } else {
            Matcher::Literal(body.into())
        };
        Self { dirs_only, matcher, scope }
    }

    pub(super) fn matches(&self, subject: &Subject<'_>) -> bool {
        if self.dirs_only && !subject.is_dir {
            return false;
        }
        let held = match self.scope {
            Scope::Anywhere | Scope::Whole => subject.path,
            Scope::Last(count) => match subject.last(count) {
                Some(held) => held,
                None => return false,
            },
        };
        match &self.matcher {
            Matcher::Literal(text) => held == &**text,
            Matcher::Never => false,
            Matcher::Wild(wild) => wild.matches(held, subject.is_dir),
        }
    }
}
