//! Wildcards: `?`, `*`, `**`, `[...]` and `\`, over bytes. `?`, `*` and `[...]` never match a slash, `**` does;
//! names that begin with a dot are not special.
//!
//! Work is bounded whatever the pattern: it is not searched by backtracking, which takes exponential time on
//! `*a*a*a*b`, but run as a set of positions that all advance together, one byte of the path at a time. A match
//! costs at most bytes of path times bytes of pattern, and no allocation. The common `*.o` never gets that far:
//! what comes before the first star and after the last has a fixed length and is compared first.

use crate::limits;

/// Members of a bracket, a bit a byte.
type Class = [u64; 4];

/// One step of a pattern.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Token {
    /// Exactly this byte.
    Byte(u8),
    /// One byte of this class.
    Class(u16),
    /// One byte, not a slash.
    One,
    /// Any bytes, none of them a slash.
    Star,
    /// Any bytes.
    StarStar,
}

impl Token {
    fn is_star(self) -> bool {
        matches!(self, Self::Star | Self::StarStar)
    }
}

/// How a text is put before a pattern. A match always ends at the end of the text.
#[derive(Clone, Copy, Debug)]
pub(super) struct Frame {
    /// A match may begin after any slash of the text, not only at its beginning.
    pub(super) after_any_slash: bool,
    /// The text is seen with a slash before it. Only for a pattern that begins with `**`.
    pub(super) slash_before: bool,
    /// A directory is seen with a slash after it. Only for a pattern that ends with `**`.
    pub(super) slash_after: bool,
}

/// A pattern with wildcards, parsed.
///
/// Invariant: `head` and `tail` hold no star and stand at the two ends of every match, within the text itself: a
/// slash that is only seen before or after it falls to `middle`.
#[derive(Clone, Debug)]
pub(super) struct Wildcard {
    head: Box<[Token]>,
    middle: Box<[Token]>,
    tail: Box<[Token]>,
    classes: Box<[Class]>,
    frame: Frame,
}

/// Words of a position set for patterns of up to 63 tokens, nearly all there are: small enough for registers.
const WORDS_SMALL: usize = 1;
/// Words of a position set for the longest pattern.
const WORDS_LARGE: usize = limits::RULE_LEN / 64 + 1;

impl Wildcard {
    /// `None` for a pattern that cannot match: a bracket that does not end, an unknown `[:class:]`, a backslash at
    /// the end.
    pub(super) fn parse(text: &[u8], frame: Frame) -> Option<Self> {
        let (tokens, classes) = tokens(text)?;
        let star = |token: &Token| token.is_star();
        let mut first = tokens.iter().position(star).filter(|_| !frame.after_any_slash).unwrap_or(0);
        let mut last = tokens.iter().rposition(star).map_or(0, |star| star + 1);
        if frame.slash_after && first > 0 {
            first -= 1;
        }
        if frame.slash_before && last < tokens.len() {
            last += 1;
        }
        let (head, rest) = tokens.split_at(first);
        let (middle, tail) = rest.split_at(last - first);
        Some(Self {
            head: head.into(),
            middle: middle.into(),
            tail: tail.into(),
            classes: classes.into(),
            frame,
        })
    }

    pub(super) fn matches(&self, text: &[u8], is_dir: bool) -> bool {
        if text.len() < self.head.len() + self.tail.len() {
            return false;
        }
        let (head, rest) = text.split_at(self.head.len());
        let (rest, tail) = rest.split_at(rest.len() - self.tail.len());
        if !self.fixed(&self.tail, tail) || !self.fixed(&self.head, head) {
            return false;
        }
        let after = self.frame.slash_after && is_dir;
        match &*self.middle {
            [] if !self.frame.after_any_slash => rest.is_empty(),
            [Token::StarStar] => true,
            [Token::Star] if !self.frame.after_any_slash => !rest.contains(&b'/'),
            middle if middle.len() < WORDS_SMALL * 64 => self.run::<WORDS_SMALL>(rest, after),
            _ => self.run::<WORDS_LARGE>(rest, after),
        }
    }

    fn fixed(&self, tokens: &[Token], text: &[u8]) -> bool {
        tokens.iter().zip(text).all(|(&token, &byte)| self.takes(token, byte))
    }

    /// Whether a token that is no star takes this byte.
    fn takes(&self, token: Token, byte: u8) -> bool {
        match token {
            Token::Byte(wanted) => byte == wanted,
            Token::Class(class) => holds(&self.classes[usize::from(class)], byte),
            Token::One => byte != b'/',
            Token::Star | Token::StarStar => false,
        }
    }

    /// Runs `middle` over the text. `at` is the set of positions in `middle` that some way of matching the bytes
    /// so far has reached; the end of `middle` is one more.
    fn run<const WORDS: usize>(&self, text: &[u8], after: bool) -> bool {
        let slash = |wanted: bool| wanted.then_some(&b'/');
        let mut at = [0; WORDS];
        self.reach(&mut at, 0);
        for &byte in slash(self.frame.slash_before).into_iter().chain(text).chain(slash(after)) {
            let mut next = [0; WORDS];
            for (word, mut bits) in at.into_iter().enumerate() {
                while bits != 0 {
                    let position = word * 64 + bits.trailing_zeros() as usize;
                    bits &= bits - 1;
                    self.step(&mut next, position, byte);
                }
            }
            if self.frame.after_any_slash {
                if byte == b'/' {
                    self.reach(&mut next, 0);
                }
            } else if next == [0; WORDS] {
                return false;
            }
            at = next;
        }
        let end = self.middle.len();
        at[end / 64] & (1 << (end % 64)) != 0
    }

    fn step(&self, next: &mut [u64], position: usize, byte: u8) {
        match self.middle.get(position) {
            None => {}
            Some(Token::StarStar) => self.reach(next, position),
            Some(Token::Star) if byte != b'/' => self.reach(next, position),
            Some(&token) if self.takes(token, byte) => self.reach(next, position + 1),
            Some(_) => {}
        }
    }

    /// Adds a position, and those behind it that stars reach by matching nothing.
    fn reach(&self, set: &mut [u64], mut position: usize) {
        loop {
            set[position / 64] |= 1 << (position % 64);
            match self.middle.get(position) {
                Some(token) if token.is_star() => position += 1,
                _ => return,
            }
        }
    }
}

fn tokens(text: &[u8]) -> Option<(Vec<Token>, Vec<Class>)> {
    let mut tokens = Vec::new();
    let mut classes = Vec::new();
    let mut rest = text;
    while let [byte, after @ ..] = rest {
        rest = after;
        let token = match byte {
            b'*' => {
                let more = rest.iter().take_while(|&&b| b == b'*').count();
                rest = &rest[more..];
                if more == 0 { Token::Star } else { Token::StarStar }
            }
            b'?' => Token::One,
            b'[' => {
                let (class, after) = bracket(rest)?;
                rest = after;
                classes.push(class);
                Token::Class(u16::try_from(classes.len() - 1).ok()?)
            }
            b'\\' => {
                let (&escaped, after) = rest.split_first()?;
                rest = after;
                Token::Byte(escaped)
            }
            &byte => Token::Byte(byte),
        };
        tokens.push(token);
    }
    Some((tokens, classes))
}

/// Parses what follows a `[`, up to and with its `]`; gives the class and what is left of the text.
///
/// `!` or `^` first negates; a `]` first is a member; a backslash takes the next byte as it is; a `-` between two
/// members makes a range. A slash is never matched, negated or not.
fn bracket(text: &[u8]) -> Option<(Class, &[u8])> {
    let (negate, mut rest) = match text {
        [b'!' | b'^', rest @ ..] => (true, rest),
        _ => (false, text),
    };
    let mut class = [0; 4];
    // A range needs a single byte before its `-`; after a range or a `[:class:]` there is none.
    let mut low = None;
    let mut first = true;
    loop {
        rest = match rest {
            [b']', rest @ ..] if !first => {
                if negate {
                    class = class.map(|word: u64| !word);
                }
                let slash = usize::from(b'/');
                class[slash / 64] &= !(1 << (slash % 64));
                return Some((class, rest));
            }
            [b'-', next, ..] if low.is_some() && *next != b']' => {
                let (high, rest) = member(&rest[1..])?;
                (low.take()?..=high).for_each(|byte| add(&mut class, byte));
                rest
            }
            [b'[', b':', named @ ..] => {
                let end = named.iter().position(|&b| b == b']')?;
                if let [name @ .., b':'] = &named[..end] {
                    let holds = named_class(name)?;
                    (0..=u8::MAX).filter(holds).for_each(|byte| add(&mut class, byte));
                    low = None;
                    &named[end + 1..]
                } else {
                    add(&mut class, b'[');
                    low = Some(b'[');
                    &rest[1..]
                }
            }
            _ => {
                let (byte, rest) = member(rest)?;
                add(&mut class, byte);
                low = Some(byte);
                rest
            }
        };
        first = false;
    }
}

/// One member of a bracket, escaped or not.
fn member(text: &[u8]) -> Option<(u8, &[u8])> {
    match text {
        [b'\\', byte, rest @ ..] => Some((*byte, rest)),
        [b'\\'] | [] => None,
        [byte, rest @ ..] => Some((*byte, rest)),
    }
}

/// A POSIX class, in the C locale: bytes above 127 are in none.
fn named_class(name: &[u8]) -> Option<fn(&u8) -> bool> {
    Some(match name {
        b"alnum" => u8::is_ascii_alphanumeric,
        b"alpha" => u8::is_ascii_alphabetic,
        b"blank" => |b| matches!(b, b' ' | b'\t'),
        b"cntrl" => u8::is_ascii_control,
        b"digit" => u8::is_ascii_digit,
        b"graph" => u8::is_ascii_graphic,
        b"lower" => u8::is_ascii_lowercase,
        b"print" => |b| matches!(b, b' '..=b'~'),
        b"punct" => u8::is_ascii_punctuation,
        b"space" => |b| matches!(b, b' ' | b'\t'..=b'\r'),
        b"upper" => u8::is_ascii_uppercase,
        b"xdigit" => u8::is_ascii_hexdigit,
        _ => return None,
    })
}

fn add(class: &mut Class, byte: u8) {
    class[usize::from(byte) / 64] |= 1 << (byte % 64);
}

fn holds(class: &Class, byte: u8) -> bool {
    class[usize::from(byte) / 64] & (1 << (byte % 64)) != 0
}
