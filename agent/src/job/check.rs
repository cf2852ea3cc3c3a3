//! job: `driftless run --check`: what would run, for people.

use std::fmt::Write as _;

use jiff::Zoned;

use super::{Bandwidth, Config, Job, Mode, Target};

/// What this config makes run, and when, in lines.
#[must_use]
pub fn check(config: &Config, now: &Zoned) -> String {
    let mut out = String::new();
    let mut line = |text: String| {
        // A string takes everything.
        writeln!(out, "{text}").ok();
    };
    let top = [
        ("state-dir", config.state_dir.as_ref().map(|dir| dir.display().to_string())),
        ("log-file", config.log_file.as_ref().map(|file| file.display().to_string())),
        ("metrics", config.metrics.map(|address| address.to_string())),
    ];
    for (name, value) in top {
        if let Some(value) = value {
            line(format!("{name} {value}"));
        }
    }
    for job in &config.jobs {
        lines(job, now).into_iter().for_each(&mut line);
    }
    out
}

fn lines(job: &Job, now: &Zoned) -> Vec<String> {
    let what = match job.mode {
        Mode::Watch => "watches",
        Mode::Scheduled => "runs by its schedule",
    };
    let mut lines = vec![format!("job {}: {what}", job.name)];
    if let Some(schedule) = &job.schedule {
        let next = schedule.next(now).map_or("never".into(), |next| next.strftime("%F %T %Z").to_string());
        let does = if job.mode == Mode::Watch { "compares everything" } else { "runs" };
        lines.push(format!("  schedule {}: {does} next {next}", schedule.text()));
    }
    for (name, step) in [("before", &job.before), ("after", &job.after)] {
        lines.extend(
            step.as_ref()
                .map(|step| format!("  {name} {}, at most {} s", step.shown(), step.timeout.as_secs())),
        );
    }
    lines.extend(job.targets.iter().flat_map(target));
    lines
}

fn target(target: &Target) -> Vec<String> {
    let Target { to, invocation, bandwidth } = target;
    let source = invocation.sources.iter().map(|source| match source {
        crate::cli::operand::Place::Local(local) => {
            format!("{}{}", local.path.display(), if local.trailing_slash { "/" } else { "" })
        }
        crate::cli::operand::Place::Remote(remote) => remote.host.clone(),
    });
    let mut line = format!("  {} -> {to}", source.collect::<String>());
    let options = &invocation.options;
    if options.delete {
        let brake = invocation.brake.map_or("off".into(), |limit| limit.to_string());
        // A string takes everything.
        write!(line, ", delete, brake {brake}").ok();
    }
    if let Some(limit) = invocation.rewrite_brake {
        write!(line, ", rewrite brake {limit}").ok();
    }
    for (on, word) in [(options.compress, ", compress"), (!invocation.rules.is_empty(), ", with rules")] {
        line.push_str(if on { word } else { "" });
    }
    let mut lines = vec![line];
    lines.extend(bandwidth_line(bandwidth));
    lines
}

fn bandwidth_line(bandwidth: &Bandwidth) -> Option<String> {
    let shown = |limit: u64| if limit == 0 { "no limit".into() } else { format!("{limit} bytes a second") };
    let windows: Vec<String> = bandwidth
        .windows
        .iter()
        .map(|window| match window.hours {
            None => shown(window.limit),
            Some((from, to)) => {
                format!("{} to {}: {}", from.strftime("%H:%M"), to.strftime("%H:%M"), shown(window.limit))
            }
        })
        .collect();
    (!windows.is_empty()).then(|| format!("    bwlimit {}", windows.join("; ")))
}
