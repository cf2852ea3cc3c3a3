//! What a whole file means: every quirk of rsync's grammar as it shows in a module, and every mistake by its line.

use proptest::prelude::*;

use super::*;

fn read(text: impl AsRef<[u8]>) -> Config {
    Config::understand(text.as_ref(), Findings::new(Path::new("f")))
}

fn module<'a>(config: &'a Config, name: &str) -> &'a Module {
    config.modules.iter().find(|module| module.name == name).expect("module")
}

/// Every note, as `LINE SEVERITY: TEXT`.
fn notes(config: &Config) -> Vec<String> {
    let show = |note: &Note| format!("{} {:?}: {}", note.line.unwrap_or_default(), note.severity, note.text);
    config.notes.iter().map(show).collect()
}

#[test]
fn an_empty_file_listens_everywhere_over_tls_and_offers_nothing() {
    let config = read("");
    assert_eq!(config.listen(None, None), Ok(vec!["[::]:8730".parse().expect("address")]));
    assert!(!config.plaintext && config.certificate.is_none() && config.client_ca.is_none());
    assert!(config.modules.is_empty() && config.may_serve() && config.state_dir.is_absolute());
}

#[test]
fn a_module_that_says_only_its_path_has_the_defaults_of_rsyncd_conf() {
    let config = read("[m]\npath = /srv\n");
    assert_eq!(notes(&config), [""; 0]);
    let m = module(&config, "m");
    assert_eq!(m.path.as_deref(), Some(Path::new("/srv")));
    assert_eq!((m.comment.as_str(), m.list, m.read_only, m.write_only), ("", true, true, false));
    assert_eq!((m.strict_modes, m.ignore_errors, m.fake_super, m.max_connections), (true, false, false, 0));
    assert_eq!(m.lock_file, Path::new("/var/run/rsyncd.lock"));
    assert!(m.auth.is_anonymous() && m.secrets_file.is_none() && m.timeout.is_none() && m.log_file.is_none());
    assert_eq!(m.access.describe(), "every address");
    let root = rustix::process::geteuid().is_root();
    assert_eq!((m.identity.is_some(), m.numeric_ids), (root, root));
}

/// What a quirk does to `[m]`: its line of the list, and which of its booleans are on.
#[test]
fn every_quirk_of_the_grammar_shows_in_the_module() {
    let cases: &[(&str, &str, &str)] = &[
        ("[m]\n# comment = a\n ; comment = b\n#\n", "", "list read_only"),
        ("[m]\ncomment = a # b ; c\n", "a # b ; c", "list read_only"),
        ("[m]\ncomment = \"a\"\n", "\"a\"", "list read_only"),
        ("[m]\ncomment =  a  b \t \n", "a  b", "list read_only"),
        ("[m]\ncomment = a = b\n", "a = b", "list read_only"),
        ("[m]\ncomment = a \\\n  b\nlist = no\n", "a   b", "read_only"),
        ("[m]\ncomment = a\\ \nlist = no\n", "alist = no", "list read_only"),
        ("[m]\n# a \\\nlist = no\n", "", "read_only"),
        ("[m]\r\ncomment = a\r\nread only = no\r\n", "a", "list"),
        (
            "[m]\nREADONLY = No\nFake  Super=YES\n I g n o r e Errors = 1\n",
            "",
            "list ignore_errors fake_super",
        ),
        ("[m]\nignore errors\n", "", "list read_only"),
        ("[m]\nignore errors\nlist = false\n", "", "read_only"),
        ("[m]\nlist = 0\nlist = true\n", "", "list read_only"),
        ("comment = a\nread only = no\n[m]\n", "a", "list"),
        ("read only = no\n[m]\nread only = yes\n[n]\n", "", "list read_only"),
        ("[m]\n[global]\nread only = no\ncomment = late\n", "late", "list read_only"),
        ("[m]\ncomment = own\n[ GLOBAL ]\ncomment = late\n", "own", "list read_only"),
        ("[m]\ncomment = a\n[n]\ncomment = b\n[ M ]\nlist = no\n", "a", "read_only"),
        ("[m]\ncolour = red\nlist = no\n", "", "read_only"),
        ("[m]\nread only = maybe\n", "", "list read_only"),
        ("[m]\nport = 1\nlist = no\n", "", "read_only"),
        ("[m] comment = b\nlist = no\n", "", "read_only"),
    ];
    for (text, comment, on) in cases {
        let config = read(text);
        let m = module(&config, "m");
        let flags = [
            ("list", m.list),
            ("read_only", m.read_only),
            ("ignore_errors", m.ignore_errors),
            ("fake_super", m.fake_super),
        ];
        let flags: Vec<_> = flags.iter().filter(|(_, on)| *on).map(|(name, _)| *name).collect();
        assert_eq!((m.comment.as_str(), flags.join(" ").as_str()), (*comment, *on), "{text:?}");
        assert!(config.may_serve(), "{text:?} {:?}", notes(&config));
    }
}

#[test]
fn sections_keep_their_order_their_first_name_and_one_of_each() {
    let config = read("[b  \t c]\npath = /b\n[a]\npath = /a\n[BC]\nlist = no\n");
    let names: Vec<_> = config.modules.iter().map(|module| module.name.as_str()).collect();
    assert_eq!(names, ["b c", "a"]);
    assert!(!module(&config, "b c").list && module(&config, "a").list);
}

#[test]
fn numbers_are_defaults_from_their_line_on_and_texts_in_the_whole_file() {
    let config = read("timeout = 5\n[a]\npath = /a\n[global]\ntimeout = 9\nlock file = /l\n[b]\npath = /b\n");
    let of = |name| {
        let m = module(&config, name);
        (m.timeout.map(|timeout| timeout.as_secs()), m.lock_file.to_str())
    };
    assert_eq!((of("a"), of("b")), ((Some(5), Some("/l")), (Some(9), Some("/l"))));
}

#[test]
fn values_arrive_as_what_they_are() {
    let config = read(
        "port = 99\naddress = 127.0.0.1\npid file = /p\nlog file = /log\ntls certificate = /c\ntls key = /k\n\
         client ca = /ca\nstate dir = /s/\n\
         [m]\npath = /srv/a%%b//\nmax connections = -1\ntimeout = 30\nsecrets file = /sec\nauth users = joe:rw, @ops\n\
         write only = yes\nread only = no\nstrict modes = no\nnumeric ids = no\nlog file = /own\nhosts allow = 10.0.0.0/8\n",
    );
    assert_eq!(notes(&config), [""; 0]);
    assert_eq!(config.listen(None, None), Ok(vec!["127.0.0.1:99".parse().expect("address")]));
    assert_eq!(
        (config.pid_file.as_deref(), config.log_file.as_deref()),
        (Some(Path::new("/p")), Some(Path::new("/log")))
    );
    let files = config.certificate.as_ref().map(|files| (files.certificate.as_path(), files.key.as_path()));
    assert_eq!(files, Some((Path::new("/c"), Path::new("/k"))));
    assert_eq!(
        (config.client_ca.as_deref(), config.state_dir.as_path()),
        (Some(Path::new("/ca")), Path::new("/s"))
    );
    let m = module(&config, "m");
    assert_eq!(m.path.as_deref(), Some(Path::new("/srv/a%%b")));
    assert_eq!((m.max_connections, m.timeout.map(|timeout| timeout.as_secs())), (-1, Some(30)));
    assert_eq!((m.write_only, m.read_only, m.strict_modes, m.numeric_ids), (true, false, false, false));
    assert_eq!(m.auth.texts().collect::<Vec<_>>(), ["joe:rw", "@ops"]);
    assert_eq!(
        (m.log_file.as_deref(), m.access.describe()),
        (Some(Path::new("/own")), "only 10.0.0.0/8".into())
    );
}

#[test]
fn unset_and_zero_and_empty_are_as_if_they_were_not_there() {
    let config = read(
        "numeric ids = yes\n[m]\npath = /\nnumeric ids = unset\nuse chroot = no\ntimeout = 0\nsecrets file =\n\
         hosts allow =\nauth users =\nexclude =\nmunge symlinks = -1\n",
    );
    assert_eq!(notes(&config), [""; 0]);
    let m = module(&config, "m");
    assert_eq!(m.path.as_deref(), Some(Path::new("/")));
    assert!(!m.numeric_ids && m.timeout.is_none() && m.secrets_file.is_none() && m.auth.is_anonymous());
}

/// The lines of a `[m]` that has a path, the line of the note, and words in it. None of these files is served.
#[test]
fn a_wrong_line_is_named_with_what_to_do_about_it() {
    let cases: &[(&str, u32, &str)] = &[
        ("[a/b]", 3, "module name [a/b] has a `/`"),
        ("[]", 3, "empty section name"),
        ("[x", 3, "section name without its `]`"),
        ("= 1", 3, "parameter without a name"),
        ("comment = \0", 3, "NUL byte"),
        ("list = no\nauth users joe", 4, "has no `=`, and without `auth users` more clients get in"),
        ("hosts allow：10.0.0.1", 3, "without `hosts allow` more clients get in"),
        ("host allow = 10.0.0.1", 3, "did you mean `hosts allow`?"),
        ("auth\u{3000}users = joe", 3, "did you mean `auth users`?"),
        ("excludes = /x", 3, "did you mean `exclude`?"),
        ("[global]\nadress = 127.0.0.1", 4, "did you mean `address`?"),
        ("path = srv", 3, "path: `srv` is not an absolute path"),
        ("path = /srv/%RSYNC_USER_NAME%", 3, "variable %RSYNC_USER_NAME%"),
        ("timeout = 30s", 3, "timeout: `30s` is not a whole number"),
        ("timeout = -1", 3, "timeout: -1 is not a number of seconds"),
        ("max connections = ten", 3, "`ten` is not a whole number"),
        ("max connections =", 3, "`` is not a whole number"),
        ("[global]\nport = 65536", 4, "port: not between 0 and 65535"),
        ("fake super = ja", 3, "badly formed boolean `ja`"),
        ("read only = no\nread only = ture", 4, "rsync would stay with line 3"),
        ("uid = no-such-user", 3, "no such user"),
        ("hosts allow = 192.168.0.", 3, "hosts allow: "),
        ("hosts allow = 192.168.0.0/33", 3, "malformed mask in `192.168.0.0/33`"),
        ("hosts deny = ALL", 3, "write *"),
        ("auth users = joe[", 3, "auth users: `joe[` has a `[` without its `]`"),
        ("uid = x\x1b[1my", 3, "invalid uid x\\#033[1my: no such user"),
        ("[global]\nplaintext = yes", 4, "plaintext is allowed on a loopback address only, not on ::"),
        ("[global]\nplaintext = yes\naddress = 10.0.0.1", 5, "not on 10.0.0.1"),
        ("[global]\ntls certificate = /c", 4, "need each other"),
        ("[global]\ntls key = /k", 4, "need each other"),
        ("&include /etc/rsyncd.d", 3, "&include /etc/rsyncd.d: not supported yet"),
    ];
    for (lines, line, words) in cases {
        let config = read(format!("[m]\npath = /srv\n{lines}\n"));
        let found = |note: &&Note| note.line == Some(*line) && note.severity > Severity::Warning;
        let note =
            config.notes.iter().find(found).unwrap_or_else(|| panic!("{lines:?}: {:?}", notes(&config)));
        assert!(note.text.contains(words), "{lines:?}: {note}");
        assert!(!config.may_serve());
    }
}

/// The pair that many tutorials carry. rsync reads it as "everybody", IPv4 and IPv6.
#[test]
fn the_tutorials_open_door_is_refused_and_both_its_lines_are_named() {
    let config = read("[m]\npath = /srv\nhosts allow = 192.168.0/0/24\nhosts deny = 0.0.0.0/32\n");
    let want = [
        "3 Error: hosts allow: malformed mask in `192.168.0/0/24`: did you mean 192.168.0.0/24?",
        "4 Error: hosts deny: `0.0.0.0/32` matches no client, with `hosts allow` (line 3) that admits everybody; \
         write `hosts allow = 192.168.0.0/24` alone, or with `hosts deny = *`",
    ];
    assert_eq!(notes(&config), want);
    assert_eq!(module(&config, "m").access.describe(), "nobody");
    let only_the_slip_mended =
        read("[m]\npath = /srv\nhosts allow = 192.168.0.0/24\nhosts deny = 0.0.0.0/32\n");
    assert!(!only_the_slip_mended.may_serve());
    let as_told = read("[m]\npath = /srv\nhosts allow = 192.168.0.0/24\nhosts deny = *\n");
    assert_eq!((notes(&as_told), as_told.may_serve()), (vec![], true));
}

/// To ignore these would show, admit or permit more than the file says.
#[test]
fn what_cannot_be_obeyed_yet_and_guards_something_stops_the_server() {
    let in_module = [
        ("refuse options = delete", "deletions among it"),
        ("exclude = /secret", "hides files"),
        ("include = *.c", "hides files"),
        ("filter = - *.key", "hides files"),
        ("exclude from = /x", "hides files"),
        ("include from = /x", "hides files"),
        ("incoming chmod = o-rwx", "permissions"),
        ("outgoing chmod = o-rwx", "permissions"),
        ("pre-xfer exec = /bin/false", "stop a transfer"),
        ("post-xfer exec = /bin/true", "stop a transfer"),
        ("early exec = /bin/false", "stop a transfer"),
        ("munge symlinks = yes", "harmless"),
    ];
    let in_global = [
        ("proxy protocol = yes", "the proxy's address"),
        ("daemon chroot = /var/empty", "away from the rest of the host"),
        ("daemon uid = nobody", "away from the rest of the host"),
        ("daemon gid = nobody", "away from the rest of the host"),
    ];
    let inside = in_module.map(|(line, why)| (format!("[m]\npath = /srv\n{line}\n"), why));
    let above = in_module.map(|(line, why)| (format!("\n\n{line}\n[m]\npath = /srv\n"), why));
    let global = in_global.map(|(line, why)| (format!("\n\n{line}\n[m]\npath = /srv\n"), why));
    for (text, why) in inside.into_iter().chain(above).chain(global) {
        let config = read(&text);
        let [note] = config.notes.as_slice() else { panic!("{text:?}: {:?}", notes(&config)) };
        assert_eq!((note.line, note.severity), (Some(3), Severity::Refuse), "{text:?}");
        assert!(
            note.text.contains("not supported yet, and to ignore it is not safe") && note.text.contains(why),
            "{note}"
        );
        assert!(!config.may_serve());
    }
}

/// The lines of a `[m]` that has a path, the line of the only note, and words in it. All of these files are served.
#[test]
fn what_is_harmless_is_said_and_served() {
    let cases: &[(&str, u32, &str)] = &[
        ("transfer logging = yes", 3, "transfer logging: not supported yet, ignored: only what is logged"),
        ("dont compress = *.gz", 3, "only tuning"),
        ("temp dir = /tmp", 3, "unfinished files have no name"),
        ("insecure links = yes", 3, "never followed out"),
        ("ignore nonreadable = yes", 3, "is reported instead"),
        ("[global]\nmotd file = /etc/motd", 4, "only a greeting"),
        ("[global]\nlisten backlog = 5", 4, "only tuning"),
        ("ignore errors", 3, "badly formed line, ignored as rsync ignores it: `ignore errors` has no `=`"),
        ("colour = red", 3, "unknown parameter `colour`, ignored"),
        ("fake supper = yes", 3, "did you mean `fake super`?"),
        ("a\x1bb = 1", 3, "unknown parameter `a\\#033b`"),
        ("read only = nope", 3, "badly formed boolean `nope`, ignored"),
        ("strict modes = off", 3, "badly formed boolean `off`, ignored"),
        ("pid file = /p", 3, "pid file: a global parameter inside a module is ignored"),
        ("[n]", 3, "[n] has no `path`: nobody gets in"),
        ("write only = yes", 1, "both read only and write only"),
        ("secrets file = /s", 1, "no `auth users`: no password is asked"),
        ("auth users = joe", 1, "no `secrets file`: nobody gets in"),
        ("auth users = joe:rx\nsecrets file = /s", 3, "`joe:rx`: unknown option"),
        ("hosts allow = 10.0.0.1\nhosts deny = 0.0.0.0/0", 4, "every IPv6 client gets in"),
    ];
    for (lines, line, words) in cases {
        let config = read(format!("[m]\npath = /srv\n{lines}\n"));
        let [note] = config.notes.as_slice() else { panic!("{lines:?}: {:?}", notes(&config)) };
        assert_eq!((note.line, note.severity), (Some(*line), Severity::Warning), "{note}");
        assert!(note.text.contains(words) && config.may_serve(), "{note}");
    }
}

#[test]
fn notes_stand_in_the_order_of_lines_and_a_wrong_default_is_told_once() {
    let config = read("hosts allow = 10.\nx = 1\n[b]\npath = b\n[a]\npath = /a\ny = 1\n");
    let lines: Vec<_> = config.notes.iter().filter_map(|note| note.line).collect();
    assert_eq!(lines, [1, 2, 3, 4, 7], "{:?}", notes(&config));
    assert!(config.notes[0].to_string().starts_with("f:1: error: hosts allow: "));
    assert_eq!(config.notes[1].to_string(), "f:2: warning: unknown parameter `x`, ignored");
}

#[test]
fn the_command_line_decides_where_to_listen_but_opens_no_plaintext_door() {
    let config = read("plaintext = yes\naddress = ::1\n");
    let ip = |text: &str| text.parse().expect("address");
    assert_eq!(config.listen(None, Some(1)), Ok(vec!["[::1]:1".parse().expect("address")]));
    assert!(
        config.listen(Some(ip("127.9.9.9")), None).is_ok()
            && config.listen(Some(ip("::ffff:127.0.0.1")), None).is_ok()
    );
    assert!(
        config.listen(Some(ip("0.0.0.0")), None).is_err()
            && config.listen(Some(ip("::ffff:10.0.0.1")), None).is_err()
    );
}

#[test]
fn a_config_that_everybody_may_write_to_is_not_served() {
    use std::os::unix::fs::PermissionsExt;
    let file = tempfile::NamedTempFile::new().expect("file");
    for (mode, served) in [(0o600, true), (0o664, true), (0o666, false)] {
        file.as_file().set_permissions(PermissionsExt::from_mode(mode)).expect("chmod");
        assert_eq!(Config::load(file.path()).expect("read").may_serve(), served, "{mode:o}");
    }
    let missing = Config::load(Path::new("/nonexistent/rsyncd.conf")).expect_err("missing").to_string();
    assert!(missing.starts_with("cannot read config file /nonexistent/rsyncd.conf: "), "{missing}");
}

/// Lines that are nearly right get further into the code than noise does.
fn line() -> impl Strategy<Value = Vec<u8>> {
    let name = prop::sample::select(vec![
        "path",
        "list",
        "uid",
        "gid",
        "port",
        "timeout",
        "auth users",
        "hosts allow",
        "hosts deny",
        "filter",
        "[m]",
        "[global]",
    ]);
    let value = prop::collection::vec(any::<u8>(), 0..12);
    let known = (name, prop::sample::select(vec!["=", "", "\\\n", " = %A"]), value);
    prop_oneof![
        prop::collection::vec(any::<u8>(), 0..40),
        known.prop_map(|(name, equals, value)| [name.as_bytes(), equals.as_bytes(), &value].concat()),
        "[-0-9a-f:./,* ]{0,20}".prop_map(|list| format!("hosts deny = {list}").into_bytes()),
    ]
}

proptest! {
    #[test]
    fn no_bytes_make_it_panic_and_every_note_has_a_line_of_the_file(lines in prop::collection::vec(line(), 0..12)) {
        let text = lines.join(&b'\n');
        let last = text.iter().filter(|byte| **byte == b'\n').count() + 1;
        for note in read(&text).notes {
            prop_assert!(note.line.is_some_and(|line| (1..=last).contains(&(line as usize))), "{note}");
            prop_assert!(!note.to_string().contains(|c: char| c.is_control()), "{note:?}");
        }
    }

    #[test]
    fn what_is_written_out_reads_back(
        name in "[a-z]([a-z ]?[a-z])?",
        path in "/[a-z]([ a-z#;=\"\\[/]{0,8}[a-z])?",
        comment in "[a-z#;\"=]([^\\s\\\\\0]{0,8}[a-z])?",
        (list, read_only, ignore_errors) in any::<(bool, bool, bool)>(),
        (max, timeout) in any::<(i64, u32)>(),
        blank in "[ \t]{0,3}",
    ) {
        let yes = |flag| if flag { "yes" } else { "No" };
        let text = format!(
            "[{blank}{name}{blank}]\npath{blank}={path}{blank}\r\nComment{blank}= {comment}\n list = {}\nREADONLY={}\n\
             ignore errors = {}\nmax{blank}connections = {max}\ntimeout = {timeout}\n",
            yes(list), yes(read_only), yes(ignore_errors),
        );
        let config = read(&text);
        prop_assert_eq!(notes(&config), [""; 0]);
        let m = module(&config, &name);
        prop_assert_eq!(m.path.as_deref(), Some(Path::new(&path)));
        prop_assert_eq!((m.comment.as_str(), m.list, m.read_only), (comment.as_str(), list, read_only));
        prop_assert_eq!((m.ignore_errors, m.max_connections), (ignore_errors, max));
        prop_assert_eq!(m.timeout.map_or(0, |timeout| timeout.as_secs()), u64::from(timeout));
    }
}
