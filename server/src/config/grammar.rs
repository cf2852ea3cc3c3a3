//! The text of `rsyncd.conf(5)`, cut into sections and parameters. What they mean is not known here.
//!
//! The quirks are rsync's, since existing files rely on them: a comment is a whole line, quotes are part of a value,
//! and a line without `=` is nothing at all.

/// One line of the file that is not blank and not a comment, with those that continue it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Line {
    /// Where it begins; the first line of the file is 1.
    pub(crate) number: u32,
    /// What it is.
    pub(crate) item: Item,
}

/// What a line is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Item {
    /// The file makes no sense from here on; rsync refuses all of it.
    Broken(&'static str),
    /// `&include` or `&merge`.
    Directive(Vec<u8>),
    /// No `=`: rsync logs it and goes on.
    NoEquals(Vec<u8>),
    /// `name = value`: the name as it was written, the value less its blanks at both ends.
    Parameter {
        /// Compare with [`same_name`].
        name: Vec<u8>,
        /// Any bytes but newline and carriage return.
        value: Vec<u8>,
    },
    /// `[name]`, its runs of blanks made one space.
    Section(Vec<u8>),
}

/// Cuts a file into its lines. Never fails: what is wrong is an [`Item`] too.
pub(crate) fn parse(text: &[u8]) -> Vec<Line> {
    let text: Vec<u8> = text.iter().copied().filter(|byte| *byte != b'\r').collect();
    let mut physical = (1..).zip(text.split(|byte| *byte == b'\n'));
    let mut lines = Vec::new();
    while let Some((number, first)) = physical.next() {
        let mut logical = first.trim_ascii_start().to_vec();
        if matches!(logical.first(), None | Some(b'#' | b';')) {
            continue;
        }
        // The end of the file continues nothing: a backslash there is content.
        while let Some(kept) = continued(&logical) {
            let Some((_, next)) = physical.next() else { break };
            logical.truncate(kept);
            logical.extend_from_slice(next);
        }
        lines.push(Line { number, item: item(&logical) });
    }
    lines
}

/// How much of a line stays when the next one continues it; `None` when it ends here.
fn continued(line: &[u8]) -> Option<usize> {
    let section_ended = line.starts_with(b"[") && line.contains(&b']');
    let kept = line.trim_ascii_end().strip_suffix(b"\\")?.len();
    (!section_ended).then_some(kept)
}

fn item(line: &[u8]) -> Item {
    if line.contains(&0) {
        return Item::Broken("a NUL byte");
    }
    if let Some(rest) = line.strip_prefix(b"[") {
        let Some(end) = rest.iter().position(|byte| *byte == b']') else {
            return Item::Broken("a section name without its `]`");
        };
        let name = one_space(&rest[..end]);
        return if name.is_empty() { Item::Broken("an empty section name") } else { Item::Section(name) };
    }
    if line.starts_with(b"&") {
        return Item::Directive(line.trim_ascii_end().to_vec());
    }
    let Some(equals) = line.iter().position(|byte| *byte == b'=') else {
        return Item::NoEquals(line.trim_ascii_end().to_vec());
    };
    let name = line[..equals].trim_ascii();
    if name.is_empty() {
        return Item::Broken("a parameter without a name");
    }
    Item::Parameter { name: name.to_vec(), value: line[equals + 1..].trim_ascii().to_vec() }
}

fn one_space(name: &[u8]) -> Vec<u8> {
    let words = name.split(u8::is_ascii_whitespace).filter(|word| !word.is_empty());
    words.collect::<Vec<_>>().join(&b' ')
}

/// Whether two names of parameters or sections are one: neither case nor any blank counts (`pid file`, `PIDFile`).
pub(crate) fn same_name(a: &[u8], b: &[u8]) -> bool {
    bare(a).eq(bare(b))
}

/// A name as it is compared.
pub(crate) fn bare(name: &[u8]) -> impl Iterator<Item = u8> {
    name.iter().filter(|byte| !byte.is_ascii_whitespace()).map(u8::to_ascii_lowercase)
}

/// The elements of `auth users` and `gid`: parted by blanks and commas, or, when the value begins with a comma, by
/// commas only, so that a name may hold blanks. (rsync before 3.5.0 forgot the second form: CVE-2026-70463.)
pub(crate) fn words(value: &str) -> Vec<&str> {
    let value = value.trim_start();
    let parts: Vec<&str> = match value.strip_prefix(',') {
        Some(rest) => rest.split(',').map(str::trim).collect(),
        None => value.split([' ', ',', '\t', '\r', '\n']).collect(),
    };
    parts.into_iter().filter(|part| !part.is_empty()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn set(name: &str, value: &str) -> Item {
        Item::Parameter { name: name.into(), value: value.into() }
    }

    fn section(name: &str) -> Item {
        Item::Section(name.into())
    }

    #[test]
    fn every_quirk_of_the_grammar() {
        let cases: &[(&str, &[(u32, Item)])] = &[
            ("", &[]),
            ("# a\n ; b\n\t\n", &[]),
            ("a = 1 # x ; y", &[(1, set("a", "1 # x ; y"))]),
            (" a  b\t=  x  y \t", &[(1, set("a  b", "x  y"))]),
            ("a=", &[(1, set("a", ""))]),
            ("a = b = c", &[(1, set("a", "b = c"))]),
            ("comment = \"x\"", &[(1, set("comment", "\"x\""))]),
            ("a = 1\r\nb = 2\r\n", &[(1, set("a", "1")), (2, set("b", "2"))]),
            ("a = x \\\n   y\nb = z", &[(1, set("a", "x    y")), (3, set("b", "z"))]),
            ("a = x\\ \t\n# y", &[(1, set("a", "x# y"))]),
            ("# a \\\nb = 1", &[(2, set("b", "1"))]),
            ("na\\\nme = 1", &[(1, set("name", "1"))]),
            ("a = x\\", &[(1, set("a", "x\\"))]),
            ("a = x\\\n", &[(1, set("a", "x"))]),
            ("ignore errors\na = 1", &[(1, Item::NoEquals("ignore errors".into())), (2, set("a", "1"))]),
            ("[ a \t b ] rest = x \\\nc = 1", &[(1, section("a b")), (2, set("c", "1"))]),
            ("[a\\\nb]", &[(1, section("ab"))]),
            ("[a/b]", &[(1, section("a/b"))]),
            ("[ ]", &[(1, Item::Broken("an empty section name"))]),
            ("[a\nb = 1", &[(1, Item::Broken("a section name without its `]`")), (2, set("b", "1"))]),
            (" = x", &[(1, Item::Broken("a parameter without a name"))]),
            ("a = \0", &[(1, Item::Broken("a NUL byte"))]),
            ("&include /x ", &[(1, Item::Directive("&include /x".into()))]),
            ("&merge = /x", &[(1, Item::Directive("&merge = /x".into()))]),
        ];
        for (text, want) in cases {
            let got: Vec<_> =
                parse(text.as_bytes()).into_iter().map(|line| (line.number, line.item)).collect();
            assert_eq!(&got, want, "{text:?}");
        }
    }

    #[test]
    fn names_ignore_case_and_every_blank() {
        assert!(same_name(b"pid file", b"PIDFile") && same_name(b"p i d\tfile", b"pid  file"));
        assert!(!same_name(b"pid file", b"pid-file"));
    }

    #[test]
    fn a_leading_comma_parts_at_commas_only() {
        assert_eq!(words("a, b\tc,,d"), ["a", "b", "c", "d"]);
        assert_eq!(words(" , a b:deny , c,"), ["a b:deny", "c"]);
        assert!(words(" ").is_empty() && words(",").is_empty());
    }

    proptest! {
        #[test]
        fn no_bytes_make_it_panic_and_line_numbers_grow(text in proptest::collection::vec(any::<u8>(), 0..200)) {
            let numbers: Vec<u32> = parse(&text).iter().map(|line| line.number).collect();
            prop_assert!(numbers.windows(2).all(|pair| pair[0] < pair[1]));
        }

        #[test]
        fn what_is_written_out_reads_back(
            pairs in proptest::collection::vec(("[a-z][a-z ]{0,8}[a-z]", "([^\\s\\\\\0\r][^\\\\\0\r\n]{0,12}[^\\s\\\\\0\r])?"), 0..8)
        ) {
            let text: String = pairs.iter().map(|(name, value)| format!("{name} = {value}\n")).collect();
            let want: Vec<Item> = pairs.iter().map(|(name, value)| set(name, value)).collect();
            let got: Vec<Item> = parse(text.as_bytes()).into_iter().map(|line| line.item).collect();
            prop_assert_eq!(got, want);
        }
    }
}
