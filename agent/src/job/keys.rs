//! job: every key of the config, and where each may stand. Named after the long options of the command line, so that
//! who knows those knows these.

use std::collections::BTreeSet;

/// At the top of the file.
pub const TOP: &[&str] = &["defaults", "job", "log-file", "metrics", "state-dir"];

/// Of one `[[job]]`; never in `[defaults]`.
pub const JOB: &[&str] = &["destination", "destinations", "name", "source"];

/// What `[defaults]` and a job may say.
pub const SETTINGS: &[&str] = &[
    "after",
    "before",
    "brake",
    "delete",
    "engine",
    "exclude",
    "exclude-from",
    "include",
    "include-from",
    "mode",
    "options",
    "rewrite-brake",
    "rules",
    "schedule",
];

/// How one server is reached; `[defaults]`, a job and a destination may say it.
pub const REACH: &[&str] = &[
    "bwlimit",
    "ca",
    "client-cert",
    "client-key",
    "compress",
    "fingerprint",
    "password-file",
    "plaintext",
    "port",
    "timeout",
];

/// Of a destination that is a table.
pub const DESTINATION: &[&str] = &["to"];

/// Of `before` and `after`.
pub const STEP: &[&str] = &["command", "timeout"];

/// Of an entry of a bandwidth table.
pub const WINDOW: &[&str] = &["from", "limit", "to"];

/// Every key there is, each once.
#[must_use]
pub fn all() -> BTreeSet<&'static str> {
    [TOP, JOB, SETTINGS, REACH, DESTINATION, STEP, WINDOW].concat().into_iter().collect()
}

/// The known key that was most likely meant: at most two letters away, or the same but for `_` and case.
#[must_use]
pub fn nearest(typed: &str, known: impl Iterator<Item = &'static str>) -> Option<&'static str> {
    let typed = typed.to_ascii_lowercase().replace('_', "-");
    // Of two words of the same short length every second letter may differ by chance.
    let most = if typed.len() < 4 { 1 } else { 2 };
    let far = |key: &&'static str| strsim::osa_distance(&typed, key);
    known
        .min_by_key(far)
        .filter(|key| far(key) <= most || typed.trim_end_matches('s') == key.trim_end_matches('s'))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_slip_of_the_finger_is_seen_through_and_another_word_is_not() {
        let table = [
            ("exlude", Some("exclude")),
            ("excludes", Some("exclude")),
            ("password_file", Some("password-file")),
            ("Delete", Some("delete")),
            ("dest", None),
            ("bandwidth", None),
            ("too", Some("to")),
        ];
        for (typed, want) in table {
            assert_eq!(nearest(typed, all().into_iter()), want, "{typed}");
        }
    }
}
