//! Users and groups of this host: who does a module's file work, and which groups a user is in.
//!
//! Names are looked up once, when the config is read; a lookup that fails is an error, never uid 0 and never "in no
//! group" (CVE-2026-53788 and CVE-2026-53798 were such mistakes).

use std::ffi::CString;

use nix::unistd::{Gid, Group, Uid, User, getgrouplist};

use crate::config::grammar::words;

/// As whom a module's files are read and written.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Identity {
    /// The user.
    pub(crate) uid: u32,
    /// The group that new files get.
    pub(crate) gid: u32,
    /// All groups, `gid` first: exactly these, none is inherited from the daemon.
    pub(crate) groups: Vec<u32>,
}

/// What is wrong with `uid` or `gid`.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum IdentityError {
    /// About `uid`.
    Uid(String),
    /// About `gid`.
    Gid(String),
}

impl Identity {
    /// By `rsyncd.conf(5)`: a daemon of root serves as `nobody` unless `uid` says otherwise, with the group `nobody` or
    /// `nogroup` unless `gid` does, even when `uid` is set. A daemon of another user stays who it is (`None`).
    ///
    /// # Errors
    /// An unknown name; and ids that a daemon without root's rights cannot take.
    pub(crate) fn resolve(uid: Option<&str>, gid: Option<&str>) -> Result<Option<Self>, IdentityError> {
        let root = rustix::process::geteuid().is_root();
        let user = uid.map(user).transpose()?;
        if root {
            let user = user.map_or_else(|| self::user("nobody"), Ok)?;
            let groups = gid.map_or_else(nobodys_group, |list| groups(list, user))?;
            return Ok(Some(Self { uid: user, gid: groups[0], groups }));
        }
        if user.is_some_and(|user| user != rustix::process::geteuid().as_raw()) {
            return Err(IdentityError::Uid(format!("only root can serve as `{}`", uid.unwrap_or_default())));
        }
        let groups = gid.map(|list| groups(list, rustix::process::geteuid().as_raw())).transpose()?;
        if groups.is_some_and(|groups| groups != [rustix::process::getegid().as_raw()]) {
            return Err(IdentityError::Gid(format!(
                "only root can serve as group `{}`",
                gid.unwrap_or_default()
            )));
        }
        Ok(None)
    }
}

fn user(name: &str) -> Result<u32, IdentityError> {
    if let Some(number) = number(name) {
        return number.ok_or_else(|| IdentityError::Uid(format!("invalid uid {name}")));
    }
    match User::from_name(name) {
        Ok(Some(user)) => Ok(user.uid.as_raw()),
        Ok(None) => Err(IdentityError::Uid(format!("invalid uid {name}: no such user"))),
        Err(error) => Err(IdentityError::Uid(format!("invalid uid {name}: {error}"))),
    }
}

/// A name of digits only is a number; `Some(None)` when it is none that an id can have. The highest is no id but
/// "leave it as it is" (`chown(2)`).
fn number(name: &str) -> Option<Option<u32>> {
    let digits = name.bytes().all(|byte| byte.is_ascii_digit());
    digits.then(|| name.parse().ok().filter(|id| *id != u32::MAX))
}

fn nobodys_group() -> Result<Vec<u32>, IdentityError> {
    group("nobody").or_else(|_| group("nogroup")).map(|gid| vec![gid])
}

/// The list of `gid`, which holds at least one group.
fn groups(list: &str, user: u32) -> Result<Vec<u32>, IdentityError> {
    let mut groups = Vec::new();
    for (index, name) in words(list).into_iter().enumerate() {
        match name {
            "*" if index == 0 => groups = all_groups(user)?,
            "*" => return Err(IdentityError::Gid("invalid gid *: it may only stand first".into())),
            name => {
                let gid = group(name)?;
                if !groups.contains(&gid) {
                    groups.push(gid);
                }
            }
        }
    }
    if groups.is_empty() {
        return Err(IdentityError::Gid(format!("invalid gid `{list}`: no group in it")));
    }
    Ok(groups)
}

fn group(name: &str) -> Result<u32, IdentityError> {
    if let Some(number) = number(name) {
        return number.ok_or_else(|| IdentityError::Gid(format!("invalid gid {name}")));
    }
    match Group::from_name(name) {
        Ok(Some(group)) => Ok(group.gid.as_raw()),
        Ok(None) => Err(IdentityError::Gid(format!("invalid gid {name}: no such group"))),
        Err(error) => Err(IdentityError::Gid(format!("invalid gid {name}: {error}"))),
    }
}

/// Every group of a user, that of his passwd entry first.
fn all_groups(user: u32) -> Result<Vec<u32>, IdentityError> {
    let unknown =
        |error: &dyn std::fmt::Display| IdentityError::Gid(format!("invalid gid *: user {user}: {error}"));
    let entry = User::from_uid(Uid::from_raw(user)).map_err(|error| unknown(&error))?;
    let entry = entry.ok_or_else(|| unknown(&"no such user"))?;
    let list = group_list(&entry).map_err(|error| unknown(&error))?;
    let mut groups = vec![entry.gid.as_raw()];
    groups.extend(list.into_iter().map(Gid::as_raw).filter(|gid| *gid != entry.gid.as_raw()));
    Ok(groups)
}

/// The names of the groups that a system user is in; none for a name that is no system user.
///
/// # Errors
/// The system's tables cannot be read: then nobody can say what the user may do.
pub(crate) fn group_names(user: &str) -> nix::Result<Vec<String>> {
    let Some(entry) = User::from_name(user)? else { return Ok(Vec::new()) };
    let mut names = Vec::new();
    for gid in group_list(&entry)? {
        if let Some(group) = Group::from_gid(gid)? {
            names.push(group.name);
        }
    }
    Ok(names)
}

fn group_list(user: &User) -> nix::Result<Vec<Gid>> {
    let name = CString::new(user.name.as_bytes()).map_err(|_| nix::Error::EINVAL)?;
    getgrouplist(&name, user.gid)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn as_root(uid: Option<&str>, gid: Option<&str>) -> Option<Result<Identity, IdentityError>> {
        if !rustix::process::geteuid().is_root() {
            eprintln!("skipped: only root takes another identity");
            return None;
        }
        Some(Identity::resolve(uid, gid).map(|identity| identity.expect("root has an identity")))
    }

    #[test]
    fn root_serves_as_nobody_unless_told_otherwise() {
        let Some(identity) = as_root(None, None) else { return };
        let nobody = User::from_name("nobody").expect("lookup").expect("nobody");
        assert_eq!(identity.expect("identity").uid, nobody.uid.as_raw());
    }

    #[test]
    fn the_first_group_owns_new_files_and_the_others_follow() {
        let Some(identity) = as_root(Some("65533"), Some("7, 8 7,root")) else { return };
        assert_eq!(identity, Ok(Identity { uid: 65533, gid: 7, groups: vec![7, 8, 0] }));
        let Some(all) = as_root(Some("root"), Some("*, 9")) else { return };
        let all = all.expect("identity");
        assert_eq!((all.gid, all.groups.contains(&9)), (0, true));
    }

    #[test]
    fn an_id_that_means_nothing_is_an_error() {
        let gid = |text: &str| IdentityError::Gid(text.into());
        let cases = [
            ("no-such-user", "0", IdentityError::Uid("invalid uid no-such-user: no such user".into())),
            ("4294967295", "0", IdentityError::Uid("invalid uid 4294967295".into())),
            ("0", "no-such-group", gid("invalid gid no-such-group: no such group")),
            ("0", "0 *", gid("invalid gid *: it may only stand first")),
            ("0", ",", gid("invalid gid `,`: no group in it")),
        ];
        for (uid, groups, want) in cases {
            let Some(got) = as_root(Some(uid), Some(groups)) else { return };
            assert_eq!(got, Err(want), "{uid} {groups}");
        }
    }
}
