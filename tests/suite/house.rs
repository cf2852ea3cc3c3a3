//! The house stands: imports run one way, files stay small, and nothing is left for later.

use std::fs;
use std::path::{Path, PathBuf};

use driftless_tests::world::workspace;

/// Longest file, tests and generated code aside.
const LINES_MAX: usize = 500;

/// Every Rust source beneath a folder of the workspace, with its text; generated code left out.
fn sources(under: &str) -> Vec<(PathBuf, String)> {
    let root = workspace().join(under);
    let mut found = Vec::new();
    let mut open = vec![root.clone()];
    while let Some(dir) = open.pop() {
        for entry in fs::read_dir(&dir).unwrap_or_else(|error| panic!("{}: {error}", dir.display())).flatten()
        {
            let path = entry.path();
            if path.is_dir() && !path.ends_with("gen") {
                open.push(path);
            } else if path.extension().is_some_and(|kind| kind == "rs") {
                let text = fs::read_to_string(&path).expect("UTF-8");
                found.push((path.strip_prefix(workspace()).expect("beneath").to_owned(), text));
            }
        }
    }
    assert!(!found.is_empty(), "no sources beneath {}", root.display());
    found
}

/// The lines that are code: no comments, and nothing of a test module at the end of the file.
fn code(text: &str) -> impl Iterator<Item = &str> {
    let end = text.find("#[cfg(test)]\nmod ").unwrap_or(text.len());
    text[..end].lines().filter(|line| !line.trim_start().starts_with("//"))
}

/// The first path segments after `prefix` in a line: `crate::model::x` gives `model`.
fn segments<'a>(line: &'a str, prefix: &'a str) -> impl Iterator<Item = &'a str> {
    line.match_indices(prefix).map(move |(at, _)| {
        let rest = &line[at + prefix.len()..];
        rest.split(|c: char| !c.is_alphanumeric() && c != '_').next().unwrap_or_default()
    })
}

#[test]
fn the_rooms_of_proto_import_one_way() {
    let rank = |room: &str| match room {
        "limits" => 0,
        // Generated code, where it has a room of its own; `r` is the start of `r#gen`.
        "gen" | "r" => 1,
        "model" => 1,
        "wire" | "disk" => 2,
        "transfer" => 3,
        _ => panic!("a room without a rank: {room:?}"),
    };
    let mut wrong = Vec::new();
    for (path, text) in sources("proto/src") {
        let room = path.iter().nth(2).expect("beneath src").to_string_lossy();
        let room = room.trim_end_matches(".rs");
        if room == "lib" {
            continue;
        }
        for line in code(&text) {
            for other in segments(line, "crate::") {
                if other != room && rank(other) >= rank(room) {
                    wrong.push(format!("{}: {}", path.display(), line.trim()));
                }
            }
        }
    }
    assert!(wrong.is_empty(), "against the direction:\n{}", wrong.join("\n"));
}

#[test]
fn the_two_programs_do_not_know_each_other() {
    for (one, other) in [("agent", "driftless_server"), ("server", "driftless_agent")] {
        for (path, text) in sources(&format!("{one}/src")) {
            assert!(!text.contains(other), "{} names {other}", path.display());
        }
        let manifest = fs::read_to_string(workspace().join(one).join("Cargo.toml")).expect("a manifest");
        assert!(!manifest.contains(&other.replace('_', "-")), "{one}/Cargo.toml names {other}");
    }
}

#[test]
fn generated_types_stay_in_the_wire() {
    let mut wrong = Vec::new();
    for room in ["proto/src", "agent/src", "server/src"] {
        for (path, text) in sources(room) {
            let home = path.starts_with("proto/src/wire") || path == Path::new("proto/src/lib.rs");
            let names =
                code(&text).any(|line| line.contains("crate::r#gen::") || line.contains("crate::gen::"));
            if names && !home {
                wrong.push(path);
            }
        }
    }
    assert!(wrong.is_empty(), "{wrong:?}");
}

#[test]
fn files_stay_small() {
    let mut long = Vec::new();
    for room in ["proto/src", "agent/src", "server/src", "tests/src", "tests/benches"] {
        for (path, text) in sources(room) {
            let end = text.find("#[cfg(test)]\nmod ").unwrap_or(text.len());
            let lines = text[..end].lines().count();
            if lines > LINES_MAX && !path.ends_with("tests.rs") {
                long.push(format!("{}: {lines} lines", path.display()));
            }
        }
    }
    assert!(long.is_empty(), "{}", long.join("\n"));
}

#[test]
fn every_file_says_what_it_is() {
    for room in ["proto/src", "agent/src", "server/src", "tests/src", "tests/suite", "tests/benches"] {
        for (path, text) in sources(room) {
            assert!(text.starts_with("//! "), "{} does not begin with //!", path.display());
        }
    }
}

#[test]
fn nothing_is_left_for_later() {
    // Spelt so that this file does not find itself.
    let words =
        [concat!("to", "do!("), concat!("unimpl", "emented!("), concat!("TO", "DO"), concat!("FIX", "ME")];
    for room in ["proto/src", "agent/src", "server/src", "tests/src", "tests/suite", "tests/benches"] {
        for (path, text) in sources(room) {
            for word in words {
                assert!(!text.contains(word), "{} says {word}", path.display());
            }
        }
    }
}
