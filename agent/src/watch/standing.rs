//! Standing: how deletions stand, as the terms on which a stream is opened: whether they are held, and what of the copy
//! is left alone, each by a rule of its own.

use std::collections::BTreeMap;

use driftless_proto::model::filter::{RuleError, Rules};
use driftless_proto::model::path::RelPath;

use crate::pending::Rename;

/// Why a path is left alone.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Apart {
    /// The operator wants the copy to keep it. Nothing stands there.
    Kept,
    /// A mount hides it.
    Hidden,
    /// It cannot be read.
    Unreadable,
}

impl Apart {
    pub(super) fn words(self) -> &'static str {
        match self {
            Self::Kept => "kept by a rejected plan",
            Self::Hidden => "hidden by a mount",
            Self::Unreadable => "cannot be read",
        }
    }
}

/// Why every deletion is held, or every rewrite.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Held {
    pub(super) reason: String,
    /// The plan that says so; none where there is nothing to decide.
    pub(super) plan: Option<String>,
    /// Whether the root itself is in doubt.
    pub(super) about_root: bool,
}

/// How deletions stand.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Standing {
    pub(super) held: Option<Held>,
    /// Why new contents of files that the copy has are held.
    pub(super) rewrites: Option<Held>,
    pub(super) apart: BTreeMap<RelPath, Apart>,
}

impl Standing {
    /// Whether a stream opened for one may serve the other.
    pub(super) fn same_terms(&self, other: &Self) -> bool {
        self.held.is_some() == other.held.is_some()
            && self.rewrites.is_some() == other.rewrites.is_some()
            && self.apart.keys().eq(other.apart.keys())
    }

    /// Why this path is left alone, if it is.
    pub(super) fn apart(&self, path: &RelPath) -> Option<(&RelPath, Apart)> {
        let mut at = Some(path.clone());
        while let Some(dir) = at {
            if let Some((apart, why)) = self.apart.get_key_value(&dir) {
                return Some((apart, *why));
            }
            at = dir.parent();
        }
        None
    }

    /// Whether a path or something beneath it is left alone.
    pub(super) fn is_apart_within(&self, path: &RelPath) -> bool {
        self.apart(path).is_some() || self.apart.keys().any(|apart| apart.is_within(path))
    }

    /// Whether the server must not repeat a rename: what is left alone would go along, to where no rule names it, or the
    /// name itself is left alone, and the server takes it for a breach of the rules.
    pub(super) fn holds_fast(&self, rename: &Rename) -> bool {
        self.is_apart_within(&rename.from) || self.apart(&rename.to).is_some()
    }

    /// The operator's rules behind one for each path that is left alone; `prefix` is where the source lies in the
    /// transfer.
    ///
    /// # Errors
    /// When there are more than one stream may bring.
    pub(super) fn rules(&self, rules: &Rules, prefix: &RelPath) -> Result<Rules, RuleError> {
        apart_rules(self.apart.keys(), rules, prefix)
    }
}

/// As [`Standing::rules`], for these paths.
pub(super) fn apart_rules<'a>(
    paths: impl Iterator<Item = &'a RelPath>,
    rules: &Rules,
    prefix: &RelPath,
) -> Result<Rules, RuleError> {
    let mut all = Rules::default();
    for path in paths {
        let path = prefix.join(path).unwrap_or_else(|_| path.clone());
        all.push_wire(&[b"- /", &*literal(path.as_bytes())].concat())?;
    }
    rules.iter().try_for_each(|rule| all.push_wire(rule))?;
    Ok(all)
}

/// A pattern that matches this path only. Without a wildcard in it a pattern is compared byte by byte.
fn literal(path: &[u8]) -> Vec<u8> {
    if !path.iter().any(|b| b"*?[".contains(b)) {
        return path.into();
    }
    path.iter().flat_map(|&b| if b"*?[\\".contains(&b) { vec![b'\\', b] } else { vec![b] }).collect()
}
