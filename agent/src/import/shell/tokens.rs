//! import: a shell script cut into words and operators, with their lines: quotes, backslashes, comments, here-documents,
//! `${x}`, `$(...)`. Nothing is run, and nothing is given a value yet.
//!
//! Our own: the crates either know only words (no pipes, no loops, nothing of what was quoted), or bring a whole shell.
//! Pure. Touches: nothing.

use crate::import::Refused;

/// A part of a word.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Piece {
    /// As it stands.
    Text(String),
    /// `$NAME`, `${NAME:-OR}`, `${NAME%END}`; `[@]` belongs to the name. Unquoted, its value is split into words.
    Variable { name: String, change: Change, quoted: bool },
    /// `$(...)` and backticks: what it holds, as text to show and as tokens.
    Code { text: String, tokens: Vec<Token> },
}

/// What `${...}` does to a value.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Change {
    None,
    /// `:-`, `-`, `:=`, `=`: where there is none.
    Default(String),
    /// `%`, of text without wildcards.
    WithoutEnd(String),
    /// Anything else.
    Unknown(String),
}

/// A word, before its variables have values.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Raw {
    pub(super) pieces: Vec<Piece>,
    pub(super) line: usize,
}

impl Raw {
    /// The word, when it has no variable and no code in it.
    pub(super) fn literal(&self) -> Option<&str> {
        match self.pieces.as_slice() {
            [Piece::Text(text)] => Some(text),
            _ => None,
        }
    }
}

/// A word, an operator, or `NAME=( ... )`. Arithmetic, `(( ... ))`, is nothing.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Token {
    Word(Raw),
    /// Line feeds are operators too.
    Operator(&'static str, usize),
    /// `add`: `+=`.
    List {
        name: String,
        words: Vec<Raw>,
        add: bool,
    },
}

/// Longest first; those that redirect are followed by the word they redirect to.
const OPERATORS: &[&str] = &[
    "<<<", "<<-", "&>>", "<<", "<(", ">(", ">>", ">&", "<&", "&>", ">|", "<>", "&&", "||", "|&", ";;", "\n",
    "|", "&", ";", "(", ")", "<", ">",
];

/// Cuts a whole script.
pub(super) fn tokens(script: &str, line: usize) -> Result<Vec<Token>, Refused> {
    let mut lexer = Lexer { rest: script, line, waiting: Vec::new() };
    lexer.tokens(false)
}

struct Lexer<'s> {
    rest: &'s str,
    line: usize,
    /// Here-documents that begin behind the next line feed: their last line, and whether tabs before it count not.
    waiting: Vec<(String, bool)>,
}

impl<'s> Lexer<'s> {
    fn take(&mut self, length: usize) -> &'s str {
        let (taken, rest) = self.rest.split_at(length);
        self.line += taken.matches('\n').count();
        self.rest = rest;
        taken
    }

    fn take_char(&mut self) -> Option<char> {
        let c = self.rest.chars().next()?;
        self.take(c.len_utf8());
        Some(c)
    }

    /// Up to the end, or, of what is nested, to the parenthesis that closes it.
    fn tokens(&mut self, nested: bool) -> Result<Vec<Token>, Refused> {
        let begins = self.line;
        let mut tokens = Vec::new();
        let mut depth = 0;
        while let Some(c) = self.rest.chars().next() {
            if matches!(c, ' ' | '\t' | '\r') {
                self.take(1);
            } else if self.rest.starts_with("\\\n") {
                self.take(2);
            } else if self.rest.starts_with("\\\r\n") {
                self.take(3);
            } else if c == '#' {
                self.take(self.rest.find('\n').unwrap_or(self.rest.len()));
            } else if let Some(end) = self.rest.strip_prefix("((").and_then(|inner| inner.find("))")) {
                self.take(end + 4);
            } else if let Some(operator) = self.operator() {
                if operator == ")" && depth == 0 && nested {
                    return Ok(tokens);
                }
                depth += usize::from(operator.ends_with('('));
                depth -= usize::from(operator == ")" && depth > 0);
                let line = self.line - usize::from(operator == "\n");
                tokens.push(Token::Operator(operator, line));
                self.after(operator)?;
            } else {
                let word = self.word()?;
                match list_name(&word) {
                    Some((name, add)) if self.rest.starts_with('(') => {
                        self.take(1);
                        let inner = self.tokens(true)?;
                        let words = inner.into_iter().filter_map(|token| match token {
                            Token::Word(word) => Some(word),
                            _ => None,
                        });
                        tokens.push(Token::List { name, words: words.collect(), add });
                    }
                    _ => tokens.push(Token::Word(word)),
                }
            }
        }
        if nested {
            return Err(Refused::malformed(begins, "shell: a parenthesis begins here and is never closed"));
        }
        Ok(tokens)
    }

    /// An operator here, with the number of the descriptor that it redirects.
    fn operator(&mut self) -> Option<&'static str> {
        let digits = self.rest.bytes().take_while(u8::is_ascii_digit).count();
        if digits > 0 && !self.rest[digits..].starts_with(['<', '>']) {
            return None;
        }
        let operator = OPERATORS.iter().find(|operator| self.rest[digits..].starts_with(**operator))?;
        self.take(digits + operator.len());
        Some(operator)
    }

    /// What an operator brings along: a here-document, and where one begins.
    fn after(&mut self, operator: &str) -> Result<(), Refused> {
        match operator {
            "<<" | "<<-" => {
                self.take(self.rest.len() - self.rest.trim_start_matches([' ', '\t']).len());
                let word = self.word()?;
                let end = word.pieces.iter().map(|piece| match piece {
                    Piece::Text(text) | Piece::Code { text, .. } => text.as_str(),
                    Piece::Variable { name, .. } => name,
                });
                self.waiting.push((end.collect(), operator == "<<-"));
            }
            "\n" => {
                for (end, tabs) in std::mem::take(&mut self.waiting) {
                    self.skip_document(&end, tabs);
                }
            }
            _ => {}
        }
        Ok(())
    }

    fn skip_document(&mut self, end: &str, tabs: bool) {
        while !self.rest.is_empty() {
            let length = self.rest.find('\n').map_or(self.rest.len(), |at| at + 1);
            let line = self.take(length).trim_end_matches(['\n', '\r']);
            if line == end || tabs && line.trim_start_matches('\t') == end {
                return;
            }
        }
    }

    fn word(&mut self) -> Result<Raw, Refused> {
        let mut raw = Raw { pieces: Vec::new(), line: self.line };
        while let Some(c) = self.rest.chars().next() {
            match c {
                ' ' | '\t' | '\r' | '\n' | ';' | '&' | '|' | '<' | '>' | '(' | ')' => break,
                '\'' => {
                    let begins = self.line;
                    self.take(1);
                    let end = self.rest.find('\'').ok_or_else(|| unfinished(begins, "'"))?;
                    let text = self.take(end);
                    push(&mut raw.pieces, text);
                    self.take(1);
                }
                '"' => self.double(&mut raw.pieces)?,
                '\\' => {
                    self.take(1);
                    match self.take_char() {
                        Some('\n') | None => {}
                        Some(c) => push(&mut raw.pieces, c.encode_utf8(&mut [0; 4])),
                    }
                }
                '$' | '`' => self.expansion(&mut raw.pieces, false)?,
                c => {
                    self.take(c.len_utf8());
                    push(&mut raw.pieces, c.encode_utf8(&mut [0; 4]));
                }
            }
        }
        Ok(raw)
    }

    fn double(&mut self, pieces: &mut Vec<Piece>) -> Result<(), Refused> {
        let begins = self.line;
        self.take(1);
        // An empty pair is a word of its own.
        push(pieces, "");
        loop {
            match self.rest.chars().next() {
                None => return Err(unfinished(begins, "\"")),
                Some('"') => {
                    self.take(1);
                    return Ok(());
                }
                Some('\\') => {
                    self.take(1);
                    match self.take_char() {
                        Some('\n') | None => {}
                        Some(c @ ('"' | '\\' | '$' | '`')) => push(pieces, c.encode_utf8(&mut [0; 4])),
                        Some(c) => push(pieces, &format!("\\{c}")),
                    }
                }
                Some('$' | '`') => self.expansion(pieces, true)?,
                Some(c) => {
                    self.take(c.len_utf8());
                    push(pieces, c.encode_utf8(&mut [0; 4]));
                }
            }
        }
    }

    /// What begins with `$` or a backtick.
    fn expansion(&mut self, pieces: &mut Vec<Piece>, quoted: bool) -> Result<(), Refused> {
        let (line, whole) = (self.line, self.rest);
        if self.rest.starts_with('`') {
            self.take(1);
            let end = self.rest.find('`').ok_or_else(|| unfinished(line, "`"))?;
            let inner = self.take(end);
            self.take(1);
            pieces.push(Piece::Code { text: format!("`{inner}`"), tokens: tokens(inner, line)? });
        } else if self.rest.starts_with("$(") {
            self.take(2);
            let tokens = self.tokens(true)?;
            let text = whole[..whole.len() - self.rest.len()].to_owned();
            pieces.push(Piece::Code { text, tokens });
        } else if self.rest.starts_with("${") {
            self.take(2);
            let end = self.rest.find('}').ok_or_else(|| unfinished(line, "${"))?;
            let inner = self.take(end);
            self.take(1);
            let (name, change) = braced(inner);
            pieces.push(Piece::Variable { name, change, quoted });
        } else {
            self.take(1);
            let name = name_len(self.rest);
            let special = self.rest.starts_with(|c: char| c.is_ascii_digit() || "@*#?$!-".contains(c));
            let length = if special { 1 } else { name };
            if length == 0 {
                push(pieces, "$");
            } else {
                let name = self.take(length).to_owned();
                pieces.push(Piece::Variable { name, change: Change::None, quoted });
            }
        }
        Ok(())
    }
}

fn unfinished(line: usize, what: &str) -> Refused {
    Refused::malformed(line, format!("shell: a {what} begins here and is never closed"))
}

fn name_len(text: &str) -> usize {
    if text.starts_with(|c: char| c.is_ascii_digit()) {
        return 0;
    }
    text.find(|c: char| !c.is_ascii_alphanumeric() && c != '_').unwrap_or(text.len())
}

/// What stands between the braces of `${...}`.
fn braced(inner: &str) -> (String, Change) {
    let length = match name_len(inner) {
        0 => inner.len().min(1),
        length => length,
    };
    let (name, rest) =
        inner.split_at(inner.char_indices().nth(length).map_or(inner.len(), |(at, _)| at).min(inner.len()));
    let (name, rest) = match rest.strip_prefix("[@]").or_else(|| rest.strip_prefix("[*]")) {
        Some(rest) => (format!("{name}[@]"), rest),
        None => (name.to_owned(), rest),
    };
    let wild = |text: &str| text.contains(['*', '?', '[', '$', '`', '"', '\'']);
    let change = if rest.is_empty() {
        Change::None
    } else if let Some(or) =
        [":-", ":=", "-", "="].iter().find_map(|sign| rest.strip_prefix(sign)).filter(|or| !wild(or))
    {
        Change::Default(or.to_owned())
    } else if let Some(end) =
        rest.strip_prefix("%%").or_else(|| rest.strip_prefix('%')).filter(|end| !wild(end))
    {
        Change::WithoutEnd(end.to_owned())
    } else {
        Change::Unknown(format!("${{{inner}}}"))
    };
    (name, change)
}

/// `NAME` of a word that is just `NAME=`, or `NAME+=`, which adds.
fn list_name(word: &Raw) -> Option<(String, bool)> {
    let name = word.literal()?.strip_suffix('=')?;
    let (name, add) = name.strip_suffix('+').map_or((name, false), |name| (name, true));
    (!name.is_empty() && name_len(name) == name.len()).then(|| (name.to_owned(), add))
}

fn push(pieces: &mut Vec<Piece>, text: &str) {
    match pieces.last_mut() {
        Some(Piece::Text(before)) => before.push_str(text),
        _ => pieces.push(Piece::Text(text.to_owned())),
    }
}
