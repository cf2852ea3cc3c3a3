//! events: command lines as getopt_long(3) reads them.
//!
//! Own code, because the scripts that this replaces rely on all of it: operands between options, `-mrq`, `-t5`,
//! `--event=create`, any unambiguous beginning of a long name, and the same words when something is wrong. clap knows
//! no ambiguity list and other words; the small crates know no beginnings.

use std::collections::VecDeque;

/// One option that is known. `id` is what [`Getopt::next`] gives back.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Known<T> {
    pub(crate) id: T,
    pub(crate) short: Option<u8>,
    pub(crate) long: Option<&'static str>,
    /// Whether a value belongs to it.
    pub(crate) value: bool,
}

/// An option, and its value if one belongs to it.
pub(crate) type Given<T> = (T, Option<Vec<u8>>);

/// Reads a command line from left to right.
pub(crate) struct Getopt<'a, T> {
    program: &'a str,
    known: Vec<Known<T>>,
    args: VecDeque<Vec<u8>>,
    /// What is left of a word of short options.
    bundle: VecDeque<u8>,
    operands: Vec<Vec<u8>>,
    /// `POSIXLY_CORRECT`: the first operand ends the options.
    posix: bool,
}

impl<'a, T: Copy> Getopt<'a, T> {
    /// `args` without the program's name. The order of `known` is the order in which ambiguous names are listed.
    pub(crate) fn new(program: &'a str, known: Vec<Known<T>>, args: Vec<Vec<u8>>, posix: bool) -> Self {
        Self { program, known, args: args.into(), bundle: VecDeque::new(), operands: Vec::new(), posix }
    }

    /// The next option and its value. `None` at the end, when [`Getopt::operands`] is complete.
    ///
    /// # Errors
    /// One line, with the program's name: what is wrong with the next option.
    pub(crate) fn next(&mut self) -> Result<Option<Given<T>>, String> {
        if self.bundle.is_empty() {
            loop {
                let Some(word) = self.args.pop_front() else { return Ok(None) };
                if word == b"--" {
                    self.operands.extend(self.args.drain(..));
                } else if let Some(long) = word.strip_prefix(b"--") {
                    return self.long(long).map(Some);
                } else if word.len() > 1 && word[0] == b'-' {
                    self.bundle.extend(&word[1..]);
                    break;
                } else if self.posix {
                    self.operands.push(word);
                    self.operands.extend(self.args.drain(..));
                } else {
                    self.operands.push(word);
                }
            }
        }
        self.short().map(Some)
    }

    /// Everything that is not an option, in the order typed.
    pub(crate) fn operands(self) -> Vec<Vec<u8>> {
        self.operands
    }

    fn short(&mut self) -> Result<Given<T>, String> {
        let letter = self.bundle.pop_front().unwrap_or_default();
        let Some(known) = self.known.iter().find(|known| known.short == Some(letter)) else {
            let letter = String::from_utf8_lossy(&[letter]).into_owned();
            return Err(format!("{}: invalid option -- '{letter}'", self.program));
        };
        if !known.value {
            return Ok((known.id, None));
        }
        let rest: Vec<u8> = self.bundle.drain(..).collect();
        let value = if rest.is_empty() { self.args.pop_front() } else { Some(rest) };
        match value {
            Some(value) => Ok((known.id, Some(value))),
            None => {
                let letter = char::from(letter);
                Err(format!("{}: option requires an argument -- '{letter}'", self.program))
            }
        }
    }

    fn long(&mut self, word: &[u8]) -> Result<Given<T>, String> {
        let program = self.program;
        let (name, value) = match word.iter().position(|&byte| byte == b'=') {
            Some(at) => (&word[..at], Some(word[at + 1..].to_vec())),
            None => (word, None),
        };
        let typed = String::from_utf8_lossy(word);
        let candidates: Vec<(&'static str, Known<T>)> = self
            .known
            .iter()
            .filter_map(|known| known.long.map(|long| (long, *known)))
            .filter(|(long, _)| long.as_bytes().starts_with(name))
            .collect();
        let exact = candidates.iter().find(|(long, _)| long.as_bytes() == name);
        let &(long, known) = match (exact, candidates.as_slice()) {
            (Some(exact), _) => exact,
            (None, [only]) => only,
            (None, []) => return Err(format!("{program}: unrecognized option '--{typed}'")),
            (None, several) => {
                let several: Vec<_> = several.iter().map(|(long, _)| format!("'--{long}'")).collect();
                let several = several.join(" ");
                return Err(format!("{program}: option '--{typed}' is ambiguous; possibilities: {several}"));
            }
        };
        match (known.value, value) {
            (false, Some(_)) => Err(format!("{program}: option '--{long}' doesn't allow an argument")),
            (false, None) => Ok((known.id, None)),
            (true, Some(value)) => Ok((known.id, Some(value))),
            (true, None) => match self.args.pop_front() {
                Some(value) => Ok((known.id, Some(value))),
                None => Err(format!("{program}: option '--{long}' requires an argument")),
            },
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(line: &[&str], posix: bool) -> Result<String, String> {
        let known =
            |id, short: &str, long, value| Known { id, short: short.bytes().next(), long: Some(long), value };
        let known = vec![
            known('m', "m", "monitor", false),
            known('t', "t", "timeout", true),
            known('f', "", "timefmt", true),
            known('x', "", "exclude", true),
            known('i', "", "excludei", true),
        ];
        let args = line.iter().map(|word| word.as_bytes().to_vec()).collect();
        let mut getopt = Getopt::new("p", known, args, posix);
        let mut said = String::new();
        while let Some((id, value)) = getopt.next()? {
            said.push(id);
            if let Some(value) = value {
                said += &format!("={}", String::from_utf8_lossy(&value));
            }
            said.push(' ');
        }
        let operands: Vec<_> =
            getopt.operands().into_iter().map(|o| String::from_utf8(o).expect("text")).collect();
        Ok(said + "| " + &operands.join(" "))
    }

    #[test]
    fn every_way_to_write_an_option_is_read() {
        let cases: [(&[&str], &str); 12] = [
            (&["a", "-m", "b", "-t", "5", "c"], "m t=5 | a b c"),
            (&["-mt5"], "m t=5 | "),
            (&["-mt", "5"], "m t=5 | "),
            (&["-t=5"], "t==5 | "),
            (&["--timeo", "5"], "t=5 | "),
            (&["--timeout=5"], "t=5 | "),
            (&["--timeout="], "t= | "),
            (&["--exclude", "--mon"], "x=--mon | "),
            (&["--mon", "-"], "m | -"),
            (&["--", "-m", "--x"], "| -m --x"),
            (&["-t", "--", "x"], "t=-- | x"),
            (&["", "-m"], "m | "),
        ];
        for (line, want) in cases {
            assert_eq!(read(line, false).as_deref(), Ok(want), "{line:?}");
        }
        assert_eq!(read(&["-m", "a", "-m"], true).as_deref(), Ok("m | a -m"));
    }

    #[test]
    fn what_is_wrong_is_said_in_the_words_of_the_c_library() {
        let cases: [(&[&str], &str); 7] = [
            (&["-Z"], "p: invalid option -- 'Z'"),
            (&["-mt"], "p: option requires an argument -- 't'"),
            (&["--foo=1"], "p: unrecognized option '--foo=1'"),
            (&["--ex=1"], "p: option '--ex=1' is ambiguous; possibilities: '--exclude' '--excludei'"),
            (&["--time"], "p: option '--time' is ambiguous; possibilities: '--timeout' '--timefmt'"),
            (&["--m=3"], "p: option '--monitor' doesn't allow an argument"),
            (&["--timef"], "p: option '--timefmt' requires an argument"),
        ];
        for (line, want) in cases {
            assert_eq!(read(line, false), Err(want.to_owned()), "{line:?}");
        }
    }
}
