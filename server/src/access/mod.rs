//! `hosts allow` and `hosts deny`: which addresses get into a module.
//!
//! The decision is rsync's: who matches the allow list gets in; else, without a deny list, nobody does; else who
//! matches the deny list is kept out; **everybody else gets in**. What is ours is the reading of the lists. rsync drops
//! a pattern that it cannot read and goes on, which turns a slip of the pen into an open door; here every pattern is
//! read when the server starts, and one that means nothing, or not what it seems to, refuses the file.

mod pattern;

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use pattern::Pattern;

/// The two lists of a module. Without any, everybody gets in.
#[derive(Debug, Default)]
pub(crate) struct AccessList {
    allow: Option<Vec<Pattern>>,
    deny: Option<Vec<Pattern>>,
}

/// A list as it stands in the file.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Listed<'a> {
    /// The value.
    pub(crate) text: &'a str,
    /// Its line.
    pub(crate) line: u32,
}

/// One thing to say about a list.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Remark {
    /// About which.
    pub(crate) which: Which,
    /// Whether the file must not be served.
    pub(crate) fatal: bool,
    /// What is wrong, and how to mend it.
    pub(crate) text: String,
}

/// One of the two lists.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Which {
    /// `hosts allow`.
    Allow,
    /// `hosts deny`.
    Deny,
}

impl AccessList {
    /// Reads both lists. With a fatal remark the list admits nobody.
    pub(crate) fn parse(allow: Option<Listed<'_>>, deny: Option<Listed<'_>>) -> (Self, Vec<Remark>) {
        let mut remarks = Vec::new();
        let allow_patterns = allow.and_then(|list| patterns(list, Which::Allow, &mut remarks));
        let deny_patterns = deny.and_then(|list| patterns(list, Which::Deny, &mut remarks));
        let list = Self { allow: allow_patterns, deny: deny_patterns };
        list.judge_deny(allow, deny, &mut remarks);
        list.judge_allow(&mut remarks);
        if remarks.iter().any(|remark| remark.fatal) {
            return (Self { allow: Some(Vec::new()), deny: None }, remarks);
        }
        (list, remarks)
    }

    /// Whether a client at this address gets in.
    pub(crate) fn admits(&self, peer: IpAddr) -> bool {
        let peer = peer.to_canonical();
        let matched = |list: &[Pattern]| list.iter().any(|pattern| pattern.matches(peer));
        match (&self.allow, &self.deny) {
            (Some(allow), _) if matched(allow) => true,
            (Some(_), None) => false,
            (_, Some(deny)) => !matched(deny),
            (None, None) => true,
        }
    }

    /// Who gets in, in a few words.
    pub(crate) fn describe(&self) -> String {
        let names = |list: &[Pattern]| list.iter().map(ToString::to_string).collect::<Vec<_>>().join(", ");
        let allow = self.allow.as_deref().map(names).filter(|names| !names.is_empty());
        let Some(deny) = &self.deny else {
            return match (&self.allow, allow) {
                (None, _) => "every address".into(),
                (Some(_), Some(allow)) => format!("only {allow}"),
                (Some(_), None) => "nobody".into(),
            };
        };
        let others = match self.unlisted() {
            Unlisted::None => None,
            Unlisted::Ipv4 => Some("every IPv4 address".to_owned()),
            Unlisted::Ipv6 => Some("every IPv6 address".to_owned()),
            Unlisted::Both => Some(format!("every address but {}", names(deny))),
        };
        match (allow, others) {
            (Some(allow), Some(others)) => format!("{allow}; and {others}"),
            (Some(allow), None) => format!("only {allow}"),
            (None, Some(others)) => others,
            (None, None) => "nobody".into(),
        }
    }

    /// Of which families clients get in that no allow list names.
    fn unlisted(&self) -> Unlisted {
        let Some(deny) = &self.deny else {
            return if self.allow.is_none() { Unlisted::Both } else { Unlisted::None };
        };
        let whole = |of: IpAddr| deny.iter().any(|pattern| pattern.is_whole_family(of));
        match (whole(Ipv4Addr::UNSPECIFIED.into()), whole(Ipv6Addr::UNSPECIFIED.into())) {
            (true, true) => Unlisted::None,
            (false, true) => Unlisted::Ipv4,
            (true, false) => Unlisted::Ipv6,
            (false, false) => Unlisted::Both,
        }
    }

    fn judge_deny(&self, allow: Option<Listed<'_>>, deny: Option<Listed<'_>>, remarks: &mut Vec<Remark>) {
        let (Some(list), Some(deny)) = (&self.deny, deny) else { return };
        let says = |fatal, text| Remark { which: Which::Deny, fatal, text };
        // A list with a pattern that could not be read has its remark already.
        let unread = remarks.iter().any(|remark| remark.which == Which::Deny && remark.fatal);
        if !unread && list.iter().all(Pattern::matches_nobody) {
            let fix = match allow {
                Some(allow) => format!(
                    "with `hosts allow` (line {}) that admits everybody; write `hosts allow = {}` alone, or with `hosts deny = *`",
                    allow.line,
                    pattern::mended(allow.text)
                ),
                None => "so everybody gets in; write `hosts deny = *` to deny all, or drop the line".into(),
            };
            remarks.push(says(true, format!("`{}` matches no client, {fix}", deny.text)));
            return;
        }
        match self.unlisted() {
            Unlisted::None => {}
            Unlisted::Ipv4 => {
                remarks.push(says(false, "every IPv4 client gets in: add 0.0.0.0/0, or write *".into()));
            }
            Unlisted::Ipv6 => {
                remarks.push(says(false, "every IPv6 client gets in: add ::/0, or write *".into()));
            }
            Unlisted::Both if self.allow.is_some() => {
                let text = "clients that neither list names get in: to admit only the allow list, drop `hosts deny` or write *";
                remarks.push(says(false, text.into()));
            }
            Unlisted::Both => {}
        }
    }

    fn judge_allow(&self, remarks: &mut Vec<Remark>) {
        let unread = remarks.iter().any(|remark| remark.which == Which::Allow && remark.fatal);
        let nobody = |list: &Vec<Pattern>| list.iter().all(Pattern::matches_nobody);
        if !unread && self.allow.as_ref().is_some_and(nobody) {
            remarks.push(Remark { which: Which::Allow, fatal: false, text: "matches no client".into() });
        }
    }
}

/// Of which families clients get in that no list names.
#[derive(Clone, Copy)]
enum Unlisted {
    Both,
    Ipv4,
    Ipv6,
    None,
}

/// The patterns of a list; `None` when it has none, which is as if it were not there (`rsyncd.conf(5)`).
fn patterns(list: Listed<'_>, which: Which, remarks: &mut Vec<Remark>) -> Option<Vec<Pattern>> {
    let words = list.text.split([' ', ',', '\t']).filter(|word| !word.is_empty());
    let mut found = false;
    let mut patterns = Vec::new();
    for word in words {
        found = true;
        match Pattern::parse(word) {
            Ok(pattern) => patterns.push(pattern),
            Err(error) => remarks.push(Remark { which, fatal: true, text: error.to_string() }),
        }
    }
    found.then_some(patterns)
}

#[cfg(test)]
mod tests;
