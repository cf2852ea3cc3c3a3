//! events: POSIX extended regular expressions, as the C library reads them, in the syntax of the `regex` crate.
//!
//! Only whether something matches is ever asked, so leftmost-longest does not matter. Every sequence that the two
//! syntaxes read differently is taken apart here: `\d` is the letter d, a backslash in brackets is itself, `a+?` is
//! `(a+)?`, a bracket is a set of bytes. Locale: C, which is what inotifywait(1) runs in.

/// Why an expression cannot be used.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum EreError {
    /// It is no extended regular expression.
    Malformed,
    /// It refers back to a group, which needs a matcher without a bound on its time.
    BackReference,
}

/// The largest count in braces (`RE_DUP_MAX` of the C library).
const COUNT_MAX: u32 = 32_767;

/// Translates an expression.
pub(crate) fn translate(ere: &[u8]) -> Result<String, EreError> {
    let mut reader = Reader { rest: ere, groups: 0 };
    let out = reader.alternatives(0)?;
    // A closing parenthesis without its opening one is an ordinary character, so nothing can be left.
    debug_assert!(reader.rest.is_empty());
    Ok(out)
}

struct Reader<'a> {
    rest: &'a [u8],
    /// Groups closed so far, which a back reference could name.
    groups: usize,
}

impl Reader<'_> {
    fn peek(&self) -> Option<u8> {
        self.rest.first().copied()
    }

    fn take(&mut self) -> Option<u8> {
        let (&first, rest) = self.rest.split_first()?;
        self.rest = rest;
        Some(first)
    }

    fn alternatives(&mut self, depth: usize) -> Result<String, EreError> {
        // Each level is a call; the matcher has a bound of its own, well above what anybody types.
        if depth > 200 {
            return Err(EreError::Malformed);
        }
        let mut out = String::new();
        loop {
            match self.peek() {
                None => return Ok(out),
                Some(b')') if depth > 0 => return Ok(out),
                Some(b'|') => {
                    self.take();
                    out.push('|');
                }
                Some(_) => out += &self.repeated(depth)?,
            }
        }
    }

    /// One atom with the repetitions that follow it.
    fn repeated(&mut self, depth: usize) -> Result<String, EreError> {
        let (mut atom, anchor) = self.atom(depth)?;
        // An anchor cannot be repeated: what follows it begins anew, and nothing can begin with a repetition.
        if anchor {
            return Ok(atom);
        }
        loop {
            let repetition = match self.peek() {
                Some(sign @ (b'*' | b'+' | b'?')) => {
                    self.take();
                    char::from(sign).to_string()
                }
                Some(b'{') => {
                    self.take();
                    self.interval()?
                }
                _ => return Ok(atom),
            };
            atom = format!("(?:{atom}){repetition}");
        }
    }

    /// One atom, and whether it is an anchor.
    fn atom(&mut self, depth: usize) -> Result<(String, bool), EreError> {
        let Some(byte) = self.take() else { return Err(EreError::Malformed) };
        match byte {
            b'*' | b'+' | b'?' | b'{' => Err(EreError::Malformed),
            b'^' => Ok((r"\A".into(), true)),
            b'$' => Ok((r"\z".into(), true)),
            b'.' => Ok(("(?s:.)".into(), false)),
            b'[' => Ok((self.bracket()?, false)),
            b'(' => {
                let inner = self.alternatives(depth + 1)?;
                if self.take() != Some(b')') {
                    return Err(EreError::Malformed);
                }
                self.groups += 1;
                Ok((format!("(?:{inner})"), false))
            }
            b'\\' => self.escaped(),
            byte => Ok((literal(byte), false)),
        }
    }

    fn escaped(&mut self) -> Result<(String, bool), EreError> {
        let Some(byte) = self.take() else { return Err(EreError::Malformed) };
        let (text, anchor) = match byte {
            b'<' => (r"\b{start}", true),
            b'>' => (r"\b{end}", true),
            b'b' => (r"\b", true),
            b'B' => (r"\B", true),
            b'`' => (r"\A", true),
            b'\'' => (r"\z", true),
            b'w' => ("[0-9A-Z_a-z]", false),
            b'W' => ("[^0-9A-Z_a-z]", false),
            b's' => (r"[\t-\r ]", false),
            b'S' => (r"[^\t-\r ]", false),
            digit @ b'1'..=b'9' => {
                let known = usize::from(digit - b'0') <= self.groups;
                return Err(if known { EreError::BackReference } else { EreError::Malformed });
            }
            byte => return Ok((literal(byte), false)),
        };
        Ok((text.into(), anchor))
    }

    /// `{2}`, `{2,}`, `{,3}`, `{2,3}` or `{,}`, after the opening brace.
    fn interval(&mut self) -> Result<String, EreError> {
        let low = self.count()?;
        let comma = self.peek() == Some(b',');
        if comma {
            self.take();
        }
        let high = if comma { self.count()? } else { low };
        if self.take() != Some(b'}') || (low.is_none() && !comma) {
            return Err(EreError::Malformed);
        }
        let low = low.unwrap_or(0);
        match high {
            Some(high) if high < low => Err(EreError::Malformed),
            Some(high) => Ok(format!("{{{low},{high}}}")),
            None => Ok(format!("{{{low},}}")),
        }
    }

    fn count(&mut self) -> Result<Option<u32>, EreError> {
        let mut count = None;
        while let Some(digit @ b'0'..=b'9') = self.peek() {
            self.take();
            let value = count.unwrap_or(0) * 10 + u32::from(digit - b'0');
            if value > COUNT_MAX {
                return Err(EreError::Malformed);
            }
            count = Some(value);
        }
        Ok(count)
    }

    /// A bracket expression, after its opening bracket.
    fn bracket(&mut self) -> Result<String, EreError> {
        let negated = self.peek() == Some(b'^');
        if negated {
            self.take();
        }
        let mut set = [false; 256];
        let mut first = true;
        loop {
            if self.peek() == Some(b']') && !first {
                self.take();
                break;
            }
            // A hyphen is itself at the start and at the end; elsewhere it can only make a range.
            if !first && self.peek() == Some(b'-') && self.rest.get(1) != Some(&b']') {
                return Err(EreError::Malformed);
            }
            first = false;
            match self.element()? {
                Element::Class(class) => {
                    (0..=255).filter(class).for_each(|byte: u8| set[usize::from(byte)] = true);
                    if self.rest.first() == Some(&b'-') && self.rest.get(1).is_some_and(|&next| next != b']')
                    {
                        return Err(EreError::Malformed);
                    }
                }
                Element::Byte(low) => {
                    let range = self.rest.first() == Some(&b'-') && self.rest.get(1) != Some(&b']');
                    let high = if range {
                        self.take();
                        match self.element()? {
                            Element::Byte(high) => high,
                            Element::Class(_) => return Err(EreError::Malformed),
                        }
                    } else {
                        low
                    };
                    if high < low {
                        return Err(EreError::Malformed);
                    }
                    (low..=high).for_each(|byte| set[usize::from(byte)] = true);
                }
            }
        }
        Ok(class_of(&set, negated))
    }

    /// One byte of a bracket expression, or a class of them.
    fn element(&mut self) -> Result<Element, EreError> {
        let byte = self.take().ok_or(EreError::Malformed)?;
        let (b'[', Some(kind @ (b':' | b'.' | b'='))) = (byte, self.peek()) else {
            return Ok(Element::Byte(byte));
        };
        self.take();
        let end = self.rest.windows(2).position(|two| two == [kind, b']']).ok_or(EreError::Malformed)?;
        let (name, rest) = self.rest.split_at(end);
        self.rest = &rest[2..];
        match (kind, name) {
            (b':', name) => class_named(name).map(Element::Class).ok_or(EreError::Malformed),
            // The C locale knows no names for characters but themselves.
            (_, &[byte]) => Ok(Element::Byte(byte)),
            _ => Err(EreError::Malformed),
        }
    }
}

enum Element {
    Byte(u8),
    Class(fn(&u8) -> bool),
}

fn class_named(name: &[u8]) -> Option<fn(&u8) -> bool> {
    Some(match name {
        b"alnum" => u8::is_ascii_alphanumeric,
        b"alpha" => u8::is_ascii_alphabetic,
        b"blank" => |byte| matches!(byte, b' ' | b'\t'),
        b"cntrl" => u8::is_ascii_control,
        b"digit" => u8::is_ascii_digit,
        b"graph" => u8::is_ascii_graphic,
        b"lower" => u8::is_ascii_lowercase,
        b"print" => |byte| matches!(byte, b' '..=b'~'),
        b"punct" => u8::is_ascii_punctuation,
        b"space" => |byte| matches!(byte, b'\t'..=b'\r' | b' '),
        b"upper" => u8::is_ascii_uppercase,
        b"xdigit" => u8::is_ascii_hexdigit,
        _ => return None,
    })
}

/// A class of the crate's syntax for a set of bytes. Negation is left to the crate, which does it after letting go of
/// the case.
fn class_of(set: &[bool; 256], negated: bool) -> String {
    let mut out = String::from(if negated { "[^" } else { "[" });
    for (byte, _) in set.iter().enumerate().filter(|&(_, &holds)| holds) {
        out += &format!(r"\x{byte:02x}");
    }
    out.push(']');
    out
}

fn literal(byte: u8) -> String {
    if byte.is_ascii_alphanumeric() { char::from(byte).to_string() } else { format!(r"\x{byte:02x}") }
}

#[cfg(test)]
mod tests;
