//! control: which paths a request means, whatever its operator's working directory and links are.

use std::os::unix::ffi::{OsStrExt, OsStringExt as _};
use std::path::{Component, Path, PathBuf};

use driftless_proto::model::path::RelPath;

use crate::plan::{escape, unescape};

/// What a request is about.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Target {
    /// Everything that is watched.
    All,
    /// One path with everything beneath it.
    At {
        /// As it was typed, made absolute. Without `..`, which means something else behind a link.
        typed: Option<PathBuf>,
        /// With every link above its last name resolved, as far as there is something.
        real: PathBuf,
    },
}

/// Where a target lies in a source.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Lies {
    /// At or beneath this path of it.
    At(RelPath),
    /// The whole source lies beneath it.
    Above,
    /// Elsewhere.
    Elsewhere,
}

impl Target {
    /// Of an operand.
    ///
    /// # Errors
    /// When there is no working directory that a relative one could start from.
    pub fn of(path: &Path) -> std::io::Result<Self> {
        let absolute = std::path::absolute(path)?;
        let typed = absolute.components().all(|part| part != Component::ParentDir).then(|| absolute.clone());
        Ok(Self::At { typed, real: real(&absolute) })
    }

    /// As words of a request.
    pub(crate) fn words(&self) -> String {
        let word = |path: &Path| escape(path.as_os_str().as_bytes()).replace(' ', "\\#040");
        match self {
            Self::All => "all".into(),
            Self::At { typed, real } => format!("at {} {}", word(typed.as_ref().unwrap_or(real)), word(real)),
        }
    }

    /// Reads [`Target::words`].
    pub(super) fn parse<'a>(words: &mut impl Iterator<Item = &'a str>) -> Option<Self> {
        let path = |words: &mut dyn Iterator<Item = &'a str>| {
            let bytes = unescape(words.next()?)?;
            Some(PathBuf::from(std::ffi::OsString::from_vec(bytes))).filter(|path| path.is_absolute())
        };
        match words.next()? {
            "all" => Some(Self::All),
            "at" => Some(Self::At { typed: Some(path(words)?), real: path(words)? }),
            _ => None,
        }
    }

    /// Where it lies in a source, of which the path is known as it was given and as it really is.
    pub(crate) fn lies(&self, sources: &[&Path]) -> Lies {
        let Self::At { typed, real } = self else { return Lies::Above };
        let paths = [typed.as_deref(), Some(real)];
        let mut pairs =
            sources.iter().flat_map(|source| paths.iter().flatten().map(move |path| (source, path)));
        let within = pairs.clone().find_map(|(source, path)| {
            let rest = path.strip_prefix(source).ok()?;
            let names: Vec<&[u8]> = rest.iter().map(OsStrExt::as_bytes).collect();
            if names.is_empty() { Some(RelPath::root()) } else { RelPath::parse(&names.join(&b'/')).ok() }
        });
        match within {
            Some(path) => Lies::At(path),
            None if pairs.any(|(source, path)| source.starts_with(path)) => Lies::Above,
            None => Lies::Elsewhere,
        }
    }
}

/// An absolute path with every link above its last name resolved; that one may itself be a link that is backed up. What
/// is not there stays as it was typed.
fn real(path: &Path) -> PathBuf {
    let (Some(above), Some(name)) = (path.parent(), path.file_name()) else {
        return resolved(path).unwrap_or_else(|| path.to_owned());
    };
    match resolved(above) {
        Some(above) => above.join(name),
        None => real(above).join(name),
    }
}

#[expect(clippy::disallowed_methods, reason = "a path that the operator names, of which nothing is opened")]
fn resolved(path: &Path) -> Option<PathBuf> {
    std::fs::canonicalize(path).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn p(path: &str) -> RelPath {
        RelPath::parse(path.as_bytes()).expect("path")
    }

    #[test]
    fn a_target_crosses_as_words_whatever_its_bytes() {
        let path = PathBuf::from(std::ffi::OsString::from_vec(b"/a b\\c\n\xff/\t".to_vec()));
        for target in [Target::All, Target::At { typed: Some(path.clone()), real: path }] {
            let words = target.words();
            assert!(words.lines().count() == 1 && words.is_ascii(), "{words}");
            assert_eq!(Target::parse(&mut words.split_whitespace()), Some(target));
        }
        for bad in ["", "at", "at /a", "at a /b", "everything"] {
            assert_eq!(Target::parse(&mut bad.split_whitespace()), None, "{bad}");
        }
    }

    #[test]
    fn a_target_is_found_in_a_source_by_any_of_its_names() {
        let at = |typed: &str, real: &str| Target::At { typed: Some(typed.into()), real: real.into() };
        let sources = [Path::new("/srv/code"), Path::new("/data/code")];
        assert_eq!(at("/srv/code/a/b", "/x").lies(&sources), Lies::At(p("a/b")));
        assert_eq!(at("/home/link", "/data/code/c").lies(&sources), Lies::At(p("c")));
        assert_eq!(at("/srv/code", "/srv/code").lies(&sources), Lies::At(RelPath::root()));
        assert_eq!(at("/srv", "/srv").lies(&sources), Lies::Above);
        assert_eq!(at("/srv/code2", "/srv/code2").lies(&sources), Lies::Elsewhere);
        assert_eq!(Target::All.lies(&sources), Lies::Above);
    }

    #[test]
    #[expect(clippy::disallowed_methods, reason = "the test makes what is looked at")]
    fn links_above_the_last_name_are_resolved_and_what_is_gone_keeps_its_name() {
        let home = tempfile::tempdir().expect("tempdir");
        let home = std::fs::canonicalize(home.path()).expect("real");
        std::fs::create_dir_all(home.join("real/dir")).expect("mkdir");
        std::os::unix::fs::symlink("real", home.join("link")).expect("ln -s");
        let of = |path: &str| match Target::of(&home.join(path)).expect("target") {
            Target::At { real, .. } => real,
            Target::All => panic!("one path"),
        };
        assert_eq!(of("link/dir/gone/for good"), home.join("real/dir/gone/for good"));
        assert_eq!(of("link/dir/../f"), home.join("real/f"));
        assert_eq!(of("link"), home.join("link"), "the link itself may be meant");
    }
}
