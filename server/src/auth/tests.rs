//! Who gets in with which rule and which secret.

use std::path::PathBuf;

use super::*;
use crate::named::Place;

struct World {
    dir: tempfile::TempDir,
}

impl World {
    fn new(secrets: &str, mode: u32) -> Self {
        let dir = tempfile::tempdir().expect("dir");
        let world = Self { dir };
        Place::find(&world.file()).expect("place").replace(secrets.as_bytes(), mode, None).expect("write");
        world
    }

    fn file(&self) -> PathBuf {
        self.dir.path().join("secrets")
    }

    fn module(&self, auth_users: &str) -> Module {
        let (auth, remarks) = AuthRules::parse(auth_users);
        assert!(!remarks.iter().any(|remark| remark.fatal), "{remarks:?}");
        Module { auth, secrets_file: Some(self.file()), ..crate::module::tests::open_module("m") }
    }

    fn login(&self, auth_users: &str, user: &str, password: &str) -> Result<Session, AuthFailure> {
        login(&self.module(auth_users), Some(&sent(user, password)), &[])
    }
}

fn sent(user: &str, password: &str) -> Credentials {
    Credentials { user: user.into(), password: password.into() }
}

const SECRETS: &str =
    "# joe:comment\n indented:x\njoe:pa:ss \nsusan:two\r\n@root:grouped\nroot:mine\nsusan:three\nempty:\n";

#[test]
fn the_first_rule_about_a_user_decides_alone() {
    let world = World::new(SECRETS, 0o600);
    let example = "joe:deny @guest:deny admin:rw @rsync:ro susan joe sam";
    let cases: &[(&str, &str, &str, Result<bool, AuthFailure>)] = &[
        ("joe", "joe", "pa:ss ", Ok(true)),
        ("joe", "joe", "pa:ss", Err(AuthFailure::PasswordMismatch)),
        ("joe:rw", "joe", "pa:ss ", Ok(false)),
        ("joe:RWx", "joe", "pa:ss ", Ok(false)),
        ("joe:RO", "joe", "pa:ss ", Ok(true)),
        ("joe:nonsense", "joe", "pa:ss ", Ok(true)),
        ("joe:ro joe:rw", "joe", "pa:ss ", Ok(true)),
        (example, "joe", "pa:ss ", Err(AuthFailure::DeniedByRule)),
        (example, "susan", "two", Ok(true)),
        (example, "susan", "three", Err(AuthFailure::PasswordMismatch)),
        (example, "sam", "x", Err(AuthFailure::SecretNotFound)),
        (example, "mallory", "x", Err(AuthFailure::NoMatchingRule)),
        ("susan,joe", "joe", "pa:ss ", Ok(true)),
        ("j[m-p]? s*", "joe", "pa:ss ", Ok(true)),
        ("J*", "joe", "pa:ss ", Err(AuthFailure::NoMatchingRule)),
        ("*", "indented", "x", Err(AuthFailure::SecretNotFound)),
        ("*", "# joe", "comment", Err(AuthFailure::InvalidUser)),
        ("*", "@root", "grouped", Err(AuthFailure::InvalidUser)),
        ("*", "joe:pa", "ss ", Err(AuthFailure::InvalidUser)),
        ("*", "", "", Err(AuthFailure::InvalidUser)),
        ("*", "empty", "", Err(AuthFailure::PasswordMismatch)),
        (",", "joe", "pa:ss ", Err(AuthFailure::NoMatchingRule)),
    ];
    for (rules, user, password, want) in cases {
        let got = world.login(rules, user, password).map(|session| session.read_only);
        assert_eq!(&got, want, "{rules} {user} {password}");
    }
}

/// CVE-2026-70463: split at blanks, the rule would lose its `:deny`.
#[test]
fn a_leading_comma_keeps_names_with_blanks_whole() {
    let world = World::new("two words:x\nwords:x\n", 0o600);
    assert_eq!(world.login(", two words:deny, *", "two words", "x"), Err(AuthFailure::DeniedByRule));
    assert!(world.login(", two words:deny, *", "words", "x").is_ok());
    assert!(world.login(",two words", "two words", "x").is_ok());
}

#[test]
fn a_groups_secret_counts_only_where_the_groups_rule_matched() {
    let world = World::new(SECRETS, 0o600);
    assert!(world.login("@root", "root", "grouped").is_ok());
    assert!(world.login("@r??t:ro", "root", "mine").is_ok());
    assert_eq!(world.login("root", "root", "grouped"), Err(AuthFailure::PasswordMismatch));
    assert_eq!(world.login("@root", "joe", "pa:ss "), Err(AuthFailure::NoMatchingRule));
    assert_eq!(world.login("@root:deny *", "root", "mine"), Err(AuthFailure::DeniedByRule));
}

#[test]
fn a_hash_is_verified_and_never_compared_as_text() {
    let line = crate::passwd::hash("tricky pass").expect("hash");
    let world = World::new(&format!("joe:{line}\nplain:x\nbroken:$argon2id$nonsense\n"), 0o600);
    assert!(world.login("*", "joe", "tricky pass").is_ok());
    assert_eq!(world.login("*", "joe", "other"), Err(AuthFailure::PasswordMismatch));
    assert_eq!(world.login("*", "joe", &line), Err(AuthFailure::PasswordMismatch));
    assert_eq!(world.login("*", "broken", "$argon2id$nonsense"), Err(AuthFailure::PasswordMismatch));
    assert!(world.login("*", "plain", "x").is_ok());
}

#[test]
fn where_hashes_are_kept_an_unknown_user_costs_as_much_as_a_known_one() {
    let line = crate::passwd::hash("x").expect("hash");
    let world = World::new(&format!("joe:{line}\nplain:x\n"), 0o600);
    let time = |rules: &str, user: &str| {
        let run = || {
            let start = std::time::Instant::now();
            assert!(world.login(rules, user, "wrong").is_err());
            start.elapsed()
        };
        (0..3).map(|_| run()).min().expect("three runs")
    };
    let known = time("*", "joe");
    for (rules, user) in
        [("*", "nobody-here"), ("joe", "mallory"), ("*", "plain"), ("joe:deny", "joe"), ("*", "@x")]
    {
        // A login without a hash is hundreds of times as quick; a busy machine makes one hash a few times as slow.
        assert!(time(rules, user) * 20 > known, "{rules} {user}");
    }
}

#[test]
fn the_mode_of_the_secrets_file_is_judged_at_every_login() {
    let refused = |mode| {
        let text = format!("other users may read or write it: mode {mode}, see `strict modes`");
        Err(AuthFailure::SecretsRefused(text))
    };
    let modes =
        [(0o600, Ok(())), (0o640, Ok(())), (0o660, Ok(())), (0o644, refused("644")), (0o602, refused("602"))];
    let world = World::new("joe:x\n", 0o600);
    for (mode, want) in modes {
        Place::find(&world.file()).expect("place").replace(b"joe:x\n", mode, None).expect("write");
        assert_eq!(world.login("joe", "joe", "x").map(drop), want, "{mode:o}");
    }
    let lax = Module { strict_modes: false, ..world.module("joe") };
    assert!(login(&lax, Some(&sent("joe", "x")), &[]).is_ok());
    rustix::fs::unlink(world.file()).expect("unlink");
    let gone = world.login("joe", "joe", "x").expect_err("no file").to_string();
    assert!(gone.starts_with("ignoring secrets file (cannot open it: No such file"), "{gone}");
    let none = Module { secrets_file: None, ..world.module("joe") };
    assert_eq!(login(&none, Some(&sent("joe", "x")), &[]), Err(AuthFailure::NoSecretsFile));
}

#[test]
fn a_secrets_file_of_another_user_is_refused_by_a_daemon_of_root() {
    if !rustix::process::geteuid().is_root() {
        eprintln!("skipped: only root can give a file away");
        return;
    }
    let world = World::new("joe:x\n", 0o600);
    Place::find(&world.file())
        .expect("place")
        .replace(b"joe:x\n", 0o600, Some((65533, 65533)))
        .expect("write");
    let text = world.login("joe", "joe", "x").expect_err("foreign").to_string();
    assert!(text.starts_with("ignoring secrets file (it must belong to root"), "{text}");
}

#[test]
fn a_certificate_stands_in_for_the_secret_but_not_for_the_rules() {
    let world = World::new("joe:x\n", 0o600);
    let module = world.module("joe:rw susan:deny");
    let names = ["host".to_owned(), "joe".to_owned(), "susan".to_owned()];
    let joe = Session { user: Some("joe".into()), read_only: false };
    assert_eq!(login(&module, Some(&sent("joe", "")), &names), Ok(joe.clone()));
    assert_eq!(login(&module, None, &names[1..]), Ok(joe));
    assert_eq!(login(&module, Some(&sent("joe", "")), &names[..1]), Err(AuthFailure::PasswordMismatch));
    assert_eq!(login(&module, Some(&sent("susan", "")), &names), Err(AuthFailure::DeniedByRule));
    assert_eq!(login(&module, Some(&sent("host", "")), &names), Err(AuthFailure::NoMatchingRule));
    assert_eq!(login(&module, None, &[]), Err(AuthFailure::NoCredentials));
}

#[test]
fn a_module_without_rules_asks_nobody() {
    let module = Module { auth: AuthRules::default(), ..World::new("", 0o600).module("x") };
    assert_eq!(login(&module, Some(&sent("joe", "x")), &[]), Ok(Session { user: None, read_only: true }));
}

#[test]
fn a_pattern_that_is_cut_short_is_refused() {
    let (_, remarks) = AuthRules::parse("joe[ susan:x");
    let fatal: Vec<bool> = remarks.iter().map(|remark| remark.fatal).collect();
    assert_eq!(fatal, [true, false], "{remarks:?}");
}
