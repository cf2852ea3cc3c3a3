//! job: how a server is reached and believed, and how fast: the keys that a destination may have of its own.

use std::path::PathBuf;
use std::time::Duration;

use super::Host;
use super::keys;
use super::read::{Levels, absolute};
use super::text::{Found, Table, Text};
use super::values::{self, Bandwidth, Window};
use crate::cli::Trust;

/// What they say.
pub(super) struct Reach<'a> {
    pub(super) bandwidth: Bandwidth,
    pub(super) compress: bool,
    pub(super) password_file: Option<PathBuf>,
    pub(super) port: Option<u16>,
    pub(super) timeout: Option<Duration>,
    pub(super) trust: Trust,
    /// What to blame when the certificates and keys are no good.
    pub(super) blame: Option<Found<'a>>,
}

/// Reads them.
pub(super) fn reach<'a>(text: &'a Text<'a>, levels: &Levels<'a>, host: &dyn Host) -> Reach<'a> {
    let password_file = levels.get(text, "password-file").and_then(|found| {
        let file = absolute(&found)?;
        // Its message names the file.
        host.password(&file).map_err(|why| found.wrong(why)).ok()?;
        Some(file)
    });
    let (trust, blame) = trust(text, levels);
    Reach {
        bandwidth: levels.get(text, "bwlimit").and_then(|found| bandwidth(text, &found)).unwrap_or_default(),
        compress: levels.get(text, "compress").and_then(|found| found.flag()).unwrap_or(false),
        password_file,
        port: levels.get(text, "port").and_then(|found| found.port()),
        timeout: levels.get(text, "timeout").and_then(|found| found.parsed(values::duration)),
        trust,
        blame,
    }
}

/// Whom to believe is said at one level, whole: a job with a `ca` does not inherit the fingerprint of `[defaults]`. Who we
/// are may be said at another.
fn trust<'a>(text: &'a Text<'a>, levels: &Levels<'a>) -> (Trust, Option<Found<'a>>) {
    let whom = levels.first_with(&["ca", "fingerprint", "plaintext"]);
    let whom = whom.as_ref();
    let get = |key| whom.and_then(|level: &Table<'a>| level.get(text, key));
    let (ca, fingerprint, plain) = (get("ca"), get("fingerprint"), get("plaintext"));
    let plaintext = plain.as_ref().and_then(|found| found.flag()).unwrap_or(false);
    let file = |found: &Option<Found<'a>>| found.as_ref().and_then(absolute);
    let own = |key| levels.get(text, key).filter(|_| !plaintext || whom.is_some_and(|level| level.has(key)));
    let (cert, key) = (own("client-cert"), own("client-key"));
    let trust = Trust {
        ca: file(&ca),
        fingerprints: fingerprint.as_ref().map(fingerprints).unwrap_or_default(),
        client_cert: file(&cert),
        client_key: file(&key),
        plaintext,
    };
    if let (Some(found), Some(_)) = (&fingerprint, &ca) {
        found.wrong("`ca` and `fingerprint` exclude each other: keep one of them");
    }
    match (&cert, &key) {
        (Some(found), None) => found.wrong("the private key is missing: add `client-key`"),
        (None, Some(found)) => found.wrong("the certificate is missing: add `client-cert`"),
        _ => {}
    }
    if let (true, Some(plain)) = (plaintext, &plain)
        && (ca.is_some() || fingerprint.is_some() || cert.is_some())
    {
        plain.wrong("there is no TLS then: take out `ca`, `fingerprint`, `client-cert` and `client-key`");
    }
    (trust, ca.or(cert).or(key))
}

fn fingerprints(found: &Found<'_>) -> Vec<[u8; 32]> {
    let items = found.strings().unwrap_or_default();
    if items.len() > 2 {
        found.wrong("more than two: keep the certificate that is, and the one that comes");
    }
    let parse = |(item, _): &(Found<'_>, &str)| item.parsed(crate::cli::fingerprint);
    items.iter().filter_map(parse).collect()
}

/// One limit for all day, or a table of them.
fn bandwidth<'a>(text: &'a Text<'a>, found: &Found<'a>) -> Option<Bandwidth> {
    if found.is_string() {
        return found.parsed(values::rate).map(Bandwidth::always);
    }
    if !found.is_array() {
        found.wrong("write \"10m\", or a table: [{ from = \"08:00\", to = \"18:00\", limit = \"2m\" }, { limit = \"off\" }]");
        return None;
    }
    let mut windows: Vec<Window> = Vec::new();
    for item in found.items()? {
        let table = item.table(found.label())?;
        table.knows(text, &[keys::WINDOW]);
        if windows.iter().any(|window| window.hours.is_none()) {
            item.wrong("the entry before has no hours and holds all day: this one never would");
        }
        let time = |key| table.get(text, key).map(|found| found.parsed(values::time_of_day));
        let hours = match (time("from"), time("to")) {
            (None, None) => None,
            (Some(from), Some(to)) => {
                let hours = (from?, to?);
                if hours.0 == hours.1 {
                    item.wrong("from and to are the same: leave both out for all day");
                }
                Some(hours)
            }
            _ => {
                item.wrong("from and to need each other");
                return None;
            }
        };
        let Some(limit) = table.get(text, "limit") else {
            item.wrong("the limit is missing: limit = \"2m\", or \"off\"");
            return None;
        };
        windows.push(Window { hours, limit: limit.parsed(values::rate)? });
    }
    Some(Bandwidth { windows })
}
