//! `driftless`: the command line in, an exit code out.

use std::io::Write;
use std::process::ExitCode;

use driftless_agent::cli::operate::What;
use driftless_agent::exit::Exit;
use driftless_agent::{cli, control, doctor, import, plan, restore, run, supervise, verify};

fn main() -> ExitCode {
    if let Some(code) = run::inotify_tools(std::env::args_os()) {
        return code.into();
    }
    let exit = match cli::read(std::env::args_os()) {
        Ok(cli::Request::Run(invocation)) => run::run(*invocation),
        Ok(cli::Request::Serve(service)) => supervise::run(&service),
        Ok(cli::Request::Operate(operate)) => match operate.what {
            What::Plan(act) => plan::run(&act, operate.state_dir.as_deref()),
            What::Check(max_age) => return control::check(max_age, operate.state_dir.as_deref()).into(),
            What::Explain { path, json } => control::explain(&path, json, operate.state_dir.as_deref()),
            What::Status(json) => control::status(json, operate.state_dir.as_deref()),
            What::Wait { path, limit, json } => {
                control::wait(path.as_deref(), limit, json, operate.state_dir.as_deref())
            }
        },
        Ok(cli::Request::Restore(wanted)) => restore::run(&wanted),
        Ok(cli::Request::Doctor(wanted)) => return doctor::run(&wanted).into(),
        Ok(cli::Request::Verify(wanted)) => verify::run(&wanted),
        Ok(cli::Request::Import(asked)) => import::run(&asked),
        Err(usage) if usage.exit == Exit::Ok => {
            // Nobody may be listening any more (`--help | head`); that is not our failure.
            std::io::stdout().write_all(usage.message.as_bytes()).ok();
            Exit::Ok
        }
        Err(usage) => {
            say(&format!("driftless: {}", usage.message));
            usage.exit
        }
    };
    exit.into()
}

/// One line on standard error. A closed standard error must not turn one failure into another.
fn say(line: &str) {
    writeln!(std::io::stderr(), "{line}").ok();
}
