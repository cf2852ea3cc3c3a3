//! Where passwords and user names come from.

#![expect(clippy::disallowed_methods, reason = "tests make their files by path, in folders of their own")]

use std::os::unix::fs::PermissionsExt;

use super::*;

fn env<'a>(pairs: &'a [(&str, &str)]) -> impl Fn(&str) -> Option<OsString> + use<'a> {
    move |name| pairs.iter().find(|(known, _)| *known == name).map(|(_, value)| value.into())
}

/// The password in a file with this content and mode; the test's user owns it.
fn in_file(content: &[u8], mode: u32) -> Result<Vec<u8>, PasswordError> {
    let dir = tempfile::tempdir().expect("dir");
    let file = dir.path().join("secret");
    std::fs::write(&file, content).expect("write");
    std::fs::set_permissions(&file, std::fs::Permissions::from_mode(mode)).expect("chmod");
    let password = Passwords::new(Some(file)).get_from(env(&[("RSYNC_PASSWORD", "unused")]))?;
    Ok(password.expect("some").as_bytes().to_vec())
}

#[test]
fn the_first_line_of_the_file_is_the_password() {
    let long = vec![b'x'; limits::SECRET_LEN];
    let table: [(&[u8], &[u8]); 6] = [
        (b"secret\n", b"secret"),
        (b"secret", b"secret"),
        (b"sec ret \r\nmore", b"sec ret "),
        (b"\n\nsecret\n", b"secret"),
        (b"\xff\xfe\n", b"\xff\xfe"),
        (&long, &long),
    ];
    for (content, want) in table {
        assert_eq!(in_file(content, 0o600).expect("password"), want);
        assert_eq!(in_file(content, 0o640).expect("the group may read, as in rsync"), want);
    }
}

#[test]
fn a_file_that_is_open_to_others_empty_or_too_long_is_refused() {
    for mode in [0o644, 0o604, 0o602, 0o606] {
        assert!(matches!(in_file(b"secret\n", mode), Err(PasswordError::OthersMayRead(_))), "{mode:o}");
    }
    assert!(matches!(in_file(b"", 0o600), Err(PasswordError::Empty(_))));
    assert!(matches!(in_file(b"\n\r\n", 0o600), Err(PasswordError::Empty(_))));
    let long = vec![b'x'; limits::SECRET_LEN + 1];
    assert!(matches!(in_file(&long, 0o600), Err(PasswordError::TooLong)));
    let missing = Passwords::new(Some("/nonexistent/secret".into()));
    assert!(matches!(missing.get(), Err(PasswordError::File { .. })));
}

#[test]
fn root_takes_only_its_own_file() {
    assert_eq!(rights(0o600, 1000, true), Rights::NotRoots);
    assert_eq!(rights(0o600, 0, true), Rights::Good);
    assert_eq!(rights(0o600, 1000, false), Rights::Good);
    assert_eq!(rights(0o604, 0, true), Rights::Others);
}

#[test]
fn the_file_is_read_again_each_time() {
    let file = tempfile::NamedTempFile::new().expect("file");
    let passwords = Passwords::new(Some(file.path().to_owned()));
    for secret in ["one", "two"] {
        std::fs::write(file.path(), secret).expect("write");
        assert_eq!(passwords.get().expect("read").expect("some").as_bytes(), secret.as_bytes());
    }
}

#[test]
fn our_variable_goes_before_rsyncs() {
    type Row = (&'static [(&'static str, &'static str)], Option<&'static str>);
    let table: [Row; 4] = [
        (&[], None),
        (&[("RSYNC_PASSWORD", "r")], Some("r")),
        (&[("RSYNC_PASSWORD", "r"), ("DRIFTLESS_PASSWORD", "d")], Some("d")),
        (&[("DRIFTLESS_PASSWORD", "")], Some("")),
    ];
    for (pairs, want) in table {
        let got = Passwords::new(None).get_from(env(pairs)).expect("no error");
        assert_eq!(got.as_ref().map(Password::as_bytes), want.map(str::as_bytes), "{pairs:?}");
    }
}

#[test]
fn a_password_does_not_show_in_debug_output() {
    let passwords = Passwords::new(None);
    passwords.once.set(Password(b"hunter2".to_vec())).expect("first");
    assert!(!format!("{passwords:?}").contains("hunter2"));
}

#[test]
fn the_user_comes_from_the_operand_then_the_environment() {
    let both = [("USER", "u"), ("LOGNAME", "l")];
    assert_eq!(user_from(Some("joe"), env(&both)), "joe");
    assert_eq!(user_from(None, env(&both)), "u");
    assert_eq!(user_from(None, env(&[("USER", ""), ("LOGNAME", "l")])), "l");
    assert_eq!(user_from(None, env(&[])), "nobody");
}
