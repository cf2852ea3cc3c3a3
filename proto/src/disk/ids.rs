//! disk: the names of users and groups, asked from the system (NSS) and remembered.

use std::collections::HashMap;

use nix::unistd::{Gid, Group, Uid, User};

use crate::model::tree::Owner;

/// User and group names, each looked up once in the life of this value.
///
/// Id 0 has no name here and no name leads to it: root is root by number alone (rsync(1), `--numeric-ids`), and no
/// name a peer sends can turn an ordinary owner into root. A failed look-up counts as "no such name": the number is
/// then used as it is.
#[derive(Debug, Default)]
pub struct Names {
    numeric: bool,
    users: HashMap<u32, Option<Vec<u8>>>,
    groups: HashMap<u32, Option<Vec<u8>>>,
    uids: HashMap<Vec<u8>, Option<u32>>,
    gids: HashMap<Vec<u8>, Option<u32>>,
}

impl Names {
    /// Nothing asked yet. With `numeric` nothing ever is, and owners compare as numbers.
    #[must_use]
    pub fn new(numeric: bool) -> Self {
        Self { numeric, ..Self::default() }
    }

    /// How a user compares between the two ends.
    pub fn owner_term(&mut self, uid: u32) -> Owner {
        term(uid, self.user_name(uid))
    }

    /// How a group compares between the two ends.
    pub fn group_term(&mut self, gid: u32) -> Owner {
        term(gid, self.group_name(gid))
    }

    /// The name of a user; `None` for 0, for one without a name, and when ids are numeric.
    pub fn user_name(&mut self, uid: u32) -> Option<Vec<u8>> {
        let ask = |uid| User::from_uid(Uid::from_raw(uid)).ok().flatten().map(|user| user.name.into_bytes());
        self.named(uid).then(|| self.users.entry(uid).or_insert_with(|| ask(uid)).clone())?
    }

    /// The name of a group; `None` as for [`Names::user_name`].
    pub fn group_name(&mut self, gid: u32) -> Option<Vec<u8>> {
        let ask =
            |gid| Group::from_gid(Gid::from_raw(gid)).ok().flatten().map(|group| group.name.into_bytes());
        self.named(gid).then(|| self.groups.entry(gid).or_insert_with(|| ask(gid)).clone())?
    }

    /// The id of the user of this name. `None` when there is none, it is 0, the name is not UTF-8, or ids are numeric.
    pub fn uid_of(&mut self, name: &[u8]) -> Option<u32> {
        if self.numeric {
            return None;
        }
        if let Some(known) = self.uids.get(name) {
            return *known;
        }
        let user = std::str::from_utf8(name).ok().and_then(|name| User::from_name(name).ok().flatten());
        let uid = user.map(|user| user.uid.as_raw()).filter(|&uid| uid != 0);
        self.uids.insert(name.to_vec(), uid);
        uid
    }

    /// The id of the group of this name. `None` as for [`Names::uid_of`].
    pub fn gid_of(&mut self, name: &[u8]) -> Option<u32> {
        if self.numeric {
            return None;
        }
        if let Some(known) = self.gids.get(name) {
            return *known;
        }
        let group = std::str::from_utf8(name).ok().and_then(|name| Group::from_name(name).ok().flatten());
        let gid = group.map(|group| group.gid.as_raw()).filter(|&gid| gid != 0);
        self.gids.insert(name.to_vec(), gid);
        gid
    }

    fn named(&self, id: u32) -> bool {
        !self.numeric && id != 0
    }
}

fn term(id: u32, name: Option<Vec<u8>>) -> Owner {
    name.map_or(Owner::Id(id), |name| Owner::Name(name.into()))
}

#[cfg(test)]
mod tests {
    use super::*;

    // `daemon` is user and group 1 on every Linux system.
    #[test]
    fn names_lead_to_ids_and_back() {
        let mut names = Names::new(false);
        for _ in 0..2 {
            assert_eq!(names.owner_term(1), Owner::Name(b"daemon"[..].into()));
            assert_eq!(names.group_term(1), Owner::Name(b"daemon"[..].into()));
            assert_eq!(names.uid_of(b"daemon"), Some(1));
            assert_eq!(names.gid_of(b"daemon"), Some(1));
            assert_eq!(names.owner_term(4_000_000_000), Owner::Id(4_000_000_000));
            assert_eq!(names.uid_of(b"no such user\xff"), None);
        }
    }

    #[test]
    fn root_is_never_mapped() {
        let mut names = Names::new(false);
        assert_eq!(names.owner_term(0), Owner::Id(0));
        assert_eq!(names.group_term(0), Owner::Id(0));
        assert_eq!(names.uid_of(b"root"), None);
        assert_eq!(names.gid_of(b"root"), None);
    }

    #[test]
    fn numeric_ids_have_no_names() {
        let mut names = Names::new(true);
        assert_eq!(names.owner_term(1), Owner::Id(1));
        assert_eq!(names.uid_of(b"daemon"), None);
    }
}
