//! events: which events are told: `--exclude`, `--excludei`, `--include`, `--includei`.

use regex::bytes::{Regex, RegexBuilder};

use super::ere::{self, EreError};

/// What was typed, the last of each.
#[derive(Clone, Debug, Default)]
pub(crate) struct Patterns {
    pub(crate) exclude: Option<Vec<u8>>,
    pub(crate) excludei: Option<Vec<u8>>,
    pub(crate) include: Option<Vec<u8>>,
    pub(crate) includei: Option<Vec<u8>>,
}

impl Patterns {
    /// Whether they go together.
    ///
    /// # Errors
    /// One line: which do not.
    pub(crate) fn check(&self) -> Result<(), &'static str> {
        let exclude = self.exclude.is_some() || self.excludei.is_some();
        let include = self.include.is_some() || self.includei.is_some();
        if self.exclude.is_some() && self.excludei.is_some() {
            Err("--exclude and --excludei cannot both be specified.")
        } else if self.include.is_some() && self.includei.is_some() {
            Err("--include and --includei cannot both be specified.")
        } else if exclude && include {
            Err("include and exclude regexp cannot both be specified.")
        } else {
            Ok(())
        }
    }

    /// The one that was typed, ready to match.
    ///
    /// # Errors
    /// One line: it is malformed, or cannot be had here.
    pub(crate) fn filter(&self) -> Result<Filter, String> {
        let exclude = self.exclude.as_ref().map(|ere| (ere, false));
        let exclude = exclude.or(self.excludei.as_ref().map(|ere| (ere, true)));
        let include = self.include.as_ref().map(|ere| (ere, false));
        let include = include.or(self.includei.as_ref().map(|ere| (ere, true)));
        match (exclude, include) {
            (Some((ere, any_case)), _) => Ok(Filter::Exclude(compile(ere, any_case, "exclude")?)),
            (None, Some((ere, any_case))) => Ok(Filter::Include(compile(ere, any_case, "include")?)),
            (None, None) => Ok(Filter::All),
        }
    }
}

fn compile(ere: &[u8], any_case: bool, kind: &str) -> Result<Regex, String> {
    let malformed = || format!("Error in `{kind}' regular expression.");
    let text = ere::translate(ere).map_err(|error| match error {
        EreError::Malformed => malformed(),
        EreError::BackReference => {
            format!("{} Back references (\\1) are not supported.", malformed())
        }
    })?;
    // Beyond this size an expression is a mistake; the bound is the crate's own.
    RegexBuilder::new(&text).unicode(false).case_insensitive(any_case).build().map_err(|_| malformed())
}

/// Which events are told. Matched against the watched path and the name in it, as written by the user, anywhere in it.
#[derive(Clone, Debug)]
pub(crate) enum Filter {
    All,
    Exclude(Regex),
    Include(Regex),
}

impl Filter {
    /// Whether an event at this path is told.
    pub(crate) fn passes(&self, path: &[u8]) -> bool {
        match self {
            Self::All => true,
            Self::Exclude(regex) => !regex.is_match(path),
            Self::Include(regex) => regex.is_match(path),
        }
    }

    /// Whether a new directory at this path is left unwatched. An include says nothing about what lies deeper.
    pub(crate) fn hides_directory(&self, path: &[u8]) -> bool {
        matches!(self, Self::Exclude(regex) if regex.is_match(path))
    }
}
