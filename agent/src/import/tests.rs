//! import: files as people have them, and what becomes of them.

use super::draft::{Draft, Job, Remark, Rule};
use super::write::{Shared, write};
use super::*;

fn with(kind: Kind, text: &str, places: &Places) -> Draft {
    read(text, kind, places).unwrap_or_else(|refused| panic!("line {}: {}", refused.line, refused.why))
}

fn draft(kind: Kind, text: &str) -> Draft {
    assert_eq!(Kind::recognise(text), Some(kind), "{text}");
    with(kind, text, &Places::default())
}

fn only(kind: Kind, text: &str) -> Job {
    let draft = draft(kind, text);
    assert_eq!(draft.jobs.len(), 1, "{:#?}", draft.jobs);
    draft.jobs.into_iter().next().expect("one")
}

fn refused(kind: Kind, text: &str) -> (usize, Exit, String) {
    let refused = read(text, kind, &Places::default()).expect_err("refused");
    (refused.line, refused.exit, refused.why)
}

fn targets(job: &Job) -> Vec<&str> {
    job.targets.iter().map(|target| target.operand.as_str()).collect()
}

/// The line of the remark that holds this text.
#[track_caller]
fn line_of(remarks: &[Remark], text: &str) -> usize {
    let found = remarks.iter().find(|remark| remark.text.contains(text));
    found.unwrap_or_else(|| panic!("nothing says {text:?}: {remarks:#?}")).line
}

// === scripts ===

const SEED: &str = "\
#!/bin/bash
inotifywait -mrq -e modify,delete,create,attrib,move /python_code | while read line; do
    rsync -a --delete /python_code/ rsync_backup@192.168.0.110::backup-dev; done
";

#[test]
fn the_loop_that_half_the_world_runs_becomes_one_job() {
    let job = only(Kind::Script, SEED);
    assert_eq!(job.source, "/python_code/");
    assert_eq!(targets(&job), ["rsync_backup@192.168.0.110::backup-dev"]);
    assert_eq!((job.options.as_str(), job.delete, job.compress), ("-a", true, false));
    assert!(job.open.is_empty(), "{:#?}", job.open);
    for (text, line) in
        [("unproven source", 3), ("not encrypted", 3), ("exit code", 3), ("`read` without -r", 2)]
    {
        assert_eq!(line_of(&job.remarks, text), line, "{text}");
    }
    // close_write stands for nothing that modify does not.
    assert!(!job.remarks.iter().any(|remark| remark.text.contains("did not wait for")), "{:#?}", job.remarks);
}

#[test]
fn variables_events_and_options_of_a_tutorial_are_followed() {
    let job = only(
        Kind::Script,
        "#!/bin/bash
host=192.168.1.5
src=/data/web
des=web
password=/nonexistent/rsyncd.secrets
user=webuser
inotifywait=/usr/local/bin/inotifywait
$inotifywait -rq --timefmt '%Y%m%d %H:%M' --format '%T %w%f%e' -e modify,create $src \\
| while read files ; do
    rsync -avzPu --delete --ignore-errors --timeout=100 --bwlimit=500 --exclude='*.log' --exclude \"tmp dir/\" \\
        --password-file=${password} $src $user@$host::$des > /dev/null 2>&1
    echo \"${files} was rsynced\" >>/tmp/rsync.log 2>&1
done
",
    );
    assert_eq!(job.source, "/data/web");
    assert_eq!(targets(&job), ["webuser@192.168.1.5::web"]);
    assert_eq!(job.rules, [Rule::Exclude("*.log".into()), Rule::Exclude("tmp dir/".into())]);
    assert_eq!((job.bwlimit.as_deref(), job.compress), (Some("500k"), true));
    assert_eq!(job.password_file.as_deref(), Some("/nonexistent/rsyncd.secrets"));
    for (text, line) in [
        ("--ignore-errors", 10),
        ("--update (-u)", 10),
        ("/dev/null", 10),
        ("--timeout", 10),
        ("did not wait for delete, moved_from, moved_to, attrib", 8),
        ("without -m", 8),
    ] {
        assert_eq!(line_of(&job.remarks, text), line, "{text}");
    }
    assert!(job.open.is_empty(), "{:#?}", job.open);
}

#[test]
fn a_path_from_an_event_means_the_tree_that_is_watched() {
    let job = only(
        Kind::Script,
        "/usr/bin/inotifywait -mrq --format '%w%f' -e create,close_write,delete,move,attrib /data |\\
while IFS= read -r file
do
    [ ! -e \"$file\" ] && continue
    rsync -az --delete $file backup@172.16.1.41::data --password-file=/nonexistent/p || logger failed
done
",
    );
    assert_eq!((job.source.as_str(), targets(&job)), ("/data/", vec!["backup@172.16.1.41::data"]));
    assert_eq!(line_of(&job.remarks, "was sent by itself"), 5);
    for text in ["`read` without", "exit code", "did not wait"] {
        assert!(!job.remarks.iter().any(|remark| remark.text.contains(text)), "{text}");
    }
}

#[test]
fn several_loops_hosts_and_forms_of_a_loop_are_told_apart() {
    let draft = draft(
        Kind::Script,
        "#!/bin/bash
SRC1=/srv/a/ SRC2=/srv/b/
opts=\"-a --delete\"
push() { rsync $opts \"$1\" \"$2\"; }
for host in h1 h2; do push $SRC1 $host::a; done   # once, before anything changes
while true; do
  inotifywait -r -e modify $SRC1
  for host in h1 h2; do push $SRC1 $host::a; done
done &
while read -r x; do
  cd /srv/b && rsync -aR ./ h3::b
done < <(inotifywait -mr /srv/b)
while e=$(inotifywait -r /srv/c); do rsync -rlt /srv/c/* h4::c/sub; done
",
    );
    let all: Vec<_> = draft.jobs.iter().map(|job| (job.source.as_str(), targets(job))).collect();
    assert_eq!(
        all,
        [("/srv/a/", vec!["h1::a", "h2::a"]), ("/srv/b/", vec!["h3::b"]), ("/srv/c/", vec!["h4::c/sub"])]
    );
    assert_eq!(line_of(&draft.jobs[0].remarks, "did not wait for create"), 7);
    assert!(!draft.jobs[1].remarks.iter().any(|remark| remark.text.contains("did not wait")));
    assert_eq!(line_of(&draft.jobs[2].remarks, "names that begin with a dot"), 13);
    assert_eq!(draft.jobs[2].options, "-rlt");
    assert!(!draft.is_open());
}

#[test]
fn lists_grow_arithmetic_is_nothing_and_what_comes_of_an_event_is_one() {
    let job = only(
        Kind::Script,
        "opts=(-a --delete)
opts+=(--exclude '*.tmp')
more=-z; more+=' --bwlimit=9'
inotifywait -mr /d | while IFS= read -r f; do (( n++ ))
  dir=$(dirname \"$f\"); [ -d \"$f\" ] && dir=$f
  rsync \"${opts[@]}\" $more \"$dir\" h::m || echo \"$n\"
done",
    );
    assert_eq!((job.source.as_str(), job.delete, job.compress), ("/d/", true, true));
    assert_eq!(job.bwlimit.as_deref(), Some("9k"));
    assert_eq!(job.rules, [Rule::Exclude("*.tmp".into())]);
    assert_eq!(line_of(&job.remarks, "was sent by itself"), 6);
}

#[test]
fn a_variable_that_an_if_decides_is_not_guessed() {
    for text in [
        "h=a; if [ x ]; then h=b; fi; rsync -a /d $h::m",
        "if [ x ]; then h=a\nelse h=b; fi; rsync -a /d $h::m",
        "h=a; [ x ] && h=b; rsync -a /d $h::m",
        "h=a; case x in x) h=b ;; esac; rsync -a /d $h::m",
    ] {
        let open = only(Kind::Script, text).open;
        assert_eq!(
            line_of(&open, "the value of $h, which has more than one,"),
            text.lines().count(),
            "{text}"
        );
    }
    for text in [
        "h=a; h=b; rsync -a /d $h::m",
        "if [ x ]; then h=b; fi; rsync -a /d $h::m",
        "h=b; [ x ] && h=b; rsync -a /d $h::m",
    ] {
        assert_eq!(targets(&only(Kind::Script, text)), ["b::m"], "{text}");
    }
}

#[test]
fn what_a_script_does_not_say_is_left_to_its_operator_by_line() {
    for (text, line, says) in [
        ("inotifywait -mr $1 | while read f; do\nrsync -a $1 h::m\ndone", 2, "the value of $1"),
        ("cd $(dirname $0)\ninotifywait -mr data | while read f; do rsync -a data h::m; done", 2, "relative"),
        ("inotifywait -mr /d | while read f; do rsync -a /d root@h:/backup; done", 1, "over ssh"),
        ("inotifywait -mr /d | while read f; do rsync -a /d $HOST::m; done", 1, "the value of $HOST"),
        ("inotifywait -mr /d | while read f; do\n\nrsync -aL /d h::m; done", 3, "--copy-links (-L)"),
        (
            "inotifywait -mr /d | while read f; do rsync -a --files-from=/l /d h::m; done",
            1,
            "--files-from=/l",
        ),
        ("inotifywait -mr /d | while read f; do rsync -a -f 'P x' /d h::m; done", 1, "--filter=P x"),
        ("inotifywait -mr /d | while read f; do rsync -a /d /mnt/usb; done", 1, "on this host"),
    ] {
        let job = only(Kind::Script, text);
        assert_eq!(line_of(&job.open, says), line, "{text}");
        assert!(
            write(&draft(Kind::Script, text), Kind::Script, "f", &Shared::default())
                .contains("\nto-complete = ")
        );
    }
}

#[test]
fn options_that_have_no_counterpart_are_named_one_by_one() {
    let job = only(
        Kind::Script,
        "inotifywait -mr /d | while read f; do
rsync -aHAXS --backup --backup-dir=/old --inplace -e 'ssh -o StrictHostKeyChecking=no' --max-delete=20 --port=874 \\
  --no-owner --delete-after /d/ h::m; /etc/init.d/apache reload; done",
    );
    for text in [
        "--hard-links (-H)",
        "--acls (-A)",
        "--xattrs (-X)",
        "--sparse (-S)",
        "--backup (-b)",
        "--backup-dir=/old",
        "--inplace",
        "StrictHostKeyChecking no",
        "no remote shell",
        "--port=874",
        "--delete-after",
    ] {
        assert_eq!(line_of(&job.remarks, text), if text == "--delete-after" { 3 } else { 2 }, "{text}");
    }
    assert_eq!((job.brake.as_deref(), job.options.as_str()), (Some("20:0%"), "-a --no-owner"));
    let draft = draft(
        Kind::Script,
        "inotifywait -mr /d | while read f; do rsync -a /d h::m\n/opt/reload now; done\nRSYNC_PASSWORD=x",
    );
    assert_eq!(line_of(&draft.remarks, "`reload` ran with each event"), 2);
    assert_eq!(line_of(&draft.remarks, "a password stands in the script"), 3);
}

#[test]
fn a_script_that_sends_nothing_is_refused_and_so_is_one_that_is_cut_off() {
    assert!(refused(Kind::Script, "inotifywait -m /d\n").2.contains("no rsync"));
    assert!(refused(Kind::Script, "rsync -a h::m /d\n").2.contains("no rsync"));
    let (line, exit, why) = refused(Kind::Script, "x=1\nrsync -a '/d h::m\n");
    assert_eq!((line, exit), (2, Exit::Usage), "{why}");
}

// === lsyncd ===

#[test]
fn lsyncds_three_behaviours_become_jobs() {
    let text = r#"
settings {
    logfile = "/var/log/lsyncd.log", -- where it tells
    statusInterval = 10,
}
local user, unused
"#;
    assert!(refused(Kind::Lsyncd, text).2.contains("expected `=`"));
    let draft = draft(
        Kind::Lsyncd,
        r#"settings {
    logfile = "/var/log/lsyncd.log", -- where it tells
    nodaemon = false
}
--[[ what we
     keep ]]
local top = '/srv'
sync{ default.rsync, source = top .. "/www", target = "backup@host1::www/", delay = 15,
    exclude = { '*.bak', '/cache/' }, excludeFrom = "/etc/lsyncd.exclude",
    rsync = { archive = true, compress = true, owner = false, bwlimit = 2000, password_file = "/nonexistent/p",
              _extra = { "--include=keep", "--omit-dir-times" } } };
sync {
    default.rsyncssh,
    source    = "/srv/mail",
    host      = "root@host2",
    targetdir = "/backup/mail",
    delete    = false,
    delay     = 0,
    ssh       = { port = 2222, _extra = {"-o", "StrictHostKeyChecking=no"} },
}
sync { default.direct, source="/srv/x/", target="/mnt/usb", delete = 'running', crontab = { "1 0 3 * * *" } }
"#,
    );
    let [www, mail, usb] = draft.jobs.as_slice() else { panic!("{:#?}", draft.jobs) };
    assert_eq!((www.source.as_str(), targets(www)), ("/srv/www/", vec!["backup@host1::www"]));
    assert_eq!((www.options.as_str(), www.delete, www.compress), ("-a --no-owner", true, true));
    assert_eq!(
        (www.bwlimit.as_deref(), www.password_file.as_deref()),
        (Some("2000k"), Some("/nonexistent/p"))
    );
    let rules = [
        Rule::Exclude("*.bak".into()),
        Rule::Exclude("/cache/".into()),
        Rule::ExcludeFrom("/etc/lsyncd.exclude".into()),
        Rule::Include("keep".into()),
    ];
    assert_eq!(www.rules, rules);
    for (text, line) in [("--ignore-errors", 8), ("23 and 24", 8), ("delay 15", 8), ("--omit-dir-times", 11)]
    {
        assert_eq!(line_of(&www.remarks, text), line, "{text}");
    }
    assert_eq!((mail.source.as_str(), targets(mail)), ("/srv/mail/", vec!["root@host2:/backup/mail"]));
    assert_eq!((mail.options.as_str(), mail.delete), ("-rlt", false));
    assert_eq!(line_of(&mail.open, "over ssh"), 16);
    assert_eq!(
        (line_of(&mail.remarks, "StrictHostKeyChecking"), line_of(&mail.remarks, "delay 0")),
        (19, 18)
    );
    assert_eq!((usb.options.as_str(), usb.delete, usb.schedule.as_deref()), ("-a", false, Some("0 3 * * *")));
    assert_eq!(line_of(&usb.open, "on this host"), 21);
    assert_eq!(line_of(&usb.remarks, "delete = 'running'"), 21);
    assert_eq!(
        (line_of(&draft.remarks, "settings.logfile"), line_of(&draft.remarks, "settings.nodaemon")),
        (2, 3)
    );
}

#[test]
fn the_old_form_of_lsyncd_is_read_too() {
    let job = only(
        Kind::Lsyncd,
        "settings = {\n  delay = 1,\n  maxProcesses = 3\n}\n\nsync({default.rsync; [\"source\"]=\"/a\"; target=[[h::m]]; rsyncOpts={\"-ltus\"}})\n",
    );
    assert_eq!((job.source.as_str(), targets(&job), job.options.as_str()), ("/a/", vec!["h::m"], "-rlt"));
    assert_eq!(line_of(&job.remarks, "--update (-u)"), 6);
    assert_eq!(line_of(&job.remarks, "delay 15"), 6);
}

#[test]
fn lua_that_computes_is_refused_with_its_line() {
    for (text, line, word) in [
        ("settings{}\n\nfor _, h in ipairs(hosts) do\nsync{}\nend", 3, "`for`"),
        ("sync{ default.rsync, source = os.getenv('HOME'), target='h::m' }", 1, "os.getenv()"),
        ("local function f() end\nsync{}", 1, "`function`"),
        ("sync{ default.rsync, source='/a', target='h::m',\n onCreate = 'cp ^a ^b' }", 2, "`onCreate`"),
        ("sync{ default.rsync,\n source='/a', delay = 60 * 5, target='h::m' }", 2, "`*`"),
        ("bash = { x = '' }\nsync{ bash, source='/a', target='h::m' }", 2, "actions of its own"),
        ("sync{ default.rsync, source='/a', target='h::m' }\nrequire('x')", 2, "`require`"),
    ] {
        let (found, exit, why) = refused(Kind::Lsyncd, text);
        assert_eq!((found, exit), (line, Exit::Unsupported), "{text}: {why}");
        assert!(why.contains(word), "{text}: {why}");
    }
    for (text, line) in [
        ("sync{ default.rsync", 1),
        ("sync{\ndefault.rsync, source = 'x\n}", 2),
        ("--[[ never", 1),
        ("sync{}\n", 1),
    ] {
        let (found, ..) = refused(Kind::Lsyncd, text);
        assert_eq!(found, line, "{text}");
    }
}

// === sersync ===

/// The shape of the file that sersync ships with.
fn confxml(delete: &str, remotes: &str, rsync: &str, more: &str) -> String {
    format!(
        r#"<?xml version="1.0" encoding="ISO-8859-1"?>
<head version="2.5">
    <host hostip="localhost" port="8008"></host>
    <debug start="false"/>
    <fileSystem xfs="false"/>
    <inotify>
        <delete start="{delete}"/>
        <createFolder start="true"/>
        <createFile start="false"/>
        <closeWrite start="true"/>
        <moveFrom start="true"/>
        <moveTo start="true"/>
        <attrib start="false"/>
        <modify start="false"/>
    </inotify>
    <sersync>
        <localpath watch="/opt/tongbu">
{remotes}
        </localpath>
        <rsync>
            <commonParams params="-artuz"/>
{rsync}
        </rsync>
        <failLog path="/tmp/rsync_fail_log.sh" timeToExecute="60"/><!-- minutes -->
{more}
        <plugin start="false" name="command"/>
    </sersync>
    <plugin name="socket">
        <localpath watch="/opt/other"><deshost ip="192.168.138.20" port="8009"/></localpath>
    </plugin>
</head>
"#
    )
}

#[test]
fn sersyncs_shipped_shape_becomes_a_job_with_every_remote() {
    let remotes = "<remote ip=\"10.0.0.1\" name=\"web\"/>\n<!--<remote ip=\"10.0.0.3\" name=\"no\"/>-->\n<remote ip=\"10.0.0.2\" name=\"web\"/>";
    let auth = "<auth start=\"true\" users=\"backup\" passwordfile=\"/nonexistent/rsync.pas\"/>\n\
                <userDefinedPort start=\"true\" port=\"874\"/><timeout start=\"true\" time=\"100\"/><ssh start=\"false\"/>";
    let clock = "<crontab start=\"true\" schedule=\"600\"><crontabfilter start=\"false\"><exclude expression=\"*.php\"/></crontabfilter></crontab>";
    let filter = "<filter start=\"true\"><exclude expression=\"(.*)\\.svn\"/><exclude expression=\"^info/*\"/></filter>";
    let text = confxml("true", remotes, auth, &format!("{clock}{filter}"));
    let job = only(Kind::Sersync, &text);
    assert_eq!(
        (job.source.as_str(), targets(&job)),
        ("/opt/tongbu/", vec!["backup@10.0.0.1::web", "backup@10.0.0.2::web"])
    );
    assert_eq!((job.options.as_str(), job.delete, job.compress), ("-a", true, true));
    assert_eq!(job.password_file.as_deref(), Some("/nonexistent/rsync.pas"));
    assert_eq!(job.schedule.as_deref(), Some("0 */10 * * *"));
    assert_eq!(job.rules, [Rule::Exclude("*.svn".into()), Rule::Exclude("/info/".into())]);
    for (text, line) in [
        ("begins with a dot", 17),
        ("exit code 23", 17),
        ("delete: sersync", 7),
        ("attrib was off", 13),
        ("not encrypted", 18),
        ("--update (-u)", 23),
        ("port 874", 25),
        ("timeout", 25),
        ("failLog /tmp/rsync_fail_log.sh", 27),
    ] {
        assert_eq!(line_of(&job.remarks, text), line, "{text}\n{text}");
    }
    assert!(job.open.is_empty(), "{:#?}", job.open);
}

#[test]
fn sersync_over_ssh_and_expressions_without_a_counterpart_are_left_open() {
    let filter = "<filter start=\"true\"><exclude expression=\"^(a|b)/[0-9]+$\"/></filter>";
    let text =
        confxml("false", "<remote ip=\"10.0.0.1\" name=\"/data/www\"/>", "<ssh start=\"true\"/>", filter);
    let job = only(Kind::Sersync, &text);
    assert!(!job.delete);
    assert_eq!(targets(&job), ["10.0.0.1:/data/www"]);
    assert_eq!((line_of(&job.open, "over ssh"), line_of(&job.open, "^(a|b)/[0-9]+$")), (18, 25));
    let places = Places {
        server: Some("vault.example:8731".parse().expect("a server")),
        modules: vec!["/data=store".parse().expect("a module")],
    };
    let draft = with(Kind::Sersync, &text, &places);
    assert_eq!(targets(&draft.jobs[0]), ["vault.example::store/www"]);
}

#[test]
fn xml_that_is_none_is_refused_with_its_line() {
    let (line, exit, why) = refused(Kind::Sersync, "<head>\n<sersync>\n</head>");
    assert_eq!((line, exit), (3, Exit::Usage), "{why}");
    assert!(refused(Kind::Sersync, "<head/>").2.contains("localpath"));
}

// === all ===

/// What is wrong with a config that was written from this.
fn complaints(kind: Kind, text: &str, places: &Places) -> Vec<String> {
    let shared =
        Shared { server: places.server.clone(), fingerprints: vec![format!("sha256:{}", "ab".repeat(32))] };
    let written = write(&with(kind, text, places), kind, "a \u{1b} name", &shared);
    let mut file = tempfile::NamedTempFile::new().expect("a file");
    file.write_all(written.as_bytes()).expect("write");
    match crate::job::Config::load(file.path()) {
        Ok(_) => Vec::new(),
        Err(complaints) => complaints.list.into_iter().map(|complaint| complaint.text).collect(),
    }
}

#[test]
fn what_is_written_is_a_config_and_what_is_open_is_none() {
    let sersync = confxml(
        "true",
        "<remote ip=\"10.0.0.1\" name=\"web\"/><remote ip=\"10.0.0.2\" name=\"web\"/>",
        "",
        "",
    );
    let ordered =
        "rsync -a --include='*/' --exclude='a\"\\b' --include=z --bwlimit=1.5m --max-delete=3 /d /e h::m";
    let lua = "sync{ default.rsyncssh, source='/a b/\u{e9}', host='u@[::1]', targetdir='/data/x', crontab='0 0 3 * * *', exclude='*.o' }";
    let modules = Places {
        server: Some("vault:99".parse().expect("a server")),
        modules: vec!["/data=m".parse().expect("a module")],
    };
    for (kind, text, places) in [
        (Kind::Script, SEED, &Places::default()),
        (Kind::Script, ordered, &Places::default()),
        (Kind::Sersync, &sersync, &Places::default()),
        (Kind::Lsyncd, lua, &modules),
    ] {
        assert_eq!(complaints(kind, text, places), Vec::<String>::new(), "{text}");
    }
    for text in [
        "rsync -a $1 h::m",
        "rsync -a /d h:/d",
        "rsync -aC /d h::m",
        "rsync -a /d/ h::m\nrsync -a --delete /d/ h::m",
        "rsync -a --exclude=x --include-from=/etc/hostname /d h::m",
    ] {
        let complaints = complaints(Kind::Script, text, &Places::default());
        assert!(complaints.iter().any(|text| text.contains("to-complete")), "{text}: {complaints:?}");
    }
}

#[test]
fn what_a_file_is_is_seen_from_its_content() {
    for (text, kind) in [
        ("<head/>", Some(Kind::Sersync)),
        ("\u{feff}<?xml version=\"1.0\"?>\n<head/>", Some(Kind::Sersync)),
        ("-- mine\nsync {\n}", Some(Kind::Lsyncd)),
        ("settings\n{\n}", Some(Kind::Lsyncd)),
        ("#!/usr/bin/lsyncd\nsync{}", Some(Kind::Lsyncd)),
        ("#!/bin/sh\nsync\nfoo() { rsync -a a b::c; }", Some(Kind::Script)),
        ("while inotifywait /d; do :; done", Some(Kind::Script)),
        ("[module]\npath = /x\n", None),
    ] {
        assert_eq!(Kind::recognise(text), kind, "{text}");
    }
}

#[test]
fn a_password_is_never_written_again() {
    let text = "export RSYNC_PASSWORD=hunter2\nrsync -a /d rsync://u:hunter2@[::1]:873/m/x/\nsshpass -p hunter2 rsync -a /e h::m";
    let draft = draft(Kind::Script, text);
    assert_eq!(targets(&draft.jobs[0]), ["u@[::1]::m/x"]);
    assert_eq!(line_of(&draft.jobs[0].remarks, "password stood in the destination"), 2);
    assert_eq!(line_of(&draft.jobs[1].remarks, "a password stands in the script"), 3);
    assert_eq!(line_of(&draft.remarks, "a password stands in the script"), 1);
    assert!(!write(&draft, Kind::Script, "f", &Shared::default()).contains("hunter2"));
}

#[test]
fn servers_and_modules_are_read_or_refused() {
    for (text, host, port) in [
        ("h", "h", None),
        ("h:1", "h", Some(1)),
        ("[::1]:8730", "[::1]", Some(8730)),
        ("[::1]", "[::1]", None),
    ] {
        let server: Server = text.parse().expect(text);
        assert_eq!((server.host.as_str(), server.port), (host, port));
    }
    for text in ["", ":1", "h:0", "h:x", "u@h", "h/m", "h:99999", "::1"] {
        assert!(text.parse::<Server>().is_err(), "{text}");
    }
    for text in ["", "=m", "/p=", "/p=a/b", "/p"] {
        assert!(text.parse::<Module>().is_err(), "{text}");
    }
}
