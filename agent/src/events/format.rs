//! events: what one event looks like: inotifywait(1)'s default line, `--csv`, `--format`, and our `--json`.

use std::io::Write as _;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use jiff::Timestamp;
use jiff::tz::TimeZone;
use serde_json::{Map, Value};

use super::mask::Mask;
use super::timefmt;

/// What there is to say about one event.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Record<'a> {
    /// `%w`.
    pub(crate) watched: &'a [u8],
    /// `%f`; empty for an event of the watched thing itself.
    pub(crate) name: &'a [u8],
    pub(crate) mask: Mask,
    pub(crate) cookie: u32,
    /// `%T`: when it was read.
    pub(crate) time: Timestamp,
    /// Of the second half of a rename: the path that the first half told.
    pub(crate) from: Option<&'a [u8]>,
    pub(crate) synthetic: bool,
}

/// How events are written.
#[derive(Clone, Debug)]
pub(crate) enum Form {
    Default,
    Csv,
    Format { pieces: Vec<Piece>, timefmt: Option<Vec<u8>>, newline: bool },
    Json,
}

/// A part of a `--format`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Piece {
    Literal(Vec<u8>),
    Watched,
    Name,
    /// The names of the event, joined by this byte.
    Events(u8),
    Time,
    Cookie,
}

/// Formats of this length and more are refused, as by inotifywait(1).
pub(crate) const FORMAT_LEN_MAX: usize = 4096;

/// Takes a `--format` apart. Single letters go before `%Xe`, so `%we` is the path and the letter e; what is not known
/// is left as it stands.
pub(crate) fn parse(format: &[u8]) -> Vec<Piece> {
    let mut pieces = Vec::new();
    let mut literal = Vec::new();
    let mut rest = format;
    while let Some((&first, after)) = rest.split_first() {
        rest = after;
        let piece = match (first, after.first()) {
            (b'%', Some(b'0')) => Err(0),
            (b'%', Some(b'n')) => Err(b'\n'),
            (b'%', Some(b'%')) => Err(b'%'),
            (b'%', Some(b'w')) => Ok(Piece::Watched),
            (b'%', Some(b'f')) => Ok(Piece::Name),
            (b'%', Some(b'c')) => Ok(Piece::Cookie),
            (b'%', Some(b'e')) => Ok(Piece::Events(b',')),
            (b'%', Some(b'T')) => Ok(Piece::Time),
            (b'%', Some(&joint)) if after.get(1) == Some(&b'e') => {
                rest = &after[1..];
                Ok(Piece::Events(joint))
            }
            (byte, _) => {
                literal.push(byte);
                continue;
            }
        };
        rest = &rest[1..];
        match piece {
            Err(byte) => literal.push(byte),
            Ok(piece) => {
                if !literal.is_empty() {
                    pieces.push(Piece::Literal(std::mem::take(&mut literal)));
                }
                pieces.push(piece);
            }
        }
    }
    if !literal.is_empty() {
        pieces.push(Piece::Literal(literal));
    }
    pieces
}

impl Form {
    /// Writes one event, ended as the form ends it; by NUL if `print0`.
    pub(crate) fn write(&self, record: &Record<'_>, print0: bool, out: &mut Vec<u8>) {
        let end = if print0 { Some(0) } else { Some(b'\n') };
        match self {
            Self::Default => {
                let names = record.mask.names().join(",");
                out.extend([record.watched, b" ", names.as_bytes(), b" ", record.name].concat());
                out.extend(end);
            }
            Self::Csv => {
                // An overflow has no path, and inotifywait(1) leaves the column out.
                if !record.watched.is_empty() {
                    csv(record.watched, out);
                    out.push(b',');
                }
                csv(record.mask.names().join(",").as_bytes(), out);
                out.push(b',');
                csv(record.name, out);
                out.extend(end);
            }
            Self::Format { pieces, timefmt, newline } => {
                for piece in pieces {
                    piece.write(record, timefmt.as_deref(), out);
                }
                out.extend(end.filter(|_| *newline || print0));
            }
            Self::Json => {
                json(record, out);
                out.extend(end);
            }
        }
    }
}

impl Piece {
    fn write(&self, record: &Record<'_>, format: Option<&[u8]>, out: &mut Vec<u8>) {
        match self {
            Self::Literal(text) => out.extend(text),
            Self::Watched => out.extend(record.watched),
            Self::Name => out.extend(record.name),
            Self::Events(joint) => {
                for (at, name) in record.mask.names().iter().enumerate() {
                    out.extend((at > 0).then_some(*joint));
                    out.extend(name.as_bytes());
                }
            }
            Self::Time => {
                let time = record.time.to_zoned(TimeZone::system());
                out.extend(timefmt::format(format.unwrap_or_default(), &time));
            }
            // A write to memory does not fail.
            Self::Cookie => drop(write!(out, "{:x}", record.cookie)),
        }
    }
}

/// One CSV field: quoted where it would be read as anything but itself.
fn csv(field: &[u8], out: &mut Vec<u8>) {
    let special = field.iter().any(|byte| matches!(byte, b'"' | b',' | b'\n'));
    if !special && !field.starts_with(b" ") && !field.ends_with(b" ") {
        return out.extend(field);
    }
    out.push(b'"');
    for &byte in field {
        out.extend((byte == b'"').then_some(byte));
        out.push(byte);
    }
    out.push(b'"');
}

/// One object. A path that is not text appears as text with replacement characters, and as its bytes in base64. The
/// second half of a rename says the whole of it: `from` and `to`.
fn json(record: &Record<'_>, out: &mut Vec<u8>) {
    let mut object = Map::new();
    let mut bytes = |key: &str, bytes: &[u8]| text_and_bytes(&mut object, key, bytes);
    bytes("watched", record.watched);
    bytes("name", record.name);
    if let Some(from) = record.from {
        bytes("from", from);
        bytes("to", &[record.watched, record.name].concat());
    }
    object.insert("events".into(), record.mask.names().into());
    object.insert("cookie".into(), record.cookie.into());
    object.insert("synthetic".into(), record.synthetic.into());
    object.insert("time".into(), record.time.to_string().into());
    out.extend(Value::Object(object).to_string().as_bytes());
}

/// A member for bytes that are text most of the time.
pub(crate) fn text_and_bytes(object: &mut Map<String, Value>, key: &str, bytes: &[u8]) {
    object.insert(key.to_owned(), String::from_utf8_lossy(bytes).into());
    if std::str::from_utf8(bytes).is_err() {
        object.insert(format!("{key}_base64"), STANDARD.encode(bytes).into());
    }
}

#[cfg(test)]
mod tests;
