//! `driftlessd check`: what is wrong with a config, and who gets in.

use std::path::Path;
use std::process::ExitCode;

use crate::config::{Config, Severity};
use crate::module::Module;

/// Prints every error and warning with its line, then who gets into each module. Exit 0 when it can be served.
pub(crate) fn run(path: &Path) -> ExitCode {
    let config = match Config::load(path) {
        Ok(config) => config,
        Err(error) => {
            eprintln!("driftlessd: {error}");
            return ExitCode::from(1);
        }
    };
    for note in &config.notes {
        println!("{note}");
    }
    for module in &config.modules {
        println!("[{}] {}", module.name, describe(module));
    }
    if config.may_serve() {
        println!("{}: ok", path.display());
        return ExitCode::SUCCESS;
    }
    let errors = config.notes.iter().filter(|note| note.severity != Severity::Warning).count();
    println!("{}: {errors} error{}, will not be served", path.display(), if errors == 1 { "" } else { "s" });
    ExitCode::from(1)
}

/// Who gets in, how, and what they may do.
fn describe(module: &Module) -> String {
    let users: Vec<&str> = module.auth.texts().collect();
    let login = if module.auth.is_anonymous() {
        "without a login".to_owned()
    } else {
        format!("as {}", users.join(" or "))
    };
    let rights = match (module.read_only, module.write_only) {
        (true, true) => "nothing (read only and write only)",
        (true, false) => "pull",
        (false, true) => "push",
        (false, false) => "pull and push",
    };
    let listed = if module.list { "listed" } else { "not listed" };
    format!("{}, {login}: {rights}; {listed}", module.access.describe())
}
