//! The wildcards of `auth users`: `*`, `**`, `?`, `[...]` and a backslash, as in rsync's file patterns.

/// A pattern over names. Matching takes at most its length times that of the name, whatever both are.
#[derive(Debug)]
pub(super) struct Wildcard(Vec<Token>);

#[derive(Debug)]
enum Token {
    /// Any characters; with `true` also a `/`.
    Any(bool),
    /// One character of a set.
    Class { negated: bool, members: Vec<Member> },
    /// This character.
    Exact(char),
    /// One character but `/`.
    One,
}

#[derive(Debug)]
enum Member {
    Named(fn(&char) -> bool),
    Range(char, char),
}

impl Wildcard {
    /// `None` when a `[` has no `]`, a class no such name, or a backslash nothing behind it.
    pub(super) fn parse(text: &str) -> Option<Self> {
        let mut rest: &[char] = &text.chars().collect::<Vec<_>>();
        let mut tokens = Vec::new();
        while let [first, behind @ ..] = rest {
            rest = behind;
            tokens.push(match first {
                '*' => {
                    let stars = rest.iter().take_while(|c| **c == '*').count();
                    rest = &rest[stars..];
                    Token::Any(stars > 0)
                }
                '?' => Token::One,
                '[' => {
                    let (class, behind) = class(rest)?;
                    rest = behind;
                    class
                }
                '\\' => {
                    let (escaped, behind) = rest.split_first()?;
                    rest = behind;
                    Token::Exact(*escaped)
                }
                c => Token::Exact(*c),
            });
        }
        Some(Self(tokens))
    }

    /// Whether it matches the whole name; case counts.
    pub(super) fn matches(&self, name: &str) -> bool {
        // reached[i]: the tokens before the i-th can match the characters read so far.
        let mut reached = vec![false; self.0.len() + 1];
        reached[0] = true;
        self.skip_empty(&mut reached);
        for c in name.chars() {
            let mut next = vec![false; self.0.len() + 1];
            for (at, token) in self.0.iter().enumerate().filter(|(at, _)| reached[*at]) {
                match token {
                    Token::Any(slash) => next[at] |= *slash || c != '/',
                    token => next[at + 1] |= token.takes(c),
                }
            }
            self.skip_empty(&mut next);
            reached = next;
        }
        reached[self.0.len()]
    }

    /// A `*` matches nothing, too.
    fn skip_empty(&self, reached: &mut [bool]) {
        for (at, token) in self.0.iter().enumerate() {
            if reached[at] && matches!(token, Token::Any(_)) {
                reached[at + 1] = true;
            }
        }
    }
}

impl Token {
    fn takes(&self, c: char) -> bool {
        match self {
            Self::Any(slash) => *slash || c != '/',
            Self::Class { negated, members } => {
                c != '/' && members.iter().any(|member| member.has(c)) != *negated
            }
            Self::Exact(exact) => c == *exact,
            Self::One => c != '/',
        }
    }
}

impl Member {
    fn has(&self, c: char) -> bool {
        match self {
            Self::Named(is) => is(&c),
            Self::Range(from, to) => (*from..=*to).contains(&c),
        }
    }
}

/// The set behind a `[`, and what follows its `]`.
fn class(text: &[char]) -> Option<(Token, &[char])> {
    let (negated, mut rest) = match text {
        ['!' | '^', rest @ ..] => (true, rest),
        rest => (false, rest),
    };
    let mut members = Vec::new();
    loop {
        let (first, behind) = rest.split_first()?;
        rest = behind;
        match first {
            // Right behind the `[` it is a member.
            ']' if !members.is_empty() => return Some((Token::Class { negated, members }, rest)),
            '[' if rest.first() == Some(&':') => {
                let end = rest.windows(2).position(|pair| pair == [':', ']']).filter(|end| *end > 0)?;
                let name: String = rest[1..end].iter().collect();
                members.push(Member::Named(named(&name)?));
                rest = &rest[end + 2..];
            }
            first => {
                let from = member(*first, &mut rest)?;
                let to = match rest {
                    ['-', to, behind @ ..] if *to != ']' => {
                        rest = behind;
                        member(*to, &mut rest)?
                    }
                    _ => from,
                };
                members.push(Member::Range(from, to));
            }
        }
    }
}

/// A member as it is, or the character behind its backslash.
fn member(c: char, rest: &mut &[char]) -> Option<char> {
    if c != '\\' {
        return Some(c);
    }
    let (escaped, behind) = rest.split_first()?;
    *rest = behind;
    Some(*escaped)
}

fn named(class: &str) -> Option<fn(&char) -> bool> {
    Some(match class {
        "alnum" => char::is_ascii_alphanumeric,
        "alpha" => char::is_ascii_alphabetic,
        "digit" => char::is_ascii_digit,
        "lower" => char::is_ascii_lowercase,
        "punct" => char::is_ascii_punctuation,
        "space" => char::is_ascii_whitespace,
        "upper" => char::is_ascii_uppercase,
        "xdigit" => char::is_ascii_hexdigit,
        _ => return None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn wildcards_match_as_in_rsync() {
        let cases = [
            ("joe", "joe", true),
            ("joe", "Joe", false),
            ("joe", "joey", false),
            ("*", "", true),
            ("*", "a/b", false),
            ("**", "a/b", true),
            ("a*c*e", "abcde", true),
            ("a*c*e", "abcdef", false),
            ("?oe", "joe", true),
            ("?", "/", false),
            ("?", "é", true),
            ("[a-cx]z", "bz", true),
            ("[a-cx]z", "dz", false),
            ("[!a-c]", "d", true),
            ("[^a-c]", "a", false),
            ("[]a]", "]", true),
            ("[a-]", "-", true),
            ("[[:digit:]_]*", "7x", true),
            ("[[:digit:]_]*", "x7", false),
            ("[\\]]", "]", true),
            ("a\\*", "a*", true),
            ("a\\*", "ab", false),
        ];
        for (pattern, name, want) in cases {
            assert_eq!(Wildcard::parse(pattern).expect(pattern).matches(name), want, "{pattern} {name}");
        }
        for broken in ["[a", "[]", "[!", "[[:nonsense:]]", "[[:alpha", "a\\", "[a-\\"] {
            assert!(Wildcard::parse(broken).is_none(), "{broken}");
        }
    }

    #[test]
    fn many_stars_cost_no_time() {
        let pattern = Wildcard::parse(&"*a".repeat(100)).expect("pattern");
        assert!(!pattern.matches(&"a".repeat(99)) && pattern.matches(&"a".repeat(511)));
    }

    proptest! {
        #[test]
        fn a_plain_name_matches_itself_only(a in "[a-z]{1,6}", b in "[a-z]{1,6}") {
            let pattern = Wildcard::parse(&a).expect("pattern");
            prop_assert!(pattern.matches(&a));
            prop_assert_eq!(pattern.matches(&b), a == b);
        }

        #[test]
        fn nothing_panics(pattern in "[\\[\\]*?!^:a\\\\-]{0,12}", name in "[a/\\]-]{0,8}") {
            if let Some(pattern) = Wildcard::parse(&pattern) {
                pattern.matches(&name);
            }
        }
    }
}
