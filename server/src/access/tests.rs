//! Who gets in, against what a real rsync 3.5.0 decided; and what is refused, with its message.

use super::*;

/// Recorded from rsync 3.5.0.
const VECTORS: &str = include_str!("hosts.txt");

fn parse(allow: Option<&str>, deny: Option<&str>) -> (AccessList, Vec<Remark>) {
    AccessList::parse(allow.map(|text| Listed { text, line: 1 }), deny.map(|text| Listed { text, line: 2 }))
}

fn accepted(allow: Option<&str>, deny: Option<&str>) -> AccessList {
    let (list, remarks) = parse(allow, deny);
    assert!(!remarks.iter().any(|remark| remark.fatal), "{allow:?} {deny:?}: {remarks:?}");
    list
}

fn admits(list: &AccessList, peer: &str) -> bool {
    list.admits(peer.parse().expect("address"))
}

#[test]
fn wherever_a_list_is_accepted_the_decision_is_rsyncs() {
    let mut accepted = Vec::new();
    for line in VECTORS.lines().filter(|line| !line.starts_with('#') && !line.is_empty()) {
        let (name, rest) = line.split_once(' ').expect("name");
        let between = |mark: &str| {
            let rest = rest.split_once(mark).expect("mark").1;
            Some(rest.split_once(']').expect("]").0).filter(|text| *text != "None")
        };
        let (list, remarks) = parse(between("allow=["), between("deny=["));
        if remarks.iter().any(|remark| remark.fatal) {
            assert!(
                !admits(&list, "192.168.0.50") && !admits(&list, "10.9.9.9"),
                "{name}: a refused list is shut"
            );
            continue;
        }
        accepted.push(name);
        for verdict in rest.split_once("-> ").expect("->").1.split(' ') {
            let (peer, decision) = verdict.split_once('=').expect("=");
            assert_eq!(admits(&list, peer), decision == "IN", "{name} {peer}");
        }
    }
    assert_eq!(accepted, ["fixboth", "onlyallow", "a_hostbits", "a_maskaddr", "d_zerom"]);
}

#[test]
fn the_four_corners_of_two_lists() {
    let both = accepted(Some("10.0.0.0/8"), Some("192.168.0.0/16"));
    assert!(admits(&both, "10.1.1.1") && !admits(&both, "192.168.1.1") && admits(&both, "172.16.0.1"));
    let overlap = accepted(Some("10.0.0.1"), Some("10.0.0.0/8"));
    assert!(admits(&overlap, "10.0.0.1") && !admits(&overlap, "10.0.0.2"));
    let only_deny = accepted(None, Some("10.0.0.0/8"));
    assert!(!admits(&only_deny, "10.0.0.2") && admits(&only_deny, "::1"));
    assert!(admits(&accepted(None, None), "203.0.113.9"));
}

#[test]
fn an_ipv4_client_on_an_ipv6_socket_counts_as_ipv4() {
    let list = accepted(Some("192.168.0.0/24,2001:db8::/32"), None);
    assert!(admits(&list, "::ffff:192.168.0.7") && !admits(&list, "::ffff:192.168.1.7"));
    assert!(admits(&list, "2001:db8::1") && !admits(&list, "2001:db9::1"));
    assert!(!admits(&accepted(Some("0.0.0.0/0"), None), "::1"));
}

#[test]
fn every_pattern_that_means_nothing_is_refused_with_its_fix() {
    let cases = [
        ("192.168.0/0/24", "malformed mask in `192.168.0/0/24`: did you mean 192.168.0.0/24?"),
        ("192.168.0.0/33", "a number from 0 to 32"),
        ("192.168.0.0/-1", "a number from 0 to 32"),
        ("192.168.0.0/+8", "a number from 0 to 32"),
        ("192.168.0.0/", "a number from 0 to 32"),
        ("192.168.0.0/ffff::", "a number from 0 to 32"),
        ("::1/129", "a number from 0 to 128"),
        ("192.168.0/24", "rsync reads it as 192.168.0.0/24: did you mean 192.168.0.0/24?"),
        ("192.168/16", "rsync reads it as 192.0.0.168/16: did you mean 192.168.0.0/16?"),
        ("10/8", "rsync reads it as 0.0.0.10/8: did you mean 10.0.0.0/8?"),
        ("0300.0250.0.0/24", "rsync reads it as 192.168.0.0/24: write that"),
        ("192.168.0.", "did you mean 192.168.0.0/24?"),
        ("192.168.0.*", "did you mean 192.168.0.0/24?"),
        ("192.168.*.*", "did you mean 192.168.0.0/16?"),
        ("::ffff:192.168.0.0/120", "write 192.168.0.0/24"),
        ("::ffff:192.168.0.7", "write 192.168.0.7/32"),
        ("fe80::1%eth0", "write fe80::1"),
        ("ALL", "write *"),
        ("UNKNOWN", "write *"),
        ("EXCEPT", "rsync has no EXCEPT"),
        ("!10.9.9.9", "rsync has no EXCEPT and no `!`"),
        ("@trusted", "not supported yet: write addresses"),
        ("backup.example.org", "not supported yet: write addresses"),
        ("*.example.org", "not supported yet: write addresses"),
        ("999.1.1.1", "not supported yet: write addresses"),
        ("/24", "not supported yet: write addresses"),
    ];
    for (word, want) in cases {
        for (allow, deny) in [(Some(word), None), (None, Some(word))] {
            let (_, remarks) = parse(allow, deny);
            let fatal: Vec<_> = remarks.iter().filter(|remark| remark.fatal).collect();
            assert_eq!(fatal.len(), 1, "{word}: {remarks:?}");
            assert!(fatal[0].text.contains(want), "{word}: {}", fatal[0].text);
        }
    }
}

#[test]
fn the_tutorials_pair_is_refused_with_both_lines_and_the_intended_form() {
    let (list, remarks) = parse(Some("192.168.0/0/24"), Some("0.0.0.0/32"));
    assert!(!admits(&list, "192.168.0.50") && !admits(&list, "203.0.113.9"));
    let texts: Vec<_> =
        remarks.iter().map(|remark| (remark.which, remark.fatal, remark.text.as_str())).collect();
    let deny = "`0.0.0.0/32` matches no client, with `hosts allow` (line 1) that admits everybody; \
                write `hosts allow = 192.168.0.0/24` alone, or with `hosts deny = *`";
    let allow = "malformed mask in `192.168.0/0/24`: did you mean 192.168.0.0/24?";
    assert_eq!(texts, [(Which::Allow, true, allow), (Which::Deny, true, deny)]);
}

#[test]
fn a_deny_list_that_matches_nobody_is_refused() {
    for deny in ["0.0.0.0", "0.0.0.0/32", "::/128", "::, 0.0.0.0", "0.0.0.0/255.255.255.255"] {
        let (_, remarks) = parse(None, Some(deny));
        assert!(
            remarks.iter().any(|remark| remark.fatal && remark.text.contains("matches no client")),
            "{deny}"
        );
    }
    assert!(admits(&accepted(None, Some("0.0.0.0 10.0.0.1")), "10.0.0.2"));
}

#[test]
fn a_door_left_open_is_pointed_out() {
    let cases = [
        (Some("10.0.0.0/8"), Some("0.0.0.0/0"), Some("every IPv6 client gets in: add ::/0")),
        (Some("10.0.0.0/8"), Some("::/0"), Some("every IPv4 client gets in")),
        (Some("10.0.0.0/8"), Some("192.168.0.0/16"), Some("clients that neither list names get in")),
        (Some("0.0.0.0"), None, Some("matches no client")),
        (Some("10.0.0.0/8"), Some("*"), None),
        (Some("10.0.0.0/8"), Some("0.0.0.0/0, ::/0"), None),
        (None, Some("192.168.0.0/16"), None),
        (Some("10.0.0.0/8"), Some(" , "), None),
    ];
    for (allow, deny, want) in cases {
        let (_, remarks) = parse(allow, deny);
        match want {
            Some(want) => assert!(
                remarks.len() == 1 && !remarks[0].fatal && remarks[0].text.contains(want),
                "{remarks:?}"
            ),
            None => assert_eq!(remarks, [], "{allow:?} {deny:?}"),
        }
    }
}

#[test]
fn it_can_be_told_who_gets_in() {
    let cases = [
        (None, None, "every address"),
        (Some("192.168.0.77/24 ::1"), None, "only 192.168.0.0/24, ::1"),
        (Some("10.0.0.1"), Some("*"), "only 10.0.0.1"),
        (Some("10.0.0.1"), Some("0.0.0.0/0"), "10.0.0.1; and every IPv6 address"),
        (Some("10.0.0.1"), Some("192.168.0.0/255.255.0.0"), "10.0.0.1; and every address but 192.168.0.0/16"),
        (None, Some("10.0.0.0/255.0.0.255"), "every address but 10.0.0.0/255.0.0.255"),
        (None, Some("*"), "nobody"),
    ];
    for (allow, deny, want) in cases {
        assert_eq!(accepted(allow, deny).describe(), want);
    }
}
