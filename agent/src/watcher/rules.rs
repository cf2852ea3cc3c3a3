//! watcher: what an engine must know of the rules.

use driftless_proto::model::filter::Rules;

/// Whether the verdict on a name may change with the name of a directory above it.
pub(super) fn see_paths(rules: &Rules) -> bool {
    rules.iter().any(sees_path)
}

/// Whether a rule, in canonical form, looks at more than the last name of a path.
fn sees_path(rule: &[u8]) -> bool {
    let pattern = rule.get(2..).unwrap_or_default();
    let pattern = pattern.strip_suffix(b"/").unwrap_or(pattern);
    pattern.contains(&b'/') || pattern.windows(2).any(|two| two == b"**")
}
