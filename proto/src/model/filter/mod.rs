//! Include and exclude rules: which paths take part in a transfer. Matching is rsync's, `rsync(1)` FILTER RULES,
//! checked against decisions recorded from a real rsync 3.5.0.
//!
//! Only plain rules exist so far: what `--exclude`, `--include` and their `-from` forms accept.

mod pattern;
mod wildcard;

#[cfg(test)]
mod tests;

use crate::limits;

use self::pattern::{Pattern, Subject};
use super::path::{Escaped, RelPath};

/// Why a rule was refused. Names the rule, escaped for a terminal.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum RuleError {
    /// A prefix with nothing after it.
    #[error("rule `{0}` has no pattern")]
    Empty(String),
    /// The rule has a NUL byte, which no path has.
    #[error("rule `{0}` has a NUL byte")]
    Nul(String),
    /// The rule is longer than [`limits::RULE_LEN`], its prefix counted. Its beginning is shown.
    #[error("rule `{0}...` is longer than {max} bytes", max = limits::RULE_LEN)]
    TooLong(String),
    /// There are [`limits::RULES_MAX`] rules already.
    #[error("rule `{0}` is one too many: at most {max} are taken", max = limits::RULES_MAX)]
    TooMany(String),
    /// A canonical rule begins with neither `- ` nor `+ `.
    #[error("rule `{0}` begins with neither `- ` nor `+ `")]
    Prefix(String),
}

/// What happens to a path that a rule matches.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Verdict {
    Exclude,
    Include,
}

impl Verdict {
    /// The prefix that a canonical rule begins with.
    fn prefix(self) -> &'static [u8; 2] {
        match self {
            Self::Exclude => b"- ",
            Self::Include => b"+ ",
        }
    }

    /// Splits a leading `- ` or `+ ` off a rule.
    fn strip(rule: &[u8]) -> Option<(Self, &[u8])> {
        [Self::Exclude, Self::Include]
            .into_iter()
            .find_map(|verdict| Some((verdict, rule.strip_prefix(verdict.prefix())?)))
    }
}

/// One rule, parsed when it was added.
#[derive(Clone, Debug)]
struct Rule {
    verdict: Verdict,
    /// Canonical form: [`Verdict::prefix`] and the pattern as it was given.
    text: Box<[u8]>,
    pattern: Pattern,
}

/// A list of rules; the first that matches a path decides, and a path that none matches takes part.
///
/// Invariant: at most [`limits::RULES_MAX`] rules, each at most [`limits::RULE_LEN`] bytes in canonical form.
#[derive(Clone, Debug, Default)]
pub struct Rules {
    rules: Vec<Rule>,
}

/// Two lists of the same texts decide alike.
impl PartialEq for Rules {
    fn eq(&self, other: &Self) -> bool {
        self.iter().eq(other.iter())
    }
}

impl Eq for Rules {}

impl Rules {
    /// The argument of one `--exclude`. A `- ` or `+ ` in front overrides the option's name, a lone `!` clears the
    /// list, and no bytes at all are no rule (so that `--exclude="$UNSET"` is harmless, as it is to rsync).
    pub fn exclude(&mut self, arg: &[u8]) -> Result<(), RuleError> {
        self.push_arg(Verdict::Exclude, arg)
    }

    /// The argument of one `--include`, read as [`Rules::exclude`] reads its own.
    pub fn include(&mut self, arg: &[u8]) -> Result<(), RuleError> {
        self.push_arg(Verdict::Include, arg)
    }

    /// The content of a file named by `--exclude-from`: a rule a line, each read as [`Rules::exclude`] reads its
    /// argument. A line ends at a line feed or a carriage return; empty lines, and those that begin with `#` or
    /// `;`, are skipped; blanks belong to the pattern. At an error the lines before it have been added.
    pub fn exclude_from(&mut self, file_content: &[u8]) -> Result<(), RuleError> {
        self.push_lines(Verdict::Exclude, file_content)
    }

    /// The content of a file named by `--include-from`, read as [`Rules::exclude_from`] reads its own.
    pub fn include_from(&mut self, file_content: &[u8]) -> Result<(), RuleError> {
        self.push_lines(Verdict::Include, file_content)
    }

    /// One rule in canonical form, as [`Rules::iter`] gives it: the form that crosses the wire.
    pub fn push_wire(&mut self, rule: &[u8]) -> Result<(), RuleError> {
        let (verdict, pattern) = Verdict::strip(rule).ok_or_else(|| RuleError::Prefix(shown(rule)))?;
        self.push(verdict, pattern)
    }

    /// The rules in order and in canonical form, `- PATTERN` or `+ PATTERN`: two lists that give the same texts
    /// decide alike.
    pub fn iter(&self) -> impl Iterator<Item = &[u8]> {
        self.rules.iter().map(|rule| &*rule.text)
    }

    /// Whether there is no rule, so that every path takes part.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.rules.is_empty()
    }

    /// Whether the rules exclude this path, relative to the transfer root. What a symlink points at does not make
    /// it a directory. The root itself is never excluded. An excluded directory takes its content with it, but
    /// that is for the caller, who does not descend; a path that was not walked to is a case for [`Rules::hides`].
    #[must_use]
    pub fn excludes(&self, path: &RelPath, is_dir: bool) -> bool {
        self.decide(path.as_bytes(), is_dir)
    }

    /// Whether the path or any directory above it is excluded: for a path that a peer named directly.
    #[must_use]
    pub fn hides(&self, path: &RelPath, is_dir: bool) -> bool {
        let bytes = path.as_bytes();
        let mut above = bytes.iter().enumerate().filter(|&(_, &b)| b == b'/');
        above.any(|(end, _)| self.decide(&bytes[..end], true)) || self.decide(bytes, is_dir)
    }

    /// The rule that decides on a path, in canonical form, and the path that it matches: the topmost directory above
    /// that is excluded, or the path itself. `None` where no rule matches, so that it takes part.
    #[must_use]
    pub fn deciding(&self, path: &RelPath, is_dir: bool) -> Option<(RelPath, &[u8])> {
        let bytes = path.as_bytes();
        let above = bytes.iter().enumerate().filter(|&(_, &b)| b == b'/').map(|(end, _)| &bytes[..end]);
        let excluded = above.filter_map(|dir| Some((dir, self.first(dir, true)?)));
        let excluded = excluded.filter(|(_, rule)| rule.verdict == Verdict::Exclude);
        let own = self.first(bytes, is_dir).map(|rule| (bytes, rule));
        let (at, rule) = excluded.chain(own).next()?;
        Some((RelPath::parse(at).ok()?, &rule.text))
    }

    fn decide(&self, path: &[u8], is_dir: bool) -> bool {
        self.first(path, is_dir).is_some_and(|rule| rule.verdict == Verdict::Exclude)
    }

    fn first(&self, path: &[u8], is_dir: bool) -> Option<&Rule> {
        if path.is_empty() || self.rules.is_empty() {
            return None;
        }
        let subject = Subject::new(path, is_dir);
        self.rules.iter().find(|rule| rule.pattern.matches(&subject))
    }

    fn push_lines(&mut self, verdict: Verdict, content: &[u8]) -> Result<(), RuleError> {
        content
            .split(|&b| b == b'\n' || b == b'\r')
            .filter(|line| !matches!(line.first(), Some(b'#' | b';')))
            .try_for_each(|line| self.push_arg(verdict, line))
    }

    fn push_arg(&mut self, verdict: Verdict, arg: &[u8]) -> Result<(), RuleError> {
        match arg {
            b"" => Ok(()),
            b"!" => {
                self.rules.clear();
                Ok(())
            }
            _ => {
                let (verdict, pattern) = Verdict::strip(arg).unwrap_or((verdict, arg));
                self.push(verdict, pattern)
            }
        }
    }

    fn push(&mut self, verdict: Verdict, pattern: &[u8]) -> Result<(), RuleError> {
        let text = [verdict.prefix(), pattern].concat();
        if pattern.is_empty() {
            return Err(RuleError::Empty(shown(&text)));
        }
        if text.len() > limits::RULE_LEN {
            return Err(RuleError::TooLong(shown(&text)));
        }
        if pattern.contains(&0) {
            return Err(RuleError::Nul(shown(&text)));
        }
        if self.rules.len() == limits::RULES_MAX {
            return Err(RuleError::TooMany(shown(&text)));
        }
        let pattern = Pattern::parse(pattern);
        self.rules.push(Rule { verdict, text: text.into(), pattern });
        Ok(())
    }
}

/// The beginning of a rule, enough to find it by, safe to print.
fn shown(rule: &[u8]) -> String {
    Escaped(&rule[..rule.len().min(80)]).to_string()
}
