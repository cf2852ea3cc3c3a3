//! `auth users` and the secrets file: which users get into a module, and with what rights.
//!
//! The rules are those of `rsyncd.conf(5)`. The client hears only that it failed; the reason is for our log, in rsync's
//! words.

pub(crate) mod secrets;
mod wildcard;

use std::fmt;

use driftless_proto::limits;
use driftless_proto::model::path::Escaped;

use crate::config::grammar::words;
use crate::identity;
use crate::module::Module;
use secrets::Secrets;
use wildcard::Wildcard;

/// The rules of a module. Without any, nobody is asked who he is.
#[derive(Debug, Default)]
pub(crate) struct AuthRules(Option<Vec<Rule>>);

#[derive(Debug)]
struct Rule {
    who: Who,
    says: Option<Says>,
    /// As it was written, for `check`.
    text: String,
}

#[derive(Debug)]
enum Who {
    /// Users that are in a system group of such a name.
    Group(Wildcard),
    /// Users of such a name; they need not be system users.
    User(Wildcard),
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Says {
    Deny,
    ReadOnly,
    ReadWrite,
}

/// One thing to say about the rules.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Remark {
    /// Whether the file must not be served.
    pub(crate) fatal: bool,
    /// What is wrong.
    pub(crate) text: String,
}

/// What a client sends to say who it is.
#[derive(Clone)]
pub(crate) struct Credentials {
    /// The user's name.
    pub(crate) user: String,
    /// The password, without a newline; any bytes.
    pub(crate) password: Vec<u8>,
}

/// A login that succeeded.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Session {
    /// `None`: the module asks nobody.
    pub(crate) user: Option<String>,
    /// Whether pushes are refused: the rule's word, else the module's.
    pub(crate) read_only: bool,
}

/// Why a login failed: for our log only.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub(crate) enum AuthFailure {
    /// A rule with `:deny` matched first.
    #[error("denied by rule")]
    DeniedByRule,
    /// The system cannot say which groups the user is in, so no rule about groups can be trusted.
    #[error("cannot look up groups: {0}")]
    GroupsUnknown(nix::Error),
    /// A name that no user can have.
    #[error("invalid user name")]
    InvalidUser,
    /// The client sent nothing.
    #[error("no credentials")]
    NoCredentials,
    /// No rule is about this user.
    #[error("no matching rule")]
    NoMatchingRule,
    /// The module has no `secrets file`.
    #[error("no secrets file")]
    NoSecretsFile,
    /// The password is another one.
    #[error("password mismatch")]
    PasswordMismatch,
    /// The secrets file has no line for the user or his group.
    #[error("secret not found")]
    SecretNotFound,
    /// The secrets file cannot be used; in brackets why.
    #[error("ignoring secrets file ({0})")]
    SecretsRefused(String),
}

impl AuthRules {
    /// Reads `auth users`.
    pub(crate) fn parse(value: &str) -> (Self, Vec<Remark>) {
        let mut remarks = Vec::new();
        let mut rules = Vec::new();
        for word in words(value) {
            let (pattern, option) =
                word.split_once(':').map_or((word, None), |(name, option)| (name, Some(option)));
            let (group, name) = pattern.strip_prefix('@').map_or((false, pattern), |name| (true, name));
            let Some(wildcard) = Wildcard::parse(name) else {
                remarks.push(Remark {
                    fatal: true,
                    text: format!("`{word}` has a `[` without its `]`: it would match nobody"),
                });
                continue;
            };
            let says = option.and_then(says);
            if option.is_some() && says.is_none() {
                let text = format!(
                    "`{word}`: unknown option, ignored as rsync ignores it: deny, ro and rw are known"
                );
                remarks.push(Remark { fatal: false, text });
            }
            let who = if group { Who::Group(wildcard) } else { Who::User(wildcard) };
            rules.push(Rule { who, says, text: word.to_owned() });
        }
        (Self(Some(rules)), remarks)
    }

    /// Whether nobody is asked who he is.
    pub(crate) fn is_anonymous(&self) -> bool {
        self.0.is_none()
    }

    /// The rules as they were written; empty when nobody is asked.
    pub(crate) fn texts(&self) -> impl Iterator<Item = &str> {
        self.0.iter().flatten().map(|rule| rule.text.as_str())
    }

    /// The first rule about this user, which alone decides; and the group by which it matched.
    fn first_match(&self, user: &str) -> Result<(Option<Says>, Option<String>), AuthFailure> {
        let mut groups = None;
        for rule in self.0.iter().flatten() {
            match &rule.who {
                Who::User(wildcard) if wildcard.matches(user) => return Ok((rule.says, None)),
                Who::User(_) => {}
                Who::Group(wildcard) => {
                    if groups.is_none() {
                        groups = Some(identity::group_names(user).map_err(AuthFailure::GroupsUnknown)?);
                    }
                    if let Some(group) = groups.iter().flatten().find(|name| wildcard.matches(name)) {
                        return Ok((rule.says, Some(group.clone())));
                    }
                }
            }
        }
        Err(AuthFailure::NoMatchingRule)
    }
}

/// By its first letters, in any case, as rsync reads it.
fn says(option: &str) -> Option<Says> {
    let lower = option.to_ascii_lowercase();
    match lower.as_bytes() {
        [b'd', ..] => Some(Says::Deny),
        [b'r', b'o', ..] => Some(Says::ReadOnly),
        [b'r', b'w', ..] => Some(Says::ReadWrite),
        _ => None,
    }
}

/// Decides who the client is and what he may do. Blocks: it reads files and may compute a slow hash, so it is called
/// off tokio.
///
/// `certificate_users` are the names in the client's certificate, already verified: one that equals the user stands in
/// for his secret. A client that sends no user is the first of them.
///
/// # Errors
/// The reason, for the log. How long a refusal takes does not tell which names exist: where the secrets file holds
/// Argon2id lines, every refusal costs one check.
pub(crate) fn login(
    module: &Module,
    credentials: Option<&Credentials>,
    certificate_users: &[String],
) -> Result<Session, AuthFailure> {
    if module.auth.is_anonymous() {
        return Ok(Session { user: None, read_only: module.read_only });
    }
    let user =
        credentials.map(|sent| sent.user.as_str()).or_else(|| certificate_users.first().map(String::as_str));
    let user = user.ok_or(AuthFailure::NoCredentials)?;
    let password = credentials.map_or(&[][..], |sent| &sent.password);
    let certified = certificate_users.iter().any(|name| name == user);
    match admitted(module, user) {
        Ok((says, _)) if certified => Ok(session(module, user, says)),
        Ok((says, group)) => {
            let secrets = Secrets::read(module.secrets_file.as_deref(), module.strict_modes)?;
            secrets.verify(user, group.as_deref(), password)?;
            Ok(session(module, user, says))
        }
        Err(failure) => {
            if let Ok(secrets) = Secrets::read(module.secrets_file.as_deref(), module.strict_modes) {
                secrets.verify_nobody(password);
            }
            Err(failure)
        }
    }
}

/// Whether the rules let the user try.
fn admitted(module: &Module, user: &str) -> Result<(Option<Says>, Option<String>), AuthFailure> {
    if !valid_user(user) {
        return Err(AuthFailure::InvalidUser);
    }
    match module.auth.first_match(user)? {
        (Some(Says::Deny), _) => Err(AuthFailure::DeniedByRule),
        admitted => Ok(admitted),
    }
}

/// Whether a secrets file can have a line for this name and no other line can be taken for it: `#` begins a comment,
/// `@` a group's line, and a `:` ends the name.
pub(crate) fn valid_user(user: &str) -> bool {
    !user.is_empty()
        && user.len() <= limits::SECRET_LEN
        && !user.starts_with(['#', '@'])
        && !user.contains(|c: char| c == ':' || c.is_control())
}

fn session(module: &Module, user: &str, says: Option<Says>) -> Session {
    let read_only = match says {
        Some(Says::ReadOnly) => true,
        Some(Says::ReadWrite) => false,
        Some(Says::Deny) | None => module.read_only,
    };
    Session { user: Some(user.to_owned()), read_only }
}

/// Never shows the password.
impl fmt::Debug for Credentials {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Credentials({})", Escaped(self.user.as_bytes()))
    }
}

#[cfg(test)]
mod tests;
