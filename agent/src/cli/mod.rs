//! The command line: what was typed becomes one [`Invocation`], or one line that says why not.

pub mod doctor;
mod help;
mod import;
pub mod operand;
pub mod operate;
pub mod options;
pub mod refused;
pub mod restore;
pub mod service;
pub mod span;
mod trust;
pub mod verify;
mod watching;

use std::ffi::OsString;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use clap::error::ErrorKind;
use clap::{Arg, ArgAction, ArgMatches, Args, Command as ClapCommand, FromArgMatches};
use driftless_proto::model::filter::Rules;
use driftless_proto::model::options::Options;

use crate::exit::Exit;
use crate::guard::brake::{self, Limit};
use crate::import::Import;
use crate::watcher::Choice;
use doctor::Doctor;
use help::{AFTER_HELP, ALSO};
use operand::{Place, Remote};
use operate::Operate;
use restore::Restore;
use service::Service;
pub use trust::Trust;
pub(crate) use trust::fingerprint;
use trust::trust;
use verify::Verify;

/// The port of driftlessd where neither the operand nor `--port` says otherwise.
pub const DEFAULT_PORT: u16 = 8730;

/// What a run does. `sync` has been resolved by which side is remote.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Command {
    /// Local to local, both roles in this process.
    Copy,
    /// Print the modules of the server that is the only source. There is no destination.
    Modules,
    /// Remote to local.
    Pull,
    /// Local to remote.
    Push,
    /// Remote to local, keeping what it replaces.
    Restore,
    /// One local source to remote, and then live.
    Watch,
}

/// Everything the command line said.
#[derive(Clone, Debug, PartialEq)]
pub struct Invocation {
    /// What to do.
    pub command: Command,
    /// One or more; all local or all in one module, as `command` implies.
    pub sources: Vec<Place>,
    /// `None` for [`Command::Modules`] only. Its side is as `command` implies, its module never empty.
    pub dest: Option<Place>,
    /// What both ends need to know. A dry run is never a watch.
    pub options: Options,
    /// What is left out, in the order typed.
    pub rules: Rules,
    /// How often `-v` was given; -1 with `-q`, which silences everything but problems.
    pub verbosity: i8,
    /// `--progress` or `-P`. Never with `-q`, nor of a watch.
    pub progress: bool,
    /// `--stats`. Never with `-q`, nor of a watch.
    pub stats: bool,
    /// `--port`; an operand's own port goes before it: see [`Invocation::port_of`].
    pub port: Option<u16>,
    /// `--password-file`; `-` is standard input.
    pub password_file: Option<PathBuf>,
    /// Whom to believe, and how to prove who we are.
    pub trust: Trust,
    /// `--timeout`; `None` (also typed as 0) for no limit.
    pub timeout: Option<Duration>,
    /// `--state-dir`.
    pub state_dir: Option<PathBuf>,
    /// `--engine`: how changes are found. Of a watch only.
    pub engine: Choice,
    /// `--log-file`: beside what is printed. Of a watch only.
    pub log_file: Option<PathBuf>,
    /// `--metrics`: where they are served. Of a watch only.
    pub metrics: Option<SocketAddr>,
    /// `--brake`, of a watch; `None` for `off`.
    pub brake: Option<Limit>,
    /// `--rewrite-brake`, of a watch; `None` for `off`.
    pub rewrite_brake: Option<Limit>,
}

/// What was asked for.
#[derive(Clone, Debug)]
pub enum Request {
    /// A run between two places.
    Run(Box<Invocation>),
    /// A command about watches of this host.
    Operate(Operate),
    /// A restore.
    Restore(Restore),
    /// A look at whether a copy is one.
    Verify(Verify),
    /// A look at whether a watch would run.
    Doctor(Doctor),
    /// Many watches in one process.
    Serve(Service),
    /// The config of another program is to become ours.
    Import(Import),
}

impl Invocation {
    /// The port to reach this place at.
    #[must_use]
    pub fn port_of(&self, remote: &Remote) -> u16 {
        remote.port.or(self.port).unwrap_or(DEFAULT_PORT)
    }
}

/// The command line could not be taken, or only asked for help.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Usage {
    /// How to end. [`Exit::Ok`] means that `message` is help or a version, for standard output.
    pub exit: Exit,
    /// One line without the program's name, except for help.
    pub message: String,
}

impl Usage {
    fn new(exit: Exit, message: impl Into<String>) -> Self {
        Self { exit, message: message.into() }
    }
}

/// How to reach and believe the server.
#[derive(Args)]
#[command(next_help_heading = "The server")]
struct Connection {
    /// Port of the server [default: 8730]
    #[arg(long, value_name = "PORT", value_parser = clap::value_parser!(u16).range(1..))]
    port: Option<u16>,
    /// Read the password from the first line of FILE, `-` for standard input
    #[arg(long, value_name = "FILE", allow_hyphen_values = true)]
    password_file: Option<PathBuf>,
    /// Trust servers with a certificate from the authorities in FILE (PEM)
    #[arg(long, value_name = "FILE")]
    ca: Option<PathBuf>,
    /// Trust the server with this certificate (`driftlessd fingerprint`); may be given twice
    #[arg(long = "fingerprint", value_name = "sha256:HEX", value_parser = fingerprint, value_delimiter = ',')]
    fingerprints: Vec<[u8; 32]>,
    /// Show the server this certificate (PEM); needs --client-key
    #[arg(long, value_name = "FILE")]
    client_cert: Option<PathBuf>,
    /// Private key of --client-cert (PEM)
    #[arg(long, value_name = "FILE")]
    client_key: Option<PathBuf>,
    /// No TLS; to a server on this host only
    #[arg(long)]
    plaintext: bool,
    /// Give up when nothing moves for this long; 0 for never
    #[arg(long, value_name = "SECONDS")]
    timeout: Option<u32>,
    /// Where the agent keeps its journal and identity
    #[arg(long, value_name = "DIR")]
    state_dir: Option<PathBuf>,
    /// Hold deletions of a watch beyond N entries and P percent of the copy; off for none [default: 1000:50%]
    #[arg(long, value_name = "N:P%|off", value_parser = limit, allow_hyphen_values = true)]
    brake: Option<Typed>,
    /// Hold new contents of a watch beyond N files that the copy has and P percent of it [default: off]
    #[arg(long, value_name = "N:P%|off", value_parser = limit, allow_hyphen_values = true)]
    rewrite_brake: Option<Typed>,
}

/// What was typed for a brake.
#[derive(Clone, Copy, Debug)]
enum Typed {
    Limit(Limit),
    Off,
}

fn limit(typed: &str) -> Result<Typed, String> {
    if typed == "off" { Ok(Typed::Off) } else { typed.parse().map(Typed::Limit) }
}

/// What is shown meanwhile.
#[derive(Args)]
#[command(next_help_heading = "What is shown")]
struct Output {
    /// Name what is changed
    #[arg(short, long, action = ArgAction::Count)]
    verbose: u8,
    /// Show nothing but problems
    #[arg(short, long)]
    quiet: bool,
    /// Show the progress of each file
    #[arg(long)]
    progress: bool,
    /// Show totals at the end
    #[arg(long)]
    stats: bool,
}

/// The commands: name, one line, operands.
const COMMANDS: &[(&str, &str, &str)] = &[
    ("sync", "Copy in the direction that the operands say", "SRC... DEST"),
    ("push", "Copy from here to a server", "SRC... host::module[/path]"),
    ("pull", "Copy from a server to here", "host::module[/path]... DEST"),
    ("watch", "Keep a copy on a server up to date, live", "SRC host::module[/path]"),
    (
        "restore",
        "Get data back: as `pull -a`, keeping each local file it replaces as NAME.before-restore",
        restore::OPERANDS,
    ),
    ("verify", "Compare a copy with its source, content by content", verify::OPERANDS),
    ("doctor", "Look at whether a watch would run here, and say what is missing", doctor::OPERANDS),
];

/// The command line as clap knows it.
fn clap_command() -> ClapCommand {
    let top = ClapCommand::new("driftless")
        .version(env!("CARGO_PKG_VERSION"))
        .about("Keeps verified copies of directories on a Driftless server")
        .after_help(ALSO)
        .subcommand_required(true)
        .propagate_version(true);
    let top = COMMANDS.iter().fold(top, |top, &(name, about, operands)| {
        let command = ClapCommand::new(name)
            .override_usage(format!("driftless {name} [options] {operands}"))
            // As in rsync(1) a flag may be repeated, and -h is one (help only on its own: see `parse`).
            .args_override_self(true)
            .disable_help_flag(true);
        let command = watching::add(Output::augment_args(Connection::augment_args(options::add(command))))
            .arg(Arg::new("help").long("help").action(ArgAction::Help).help("Show this help"))
            .arg(
                Arg::new("operands")
                    .value_name("SRC... DEST")
                    .num_args(0..)
                    .hide(true)
                    .value_parser(clap::value_parser!(OsString)),
            );
        // After `augment_args`, which would put its own first line here.
        let command = match name {
            "verify" => verify::add(command).after_help(verify::AFTER_HELP),
            "doctor" => doctor::add(command).after_help(doctor::AFTER_HELP),
            "restore" => restore::add(command).after_help(restore::AFTER_HELP),
            _ => command.after_help(AFTER_HELP),
        };
        let command = command.about(about);
        top.subcommand(refused::add(command))
    });
    import::add(operate::add(service::add(top)))
}

/// Reads the command line of a run, program name first.
pub fn parse(args: impl IntoIterator<Item = OsString>) -> Result<Invocation, Usage> {
    match read(args)? {
        Request::Run(invocation) => Ok(*invocation),
        Request::Restore(restore) => Ok(*restore.invocation),
        _ => Err(Usage::new(Exit::Usage, "not a run")),
    }
}

/// Reads a command line, program name first.
pub fn read(args: impl IntoIterator<Item = OsString>) -> Result<Request, Usage> {
    let mut args: Vec<OsString> = args.into_iter().collect();
    if args.len() == 3 && args[2] == "-h" {
        args[2] = "--help".into();
    }
    let matches = clap_command().try_get_matches_from(&args).map_err(|error| from_clap(&error, &args))?;
    let Some((name, matches)) = matches.subcommand() else {
        return Err(Usage::new(Exit::Usage, "a command is missing (see driftless --help)"));
    };
    if let Some(service) = service::read(name, matches) {
        return Ok(Request::Serve(service));
    }
    if let Some(operate) = operate::read(name, matches) {
        return operate.map(Request::Operate);
    }
    if let Some(import) = import::read(name, matches) {
        return Ok(Request::Import(import));
    }
    if let Some(message) = refused::first(matches) {
        return Err(Usage::new(Exit::Unsupported, message));
    }
    if name == "verify" && !verify::names_a_pair(matches) {
        return verify::read(matches, None).map(Request::Verify);
    }
    if name == "doctor" && !matches.contains_id("operands") {
        return doctor::read(matches, None).map(Request::Doctor);
    }
    let run = invocation(name, matches).and_then(|invocation| match name {
        "verify" => verify::read(matches, Some(invocation)).map(Request::Verify),
        "doctor" => doctor::read(matches, Some(invocation)).map(Request::Doctor),
        "restore" => restore::read(matches, invocation).map(Request::Restore),
        _ => Ok(Request::Run(Box::new(invocation))),
    });
    run.map_err(|usage| match usage.exit {
        Exit::Usage => Usage::new(Exit::Usage, format!("{} (see driftless {name} --help)", usage.message)),
        _ => usage,
    })
}

/// clap's message cut to its first line: the rest is advice that --help gives better.
fn from_clap(error: &clap::Error, args: &[OsString]) -> Usage {
    let text = error.render().to_string();
    if matches!(error.kind(), ErrorKind::DisplayHelp | ErrorKind::DisplayVersion) {
        return Usage::new(Exit::Ok, text);
    }
    let line = text.lines().next().unwrap_or_default();
    let line = line.strip_prefix("error: ").unwrap_or(line);
    let known = args.get(1).and_then(|name| COMMANDS.iter().find(|(known, ..)| name == known));
    let command = known.map_or(String::new(), |(name, ..)| format!("{name} "));
    // A monitor would take 1 for a warning about the copy.
    let checks = args.get(1).is_some_and(|name| name == "status") && args.iter().any(|arg| arg == "--check");
    let exit = if checks { Exit::Selection } else { Exit::Usage };
    Usage::new(exit, format!("{line} (see driftless {command}--help)"))
}

fn invocation(name: &str, matches: &ArgMatches) -> Result<Invocation, Usage> {
    let bad = |message: &str| Usage::new(Exit::Usage, message);
    // The three rooms of clap agree on every id by construction, so this does not fail.
    let typed = |error: clap::Error| bad(&error.kind().to_string());
    let connection = Connection::from_arg_matches(matches).map_err(typed)?;
    let output = Output::from_arg_matches(matches).map_err(typed)?;
    let (command, sources, dest) = match name {
        "restore" if restore::names_a_job(matches) => restore::places(),
        _ => places(name, matches)?,
    };

    let restore = command == Command::Restore;
    let mut options = options::options(
        matches,
        match name {
            "restore" => restore_defaults(),
            "verify" | "doctor" => Options { partial: false, keep_replaced: false, ..restore_defaults() },
            _ => Options::default(),
        },
    );
    if options.delete && !options.recursive {
        return Err(bad("--delete does not work without --recursive (-r) or --dirs (-d)."));
    }
    if command == Command::Watch && options.dry_run {
        return Err(bad("--dry-run (-n) makes no sense with watch; try it with push"));
    }
    let ends = output.progress || output.stats || options::given(matches, "P");
    if command == Command::Watch && (ends || connection.timeout.is_some_and(|seconds| seconds > 0)) {
        let text =
            "--progress, --stats and --timeout are for runs that end; a watch shows its state by itself";
        return Err(Usage::new(Exit::Unsupported, text));
    }
    if command != Command::Watch && connection.brake.is_some() {
        return Err(bad("--brake is for watch only; every other command obeys --delete as it is"));
    }
    if command != Command::Watch && connection.rewrite_brake.is_some() {
        return Err(bad("--rewrite-brake is for watch only; every other command sends what differs"));
    }
    if command == Command::Watch && !options.recursive {
        return Err(bad("watch needs --recursive (-r), as in -a"));
    }
    let watching = watching::read(matches, command == Command::Watch)?;
    let stdin = usize::from(connection.password_file.as_deref().is_some_and(|file| file == "-"));
    if stdin + options::rules_from_stdin(matches) > 1 {
        return Err(bad("standard input can be read for one option only"));
    }
    let progress = !output.quiet && (output.progress || options::given(matches, "P"));
    let verbosity = if output.quiet { -1 } else { i8::try_from(output.verbose).unwrap_or(i8::MAX) };
    options.report = verbosity > 0 || progress || (restore && !output.quiet);
    Ok(Invocation {
        command,
        sources,
        dest,
        options,
        rules: options::rules(matches)?,
        verbosity,
        progress,
        stats: output.stats && !output.quiet,
        port: connection.port,
        password_file: connection.password_file.clone(),
        timeout: connection.timeout.filter(|&s| s > 0).map(|s| Duration::from_secs(s.into())),
        state_dir: connection.state_dir.clone(),
        brake: match connection.brake {
            None => Some(brake::DELETIONS),
            Some(Typed::Limit(limit)) => Some(limit),
            Some(Typed::Off) => None,
        },
        rewrite_brake: match connection.rewrite_brake {
            Some(Typed::Limit(limit)) => Some(limit),
            None | Some(Typed::Off) => None,
        },
        trust: trust(connection)?,
        engine: watching.engine,
        log_file: watching.log_file,
        metrics: watching.metrics,
    })
}

/// What a restore starts from: everything that `-a` keeps, resumable, and nothing of the operator's lost.
fn restore_defaults() -> Options {
    Options {
        recursive: true,
        links: true,
        perms: true,
        times: true,
        owner: true,
        group: true,
        devices: true,
        specials: true,
        partial: true,
        keep_replaced: true,
        ..Options::default()
    }
}

/// The operands, and what the command does with them.
fn places(name: &str, matches: &ArgMatches) -> Result<(Command, Vec<Place>, Option<Place>), Usage> {
    let bad = |message: &str| Usage::new(Exit::Usage, message);
    let operands: Vec<OsString> = matches.get_many("operands").into_iter().flatten().cloned().collect();
    let (sources, dest) = match operands.as_slice() {
        [] => return Err(bad("operands are missing")),
        [only] if matches!(name, "sync" | "pull") => return alone(only),
        [_] => return Err(bad("a source and a destination are needed")),
        [sources @ .., dest] => (sources, dest),
    };
    let wrong = |error: operand::OperandError| Usage::new(Exit::Usage, error.to_string());
    let sources = operand::parse_sources(sources).map_err(wrong)?;
    let dest = operand::parse_place(dest).map_err(wrong)?;
    let without_module = |place: &Place| matches!(place, Place::Remote(remote) if remote.module.is_empty());
    if sources.iter().chain([&dest]).any(without_module) {
        return Err(bad("a remote operand needs a module: host::module[/path]"));
    }
    let from_remote = matches!(sources.first(), Some(Place::Remote(_)));
    let to_remote = matches!(dest, Place::Remote(_));
    let command = match (name, from_remote, to_remote) {
        (_, true, true) => return Err(bad("The source and destination cannot both be remote.")),
        ("sync", false, false) => Command::Copy,
        ("verify" | "doctor", false, true) if sources.len() > 1 => {
            return Err(bad(&format!("{name} takes one source")));
        }
        ("sync" | "push" | "verify" | "doctor", false, true) => Command::Push,
        ("sync" | "pull", true, false) => Command::Pull,
        ("restore", true, false) => Command::Restore,
        ("watch", false, true) if sources.len() == 1 => Command::Watch,
        ("watch", false, true) => return Err(bad("watch takes one source")),
        ("watch" | "push" | "verify" | "doctor", ..) => {
            return Err(bad(&format!("{name} needs a local source and a remote destination")));
        }
        _ => return Err(bad(&format!("{name} needs a remote source and a local destination"))),
    };
    Ok((command, sources, Some(dest)))
}

/// One operand alone: a server whose modules are listed. rsync(1) lists files too.
fn alone(operand: &OsString) -> Result<(Command, Vec<Place>, Option<Place>), Usage> {
    let place = operand::parse_place(operand).map_err(|error| Usage::new(Exit::Usage, error.to_string()))?;
    match &place {
        Place::Remote(remote) if remote.module.is_empty() => Ok((Command::Modules, vec![place], None)),
        _ => Err(Usage::new(
            Exit::Unsupported,
            "one operand alone lists files in rsync, which is not supported yet; a destination is missing",
        )),
    }
}

#[cfg(test)]
mod tests;
