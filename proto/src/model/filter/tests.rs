//! The decisions of a real rsync 3.5.0, the corners they leave out, and the matcher against a plain one.

use std::collections::BTreeSet;

use proptest::prelude::*;
use serde_json::Value;

use super::*;

/// `{tree: [{path, kind}], cases: [{args, kept}]}`: what `rsync -a ARGS tree/ dest/` kept.
const VECTORS: &str = include_str!("vectors.json");

fn path(text: &str) -> RelPath {
    RelPath::parse(text.as_bytes()).expect("path")
}

/// The rules of a recorded command line; `None` when it uses more than plain rules.
fn rules_of(args: &[&str]) -> Option<Rules> {
    let mut rules = Rules::default();
    for arg in args {
        let taken = if let Some(rule) = arg.strip_prefix("--exclude=") {
            rules.exclude(rule.as_bytes())
        } else if let Some(rule) = arg.strip_prefix("--include=") {
            rules.include(rule.as_bytes())
        } else if arg.starts_with("-f- ") || arg.starts_with("-f+ ") {
            rules.push_wire(&arg.as_bytes()[2..])
        } else {
            return None;
        };
        taken.expect("rule");
    }
    Some(rules)
}

fn strings(list: &Value) -> Vec<&str> {
    let list = list.as_array().expect("list");
    list.iter().map(|item| item.as_str().expect("text")).collect()
}

#[test]
fn plain_rules_decide_as_rsync_does() {
    let vectors: Value = serde_json::from_str(VECTORS).expect("json");
    let tree: Vec<(&str, bool)> = vectors["tree"]
        .as_array()
        .expect("list")
        .iter()
        .map(|entry| (entry["path"].as_str().expect("path"), entry["kind"] == "dir"))
        .collect();
    let (mut checked, mut skipped) = (0, 0);
    for case in vectors["cases"].as_array().expect("list") {
        let args = strings(&case["args"]);
        let Some(rules) = rules_of(&args) else {
            skipped += 1;
            continue;
        };
        checked += 1;
        let want: BTreeSet<&str> = strings(&case["kept"]).into_iter().filter(|&p| p != ".").collect();
        let mut walked = BTreeSet::new();
        for &(text, is_dir) in &tree {
            let parent = text.rsplit_once('/').map(|(parent, _)| parent);
            if parent.is_none_or(|parent| walked.contains(parent)) && !rules.excludes(&path(text), is_dir) {
                walked.insert(text);
            }
        }
        assert_eq!(walked, want, "walked under {args:?}");
        let named = tree.iter().filter(|&&(text, is_dir)| !rules.hides(&path(text), is_dir));
        assert_eq!(named.map(|&(text, _)| text).collect::<BTreeSet<_>>(), want, "named under {args:?}");
    }
    // Skipped: merge files, sides, modifiers, rules by word, -C and -m.
    assert_eq!((checked, skipped), (47, 13));
}

#[test]
fn corners_of_matching() {
    // Pattern, path (a directory if it ends in a slash), whether it matches: as rsync 3.5.0 decides each.
    let cases = [
        ("*", ".hidden", true),
        ("a?c", "a/c", false),
        ("**/bar", "bar", true),
        ("/**/bar", "bar", false),
        ("/foo/**/bar", "foo/bar", false),
        ("/foo/**/bar", "foo/x/bar", true),
        ("/foo/***", "foo/", true),
        ("/foo/***", "foo", false),
        ("foo/***", "x/foo/", true),
        ("foo/***", "x/foo/a/b", true),
        ("a*/***", "ab/", true),
        ("***", "x", true),
        ("a/b", "x/a/b", true),
        ("a/b", "x/aa/b", false),
        ("/a/b", "x/a/b", false),
        ("x/*/c", "a/x/b/c", true),
        ("x/*/c", "x/c", false),
        ("a//b", "a/b", false),
        ("//a", "a", false),
        ("a//", "a/", false),
        ("/[/U]", "U", true),
        ("[]]", "]", true),
        ("[!]]", "]", false),
        ("[^a]", "b", true),
        ("[a-]", "-", true),
        ("[-a]", "-", true),
        ("[a-c-e]", "d", false),
        ("[a-c-e]", "e", true),
        ("[c-a]", "b", false),
        ("[\\]x]", "]", true),
        ("[\\a-c]", "b", true),
        ("[[:digit:]-z]", "-", true),
        ("[[:digit]", ":", true),
        ("[[:none:]]", "n", false),
        ("[a", "[a", false),
        ("a*\\", "a\\", false),
        ("a\\", "a\\", true),
        ("\\a?", "ab", true),
        ("[[:space:]]", "\x0b", true),
        ("\\**", "x/*a", true),
        ("[**]", "x/*", true),
    ];
    for (pattern, text, want) in cases {
        let mut rules = Rules::default();
        rules.exclude(pattern.as_bytes()).expect("rule");
        let bare = text.strip_suffix('/').unwrap_or(text);
        assert_eq!(rules.excludes(&path(bare), bare != text), want, "{pattern} on {text}");
    }
}

fn texts(rules: &Rules) -> Vec<String> {
    rules.iter().map(|rule| String::from_utf8(rule.to_vec()).expect("text")).collect()
}

#[test]
fn arguments_and_files_give_canonical_rules_that_cross_the_wire() {
    let mut rules = Rules::default();
    rules.exclude(b"gone").expect("rule");
    rules.exclude(b"").expect("nothing");
    rules.include(b"!").expect("clears");
    rules.exclude(b"+ a").expect("rule");
    rules.include(b"-_b").expect("rule");
    rules.exclude(b"- !").expect("rule");
    rules.include_from(b"#c\n\n;c\r\n- d \r\n e\n- ;f\nlast").expect("rules");
    let want = ["+ a", "+ -_b", "- !", "- d ", "+  e", "- ;f", "+ last"];
    assert_eq!(texts(&rules), want);

    let mut wired = Rules::default();
    rules.iter().try_for_each(|rule| wired.push_wire(rule)).expect("rules");
    assert_eq!(texts(&wired), want);

    rules.exclude_from(b"x\n!\ny").expect("rules");
    assert_eq!(texts(&rules), ["- y"]);
}

#[test]
fn refused_rules_name_themselves() {
    let mut rules = Rules::default();
    assert_eq!(rules.exclude(b"+ "), Err(RuleError::Empty("+ ".into())));
    assert_eq!(rules.push_wire(b"- "), Err(RuleError::Empty("- ".into())));
    assert_eq!(rules.push_wire(b"!"), Err(RuleError::Prefix("!".into())));
    assert_eq!(rules.exclude(b"a\0"), Err(RuleError::Nul("- a\\#000".into())));
    let long = vec![b'a'; limits::RULE_LEN - 1];
    assert!(matches!(rules.exclude(&long), Err(RuleError::TooLong(_))));
    assert!(rules.is_empty());
    rules.exclude(&long[1..]).expect("longest rule");
    (1..limits::RULES_MAX).for_each(|_| rules.exclude(b"a").expect("rule"));
    let error = rules.exclude_from(b"a").expect_err("full");
    assert_eq!(error.to_string(), "rule `- a` is one too many: at most 4096 are taken");
}

#[test]
fn the_root_is_never_excluded() {
    let mut rules = Rules::default();
    rules.exclude(b"***").expect("rule");
    assert!(!rules.excludes(&RelPath::root(), true) && !rules.hides(&RelPath::root(), true));
}

/// Backtracking matcher of `?`, `*` and `**`, for comparison: easy to see right, exponential.
fn plain(pattern: &[u8], text: &[u8]) -> bool {
    match (pattern, text) {
        ([], []) => true,
        ([b'*', b'*', rest @ ..], _) => (0..=text.len()).any(|skip| plain(rest, &text[skip..])),
        ([b'*', rest @ ..], _) => {
            let reach = text.iter().position(|&b| b == b'/').unwrap_or(text.len());
            (0..=reach).any(|skip| plain(rest, &text[skip..]))
        }
        ([b'?', pattern @ ..], [byte, text @ ..]) => *byte != b'/' && plain(pattern, text),
        ([wanted, pattern @ ..], [byte, text @ ..]) => wanted == byte && plain(pattern, text),
        _ => false,
    }
}

proptest! {
    #[test]
    fn wildcards_agree_with_a_plain_matcher(pattern in "/([ab?/]|[*]){0,9}[ab?*]", text in "[ab]{1,3}(/[ab]{1,3}){0,3}") {
        // Three stars at the end have a meaning of their own.
        prop_assume!(!pattern.ends_with("***"));
        let mut rules = Rules::default();
        rules.exclude(pattern.as_bytes()).expect("rule");
        prop_assert_eq!(rules.excludes(&path(&text), false), plain(&pattern.as_bytes()[1..], text.as_bytes()));
    }

    #[test]
    fn no_pattern_panics(pattern in prop::collection::vec(prop::sample::select(b"ab/*?[]!^-:\\\xff".to_vec()), 1..80)) {
        let mut rules = Rules::default();
        rules.exclude(&pattern).expect("rule");
        for text in ["a", "a/b", "b/a/b", "[", "\\", "a/-/]"] {
            let (file, dir) = (rules.excludes(&path(text), false), rules.excludes(&path(text), true));
            prop_assert!(dir || !file, "a directory matches whatever a file does");
        }
    }

    #[test]
    fn literals_match_only_themselves(pattern in "/[a-c\\\\]{1,4}", text in "[a-c\\\\]{1,4}") {
        let mut rules = Rules::default();
        rules.exclude(pattern.as_bytes()).expect("rule");
        prop_assert_eq!(rules.excludes(&path(&text), false), pattern[1..] == text);
    }
}

/// Would not end in a lifetime with a matcher that backtracks.
#[test]
fn work_is_bounded_by_the_product_of_the_lengths() {
    let text = vec!["a".repeat(250); 4].join("/");
    for star in ["*", "**", "*?", "**/*"] {
        let mut rules = Rules::default();
        rules.exclude(format!("/{}b*", format!("{star}a").repeat(400)).as_bytes()).expect("rule");
        rules.exclude(format!("{}b*", format!("{star}a").repeat(30)).as_bytes()).expect("rule");
        assert!(!rules.excludes(&path(&text), true));
    }
}
