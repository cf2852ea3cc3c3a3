//! Operands as typed, and what they name.

use super::*;

fn place(operand: &str) -> Result<Place, OperandError> {
    parse_place(OsStr::new(operand))
}

/// A remote place as one line: `user|host|port|module|path|slash`.
fn line(place: &Place) -> String {
    match place {
        Place::Local(local) => format!("{}|{}", local.path.display(), local.trailing_slash),
        Place::Remote(remote) => format!(
            "{}|{}|{}|{}|{}|{}",
            remote.user.as_deref().unwrap_or("-"),
            remote.host,
            remote.port.unwrap_or(0),
            remote.module,
            Escaped(&remote.path),
            remote.trailing_slash
        ),
    }
}

#[test]
fn remote_operands_in_every_form() {
    let table = [
        ("host::mod", "-|host|0|mod||true"),
        ("host::mod/", "-|host|0|mod||true"),
        ("host::mod/.", "-|host|0|mod||true"),
        ("host::mod/a", "-|host|0|mod|a|false"),
        ("host::mod/a/b/", "-|host|0|mod|a/b|true"),
        ("host::mod/a/.", "-|host|0|mod|a|true"),
        ("host::mod//a", "-|host|0|mod|a|false"),
        ("host::mod/a:b::c@d", "-|host|0|mod|a:b::c@d|false"),
        ("joe@host::mod", "joe|host|0|mod||true"),
        ("joe@example.org@host::mod/x", "joe@example.org|host|0|mod|x|false"),
        ("@host::mod", "-|host|0|mod||true"),
        ("[::1]::mod", "-|::1|0|mod||true"),
        ("joe@[fe80::1%eth0]::mod/a", "joe|fe80::1%eth0|0|mod|a|false"),
        ("host::", "-|host|0|||true"),
        ("driftless://host/mod", "-|host|0|mod||true"),
        ("driftless://joe@host:99/mod/a/", "joe|host|99|mod|a|true"),
        ("rsync://host/mod/a", "-|host|0|mod|a|false"),
        ("RSYNC://a@b@[::1]:8730/mod", "a@b|::1|8730|mod||true"),
        ("DriftLess://[::1]/mod", "-|::1|0|mod||true"),
        ("rsync://host/", "-|host|0|||true"),
        ("rsync://host", "-|host|0|||true"),
        ("rsync://host:1", "-|host|1|||true"),
    ];
    for (operand, want) in table {
        assert_eq!(line(&place(operand).expect(operand)), want, "{operand}");
    }
}

#[test]
fn local_operands_and_their_slash() {
    let table = [
        ("a", "a|false"),
        ("a/", "a|true"),
        ("a//", "a|true"),
        ("a/.", "a|true"),
        ("a/./", "a|true"),
        ("/", "/|true"),
        ("/.", "/|true"),
        ("//", "/|true"),
        (".", ".|true"),
        ("./", ".|true"),
        ("..", "..|true"),
        ("a/..", "a/..|true"),
        ("a/..b", "a/..b|false"),
        ("a.", "a.|false"),
        ("./host::mod", "./host::mod|false"),
        ("/x/host::mod/", "/x/host::mod|true"),
        ("joe@host", "joe@host|false"),
        ("[a", "[a|false"),
    ];
    for (operand, want) in table {
        assert_eq!(line(&place(operand).expect(operand)), want, "{operand}");
    }
}

#[test]
fn what_cannot_be_meant_is_refused() {
    type Row = (&'static str, fn(&OperandError) -> bool);
    let table: [Row; 17] = [
        ("", |e| matches!(e, OperandError::Empty)),
        ("host:path", |e| matches!(e, OperandError::RemoteShell(_))),
        ("joe@host:/abs", |e| matches!(e, OperandError::RemoteShell(_))),
        ("[::1]:path", |e| matches!(e, OperandError::RemoteShell(_))),
        ("host:873::mod", |e| matches!(e, OperandError::RemoteShell(_))),
        ("::mod", |e| matches!(e, OperandError::NoHost(_))),
        ("rsync:///mod", |e| matches!(e, OperandError::NoHost(_))),
        ("host::/mod", |e| matches!(e, OperandError::NoModule(_))),
        ("rsync://host//mod", |e| matches!(e, OperandError::NoModule(_))),
        ("host::mod/../x", |e| matches!(e, OperandError::BadPath { error: PathError::DotDot, .. })),
        ("host::mod/a/..", |e| matches!(e, OperandError::BadPath { error: PathError::DotDot, .. })),
        ("driftless://host/mod/..", |e| matches!(e, OperandError::BadPath { .. })),
        ("rsync://host:0/mod", |e| matches!(e, OperandError::BadPort(_))),
        ("rsync://host:/mod", |e| matches!(e, OperandError::BadPort(_))),
        ("rsync://host:65536/mod", |e| matches!(e, OperandError::BadPort(_))),
        ("rsync://[::1]x/mod", |e| matches!(e, OperandError::BadPort(_))),
        ("rsync://joe:secret@host/mod", |e| matches!(e, OperandError::PasswordInUser)),
    ];
    for (operand, want) in &table {
        let error = place(operand).expect_err(operand);
        assert!(want(&error), "{operand}: {error:?}");
        assert!(!error.to_string().contains("secret"), "{error}");
    }
    assert!(matches!(parse_place(OsStr::from_bytes(b"h\xff::m")), Err(OperandError::NotText(_))));
}

#[test]
fn bytes_that_are_not_utf8_stay_in_paths() {
    let Ok(Place::Remote(remote)) = parse_place(OsStr::from_bytes(b"h::m/a\xff")) else {
        panic!("not remote")
    };
    assert_eq!(remote.path, b"a\xff");
    let Ok(Place::Local(local)) = parse_place(OsStr::from_bytes(b"a\xff/")) else { panic!("not local") };
    assert_eq!(local.path.as_os_str().as_bytes(), b"a\xff");
}

fn sources(operands: &[&str]) -> Result<Vec<String>, OperandError> {
    let operands: Vec<OsString> = operands.iter().map(OsString::from).collect();
    Ok(parse_sources(&operands)?.iter().map(line).collect())
}

#[test]
fn later_remote_sources_may_leave_out_what_the_first_one_says() {
    assert_eq!(
        sources(&["joe@host::mod/a", "::mod/b/", "host::mod/c", "::d", "::e/f/"]),
        Ok(vec![
            "joe|host|0|mod|a|false".to_owned(),
            "joe|host|0|mod|b|true".to_owned(),
            "joe|host|0|mod|c|false".to_owned(),
            "joe|host|0|mod|d|false".to_owned(),
            "joe|host|0|mod|e/f|true".to_owned(),
        ])
    );
    assert_eq!(
        sources(&["driftless://host:99/mod/a", "::mod/b"]).map(|s| s[1].clone()),
        Ok("-|host|99|mod|b|false".to_owned())
    );
    assert_eq!(sources(&["a", "b/"]), Ok(vec!["a|false".to_owned(), "b|true".to_owned()]));
}

#[test]
fn sources_from_two_places_are_refused() {
    let table = [
        (["host::mod/a", "b"], OperandError::Mixed),
        (["a", "host::mod/b"], OperandError::Mixed),
        (["host::mod/a", "other::mod/b"], OperandError::Mixed),
        (["joe@host::mod/a", "ann@host::mod/b"], OperandError::Mixed),
        (["rsync://host:1/mod/a", "rsync://host:2/mod/b"], OperandError::Mixed),
        (["host::mod/a", "host::other/b"], OperandError::TwoModules),
    ];
    for (operands, want) in table {
        assert_eq!(sources(&operands), Err(want), "{operands:?}");
    }
    assert!(matches!(sources(&["host::mod/a", "::mod/../b"]), Err(OperandError::BadPath { .. })));
}

proptest::proptest! {
    /// The characters that mean something are frequent, so most of these are nearly operands.
    #[test]
    fn whatever_is_typed_a_remote_path_can_be_resolved(typed in "([a./:@\\[\\]]|rsync://|::){0,12}") {
        if let Ok(Place::Remote(remote)) = place(&typed) {
            let path = RelPath::parse_typed(&remote.path).expect("a path beneath the module");
            assert!(!remote.host.is_empty() && !remote.path.starts_with(b"/"), "{remote:?}");
            assert!(!path.is_root() || (remote.path.is_empty() && remote.trailing_slash), "{remote:?}");
        }
    }
}
