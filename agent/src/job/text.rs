//! job: the file as text, what is wrong with it line by line, and its tables with the values where they stand.

use std::cell::RefCell;
use std::collections::BTreeSet;
use std::fmt;
use std::rc::Rc;

use toml::Spanned;
use toml::de::{DeTable, DeValue};

use super::keys;

/// One thing that is wrong.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Complaint {
    /// Its line, from 1; 0 where none can be named.
    pub line: usize,
    /// What is wrong, and what to write instead.
    pub text: String,
}

/// What is wrong with a file, all of it, in the order of its lines; never empty.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Complaints {
    /// As the operator named it.
    pub file: String,
    /// Line by line.
    pub list: Vec<Complaint>,
}

impl fmt::Display for Complaints {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (at, Complaint { line, text }) in self.list.iter().enumerate() {
            let end = if at > 0 { "\n" } else { "" };
            match line {
                0 => write!(f, "{end}{}: error: {text}", self.file)?,
                line => write!(f, "{end}{}:{line}: error: {text}", self.file)?,
            }
        }
        Ok(())
    }
}

/// The file's text, and what has been found wrong with it so far.
pub(super) struct Text<'a> {
    text: &'a str,
    /// Sorted, and each once: a bad default is met again by every job.
    found: RefCell<BTreeSet<Complaint>>,
}

impl<'a> Text<'a> {
    pub(super) fn new(text: &'a str) -> Self {
        Self { text, found: RefCell::default() }
    }

    /// Reads the file's tables, as far as they can be made out. A syntax error often breaks the lines behind it too, so
    /// nothing else is looked at where there is one.
    pub(super) fn tables(&self) -> Option<Spanned<DeTable<'a>>> {
        let (tables, errors) = DeTable::parse_recoverable(self.text);
        for error in &errors {
            let at = error.span().map_or(0, |span| span.start);
            self.complain(at, format!("not TOML: {}", error.message().replace('\n', "; ")));
        }
        errors.is_empty().then_some(tables)
    }

    /// Books what is wrong with what stands at this byte.
    pub(super) fn complain(&self, at: usize, text: impl Into<String>) {
        self.found.borrow_mut().insert(Complaint { line: self.line(at), text: text.into() });
    }

    /// The line of this byte, from 1.
    pub(super) fn line(&self, at: usize) -> usize {
        1 + self.text.as_bytes().iter().take(at).filter(|&&b| b == b'\n').count()
    }

    /// Whether anything is wrong.
    pub(super) fn is_well(&self) -> bool {
        self.found.borrow().is_empty()
    }

    /// Everything that is wrong.
    pub(super) fn complaints(self) -> Vec<Complaint> {
        self.found.into_inner().into_iter().collect()
    }
}

/// One table of the file.
#[derive(Clone)]
pub(super) struct Table<'a> {
    /// What it is, before each message: `job code: `; empty for the file itself.
    pub(super) label: Rc<str>,
    /// Where it begins.
    pub(super) at: usize,
    pub(super) table: &'a DeTable<'a>,
}

/// A value where it stands.
#[derive(Clone)]
pub(super) struct Found<'a> {
    text: &'a Text<'a>,
    /// Of its table.
    label: Rc<str>,
    key: &'static str,
    pub(super) at: usize,
    pub(super) value: &'a DeValue<'a>,
}

impl<'a> Table<'a> {
    /// A value of this table.
    pub(super) fn get(&self, text: &'a Text<'a>, key: &'static str) -> Option<Found<'a>> {
        let value = self.table.get(key)?;
        let label = Rc::clone(&self.label);
        Some(Found { text, label, key, at: value.span().start, value: value.get_ref() })
    }

    /// Whether it has this key.
    pub(super) fn has(&self, key: &str) -> bool {
        self.table.contains_key(key)
    }

    /// Refuses every key that is not among these.
    pub(super) fn knows(&self, text: &Text<'_>, known: &[&[&'static str]]) {
        let is_known = |name: &str| known.iter().any(|keys| keys.contains(&name));
        for (name, _) in self.table.iter().filter(|(name, _)| !is_known(name.get_ref())) {
            let (at, name) = (name.span().start, name.get_ref());
            let here = || known.iter().copied().flatten().copied();
            let elsewhere = keys::all().contains(name.as_ref());
            let fix = match keys::nearest(name, here()) {
                Some(near) => format!("did you mean `{near}`?"),
                None if elsewhere => {
                    format!("it is not for here; known here: {}", here().collect::<Vec<_>>().join(", "))
                }
                None => format!("known here: {}", here().collect::<Vec<_>>().join(", ")),
            };
            text.complain(at, format!("{}unknown key `{}`: {fix}", self.label, name.escape_debug()));
        }
    }
}

impl<'a> Found<'a> {
    /// Books what is wrong with it.
    pub(super) fn wrong(&self, why: impl fmt::Display) {
        self.text.complain(self.at, format!("{}{}: {why}", self.label, self.key));
    }

    fn wants<T>(&self, what: &str) -> Option<T> {
        let is = match self.value {
            DeValue::String(_) => "a string",
            DeValue::Integer(_) => "an integer",
            DeValue::Float(_) => "a fraction",
            DeValue::Boolean(_) => "true or false",
            DeValue::Datetime(_) => "a date or time without quotes",
            DeValue::Array(_) => "an array",
            DeValue::Table(_) => "a table",
        };
        self.wrong(format_args!("{is} stands here: {what} is wanted"));
        None
    }

    pub(super) fn string(&self) -> Option<&'a str> {
        match self.value {
            DeValue::String(text) if text.contains('\0') => {
                self.wrong("no name has a NUL byte");
                None
            }
            DeValue::String(text) => Some(text),
            _ => self.wants("a string, as \"...\","),
        }
    }

    pub(super) fn flag(&self) -> Option<bool> {
        match self.value {
            DeValue::Boolean(flag) => Some(*flag),
            _ => self.wants("true or false, without quotes,"),
        }
    }

    pub(super) fn port(&self) -> Option<u16> {
        let port = match self.value {
            DeValue::Integer(port) => u16::from_str_radix(port.as_str(), port.radix()).ok(),
            _ => None,
        };
        match port {
            None | Some(0) => self.wants("a number from 1 to 65535"),
            port => port,
        }
    }

    /// A string, or several in an array.
    pub(super) fn strings(&self) -> Option<Vec<(Self, &'a str)>> {
        match self.value {
            DeValue::String(_) => Some(vec![(self.clone(), self.string()?)]),
            DeValue::Array(_) => {
                let string = |item: Self| item.string().map(|text| (item, text));
                self.items()?.into_iter().map(string).collect()
            }
            _ => self.wants("a string or an array of strings"),
        }
    }

    /// What is in an array, each item where it stands.
    pub(super) fn items(&self) -> Option<Vec<Self>> {
        match self.value {
            DeValue::Array(items) => {
                let item = |item: &'a Spanned<DeValue<'a>>| Self {
                    at: item.span().start,
                    value: item.get_ref(),
                    ..self.clone()
                };
                Some(items.iter().map(item).collect())
            }
            _ => self.wants("an array, as [...],"),
        }
    }

    /// As a table, which is told of by this label.
    pub(super) fn table(&self, label: &str) -> Option<Table<'a>> {
        match self.value {
            DeValue::Table(table) => Some(Table { label: label.into(), at: self.at, table }),
            _ => self.wants("a table"),
        }
    }

    /// What says its own name: a string that is parsed.
    pub(super) fn parsed<T, E: fmt::Display>(&self, parse: impl FnOnce(&str) -> Result<T, E>) -> Option<T> {
        let typed = self.string()?;
        parse(typed).map_err(|error| self.wrong(format_args!("{}: {error}", typed.escape_debug()))).ok()
    }

    /// Of its table: what it is, before each message.
    pub(super) fn label(&self) -> &str {
        &self.label
    }

    pub(super) fn key(&self) -> &'static str {
        self.key
    }

    pub(super) fn is_string(&self) -> bool {
        matches!(self.value, DeValue::String(_))
    }

    pub(super) fn is_array(&self) -> bool {
        matches!(self.value, DeValue::Array(_))
    }
}
