//! Whom to believe, as it was typed.

use std::path::PathBuf;

use super::{Connection, Usage};
use crate::exit::Exit;

/// Whom to believe, and how to prove who we are. With no `ca` and no fingerprint the system's roots decide.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Trust {
    /// `--ca`: certificates in PEM, instead of the system's. Never together with fingerprints.
    pub ca: Option<PathBuf>,
    /// `--fingerprint`: SHA-256 of the server's certificate in DER; at most two, so that one can be changed.
    pub fingerprints: Vec<[u8; 32]>,
    /// `--client-cert`: PEM. Given if and only if `client_key` is.
    pub client_cert: Option<PathBuf>,
    /// `--client-key`: PEM.
    pub client_key: Option<PathBuf>,
    /// `--plaintext`: no TLS. Never with any of the others; whether the server is on loopback is up to whoever
    /// resolves its name.
    pub plaintext: bool,
}

/// What was typed about it, if it makes sense together.
pub(super) fn trust(connection: Connection) -> Result<Trust, Usage> {
    let Connection { ca, fingerprints, client_cert, client_key, plaintext, .. } = connection;
    let bad = |message: &str| Err(Usage::new(Exit::Usage, message));
    if fingerprints.len() > 2 {
        return bad("--fingerprint can be given twice at most");
    }
    if ca.is_some() && !fingerprints.is_empty() {
        return bad("--ca and --fingerprint exclude each other");
    }
    if client_cert.is_some() != client_key.is_some() {
        return bad("--client-cert and --client-key need each other");
    }
    if plaintext && (ca.is_some() || !fingerprints.is_empty() || client_cert.is_some()) {
        return bad("--plaintext excludes --ca, --fingerprint and --client-cert");
    }
    Ok(Trust { ca, fingerprints, client_cert, client_key, plaintext })
}

/// Reads `sha256:` and 64 hexadecimal digits.
pub(crate) fn fingerprint(typed: &str) -> Result<[u8; 32], String> {
    let wrong =
        || "expected sha256: and 64 hexadecimal digits, as `driftlessd fingerprint` prints".to_owned();
    let digits = typed.strip_prefix("sha256:").map(str::as_bytes).ok_or_else(wrong)?;
    if digits.len() != 64 {
        return Err(wrong());
    }
    let mut bytes = [0; 32];
    for (byte, pair) in bytes.iter_mut().zip(digits.chunks_exact(2)) {
        let digit = |digit: u8| char::from(digit).to_digit(16).and_then(|value| u8::try_from(value).ok());
        *byte = digit(pair[0]).zip(digit(pair[1])).map(|(high, low)| high << 4 | low).ok_or_else(wrong)?;
    }
    Ok(bytes)
}
