//! From the settings of a section to a [`Module`].

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use super::draft::{Draft, Section};
use super::{Findings, Reader, Severity};
use crate::access::{AccessList, Listed, Remark, Which};
use crate::auth::AuthRules;
use crate::identity::{Identity, IdentityError};
use crate::module::Module;

/// Builds every module. What is wrong goes to `findings`, and the module is as closed as can be.
pub(super) fn build(draft: &Draft, certificates: bool, findings: &mut Findings) -> Vec<Arc<Module>> {
    let modules = draft.sections.iter().map(|section| {
        let reader = Reader { own: Some(&section.own), globals: &draft.globals };
        Arc::new(module(section, &reader, certificates, findings))
    });
    modules.collect()
}

fn module(section: &Section, reader: &Reader<'_>, certificates: bool, findings: &mut Findings) -> Module {
    // What it promises, that no path leads out of the module, holds either way (`openat2(2)`); only `numeric ids` asks.
    let use_chroot = reader.flag("use chroot").unwrap_or_else(|| rustix::process::geteuid().is_root());
    let module = Module {
        name: section.name.clone(),
        path: reader.path("path"),
        comment: reader.text("comment").map(|(text, _)| text.to_owned()).unwrap_or_default(),
        list: reader.flag("list").unwrap_or(true),
        read_only: reader.flag("read only").unwrap_or(true),
        write_only: reader.flag("write only").unwrap_or(false),
        identity: identity(section, reader, findings),
        numeric_ids: reader.flag("numeric ids").unwrap_or(use_chroot),
        max_connections: reader.number("max connections").map_or(0, |(number, _)| number),
        lock_file: reader.path("lock file").unwrap_or_else(|| PathBuf::from("/var/run/rsyncd.lock")),
        access: access(reader, findings),
        auth: auth(reader, findings),
        secrets_file: reader.path("secrets file"),
        strict_modes: reader.flag("strict modes").unwrap_or(true),
        ignore_errors: reader.flag("ignore errors").unwrap_or(false),
        fake_super: reader.flag("fake super").unwrap_or(false),
        timeout: timeout(reader, findings),
        // An inherited one is the daemon's, wherever the command line may have moved that to.
        log_file: reader.path("log file").filter(|_| section.own.contains_key("log file")),
    };
    contradictions(&module, section, certificates, findings);
    module
}

/// Settings that are each right and together are hardly what was meant.
fn contradictions(module: &Module, section: &Section, certificates: bool, findings: &mut Findings) {
    let name = &module.name;
    if module.path.is_none() {
        findings.warn(section.line, format!("[{name}] has no `path`: nobody gets in"));
    }
    if module.read_only && module.write_only {
        findings.warn(section.line, format!("[{name}] is both read only and write only: nobody can use it"));
    }
    if module.auth.is_anonymous() && module.secrets_file.is_some() {
        findings.warn(
            section.line,
            format!("[{name}] has a `secrets file` but no `auth users`: no password is asked"),
        );
    }
    if !module.auth.is_anonymous() && module.secrets_file.is_none() && !certificates {
        findings
            .warn(section.line, format!("[{name}] has `auth users` but no `secrets file`: nobody gets in"));
    }
}

fn identity(section: &Section, reader: &Reader<'_>, findings: &mut Findings) -> Option<Identity> {
    let uid = reader.text("uid");
    let gid = reader.text("gid");
    let (at, text) = match Identity::resolve(uid.map(|(text, _)| text), gid.map(|(text, _)| text)) {
        Ok(identity) => return identity,
        Err(IdentityError::Uid(text)) => (uid, text),
        Err(IdentityError::Gid(text)) => (gid, text),
    };
    findings.error(at.map_or(section.line, |(_, line)| line), text);
    None
}

fn access(reader: &Reader<'_>, findings: &mut Findings) -> AccessList {
    let listed = |name| reader.text(name).map(|(text, line)| Listed { text, line });
    let (allow, deny) = (listed("hosts allow"), listed("hosts deny"));
    let (list, remarks) = AccessList::parse(allow, deny);
    for Remark { which, fatal, text } in remarks {
        let (name, line) = match which {
            Which::Allow => ("hosts allow", allow),
            Which::Deny => ("hosts deny", deny),
        };
        let severity = if fatal { Severity::Error } else { Severity::Warning };
        findings.add(line.map(|listed| listed.line), severity, format!("{name}: {text}"));
    }
    list
}

fn auth(reader: &Reader<'_>, findings: &mut Findings) -> AuthRules {
    let Some((text, line)) = reader.text("auth users") else { return AuthRules::default() };
    let (rules, remarks) = AuthRules::parse(text);
    for remark in remarks {
        let severity = if remark.fatal { Severity::Error } else { Severity::Warning };
        findings.add(Some(line), severity, format!("auth users: {}", remark.text));
    }
    rules
}

fn timeout(reader: &Reader<'_>, findings: &mut Findings) -> Option<Duration> {
    let (seconds, line) = reader.number("timeout")?;
    match u32::try_from(seconds) {
        Ok(0) => None,
        Ok(seconds) => Some(Duration::from_secs(seconds.into())),
        Err(_) => {
            findings.error(line, format!("timeout: {seconds} is not a number of seconds"));
            None
        }
    }
}
