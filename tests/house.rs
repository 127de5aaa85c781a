//! The house stands as DESIGN section 7 draws it: who may know whom, what only one room may name, how long a file is.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "tests fail by panicking")]

use std::{
    collections::BTreeSet,
    fs,
    path::{Path, PathBuf},
};

/// Which rooms a room may name. A room is reached from above only; the floor has nobody below it.
const MAY_KNOW: &[(&str, &[&str])] = &[
    ("sys", &[]),
    ("config", &[]),
    ("report", &[]),
    ("rows", &[]),
    ("plan", &["rows"]),
    ("snapshot", &["rows"]),
    ("worktree", &["rows", "sys"]),
    ("state", &["rows", "report", "sys"]),
    ("store", &["rows", "config"]),
    ("install", &["config", "report", "sys"]),
    ("sync", &["config", "report", "rows", "plan", "snapshot", "worktree", "state", "store", "sys"]),
    ("supervise", &["sys", "config", "report"]),
    (
        "cli",
        &[
            "sys",
            "config",
            "report",
            "rows",
            "plan",
            "snapshot",
            "worktree",
            "state",
            "store",
            "install",
            "sync",
            "supervise",
        ],
    ),
];

/// Crates that only these rooms may name.
const ONLY_IN: &[(&str, &[&str])] = &[
    ("aws_sdk_s3", &["store"]),
    ("aws_config", &["store"]),
    ("aws_credential_types", &["store"]),
    ("aws_smithy_http_client", &["store"]),
    ("aws_smithy_runtime_api", &["store"]),
    ("aws_smithy_types", &["store"]),
    ("aws_types", &["store"]),
    ("tokio", &["store", "sync", "cli"]),
    ("clap", &["config", "cli"]),
    ("clap_complete", &["cli"]),
    ("clap_mangen", &["cli"]),
    ("envy", &["config"]),
    ("indicatif", &["cli"]),
    ("tracing_subscriber", &["cli"]),
    ("ignore", &["worktree"]),
];

const LONGEST_FILE: usize = 600;

struct Source {
    room: String,
    path: PathBuf,
    /// Without comments, strings and tests.
    code: String,
    lines: usize,
}

/// Every file of `src/`, tests left out: those may look over the fence.
fn sources() -> Vec<Source> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
    let mut found = Vec::new();
    let mut waiting = vec![root.clone()];
    let mut tests = BTreeSet::new();
    while let Some(directory) = waiting.pop() {
        for entry in fs::read_dir(&directory).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                waiting.push(path);
            } else if path.extension().is_some_and(|extension| extension == "rs") {
                let text = fs::read_to_string(&path).unwrap();
                let bare = bare(&text);
                for module in test_modules(&bare) {
                    let beside = if path.file_name().is_some_and(|name| name == "mod.rs" || name == "lib.rs") {
                        directory.clone()
                    } else {
                        path.with_extension("")
                    };
                    tests.insert(beside.join(format!("{module}.rs")));
                    tests.insert(beside.join(module).join("mod.rs"));
                }
                let room = path.strip_prefix(&root).unwrap().iter().next().unwrap().to_string_lossy().into_owned();
                let lines = text.lines().count();
                found.push(Source { room, path, code: without_tests(&bare).to_owned(), lines });
            }
        }
    }
    found.retain(|source| !tests.contains(&source.path) && !source.path.to_string_lossy().ends_with("tests.rs"));
    assert!(found.len() > 50, "only {} files were found", found.len());
    found
}

/// Rust without comments, and with empty strings.
fn bare(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    let mut rest = text;
    while let Some(first) = rest.chars().next() {
        let raw = rest.strip_prefix('r').map(|tail| tail.len() - tail.trim_start_matches('#').len());
        let in_word = out.chars().last().is_some_and(|last| last.is_alphanumeric() || last == '_');
        if rest.starts_with("//") {
            rest = &rest[rest.find('\n').unwrap_or(rest.len())..];
        } else if let Some(hashes) = raw.filter(|hashes| !in_word && rest[1 + hashes..].starts_with('"')) {
            let end = format!("\"{}", "#".repeat(hashes));
            let body = &rest[2 + hashes..];
            rest = &body[body.find(&end).map_or(body.len(), |at| at + end.len())..];
            out.push_str("\"\"");
        } else if first == '"' {
            let mut escaped = false;
            let end = rest[1..].find(|character| {
                let ends = character == '"' && !escaped;
                escaped = character == '\\' && !escaped;
                ends
            });
            rest = &rest[end.map_or(rest.len(), |at| at + 2)..];
            out.push_str("\"\"");
        } else if ["'\"'", "'\\\"'", "b'\"'"].iter().any(|quote| rest.starts_with(quote)) {
            rest = &rest[rest[2..].find('\'').map_or(rest.len(), |at| at + 3)..];
        } else {
            out.push(first);
            rest = &rest[first.len_utf8()..];
        }
    }
    out
}

/// What stands before the tests at the end of a file.
fn without_tests(code: &str) -> &str {
    let at = code.match_indices("#[cfg(test)]").map(|(at, _)| at).find(|at| {
        let next = code[at + "#[cfg(test)]".len()..].trim_start();
        next.starts_with("mod ") && next.find(['{', ';']).is_some_and(|at| next[at..].starts_with('{'))
    });
    &code[..at.unwrap_or(code.len())]
}

/// Modules in files of their own that are compiled for tests alone.
fn test_modules(code: &str) -> Vec<String> {
    let after = code.split("#[cfg(test)]").skip(1).map(str::trim_start);
    after
        .filter_map(|next| {
            let next = next.strip_prefix("pub(super) ").or_else(|| next.strip_prefix("pub(crate) ")).unwrap_or(next);
            let name = next.strip_prefix("mod ")?.split_once(';')?.0;
            name.chars().all(|character| character.is_alphanumeric() || character == '_').then(|| name.to_owned())
        })
        .collect()
}

fn is_word(character: char) -> bool {
    character.is_alphanumeric() || character == '_'
}

/// The rooms behind each `crate::`, in groups too.
fn named_rooms(code: &str) -> BTreeSet<String> {
    let mut rooms = BTreeSet::new();
    for (at, _) in code.match_indices("crate::") {
        if code[..at].ends_with(is_word) {
            continue;
        }
        let rest = &code[at + "crate::".len()..];
        let Some(group) = rest.strip_prefix('{') else {
            rooms.insert(rest.chars().take_while(|character| is_word(*character)).collect());
            continue;
        };
        let (mut depth, mut word, mut taking) = (1, String::new(), true);
        for character in group.chars() {
            match character {
                '{' => depth += 1,
                '}' => depth -= 1,
                _ => {}
            }
            if depth == 0 || (depth == 1 && character == ',') {
                if !word.is_empty() {
                    rooms.insert(std::mem::take(&mut word));
                }
                taking = true;
                if depth == 0 {
                    break;
                }
            } else if depth == 1 && taking && is_word(character) {
                word.push(character);
            } else if !character.is_whitespace() {
                taking = false;
            }
        }
    }
    rooms
}

fn names(code: &str, word: &str) -> bool {
    code.match_indices(word)
        .any(|(at, _)| !code[..at].ends_with(is_word) && !code[at + word.len()..].starts_with(is_word))
}

#[test]
fn every_room_knows_only_rooms_below_it() {
    let mut wrong = Vec::new();
    for source in sources().iter().filter(|source| !source.room.ends_with(".rs")) {
        let allowed = MAY_KNOW.iter().find(|(room, _)| *room == source.room);
        let (_, allowed) = allowed.unwrap_or_else(|| panic!("{} is no room of the house", source.room));
        for room in named_rooms(&source.code) {
            if room != source.room && !allowed.contains(&room.as_str()) {
                wrong.push(format!("{} names {room}", source.path.display()));
            }
        }
    }
    assert!(wrong.is_empty(), "{wrong:#?}");
}

#[test]
fn what_belongs_to_one_room_is_named_nowhere_else() {
    let mut wrong = Vec::new();
    for source in sources() {
        for (name, rooms) in ONLY_IN {
            if !rooms.contains(&source.room.as_str()) && names(&source.code, &format!("{name}::")) {
                wrong.push(format!("{} names {name}", source.path.display()));
            }
        }
    }
    assert!(wrong.is_empty(), "{wrong:#?}");
}

#[test]
fn unsafe_code_is_in_sys_alone() {
    let wrong: Vec<_> = sources()
        .iter()
        .filter(|source| source.room != "sys" && names(&source.code, "unsafe"))
        .map(|source| source.path.display().to_string())
        .collect();
    assert!(wrong.is_empty(), "{wrong:#?}");
}

#[test]
fn no_file_is_too_long_to_read() {
    let wrong: Vec<_> = sources()
        .iter()
        .filter(|source| source.lines > LONGEST_FILE)
        .map(|source| format!("{}: {} lines", source.path.display(), source.lines))
        .collect();
    assert!(wrong.is_empty(), "{wrong:#?}");
}

#[test]
fn every_file_says_what_it_is_for() {
    let wrong: Vec<_> = sources()
        .iter()
        .filter(|source| !fs::read_to_string(&source.path).unwrap().starts_with("//!"))
        .map(|source| source.path.display().to_string())
        .collect();
    assert!(wrong.is_empty(), "{wrong:#?}");
}

#[test]
fn no_module_is_called_after_nothing() {
    let nothing = ["utils", "util", "common", "helpers", "helper", "misc"];
    let wrong: Vec<_> = sources()
        .iter()
        .filter(|source| source.path.with_extension("").iter().any(|part| nothing.iter().any(|name| part == *name)))
        .map(|source| source.path.display().to_string())
        .collect();
    assert!(wrong.is_empty(), "{wrong:#?}");
}

#[test]
fn the_reader_of_use_lines_sees_through_groups_and_comments() {
    let code = bare(
        r##"
        //! crate::sync is not named here
        use crate::{config::{Config, Need}, report, rows::RelPath as Path};
        use std::{crate_like::x}; let mycrate::y = 1; // crate::store
        let a = "crate::state"; let b = r#"crate::plan"#; let c = '"'; crate::sys::entry();
        #[cfg(test)]
        mod tests { use crate::cli; }
        "##,
    );
    let rooms: Vec<_> = named_rooms(without_tests(&code)).into_iter().collect();
    assert_eq!(rooms, ["config", "report", "rows", "sys"]);
}
