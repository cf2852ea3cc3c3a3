//! Paths beneath a Root. A [`RelPath`] that exists is safe to resolve: nothing downstream checks again.

use std::borrow::Borrow;
use std::fmt;

use crate::limits;

/// Why bytes are not a path beneath a Root.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum PathError {
    /// The path begins with `/`.
    #[error("absolute path")]
    Absolute,
    /// A component is `.`.
    #[error("`.` in path")]
    Dot,
    /// A component is `..`.
    #[error("`..` in path")]
    DotDot,
    /// No bytes, or two slashes in a row, or a slash at the end.
    #[error("empty path component")]
    Empty,
    /// The path has a NUL byte.
    #[error("NUL byte in path")]
    Nul,
    /// The path or a component is longer than the file system takes.
    #[error("path or name too long")]
    TooLong,
}

/// A checked path beneath a Root: bytes, not text; components joined by single slashes.
///
/// Invariant: [`RelPath::root`] (no bytes, the Root itself), or one or more components, none of them empty, `.`
/// or `..`, none with a NUL, each at most [`limits::NAME_LEN`] bytes, [`limits::PATH_LEN`] in all.
///
/// The order is canonical: by bytes, with `/` below every other byte, so a directory comes right before what is in it.
#[derive(Clone, PartialEq, Eq, Hash)]
pub struct RelPath(Box<[u8]>);

impl RelPath {
    /// The Root itself.
    #[must_use]
    pub fn root() -> Self {
        Self(Box::default())
    }

    /// The only way from bytes to a path. Refuses what the invariant excludes; the Root itself is refused too,
    /// since only [`RelPath::root`] may name it.
    pub fn parse(bytes: &[u8]) -> Result<Self, PathError> {
        if bytes.first() == Some(&b'/') {
            return Err(PathError::Absolute);
        }
        if bytes.len() > limits::PATH_LEN {
            return Err(PathError::TooLong);
        }
        for name in bytes.split(|&b| b == b'/') {
            match name {
                b"" => return Err(PathError::Empty),
                b"." => return Err(PathError::Dot),
                b".." => return Err(PathError::DotDot),
                _ if name.len() > limits::NAME_LEN => return Err(PathError::TooLong),
                _ if name.contains(&0) => return Err(PathError::Nul),
                _ => {}
            }
        }
        Ok(Self(bytes.into()))
    }

    /// A path that an operator typed: slashes at the ends and doubled, and `.` components, are dropped first, as
    /// the kernel would. `..` is refused, never resolved.
    pub fn parse_typed(bytes: &[u8]) -> Result<Self, PathError> {
        let names: Vec<&[u8]> =
            bytes.split(|&b| b == b'/').filter(|name| !name.is_empty() && *name != b".").collect();
        if names.is_empty() {
            return Ok(Self::root());
        }
        Self::parse(&names.join(&b'/'))
    }

    /// This path and one more name.
    pub fn child(&self, name: &[u8]) -> Result<Self, PathError> {
        if name.contains(&b'/') {
            return Err(PathError::Empty);
        }
        let name = Self::parse(name)?;
        self.join(&name)
    }

    /// Whether a path stays within [`limits::PATH_LEN`] with this name beneath it.
    #[must_use]
    pub fn has_room_for(&self, name: &[u8]) -> bool {
        self.0.len() + usize::from(!self.is_root()) + name.len() <= limits::PATH_LEN
    }

    /// This path and another beneath it.
    pub fn join(&self, below: &Self) -> Result<Self, PathError> {
        if self.is_root() {
            return Ok(below.clone());
        }
        if below.is_root() {
            return Ok(self.clone());
        }
        if self.0.len() + 1 + below.0.len() > limits::PATH_LEN {
            return Err(PathError::TooLong);
        }
        let mut bytes = Vec::with_capacity(self.0.len() + 1 + below.0.len());
        bytes.extend_from_slice(&self.0);
        bytes.push(b'/');
        bytes.extend_from_slice(&below.0);
        Ok(Self(bytes.into()))
    }

    /// Whether this is the Root itself.
    #[must_use]
    pub fn is_root(&self) -> bool {
        self.0.is_empty()
    }

    /// The bytes; empty for the Root itself.
    #[must_use]
    pub fn as_bytes(&self) -> &[u8] {
        &self.0
    }

    /// The directory this lies in; `None` for the Root itself.
    #[must_use]
    pub fn parent(&self) -> Option<Self> {
        if self.is_root() {
            return None;
        }
        Some(match self.0.iter().rposition(|&b| b == b'/') {
            Some(at) => Self(self.0[..at].into()),
            None => Self::root(),
        })
    }

    /// Whether `path` lies in this directory, not deeper.
    #[must_use]
    pub fn is_parent_of(&self, path: &Self) -> bool {
        match path.0.iter().rposition(|&b| b == b'/') {
            Some(at) => *self.0 == path.0[..at],
            None => self.is_root() && !path.is_root(),
        }
    }

    /// The last component; empty for the Root itself.
    #[must_use]
    pub fn name(&self) -> &[u8] {
        match self.0.iter().rposition(|&b| b == b'/') {
            Some(at) => &self.0[at + 1..],
            None => &self.0,
        }
    }

    /// The components, outermost first; none for the Root itself.
    pub fn components(&self) -> impl Iterator<Item = &[u8]> {
        self.0.split(|&b| b == b'/').filter(|name| !name.is_empty())
    }

    /// What is left of this path below `dir`: the Root when both are equal, `None` when it does not lie there.
    #[must_use]
    pub fn below(&self, dir: &Self) -> Option<Self> {
        if dir.is_root() {
            return Some(self.clone());
        }
        let rest = self.0.strip_prefix(&*dir.0)?;
        match rest {
            [] => Some(Self::root()),
            [b'/', rest @ ..] => Some(Self(rest.into())),
            _ => None,
        }
    }

    /// Whether this is `dir` or lies beneath it.
    #[must_use]
    pub fn is_within(&self, dir: &Self) -> bool {
        dir.is_root() || (self.0.starts_with(&dir.0) && matches!(self.0.get(dir.0.len()), None | Some(b'/')))
    }
}

impl Borrow<[u8]> for RelPath {
    fn borrow(&self) -> &[u8] {
        &self.0
    }
}

impl Ord for RelPath {
    fn cmp(&self, other: &Self) -> std::cmp::Ordering {
        let key = |b: &u8| if *b == b'/' { 0 } else { *b };
        self.0.iter().map(key).cmp(other.0.iter().map(key))
    }
}

impl PartialOrd for RelPath {
    fn partial_cmp(&self, other: &Self) -> Option<std::cmp::Ordering> {
        Some(self.cmp(other))
    }
}

/// For messages and logs: control characters and bytes that are not UTF-8 appear as `\#ooo`, as rsync prints them,
/// so that a name cannot forge a log line. The Root itself shows as `.`.
impl fmt::Display for RelPath {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.is_root() {
            return f.write_str(".");
        }
        Escaped(&self.0).fmt(f)
    }
}

impl fmt::Debug for RelPath {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "RelPath({self})")
    }
}

/// Bytes on their way to a log or a terminal.
#[derive(Clone, Copy, Debug)]
pub struct Escaped<'a>(pub &'a [u8]);

impl fmt::Display for Escaped<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for chunk in self.0.utf8_chunks() {
            for c in chunk.valid().chars() {
                if c.is_control() {
                    for byte in c.encode_utf8(&mut [0; 4]).bytes() {
                        write!(f, "\\#{byte:03o}")?;
                    }
                } else {
                    write!(f, "{c}")?;
                }
            }
            for byte in chunk.invalid() {
                write!(f, "\\#{byte:03o}")?;
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_path_beneath_the_root_parses() {
        let long = [b'a'; 256];
        let cases: [(&[u8], Result<(), PathError>); 12] = [
            (b"a", Ok(())),
            (b"a/b.c/..d", Ok(())),
            (b"\xff\n", Ok(())),
            (b"", Err(PathError::Empty)),
            (b"/a", Err(PathError::Absolute)),
            (b"a//b", Err(PathError::Empty)),
            (b"a/", Err(PathError::Empty)),
            (b"./a", Err(PathError::Dot)),
            (b"a/..", Err(PathError::DotDot)),
            (b"..", Err(PathError::DotDot)),
            (b"a\0b", Err(PathError::Nul)),
            (&long, Err(PathError::TooLong)),
        ];
        for (bytes, want) in cases {
            assert_eq!(RelPath::parse(bytes).map(|_| ()), want, "{}", Escaped(bytes));
        }
        assert_eq!(RelPath::parse(&vec![b'a'; 4096]), Err(PathError::TooLong));
    }

    #[test]
    fn a_typed_path_is_tidied_but_never_climbs() {
        let tidy = |s: &[u8]| RelPath::parse_typed(s).map(|p| p.as_bytes().to_vec());
        assert_eq!(tidy(b"/a//b/./c/").as_deref(), Ok(&b"a/b/c"[..]));
        assert_eq!(tidy(b"/").as_deref(), Ok(&b""[..]));
        assert_eq!(tidy(b"a/../b"), Err(PathError::DotDot));
    }

    #[test]
    fn a_directory_sorts_right_before_its_content() {
        let p = |s: &str| RelPath::parse(s.as_bytes()).expect("path");
        let mut paths = vec![p("a.b"), p("a/z"), p("a"), p("a-b"), p("b")];
        paths.sort();
        assert_eq!(paths, [p("a"), p("a/z"), p("a-b"), p("a.b"), p("b")]);
    }

    #[test]
    fn below_and_within_respect_component_borders() {
        let p = |s: &str| RelPath::parse(s.as_bytes()).expect("path");
        assert_eq!(p("a/b").below(&p("a")), Some(p("b")));
        assert_eq!(p("ab").below(&p("a")), None);
        assert!(p("a/b").is_within(&p("a")) && p("a").is_within(&p("a")));
        assert!(!p("ab").is_within(&p("a")));
        assert_eq!(p("a/b").parent(), Some(p("a")));
        assert_eq!(p("a").parent(), Some(RelPath::root()));
        let all = [RelPath::root(), p("a"), p("ab"), p("a/b"), p("a/b/c"), p("b/c")];
        for (dir, path) in all.iter().flat_map(|dir| all.iter().map(move |path| (dir, path))) {
            assert_eq!(dir.is_parent_of(path), path.parent().as_ref() == Some(dir), "{dir} {path}");
        }
    }

    #[test]
    fn control_characters_cannot_forge_a_line() {
        assert_eq!(Escaped(b"a\nb\x1b[\xffz").to_string(), "a\\#012b\\#033[\\#377z");
    }
}
