//! control: what a watch keeps where, told so that another command can look at the same two ends in the same terms.
//! Paths and rules are base64, since they need not be text. No secret is told: the password is read anew from where the
//! watch reads it.

use std::ffi::OsString;
use std::os::unix::ffi::{OsStrExt as _, OsStringExt as _};
use std::path::{Path, PathBuf};

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use driftless_proto::model::filter::Rules;
use driftless_proto::model::options::Options;
use serde_json::{Value, json};

use crate::cli::operand::{Local, Place, Remote};
use crate::cli::{Command, Invocation, Trust};

/// The options that decide what is compared, and how to set each.
type Switch = (&'static str, fn(&Options) -> bool, fn(&mut Options));

const SWITCHES: [Switch; 10] = [
    ("recursive", |o| o.recursive, |o| o.recursive = true),
    ("links", |o| o.links, |o| o.links = true),
    ("perms", |o| o.perms, |o| o.perms = true),
    ("times", |o| o.times, |o| o.times = true),
    ("owner", |o| o.owner, |o| o.owner = true),
    ("group", |o| o.group, |o| o.group = true),
    ("devices", |o| o.devices, |o| o.devices = true),
    ("specials", |o| o.specials, |o| o.specials = true),
    ("delete", |o| o.delete, |o| o.delete = true),
    ("compress", |o| o.compress, |o| o.compress = true),
];

/// Of a watch, whose source is this by its absolute path.
pub(crate) fn write(invocation: &Invocation, source: &Path) -> Value {
    let Some(Place::Remote(remote)) = &invocation.dest else { return Value::Null };
    let slash = matches!(invocation.sources.first(), Some(Place::Local(local)) if local.trailing_slash);
    let file = |file: &Option<PathBuf>| {
        let path = file.as_ref().map(|file| std::path::absolute(file).unwrap_or_else(|_| file.clone()));
        path.map(|path| encode(path.as_os_str().as_bytes()))
    };
    let options = &invocation.options;
    let Trust { ca, fingerprints, client_cert, client_key, plaintext } = &invocation.trust;
    // Standard input is read by now, and another's.
    let password_file = invocation.password_file.clone().filter(|file| file.as_os_str() != "-");
    json!({
        "source": encode(source.as_os_str().as_bytes()),
        "source_slash": slash,
        "user": crate::password::user(remote.user.as_deref()),
        "host": remote.host,
        "port": invocation.port_of(remote),
        "module": remote.module,
        "path": encode(&remote.path),
        "path_slash": remote.trailing_slash,
        "options": SWITCHES.iter().filter(|(_, is, _)| is(options)).map(|(name, ..)| *name).collect::<Vec<_>>(),
        "bwlimit": options.bwlimit,
        "rules": invocation.rules.iter().map(encode).collect::<Vec<_>>(),
        "ca": file(ca),
        "fingerprints": fingerprints.iter().map(|pin| encode(pin)).collect::<Vec<_>>(),
        "client_cert": file(client_cert),
        "client_key": file(client_key),
        "plaintext": plaintext,
        "password_file": file(&password_file),
    })
}

/// A push of the same source to the same destination; `None` where what was told cannot be that.
pub(crate) fn read(told: &Value) -> Option<Invocation> {
    let text = |name: &str| told[name].as_str().map(str::to_owned);
    let file = |name: &str| match &told[name] {
        Value::Null => Some(None),
        value => Some(Some(PathBuf::from(OsString::from_vec(decode(value)?)))),
    };
    let list = |name: &str| told[name].as_array().map(Vec::as_slice).unwrap_or_default();
    let mut options = Options { bwlimit: told["bwlimit"].as_u64()?, ..Options::default() };
    for name in list("options") {
        let (.., set) = SWITCHES.iter().find(|(known, ..)| name == known)?;
        set(&mut options);
    }
    let mut rules = Rules::default();
    for rule in list("rules") {
        rules.push_wire(&decode(rule)?).ok()?;
    }
    let pins = list("fingerprints").iter().map(|pin| decode(pin)?.try_into().ok());
    let source = PathBuf::from(OsString::from_vec(decode(&told["source"])?));
    let port = u16::try_from(told["port"].as_u64()?).ok()?;
    let remote = Remote {
        user: text("user"),
        host: text("host")?,
        port: Some(port),
        module: text("module")?,
        path: decode(&told["path"])?,
        trailing_slash: told["path_slash"].as_bool()?,
    };
    // Every other member is as nobody typed it.
    let typed = ["driftless", "push", "-a", "/", "host::module"].map(OsString::from);
    Some(Invocation {
        command: Command::Push,
        sources: vec![Place::Local(Local { path: source, trailing_slash: told["source_slash"].as_bool()? })],
        dest: Some(Place::Remote(remote)),
        options,
        rules,
        password_file: file("password_file")?,
        trust: Trust {
            ca: file("ca")?,
            fingerprints: pins.collect::<Option<_>>()?,
            client_cert: file("client_cert")?,
            client_key: file("client_key")?,
            plaintext: told["plaintext"].as_bool()?,
        },
        ..crate::cli::parse(typed).ok()?
    })
}

fn encode(bytes: &[u8]) -> String {
    URL_SAFE_NO_PAD.encode(bytes)
}

fn decode(value: &Value) -> Option<Vec<u8>> {
    URL_SAFE_NO_PAD.decode(value.as_str()?).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_watch_can_be_told_and_read_back() {
        let typed = "driftless watch -rlt --delete --exclude=*.o --include=/x -z --bwlimit=10m --port 99 \
                     --password-file /etc/p --plaintext /srv/code/ ann@host::module/path";
        let invocation = crate::cli::parse(typed.split_whitespace().map(OsString::from)).expect("parsed");
        let told = write(&invocation, Path::new("/srv/code"));
        let read = read(&told).expect("read back");
        let mut options = invocation.options.clone();
        options.report = read.options.report;
        assert_eq!(read.options, options);
        assert!(read.rules.iter().eq(invocation.rules.iter()));
        assert_eq!(read.sources, invocation.sources);
        assert_eq!(read.trust, invocation.trust);
        assert_eq!(read.password_file, invocation.password_file);
        let Some(Place::Remote(remote)) = &read.dest else { panic!("a remote destination") };
        assert_eq!((remote.user.as_deref(), &*remote.host, remote.port), (Some("ann"), "host", Some(99)));
        assert_eq!((&*remote.module, &*remote.path), ("module", &b"path"[..]));
    }
}
