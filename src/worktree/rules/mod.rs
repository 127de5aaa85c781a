//! What is not stored, and which rule says so.
//!
//! One matcher for the disk and for listings: a [`Scope`](scope::Scope) is made from the one above it, so that a scan
//! asks each directory once. `scope.rs` tells the precedence, `builtin.rs` has the built-in list.

mod builtin;
mod list;
mod pattern;
mod read;
mod scope;

use std::{
    collections::HashMap,
    sync::{Mutex, PoisonError},
};

pub use builtin::BUILT_IN;
pub(super) use list::Hit;
pub(super) use read::{InputNames, read_inputs};
pub(super) use scope::{Decision, Inputs, Scope};

use super::{Directory, Presence};
use crate::rows::{Kind, RelPath};

/// What decides beside the ignore files.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct RuleOptions {
    /// Store `.git` (`--git include`).
    pub git: bool,
    /// More patterns (`STOPOVER_IGNORE`), one each, as at the end of the top `.stopoverignore`.
    pub extra: Vec<String>,
}

/// Whether a path is stored, and by which rule not (or nevertheless).
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Verdict {
    /// Stored or not.
    pub stored: bool,
    /// The pattern as written; none where no rule matches.
    pub rule: Option<String>,
    /// The file it stands in, `built-in` or `STOPOVER_IGNORE`.
    pub source: Option<String>,
    /// Its line there.
    pub line: Option<u64>,
}

impl From<&Decision> for Verdict {
    fn from(decision: &Decision) -> Self {
        match decision {
            Decision::Stored(None) => Self { stored: true, rule: None, source: None, line: None },
            Decision::Stored(Some(hit)) => hit.verdict(),
            Decision::Ignored { by, .. } => by.verdict(),
        }
    }
}

/// Whether [`Rules::from_files`] wants to be given this path: `Some(true)` an ignore file, with its content;
/// `Some(false)` a manifest whose presence makes `vendor/` a directory of dependencies (any content).
#[must_use]
pub fn is_rule_input(path: &RelPath) -> Option<bool> {
    if scope::IGNORE_FILES.contains(&path.name()) {
        Some(true)
    } else {
        scope::is_vendor_manifest(path.name()).then_some(false)
    }
}

/// Rules over a list of paths that need not be on the disk.
#[derive(Debug)]
pub struct Rules {
    inputs: HashMap<Box<[u8]>, Inputs>,
    top: Scope,
    /// What was found for each directory so far: listings ask about one after the other.
    seen: Mutex<HashMap<Box<[u8]>, Scope>>,
}

impl Rules {
    /// Reads the rules of a listing: give each path for which [`is_rule_input`] says something.
    pub fn from_files(files: impl IntoIterator<Item = (RelPath, Vec<u8>)>, options: &RuleOptions) -> Self {
        let mut inputs: HashMap<Box<[u8]>, Inputs> = HashMap::new();
        for (path, content) in files {
            let directory = path.parent().map_or(Box::default(), |parent| parent.as_bytes().into());
            let inputs = inputs.entry(directory).or_default();
            if let Some(kind) = scope::IGNORE_FILES.iter().position(|name| *name == path.name()) {
                inputs.files[kind] = Some(content);
            }
            inputs.vendor |= scope::is_vendor_manifest(path.name());
        }
        let nothing = Inputs::default();
        let (top, _) = Scope::outside(options).enter_top(inputs.get(&b""[..]).unwrap_or(&nothing));
        Self { inputs, top, seen: Mutex::default() }
    }

    /// Whether `path` is stored.
    #[must_use]
    pub fn verdict(&self, path: &RelPath, kind: Kind) -> Verdict {
        let nothing = Inputs::default();
        let mut seen = self.seen.lock().unwrap_or_else(PoisonError::into_inner);
        let ancestors: Vec<RelPath> = path.ancestors().collect();
        // The nearest directory that was asked about before; from there on down.
        let known = ancestors.iter().position(|above| seen.contains_key(above.as_bytes()));
        let mut scope = known.and_then(|at| seen.get(ancestors[at].as_bytes())).unwrap_or(&self.top).clone();
        for above in ancestors[..known.unwrap_or(ancestors.len())].iter().rev() {
            let above = above.as_bytes();
            let decision = scope.decide(above, true);
            scope = scope.enter(above, &decision, self.inputs.get(above).unwrap_or(&nothing)).0;
            seen.insert(above.into(), scope.clone());
        }
        Verdict::from(&scope.decide(path.as_bytes(), kind == Kind::Dir))
    }
}

/// Whether `path` is stored, by the ignore files on the disk. A path that is not there is taken for a file.
#[must_use]
pub fn explain(dir: &Directory, path: &RelPath, options: &RuleOptions) -> Verdict {
    let is_dir = matches!(dir.look(path), Presence::There(stat) if stat.kind == Some(Kind::Dir));
    let mut scope = Scope::outside(options).enter_top(&read::inputs_of(dir, None)).0;
    let mut ancestors: Vec<RelPath> = path.ancestors().collect();
    ancestors.reverse();
    for above in &ancestors {
        let decision = scope.decide(above.as_bytes(), true);
        let inputs =
            if scope.reads_ignore_files(&decision) { read::inputs_of(dir, Some(above)) } else { Inputs::default() };
        scope = scope.enter(above.as_bytes(), &decision, &inputs).0;
    }
    Verdict::from(&scope.decide(path.as_bytes(), is_dir))
}
