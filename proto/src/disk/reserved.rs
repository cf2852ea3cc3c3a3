//! disk: the reserved names, under which our own temporary files lie for a moment.
//!
//! `.~dl` and 16 hexadecimal digits: short enough for every file system, and never anybody's file. A peer that sends
//! one has misbehaved; a walk does not see them; [`super::apply::sweep`] removes the forgotten ones.

use std::collections::hash_map::RandomState;
use std::hash::{BuildHasher, Hasher};

const PREFIX: &[u8; 4] = b".~dl";

/// Whether this name is reserved: `.~dl` and exactly 16 lower-case hexadecimal digits.
#[must_use]
pub fn is_reserved(name: &[u8]) -> bool {
    name.strip_prefix(PREFIX)
        .is_some_and(|rest| rest.len() == 16 && rest.iter().all(|b| matches!(b, b'0'..=b'9' | b'a'..=b'f')))
}

/// A reserved name that nothing has yet. Nobody outside the process can guess it; should it be taken all the same,
/// whoever creates it learns so by `EEXIST`.
#[must_use]
pub fn fresh() -> [u8; 20] {
    name(random())
}

/// The reserved name under which the data of an interrupted file named `name` waits beside it for the next run
/// (`--partial`). Always the same for the same name.
#[must_use]
pub fn for_partial(name: &[u8]) -> [u8; 20] {
    let hash = blake3::hash(name);
    let mut eight = [0; 8];
    eight.copy_from_slice(&hash.as_bytes()[..8]);
    self::name(u64::from_be_bytes(eight))
}

/// 64 bits that never come twice. The standard library seeds its hash maps from the kernel and gives every one
/// another key, which costs no system call and cannot fail.
pub(super) fn random() -> u64 {
    RandomState::new().build_hasher().finish()
}

fn name(number: u64) -> [u8; 20] {
    let mut name = [0; 20];
    name[..4].copy_from_slice(PREFIX);
    for (at, digit) in name[4..].iter_mut().enumerate() {
        *digit = b"0123456789abcdef"[(number >> (60 - 4 * at) & 15) as usize];
    }
    name
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_exact_form_is_reserved() {
        for (name, want) in [
            (&b".~dl0123456789abcdef"[..], true),
            (b".~dl0123456789abcdeF", false),
            (b".~dl0123456789abcde", false),
            (b".~dl0123456789abcdef0", false),
            (b".~dl0123456789abcdeg", false),
            (b"x.~dl0123456789abcde", false),
            (b".~dl", false),
            (b"", false),
        ] {
            assert_eq!(is_reserved(name), want, "{}", String::from_utf8_lossy(name));
        }
    }

    #[test]
    fn made_names_are_reserved_and_differ() {
        assert!(is_reserved(&fresh()));
        assert_ne!(fresh(), fresh());
        assert!(is_reserved(&for_partial(b"a\xff")));
        assert_eq!(for_partial(b"a"), for_partial(b"a"));
        assert_ne!(for_partial(b"a"), for_partial(b"b"));
    }
}
