//! Decisions recorded from regcomp(3) and regexec(3) of glibc 2.36 with REG_EXTENDED, in the C locale.

use regex::bytes::RegexBuilder;

use super::*;

/// An expression, a text, and whether it matches; `None` where the expression is refused.
const RECORDED: &[(&str, &str, Option<bool>)] = &[
    ("*a", "a", None),
    ("a|*b", "b", None),
    ("(*a)", "a", None),
    ("^*", "", None),
    ("a||b", "", Some(true)),
    ("()", "", Some(true)),
    ("(|a)", "", Some(true)),
    ("a|", "", Some(true)),
    ("|a", "", Some(true)),
    (")", ")", Some(true)),
    ("a)", "a)", Some(true)),
    ("(a", "a", None),
    ("{1}", "{1}", None),
    ("a{", "a{", None),
    ("a{x", "a{x", None),
    ("a{1", "a{1", None),
    ("a{1,2", "a", None),
    ("a{1a}", "a", None),
    ("a{}", "a", None),
    ("a{ 1}", "a", None),
    ("a{,}", "a", Some(true)),
    ("a{01}", "a", Some(true)),
    ("a{,3}", "b", Some(true)),
    ("^a{,3}$", "aaaa", Some(false)),
    ("^a{2}$", "aa", Some(true)),
    ("^a{2,}$", "aaaa", Some(true)),
    ("^a{2,3}$", "aaaa", Some(false)),
    ("a{2,1}", "aa", None),
    ("^a{1}{2}$", "aa", Some(true)),
    ("a{0}", "", Some(true)),
    ("a{32768}", "a", None),
    ("a**", "a", Some(true)),
    ("^a+?$", "", Some(true)),
    ("^a{2}?$", "", Some(true)),
    ("^a??$", "", Some(true)),
    ("\\", "a", None),
    ("a\\", "a", None),
    ("\\d", "d", Some(true)),
    ("\\d", "5", Some(false)),
    ("\\n", "n", Some(true)),
    ("\\1", "1", None),
    ("[a", "a", None),
    ("[]a]", "]", Some(true)),
    ("[^]a]", "]", Some(false)),
    ("[\\n]", "n", Some(true)),
    ("[\\n]", "\\", Some(true)),
    ("[\\]]", "\\]", Some(true)),
    ("[a-]", "-", Some(true)),
    ("[-a]", "-", Some(true)),
    ("[^-a]", "-", Some(false)),
    ("[z-a]", "z", None),
    ("[[:alpha:]]", "a", Some(true)),
    ("^[[:alpha:]-]$", "-", Some(true)),
    ("[[:foo:]]", "a", None),
    ("[[.a.]]", "a", Some(true)),
    ("[[=a=]]", "a", Some(true)),
    ("[[.space.]]", " ", None),
    ("[[.-.]]", "-", Some(true)),
    ("[a-c-e]", "b", None),
    ("[--/]", ".", Some(true)),
    ("[%--]", "&", Some(true)),
    ("[]-a]", "^", Some(true)),
    ("[a-[:digit:]]", "a", None),
    ("[[:digit:]-z]", "5", None),
    ("[[:alpha:]", "a", None),
    ("a$b", "a$b", Some(false)),
    ("$a", "a", Some(false)),
    ("a^b", "a^b", Some(false)),
    ("\\<b", "a b", Some(true)),
    ("\\<b", "ab", Some(false)),
    ("b\\>", "b c", Some(true)),
    ("b\\>", "bc", Some(false)),
    ("\\bb", "a b", Some(true)),
    ("\\bb", "ab", Some(false)),
    ("\\Bb", "ab", Some(true)),
    ("\\Bb", "a b", Some(false)),
    ("^\\w$", "_", Some(true)),
    ("^\\W$", "_", Some(false)),
    ("\\sx", " x", Some(true)),
    ("\\Sx", " x", Some(false)),
    ("\\`a", "ba", Some(false)),
    ("a\\'", "ab", Some(false)),
    ("\\<*a", "a", None),
    ("$*", "a", None),
    ("^.$", "é", Some(false)),
    ("^..$", "é", Some(true)),
    ("^[é]$", "é", Some(false)),
    ("[é]", "é", Some(true)),
    ("^.$", "\x0b", Some(true)),
    ("\\{", "{", Some(true)),
    ("}", "}", Some(true)),
    ("]", "]", Some(true)),
    ("(^a)", "ba", Some(false)),
    ("(^*a)", "a", None),
    ("a|^*", "a", None),
    ("(+a)", "a", None),
    ("+", "+", None),
    ("?", "?", None),
    ("(?a)", "a", None),
    ("(?:a)", "a", None),
    ("\\(", "(", Some(true)),
    ("a\\{2\\}", "a{2}", Some(true)),
    ("(())", "", Some(true)),
    ("((a)|b)*c", "c", Some(true)),
    ("^((a)|b)*c$", "abdc", Some(false)),
    ("\\/", "/", Some(true)),
    ("\\a", "a", Some(true)),
    ("(node_modules|\\.git)/", "t/node_modules/x", Some(true)),
    ("\\.(swp|tmp)$", "t/a.swp", Some(true)),
    ("\\.(swp|tmp)$", "t/aswp", Some(false)),
    ("^.*/[^.][^/]*\\.py$", "t/d/x.py", Some(true)),
    (".*(\\.git|\\.swp|~$)", "t/x~", Some(true)),
];

fn matches(ere: &str, any_case: bool, text: &str) -> Option<bool> {
    let regex = translate(ere.as_bytes()).ok()?;
    let regex = RegexBuilder::new(&regex).unicode(false).case_insensitive(any_case).build();
    Some(regex.unwrap_or_else(|error| panic!("{ere:?}: {error}")).is_match(text.as_bytes()))
}

#[test]
fn what_matches_in_the_c_library_matches_here() {
    for &(ere, text, want) in RECORDED {
        assert_eq!(matches(ere, false, text), want, "{ere:?} on {text:?}");
    }
}

#[test]
fn without_case_a_negated_bracket_leaves_both_out() {
    for (ere, text, want) in [("^[^a]$", "A", false), ("^[^a]$", "b", true), ("^[b-c]x$", "BX", true)] {
        assert_eq!(matches(ere, true, text), Some(want), "{ere:?} on {text:?}");
    }
}

#[test]
fn a_back_reference_is_refused_by_name() {
    assert_eq!(translate(br"(a)\1"), Err(EreError::BackReference));
    assert_eq!(translate(br"(a)\2"), Err(EreError::Malformed));
}
