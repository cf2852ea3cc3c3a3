//! events: the kernel's event bits and the names that inotifywait(1) gives them.

use std::ops::BitOr;

/// A set of inotify event bits, as `inotify(7)` numbers them.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub(crate) struct Mask(pub(crate) u32);

impl Mask {
    pub(crate) const ACCESS: Self = Self(0x1);
    pub(crate) const MODIFY: Self = Self(0x2);
    pub(crate) const ATTRIB: Self = Self(0x4);
    pub(crate) const CLOSE_WRITE: Self = Self(0x8);
    pub(crate) const CLOSE_NOWRITE: Self = Self(0x10);
    pub(crate) const OPEN: Self = Self(0x20);
    pub(crate) const MOVED_FROM: Self = Self(0x40);
    pub(crate) const MOVED_TO: Self = Self(0x80);
    pub(crate) const CREATE: Self = Self(0x100);
    pub(crate) const DELETE: Self = Self(0x200);
    pub(crate) const DELETE_SELF: Self = Self(0x400);
    pub(crate) const MOVE_SELF: Self = Self(0x800);
    pub(crate) const UNMOUNT: Self = Self(0x2000);
    pub(crate) const Q_OVERFLOW: Self = Self(0x4000);
    pub(crate) const IGNORED: Self = Self(0x8000);
    pub(crate) const ONLYDIR: Self = Self(0x0100_0000);
    pub(crate) const DONT_FOLLOW: Self = Self(0x0200_0000);
    pub(crate) const ISDIR: Self = Self(0x4000_0000);
    pub(crate) const ONESHOT: Self = Self(0x8000_0000);
    pub(crate) const CLOSE: Self = Self(0x18);
    pub(crate) const MOVE: Self = Self(0xc0);
    /// Everything that happens to files: what is listened for when nothing else is asked.
    pub(crate) const ALL: Self = Self(0xfff);

    pub(crate) fn intersects(self, other: Self) -> bool {
        self.0 & other.0 != 0
    }

    pub(crate) fn without(self, other: Self) -> Self {
        Self(self.0 & !other.0)
    }

    pub(crate) fn is_empty(self) -> bool {
        self.0 == 0
    }

    /// The names of all bits that are set, in the order in which inotifywait(1) prints them; where none has a name,
    /// the number.
    pub(crate) fn names(self) -> Vec<String> {
        let names: Vec<_> = PRINTED
            .iter()
            .filter(|(bits, _)| self.intersects(*bits))
            .map(|&(_, name)| name.to_owned())
            .collect();
        if names.is_empty() { vec![format!("0x{:08x}", self.0)] } else { names }
    }
}

impl BitOr for Mask {
    type Output = Self;

    fn bitor(self, other: Self) -> Self {
        Self(self.0 | other.0)
    }
}

/// The order in which names are printed. `CLOSE` follows either of the two it stands for; `MOVE` is never printed.
const PRINTED: [(Mask, &str); 18] = [
    (Mask::ACCESS, "ACCESS"),
    (Mask::MODIFY, "MODIFY"),
    (Mask::ATTRIB, "ATTRIB"),
    (Mask::CLOSE_WRITE, "CLOSE_WRITE"),
    (Mask::CLOSE_NOWRITE, "CLOSE_NOWRITE"),
    (Mask::OPEN, "OPEN"),
    (Mask::MOVED_FROM, "MOVED_FROM"),
    (Mask::MOVED_TO, "MOVED_TO"),
    (Mask::CREATE, "CREATE"),
    (Mask::DELETE, "DELETE"),
    (Mask::DELETE_SELF, "DELETE_SELF"),
    (Mask::UNMOUNT, "UNMOUNT"),
    (Mask::Q_OVERFLOW, "Q_OVERFLOW"),
    (Mask::IGNORED, "IGNORED"),
    (Mask::CLOSE, "CLOSE"),
    (Mask::MOVE_SELF, "MOVE_SELF"),
    (Mask::ISDIR, "ISDIR"),
    (Mask::ONESHOT, "ONESHOT"),
];

/// What can be asked for and is not printed under that name.
const ONLY_ASKED: [(Mask, &str); 2] = [(Mask::MOVE, "MOVE"), (Mask::ALL, "ALL_EVENTS")];

/// Reads a list of event names: in any case, separated by commas. A list with an empty element at its start or in its
/// middle counts as an empty list, as in inotifywait(1), which is why `None`, not an empty mask, stands for a name
/// that is not known.
pub(crate) fn parse(list: &[u8]) -> Option<Mask> {
    let mut mask = Mask::default();
    let list = list.strip_suffix(b",").unwrap_or(list);
    for name in list.split(|&byte| byte == b',') {
        if name.is_empty() {
            return Some(Mask::default());
        }
        mask = mask | named(name)?;
    }
    Some(mask)
}

fn named(typed: &[u8]) -> Option<Mask> {
    PRINTED
        .iter()
        .chain(&ONLY_ASKED)
        .find(|(_, name)| name.as_bytes().eq_ignore_ascii_case(typed))
        .map(|&(mask, _)| mask)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_read_in_any_case_and_an_empty_element_ends_the_list() {
        let cases: [(&str, Option<u32>); 13] = [
            ("modify", Some(0x2)),
            ("Close_Write,OPEN", Some(0x28)),
            ("move", Some(0xc0)),
            ("close", Some(0x18)),
            ("all_events", Some(0xfff)),
            ("q_overflow,ignored,isdir,oneshot", Some(0xc000_c000)),
            ("", Some(0)),
            ("modify,,create", Some(0)),
            (",modify", Some(0)),
            ("a,,b", None),
            ("modify,foo", None),
            (" modify", None),
            ("in_modify", None),
        ];
        for (typed, mask) in cases {
            assert_eq!(parse(typed.as_bytes()).map(|mask| mask.0), mask, "{typed:?}");
        }
    }

    #[test]
    fn names_are_printed_in_a_fixed_order() {
        let cases: [(u32, &str); 7] = [
            (0x8, "CLOSE_WRITE,CLOSE"),
            (0x4000_0010, "CLOSE_NOWRITE,CLOSE,ISDIR"),
            (0x4000_0100, "CREATE,ISDIR"),
            (0x800, "MOVE_SELF"),
            (0x4000, "Q_OVERFLOW"),
            (
                0xfff,
                "ACCESS,MODIFY,ATTRIB,CLOSE_WRITE,CLOSE_NOWRITE,OPEN,MOVED_FROM,MOVED_TO,CREATE,DELETE,DELETE_SELF,CLOSE,MOVE_SELF",
            ),
            (0x10_0000, "0x00100000"),
        ];
        for (mask, names) in cases {
            assert_eq!(Mask(mask).names().join(","), names);
        }
    }
}
