//! restore: a job's places, by its name: from the config, or from the watch that runs it.

use std::os::unix::ffi::{OsStrExt as _, OsStringExt as _};
use std::path::{Component, Path, PathBuf};

use driftless_proto::model::path::RelPath;

use super::acked::Origin;
use super::shown;
use crate::cli::Invocation;
use crate::cli::operand::{Local, Place, Remote};
use crate::cli::restore::Job;
use crate::control::{self, operands};
use crate::exit::Exit;
use crate::job::Config;
use crate::plan::Watched;
use crate::push::place;
use crate::state::StateDir;

/// Where the config is when nobody says.
const CONFIG: &str = "/etc/driftless/agent.toml";

/// Why there is no such job, and how the run ends.
type Failed = (String, Exit);

/// The pull that brings a job's data back, with what was typed beside its name; and where that came from.
pub(super) fn find(job: &Job, typed: &Invocation) -> Result<(Invocation, Origin), Failed> {
    let (target, state_dir) = target(job, typed)?;
    let bad = |text: String| (text, Exit::Usage);
    let (Some(Place::Local(source)), Some(Place::Remote(dest))) = (target.sources.first(), &target.dest)
    else {
        return Err(bad(format!("job {}: it has no destination on a server", job.name)));
    };
    let absolute = std::path::absolute(&source.path).map_err(|error| (error.to_string(), Exit::File))?;
    let origin = Origin { source: absolute.clone(), slash: source.trailing_slash, path: place(dest).path };
    let sub = match &job.path {
        None => RelPath::root(),
        Some(path) => beneath(&absolute, path).ok_or_else(|| {
            bad(format!("{}: not in the source of job {}, {}", shown(path), job.name, shown(&absolute)))
        })?,
    };
    let mut invocation = typed.clone();
    let (there, here) = ends(&origin, &sub).ok_or_else(|| bad("the path is too long".into()))?;
    invocation.sources = vec![Place::Remote(Remote {
        port: Some(target.port_of(dest)),
        path: there.as_bytes().to_vec(),
        trailing_slash: sub.is_root(),
        ..dest.clone()
    })];
    if !sub.is_root() && !typed.options.dry_run {
        // The directories above it may be gone with it.
        std::fs::DirBuilder::new()
            .recursive(true)
            .create(&here)
            .map_err(|error| (format!("{}: {error}", shown(&here)), Exit::File))?;
    }
    invocation.dest = Some(Place::Local(Local { path: here, trailing_slash: true }));
    invocation.trust = target.trust.clone();
    if invocation.password_file.is_none() {
        invocation.password_file.clone_from(&target.password_file);
    }
    invocation.state_dir = state_dir;
    // What the copy does not keep must not come back as if it did.
    let (kept, options) = (&target.options, &mut invocation.options);
    options.perms &= kept.perms;
    options.times &= kept.times;
    options.owner &= kept.owner;
    options.group &= kept.group;
    Ok((invocation, origin))
}

/// The place in the module, and the directory here, between which a path of the source goes: for everything, from
/// content to content.
fn ends(origin: &Origin, sub: &RelPath) -> Option<(RelPath, PathBuf)> {
    let base = origin.base()?;
    let mut here = origin.source.clone();
    if let Some(above) = sub.parent().filter(|above| !above.is_root()) {
        here.push(std::ffi::OsString::from_vec(above.as_bytes().to_vec()));
    }
    Some((base.join(sub).ok()?, here))
}

/// A path of the source, absolute or relative to it.
fn beneath(source: &Path, path: &Path) -> Option<RelPath> {
    let below = if path.is_absolute() { path.strip_prefix(source).ok()? } else { path };
    let parts = below.components().filter(|part| *part != Component::CurDir).map(|part| match part {
        Component::Normal(name) => Some(name.as_bytes()),
        _ => None,
    });
    let bytes = parts.collect::<Option<Vec<_>>>()?.join(&b'/');
    if bytes.is_empty() { Some(RelPath::root()) } else { RelPath::parse(&bytes).ok() }
}

/// The watch that the job is, for one of its destinations, and the state folder it uses.
fn target(job: &Job, typed: &Invocation) -> Result<(Invocation, Option<PathBuf>), Failed> {
    let file = job.config.clone().unwrap_or_else(|| CONFIG.into());
    let mut known = Vec::new();
    let is_there = rustix::fs::access(&file, rustix::fs::Access::EXISTS).is_ok();
    let mut state_dir = typed.state_dir.clone();
    if is_there || job.config.is_some() {
        let config = Config::load(&file).map_err(|complaints| (complaints.to_string(), Exit::Usage))?;
        state_dir = state_dir.or(config.state_dir);
        known.extend(config.jobs.iter().map(|job| job.name.clone()));
        if let Some(found) = config.jobs.into_iter().find(|known| known.name == job.name) {
            let names: Vec<String> = found.targets.iter().map(|target| target.to.clone()).collect();
            let wanted = |to: &String| job.from.as_ref().is_none_or(|from| from == to);
            let target = found.targets.into_iter().find(|target| wanted(&target.to));
            let text = || format!("job {}: its destinations are {}", job.name, names.join(", "));
            return Ok((target.ok_or_else(|| (text(), Exit::Usage))?.invocation, state_dir));
        }
    }
    let state = StateDir::open(state_dir.as_deref()).map_err(|error| (error.to_string(), Exit::File))?;
    for status in control::ask_all(state.path(), "status").unwrap_or_default() {
        let text = |name: &str| status[name].as_str().map(str::to_owned).unwrap_or_default();
        let name = text("job");
        let destination = text("destination");
        // A destination is told with its port, and without a user.
        let meant = job.from.as_ref().is_none_or(|from| destination == *from);
        if name == job.name && meant {
            let watched = Watched { source: text("source"), destination };
            let told = control::ask_one(state.path(), &watched, "operands").unwrap_or_default();
            if let Some(invocation) = operands::read(&told) {
                return Ok((invocation, state_dir));
            }
        }
        if !name.is_empty() && !known.contains(&name) {
            known.push(name);
        }
    }
    known.sort();
    let known = if known.is_empty() { "none".to_owned() } else { known.join(", ") };
    let at = if is_there { String::new() } else { format!(" ({} is not there)", shown(&file)) };
    Err((format!("no job {}; known are: {known}{at}", job.name), Exit::Usage))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn path(text: &str) -> RelPath {
        if text.is_empty() { RelPath::root() } else { RelPath::parse(text.as_bytes()).expect("path") }
    }

    #[test]
    fn a_path_of_the_source_goes_back_to_where_it_was() {
        let source = Path::new("/srv/code");
        assert_eq!(beneath(source, Path::new("/srv/code/a/b/")), Some(path("a/b")));
        assert_eq!(beneath(source, Path::new("./a//b")), Some(path("a/b")));
        assert_eq!(beneath(source, Path::new("a//b")), Some(path("a/b")));
        assert_eq!(beneath(source, Path::new("/srv/other")), None);
        assert_eq!(beneath(source, Path::new("../x")), None);
        assert_eq!(beneath(source, source), Some(RelPath::root()));
        let slash = Origin { source: source.into(), slash: true, path: path("keep") };
        assert_eq!(ends(&slash, &path("")), Some((path("keep"), source.into())));
        assert_eq!(ends(&slash, &path("a/b/c")), Some((path("keep/a/b/c"), "/srv/code/a/b".into())));
        let named = Origin { slash: false, ..slash };
        assert_eq!(ends(&named, &path("a")), Some((path("keep/code/a"), source.into())));
    }
}
