//! import: the part of Lua that configs of lsyncd are written in: assignments and calls of literals, tables and joined
//! strings. What computes (functions, loops, calls that give a value) is refused with its line: it can only be run, and
//! a config that is run can say something else tomorrow.
//!
//! Our own, since the well-kept parser in Rust has a licence that does not go with ours, and would hand over a whole
//! syntax tree of which this much is used. Pure. Touches: nothing.

use std::collections::HashMap;

use super::Refused;

/// A value, as far as it can be known without running anything.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Value {
    /// `nil`, and names that were never given a value.
    Nil,
    /// `true` or `false`.
    Bool(bool),
    /// Numbers as they were written.
    Number(String),
    /// Strings.
    Text(String),
    /// `default.rsync`: a name in a table that the program brings along.
    Name(String),
    /// `{ ... }`.
    Table(Table),
}

/// `{ ... }`: fields in their order, each with its line; a positional one has no name.
#[derive(Clone, Debug, Default, PartialEq)]
pub(super) struct Table {
    /// The fields.
    pub(super) fields: Vec<Field>,
}

/// A field of a table.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Field {
    /// `None` for a positional one.
    pub(super) name: Option<String>,
    /// What it is set to.
    pub(super) value: Value,
    /// Where it stands.
    pub(super) line: usize,
}

/// `sync{ ... }`, or `settings = { ... }`, which was its form once.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Call {
    /// The function's name.
    pub(super) name: String,
    /// Its only argument.
    pub(super) table: Table,
    /// Where it stands.
    pub(super) line: usize,
}

#[derive(Clone, Debug, PartialEq)]
enum Token {
    Name(String),
    Number(String),
    Text(String),
    Mark(&'static str),
}

/// Marks, longest first.
const MARKS: &[&str] = &[
    "...", "..", "==", "~=", "<=", ">=", "{", "}", "(", ")", "[", "]", "=", ",", ";", ".", ":", "+", "-",
    "*", "/", "%", "^", "#", "<", ">",
];

/// Words that begin what only a run can tell.
const CODE: &[&str] = &[
    "function", "for", "while", "repeat", "if", "return", "goto", "do", "end", "and", "or", "not", "in",
    "then",
];

/// Reads a whole file: the calls with a table, in their order.
pub(super) fn read(text: &str) -> Result<Vec<Call>, Refused> {
    let mut reader = Reader { tokens: tokens(text)?, at: 0, names: HashMap::new() };
    let mut calls = Vec::new();
    while let Some((token, line)) = reader.next() {
        match token {
            Token::Mark(";") => {}
            Token::Name(word) if word == "local" => reader.local(line)?,
            Token::Name(word) if CODE.contains(&word.as_str()) => return Err(code(line, &word)),
            Token::Name(name) => {
                if let Some(table) = reader.statement(&name, line)? {
                    calls.push(Call { name, table, line });
                }
            }
            other => return Err(Refused::malformed(line, format!("Lua: unexpected {}", shown(&other)))),
        }
    }
    Ok(calls)
}

fn code(line: usize, what: &str) -> Refused {
    Refused::code(
        line,
        format!("Lua: `{what}`: a config that computes cannot be read, only run; write this part out"),
    )
}

fn shown(token: &Token) -> String {
    match token {
        Token::Name(text) | Token::Number(text) => format!("`{text}`"),
        Token::Text(_) => "a string".to_owned(),
        Token::Mark(mark) => format!("`{mark}`"),
    }
}

struct Reader {
    tokens: Vec<(Token, usize)>,
    at: usize,
    names: HashMap<String, Value>,
}

impl Reader {
    fn next(&mut self) -> Option<(Token, usize)> {
        let token = self.tokens.get(self.at).cloned();
        self.at += 1;
        token
    }

    fn peek(&self) -> Option<&Token> {
        self.tokens.get(self.at).map(|(token, _)| token)
    }

    /// The line we are at; at the end of the file the last one.
    fn line(&self) -> usize {
        self.tokens.get(self.at).or(self.tokens.last()).map_or(1, |(_, line)| *line)
    }

    fn eat(&mut self, mark: &str) -> bool {
        let there = matches!(self.peek(), Some(Token::Mark(found)) if *found == mark);
        self.at += usize::from(there);
        there
    }

    fn need(&mut self, mark: &str) -> Result<(), Refused> {
        let found = self.peek().map_or("the end of the file".to_owned(), shown);
        let line = self.line();
        if self.eat(mark) {
            Ok(())
        } else {
            Err(Refused::malformed(line, format!("Lua: expected `{mark}`, found {found}")))
        }
    }

    fn local(&mut self, line: usize) -> Result<(), Refused> {
        match self.next() {
            Some((Token::Name(word), line)) if word == "function" => Err(code(line, &word)),
            Some((Token::Name(name), _)) => {
                self.need("=")?;
                let value = self.value()?;
                self.names.insert(name, value);
                Ok(())
            }
            _ => Err(Refused::malformed(line, "Lua: expected a name after `local`")),
        }
    }

    /// `name = value`, or `name{ ... }` and `name({ ... })`, whose table is given back. `settings = { ... }` counts as
    /// the call that replaced it.
    fn statement(&mut self, name: &str, line: usize) -> Result<Option<Table>, Refused> {
        if self.eat("=") {
            return match self.value()? {
                Value::Table(table) if name == "settings" => Ok(Some(table)),
                value => {
                    self.names.insert(name.to_owned(), value);
                    Ok(None)
                }
            };
        }
        let parenthesis = self.eat("(");
        if !matches!(self.peek(), Some(Token::Mark("{"))) {
            return Err(code(line, name));
        }
        let Value::Table(table) = self.value()? else { return Err(code(line, name)) };
        if parenthesis {
            self.need(")")?;
        }
        Ok(Some(table))
    }

    /// A value, joined with `..` where it goes on.
    fn value(&mut self) -> Result<Value, Refused> {
        let line = self.line();
        let mut value = self.term()?;
        while self.eat("..") {
            value = match (value, self.term()?) {
                (Value::Text(left) | Value::Number(left), Value::Text(right) | Value::Number(right)) => {
                    Value::Text(left + &right)
                }
                _ => {
                    return Err(Refused::malformed(
                        line,
                        "Lua: `..` joins strings whose value is known, and others stand here",
                    ));
                }
            };
        }
        match self.peek() {
            Some(Token::Mark(
                mark @ ("+" | "-" | "*" | "/" | "%" | "^" | "==" | "~=" | "<" | ">" | "<=" | ">=" | "("),
            )) => Err(code(self.line(), mark)),
            Some(Token::Name(word)) if word == "and" || word == "or" => Err(code(self.line(), word)),
            _ => Ok(value),
        }
    }

    fn term(&mut self) -> Result<Value, Refused> {
        let line = self.line();
        match self.next().map(|(token, _)| token) {
            Some(Token::Text(text)) => Ok(Value::Text(text)),
            Some(Token::Number(number)) => Ok(Value::Number(number)),
            Some(Token::Mark("-")) => match self.next() {
                Some((Token::Number(number), _)) => Ok(Value::Number(format!("-{number}"))),
                _ => Err(code(line, "-")),
            },
            Some(Token::Mark("{")) => self.table().map(Value::Table),
            Some(Token::Mark("(")) => {
                let value = self.value()?;
                self.need(")")?;
                Ok(value)
            }
            Some(Token::Name(name)) => self.named(name, line),
            Some(other) => Err(code(line, shown(&other).trim_matches('`'))),
            None => Err(Refused::malformed(line, "Lua: the file ends in the middle of a value")),
        }
    }

    fn named(&mut self, name: String, line: usize) -> Result<Value, Refused> {
        match name.as_str() {
            "true" => return Ok(Value::Bool(true)),
            "false" => return Ok(Value::Bool(false)),
            "nil" => return Ok(Value::Nil),
            word if CODE.contains(&word) => return Err(code(line, word)),
            _ => {}
        }
        let mut path = name.clone();
        while self.eat(".") {
            match self.next() {
                Some((Token::Name(part), _)) => path = format!("{path}.{part}"),
                _ => return Err(Refused::malformed(line, format!("Lua: expected a name after `{path}.`"))),
            }
        }
        if matches!(self.peek(), Some(Token::Mark("(" | ":" | "[")) | Some(Token::Text(_))) {
            return Err(code(line, &format!("{path}()")));
        }
        if path != name {
            return Ok(Value::Name(path));
        }
        self.names.get(&name).cloned().ok_or_else(|| {
            Refused::malformed(line, format!("Lua: `{name}` has no value that stands in this file"))
        })
    }

    /// The fields up to the closing brace; the opening one has been read.
    fn table(&mut self) -> Result<Table, Refused> {
        let mut table = Table::default();
        while !self.eat("}") {
            let line = self.line();
            let name =
                match (self.peek().cloned(), self.tokens.get(self.at + 1).map(|(token, _)| token.clone())) {
                    (Some(Token::Name(name)), Some(Token::Mark("="))) => {
                        self.at += 2;
                        Some(name)
                    }
                    (Some(Token::Mark("[")), Some(Token::Text(name) | Token::Number(name))) => {
                        self.at += 2;
                        self.need("]")?;
                        self.need("=")?;
                        Some(name)
                    }
                    _ => None,
                };
            let value = self.value()?;
            table.fields.push(Field { name, value, line });
            if !self.eat(",") && !self.eat(";") {
                self.need("}")?;
                break;
            }
        }
        Ok(table)
    }
}

/// Cuts a file into tokens with their lines; comments are dropped.
fn tokens(text: &str) -> Result<Vec<(Token, usize)>, Refused> {
    let mut tokens = Vec::new();
    let mut rest = text;
    let mut line = 1;
    if rest.starts_with('#') {
        rest = &rest[rest.find('\n').unwrap_or(rest.len())..];
    }
    while let Some(first) = rest.chars().next() {
        let begins = line;
        let (token, length) = match first {
            c if c.is_whitespace() => (None, c.len_utf8()),
            '-' if rest.starts_with("--") => {
                let long = long_bracket(&rest[2..], line)?.map(|(_, length)| length + 2);
                (None, long.unwrap_or_else(|| rest.find('\n').unwrap_or(rest.len())))
            }
            '"' | '\'' => quoted(rest, line).map(|(text, length)| (Some(Token::Text(text)), length))?,
            c if c.is_ascii_digit() => {
                let end = rest.find(|c: char| !c.is_ascii_alphanumeric() && c != '.').unwrap_or(rest.len());
                (Some(Token::Number(rest[..end].to_owned())), end)
            }
            '.' if rest[1..].starts_with(|c: char| c.is_ascii_digit()) => {
                let end = rest[1..].find(|c: char| !c.is_ascii_digit()).map_or(rest.len(), |end| end + 1);
                (Some(Token::Number(format!("0{}", &rest[..end]))), end)
            }
            c if c.is_alphabetic() || c == '_' => {
                let end = rest.find(|c: char| !c.is_alphanumeric() && c != '_').unwrap_or(rest.len());
                (Some(Token::Name(rest[..end].to_owned())), end)
            }
            _ => match long_bracket(rest, line)? {
                Some((text, length)) => (Some(Token::Text(text)), length),
                None => match MARKS.iter().find(|mark| rest.starts_with(**mark)) {
                    Some(mark) => (Some(Token::Mark(mark)), mark.len()),
                    None => return Err(Refused::malformed(line, format!("Lua: unexpected `{first}`"))),
                },
            },
        };
        line += rest[..length].matches('\n').count();
        rest = &rest[length..];
        tokens.extend(token.map(|token| (token, begins)));
    }
    Ok(tokens)
}

/// `[[ ... ]]` and `[==[ ... ]==]`: the text without a first line feed, and how long the whole is.
fn long_bracket(rest: &str, line: usize) -> Result<Option<(String, usize)>, Refused> {
    let Some(inner) = rest.strip_prefix('[') else { return Ok(None) };
    let level = inner.bytes().take_while(|&byte| byte == b'=').count();
    let Some(content) = inner[level..].strip_prefix('[') else { return Ok(None) };
    let close = format!("]{}]", "=".repeat(level));
    let Some(end) = content.find(&close) else {
        return Err(Refused::malformed(line, "Lua: a long string or comment begins here and never ends"));
    };
    let text = content[..end].strip_prefix('\n').unwrap_or(&content[..end]);
    Ok(Some((text.to_owned(), 2 + level + end + close.len())))
}

/// `"..."` or `'...'`: the text, and how long the whole is.
fn quoted(rest: &str, line: usize) -> Result<(String, usize), Refused> {
    let unfinished = || Refused::malformed(line, "Lua: a string begins here and does not end on its line");
    let mut chars = rest.char_indices();
    let quote = chars.next().map(|(_, quote)| quote).ok_or_else(unfinished)?;
    let mut text = String::new();
    while let Some((at, c)) = chars.next() {
        match c {
            c if c == quote => return Ok((text, at + 1)),
            '\n' => return Err(unfinished()),
            '\\' => match chars.next() {
                Some((_, 'n' | '\n')) => text.push('\n'),
                Some((_, 't')) => text.push('\t'),
                Some((_, escaped @ ('\\' | '"' | '\''))) => text.push(escaped),
                Some((_, other)) => {
                    return Err(Refused::malformed(
                        line,
                        format!("Lua: the escape `\\{other}` is not read here"),
                    ));
                }
                None => return Err(unfinished()),
            },
            c => text.push(c),
        }
    }
    Err(unfinished())
}
