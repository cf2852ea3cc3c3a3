//! Who is turned away with which words, in which order, and what a slot is.

use super::*;
use crate::access::{AccessList, Listed};
use crate::auth::AuthRules;
use crate::module::tests::open_module;

const PEER: Peer<'static> =
    Peer { address: IpAddr::V4(std::net::Ipv4Addr::new(10, 0, 0, 9)), host: "UNDETERMINED" };

fn only(network: &str) -> AccessList {
    let (list, remarks) = AccessList::parse(Some(Listed { text: network, line: 1 }), None);
    assert!(remarks.is_empty());
    list
}

fn users(text: &str) -> AuthRules {
    AuthRules::parse(text).0
}

fn gate(modules: Vec<Module>) -> Gate {
    Gate::new(modules.into_iter().map(Arc::new).collect())
}

fn refused(
    gate: &Gate,
    module: &str,
    credentials: Option<&Credentials>,
    wants: Rights,
) -> (String, RefusalReason, String) {
    let denied = gate.admit(PEER, module, credentials, &[], wants).expect_err("refused");
    (denied.refusal.text, denied.refusal.reason, denied.log)
}

/// A module, what a client sends and wants; what it hears, why, and what the log says.
type Case<'a> = (&'a str, Option<&'a Credentials>, Rights, &'a str, RefusalReason, &'a str);

#[test]
#[expect(clippy::too_many_lines, reason = "a table")]
fn every_refusal_has_rsyncs_words_and_the_log_the_reason() {
    let gate = gate(vec![
        Module { access: only("192.168.0.0/24"), ..open_module("far") },
        Module { access: only("192.168.0.0/24"), list: false, ..open_module("hidden") },
        Module { auth: users("joe"), ..open_module("auth") },
        Module { max_connections: -1, ..open_module("closed") },
        Module { path: None, ..open_module("nowhere") },
        Module { write_only: true, ..open_module("drop") },
        open_module("plain"),
    ]);
    let joe = Credentials { user: "joe\n".into(), password: b"x".to_vec() };
    use RefusalReason::{Access, AuthenticationNeeded, Rights as NoRight};
    let cases: [Case<'_>; 10] = [
        (
            "no\nne",
            None,
            Rights::Read,
            "@ERROR: Unknown module 'no\\#012ne'",
            Access,
            "unknown module 'no\\#012ne' tried from UNDETERMINED (10.0.0.9)",
        ),
        (
            "PLAIN",
            None,
            Rights::Read,
            "@ERROR: Unknown module 'PLAIN'",
            Access,
            "unknown module 'PLAIN' tried from UNDETERMINED (10.0.0.9)",
        ),
        (
            "far",
            None,
            Rights::Read,
            "@ERROR: access denied to far from UNDETERMINED (10.0.0.9)",
            Access,
            "rsync denied on module far from UNDETERMINED (10.0.0.9)",
        ),
        (
            "hidden",
            None,
            Rights::Read,
            "@ERROR: Unknown module 'hidden'",
            Access,
            "rsync denied on module hidden from UNDETERMINED (10.0.0.9)",
        ),
        (
            "auth",
            None,
            Rights::Read,
            "@ERROR: auth failed on module auth",
            AuthenticationNeeded,
            "auth failed on module auth from UNDETERMINED (10.0.0.9) for : no credentials",
        ),
        (
            "auth",
            Some(&joe),
            Rights::Read,
            "@ERROR: auth failed on module auth",
            Access,
            "auth failed on module auth from UNDETERMINED (10.0.0.9) for joe\\#012: invalid user name",
        ),
        (
            "closed",
            None,
            Rights::Read,
            "@ERROR: max connections (-1) reached -- try again later",
            Access,
            "max connections (-1) reached on module closed, refused UNDETERMINED (10.0.0.9)",
        ),
        (
            "nowhere",
            None,
            Rights::Read,
            "@ERROR: no path setting.",
            Access,
            "module nowhere has no path, asked for by UNDETERMINED (10.0.0.9)",
        ),
        (
            "plain",
            None,
            Rights::Write,
            "ERROR: module is read only",
            NoRight,
            "module plain is read only, refused UNDETERMINED (10.0.0.9)",
        ),
        (
            "drop",
            None,
            Rights::Read,
            "ERROR: module is write only",
            NoRight,
            "module drop is write only, refused UNDETERMINED (10.0.0.9)",
        ),
    ];
    for (module, credentials, wants, text, reason, log) in cases {
        let got = refused(&gate, module, credentials, wants);
        assert_eq!(got, (text.to_owned(), reason, log.to_owned()));
    }
}

#[test]
fn the_address_is_judged_before_the_login_and_the_login_before_the_slot() {
    let full = Module { max_connections: -1, auth: users("joe"), ..open_module("m") };
    assert!(refused(&gate(vec![full]), "m", None, Rights::Read).0.contains("auth failed"));
    let far = Module { access: only("192.168.0.0/24"), auth: users("joe"), ..open_module("m") };
    assert!(refused(&gate(vec![far]), "m", None, Rights::Read).0.contains("access denied"));
}

#[test]
fn a_refused_client_holds_no_slot() {
    let gate = gate(vec![Module { max_connections: 1, ..open_module("m") }]);
    for _ in 0..3 {
        assert!(refused(&gate, "m", None, Rights::Write).0.contains("read only"));
    }
    assert!(gate.admit(PEER, "m", None, &[], Rights::Read).is_ok());
}

#[test]
fn modules_with_one_lock_file_share_their_slots() {
    let limited =
        |name, max, lock: &str| Module { max_connections: max, lock_file: lock.into(), ..open_module(name) };
    let gate = gate(vec![
        limited("one", 1, "/l"),
        limited("three", 3, "/l"),
        limited("other", 1, "/k"),
        open_module("free"),
    ]);
    let admit = |name| gate.admit(PEER, name, None, &[], Rights::Read);
    let first = admit("three").expect("a slot");
    let busy = refused(&gate, "one", None, Rights::Read);
    assert_eq!(busy.0, "@ERROR: max connections (1) reached -- try again later");
    assert_eq!(busy.1, RefusalReason::Busy);
    let rest =
        [admit("three").expect("second"), admit("three").expect("third"), admit("other").expect("own slots")];
    assert!(admit("three").is_err());
    let free: Vec<_> = (0..300).map(|_| admit("free").expect("no limit")).collect();
    drop((first, rest, free));
    assert!(admit("one").is_ok(), "dropped permits free their slots");
}

#[test]
fn a_permit_says_who_may_use_which_module() {
    let gate = gate(vec![Module { read_only: false, ..open_module("m") }]);
    let permit = gate.admit(PEER, "m", None, &[], Rights::Write).expect("permit");
    assert_eq!((permit.module().name.as_str(), permit.user()), ("m", None));
}
