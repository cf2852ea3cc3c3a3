//! From lines to settings: which section each belongs to, which default holds where, and what is wrong with it.
//!
//! As in `rsyncd.conf(5)` 3.5.0: numbers and booleans of the global part are copied into a module where it begins;
//! texts are looked up when the whole file has been read, so a later `[global]` text holds for earlier modules too.

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::os::unix::ffi::OsStringExt;
use std::path::PathBuf;

use driftless_proto::model::path::Escaped;

use super::grammar::{self, Item};
use super::parameters::{self, IfBad, Kind, Parameter, Scope, Standing};
use super::{Findings, Severity};

/// The file, sorted but not yet understood.
#[derive(Default)]
pub(crate) struct Draft {
    /// Parameters of the global part.
    pub(crate) globals: Layer,
    /// Modules, in the order in which they first appear.
    pub(crate) sections: Vec<Section>,
}

/// One module, sorted but not yet understood.
pub(crate) struct Section {
    /// As it was first written, less surplus blanks.
    pub(crate) name: String,
    /// Where it begins.
    pub(crate) line: u32,
    /// What it sets, and the numbers and booleans that held when it began.
    pub(crate) own: Layer,
}

/// Parameters by name.
pub(crate) type Layer = BTreeMap<&'static str, Setting>;

/// One parameter's value and where it stands.
#[derive(Clone, Debug)]
pub(crate) struct Setting {
    pub(crate) value: Value,
    pub(crate) line: u32,
}

/// A value of the right kind.
#[derive(Clone, Debug)]
pub(crate) enum Value {
    /// `None`: a tri-state that is unset.
    Flag(Option<bool>),
    Number(i64),
    Path(PathBuf),
    Text(String),
}

/// Sorts the lines. What is wrong goes to `findings`; the draft holds the rest.
pub(crate) fn sort(text: &[u8], findings: &mut Findings) -> Draft {
    let mut draft = Draft::default();
    let mut open = None;
    for line in grammar::parse(text) {
        let at = line.number;
        match line.item {
            Item::Broken(what) => findings.error(at, what),
            Item::Directive(text) => {
                let text = format!("{}: not supported yet; what it brings in might matter", Escaped(&text));
                findings.add(Some(at), Severity::Refuse, text);
            }
            Item::NoEquals(text) => no_equals(&text, at, findings),
            Item::Parameter { name, value } => draft.set(open, &name, &value, at, findings),
            Item::Section(name) => open = draft.enter(&name, at, findings),
        }
    }
    draft
}

impl Draft {
    /// The index of the module whose section begins; `None` is the global part.
    fn enter(&mut self, name: &[u8], at: u32, findings: &mut Findings) -> Option<usize> {
        if grammar::same_name(name, b"global") {
            return None;
        }
        let shown = Escaped(name).to_string();
        if name.contains(&b'/') {
            findings.error(at, format!("module name [{shown}] has a `/` in it"));
        }
        let Ok(name) = String::from_utf8(name.to_vec()) else {
            findings.error(at, format!("module name [{shown}] is not UTF-8"));
            return Some(self.begin(shown, at));
        };
        let known =
            self.sections.iter().position(|one| grammar::same_name(one.name.as_bytes(), name.as_bytes()));
        Some(known.unwrap_or_else(|| self.begin(name, at)))
    }

    fn begin(&mut self, name: String, line: u32) -> usize {
        let copied = |setting: &Setting| matches!(setting.value, Value::Flag(_) | Value::Number(_));
        let own = self
            .globals
            .iter()
            .filter(|(_, setting)| copied(setting))
            .map(|(k, v)| (*k, v.clone()))
            .collect();
        self.sections.push(Section { name, line, own });
        self.sections.len() - 1
    }

    fn set(&mut self, open: Option<usize>, name: &[u8], value: &[u8], at: u32, findings: &mut Findings) {
        let Some(parameter) = parameters::find(name) else {
            return unknown(name, at, findings);
        };
        let name = parameter.name;
        if open.is_some() && parameter.scope == Scope::Global {
            return findings.warn(at, format!("{name}: a global parameter inside a module is ignored"));
        }
        let layer = open.map_or(&mut self.globals, |index| &mut self.sections[index].own);
        let value = match read(parameter, value, layer.get(name)) {
            Ok(value) => value,
            Err(bad) => return findings.add(Some(at), bad.severity, format!("{name}: {}", bad.text)),
        };
        // A value that asks for nothing needs no word: an empty text, a flag that is off.
        let asks = !matches!(&value, Value::Flag(None | Some(false)))
            && !matches!(&value, Value::Text(t) if t.is_empty());
        match parameter.standing {
            Standing::Ignored(why) if asks => {
                findings.warn(at, format!("{name}: not supported yet, ignored: {why}"));
            }
            Standing::Refused(why) if asks => {
                findings.add(
                    Some(at),
                    Severity::Refuse,
                    format!("{name}: not supported yet, and to ignore it is not safe: {why}"),
                );
            }
            _ => {}
        }
        layer.insert(name, Setting { value, line: at });
    }
}

fn no_equals(text: &[u8], at: u32, findings: &mut Findings) {
    let shown = Escaped(text);
    match parameters::lost_guard(text) {
        Some(lost) => {
            findings.error(
                at,
                format!(
                    "badly formed line: `{shown}` has no `=`, and without `{}` more clients get in",
                    lost.name
                ),
            );
        }
        None => {
            findings
                .warn(at, format!("badly formed line, ignored as rsync ignores it: `{shown}` has no `=`"));
        }
    }
}

fn unknown(name: &[u8], at: u32, findings: &mut Findings) {
    let shown = Escaped(name);
    match parameters::nearest(name) {
        Some(near) if near.limits_access() => {
            findings.error(
                at,
                format!(
                    "unknown parameter `{shown}`: did you mean `{}`? Without that more clients get in",
                    near.name
                ),
            );
        }
        Some(near) => {
            findings.warn(at, format!("unknown parameter `{shown}`, ignored: did you mean `{}`?", near.name));
        }
        None => findings.warn(at, format!("unknown parameter `{shown}`, ignored")),
    }
}

struct Bad {
    severity: Severity,
    text: String,
}

impl Bad {
    fn error(text: impl Into<String>) -> Self {
        Self { severity: Severity::Error, text: text.into() }
    }
}

/// `before` is the setting that this one takes the place of.
fn read(parameter: &Parameter, value: &[u8], before: Option<&Setting>) -> Result<Value, Bad> {
    let shown = Escaped(value);
    match parameter.kind {
        Kind::Flag(if_bad) => {
            flag(value).map(|flag| Value::Flag(Some(flag))).ok_or_else(|| bad_flag(value, if_bad, before))
        }
        Kind::Tri(if_bad) => match value.to_ascii_lowercase().as_slice() {
            b"unset" | b"-1" => Ok(Value::Flag(None)),
            _ => {
                flag(value).map(|flag| Value::Flag(Some(flag))).ok_or_else(|| bad_flag(value, if_bad, before))
            }
        },
        Kind::Number => {
            let number = std::str::from_utf8(value).ok().and_then(|text| text.parse().ok());
            number.map(Value::Number).ok_or_else(|| {
                Bad::error(format!("`{shown}` is not a whole number (rsync would take it for another)"))
            })
        }
        Kind::Path => path(parameter, value).map(Value::Path),
        Kind::Text if parameter.name == "comment" => {
            Ok(Value::Text(String::from_utf8_lossy(value).into_owned()))
        }
        Kind::Text => {
            refuse_variables(parameter, value)?;
            let text = String::from_utf8(value.to_vec());
            text.map(Value::Text).map_err(|_| Bad::error(format!("`{shown}` is not UTF-8")))
        }
    }
}

fn flag(value: &[u8]) -> Option<bool> {
    match value.to_ascii_lowercase().as_slice() {
        b"yes" | b"true" | b"1" => Some(true),
        b"no" | b"false" | b"0" => Some(false),
        _ => None,
    }
}

fn bad_flag(value: &[u8], if_bad: IfBad, before: Option<&Setting>) -> Bad {
    let shown = Escaped(value);
    match (if_bad, before) {
        // A global `read only = no` would stay in force where somebody meant to end it.
        (IfBad::Keep, Some(before)) => Bad::error(format!(
            "badly formed boolean `{shown}`: write yes or no (rsync would stay with line {})",
            before.line
        )),
        (IfBad::Keep, None) => Bad {
            severity: Severity::Warning,
            text: format!("badly formed boolean `{shown}`, ignored as rsync ignores it: write yes or no"),
        },
        (IfBad::Refuse, _) => Bad::error(format!("badly formed boolean `{shown}`: write yes or no")),
    }
}

/// An absolute path without its trailing slashes; empty where the value is.
fn path(parameter: &Parameter, value: &[u8]) -> Result<PathBuf, Bad> {
    refuse_variables(parameter, value)?;
    let kept = value.iter().rposition(|byte| *byte != b'/').map_or(value.len().min(1), |last| last + 1);
    let path = PathBuf::from(OsString::from_vec(value[..kept].to_vec()));
    if !value.is_empty() && !path.is_absolute() {
        return Err(Bad::error(format!("`{}` is not an absolute path", Escaped(value))));
    }
    Ok(path)
}

/// `%NAME%` stands for a variable in rsync 3.x; taken as text it would name something else.
fn refuse_variables(parameter: &Parameter, value: &[u8]) -> Result<(), Bad> {
    let parts: Vec<&[u8]> = value.split(|byte| *byte == b'%').collect();
    let between = parts.get(1..parts.len() - 1).unwrap_or_default();
    let found = between.iter().find(|part| part.first().is_some_and(u8::is_ascii_uppercase));
    let served = matches!(parameter.standing, Standing::Served | Standing::Guards);
    match found {
        Some(part) if served => Err(Bad {
            severity: Severity::Refuse,
            text: format!("the variable %{}%: not supported yet", Escaped(part)),
        }),
        _ => Ok(()),
    }
}
