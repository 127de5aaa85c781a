//! The rules in force in one directory: which of its entries are stored.
//!
//! There are two classes of ignore files. `.gitignore`, with the built-in list below it, means exactly what git means
//! by it; in particular nothing comes back out of an ignored directory. stopover's own (`.stopoverignore`,
//! `.s3ignore`, `.syncignore`, and `STOPOVER_IGNORE` as if at the end of the top `.stopoverignore`) speak the same
//! language and win over it whatever the level, and a `!` of theirs also reaches into an ignored directory, *if it
//! names that directory*: `!node_modules/keep` does, `!*.log` does not, or it would bring back the logs of all
//! dependencies. A rule on a path itself counts more than one on a directory above it.
//!
//! Below a stored `.git` neither `.gitignore` nor the built-in list holds (a branch may be called `build/x`), and our
//! own patterns only if they name it.

use std::sync::Arc;

use super::{
    RuleOptions,
    builtin::{self, BUILT_IN, GIT, GIT_LIST, LIST, ONLY_BESIDE_A_MANIFEST},
    list::{Hit, PatternList},
    pattern::Pattern,
};
use crate::rows::{Hash, Hasher};

/// stopover's own ignore files, the strongest first, and git's.
pub(in crate::worktree) const IGNORE_FILES: [&[u8]; 4] =
    [b".stopoverignore", b".s3ignore", b".syncignore", b".gitignore"];
const GIT_IGNORE: usize = 3;

/// What one directory has to say: the content of its ignore files, in that order, and whether a manifest is there.
#[derive(Debug, Default)]
pub(in crate::worktree) struct Inputs {
    pub(in crate::worktree) files: [Option<Vec<u8>>; 4],
    pub(in crate::worktree) vendor: bool,
}

impl Inputs {
    fn say_nothing(&self) -> bool {
        !self.vendor && self.files.iter().all(Option::is_none)
    }
}

/// Whether `name` is one of the manifests beside which `vendor/` is ignored.
pub(in crate::worktree) fn is_vendor_manifest(name: &[u8]) -> bool {
    builtin::VENDOR_MANIFESTS.contains(&name)
}

/// The rules in force in one directory.
#[derive(Debug, Clone)]
pub(in crate::worktree) struct Scope {
    own: Option<Arc<Level>>,
    git: Option<Arc<Level>>,
    state: State,
    vendor: bool,
    store_git: bool,
    digest: [u8; 16],
}

/// The ignore files of one directory, of one class, strongest first; then those above.
#[derive(Debug)]
struct Level {
    lists: Vec<Arc<PatternList>>,
    up: Option<Arc<Level>>,
}

/// What the directory itself is.
#[derive(Debug, Clone)]
enum State {
    Stored,
    /// At or below a stored `.git`, whose path has so many bytes.
    InGit(usize),
    /// At or below an ignored directory, whose path has so many bytes.
    Ignored(Hit, usize),
}

/// What becomes of one entry.
#[derive(Debug, Clone)]
pub(in crate::worktree) enum Decision {
    /// Stored; by a rule that brought it back, or because none speaks against it.
    Stored(Option<Hit>),
    /// Not stored. `leads`: a directory below which something may be brought back.
    Ignored {
        by: Hit,
        leads: bool,
        /// The rule is on this entry itself, not on a directory above.
        itself: bool,
    },
}

impl Scope {
    /// The scope above the top directory; [`Scope::enter`] the top first.
    pub(in crate::worktree) fn outside(options: &RuleOptions) -> Self {
        let extra = options.extra.join("\n");
        let own = (!extra.is_empty()).then(|| {
            let list = Arc::new(PatternList::parse("STOPOVER_IGNORE", 0, extra.as_bytes()));
            Arc::new(Level { lists: vec![list], up: None })
        });
        let mut hasher = Hasher::new();
        for part in ["rules 1", BUILT_IN, &extra, if options.git { "git" } else { "" }] {
            hasher.update(&(part.len() as u64).to_le_bytes());
            hasher.update(part.as_bytes());
        }
        Self {
            own,
            git: None,
            state: State::Stored,
            vendor: false,
            store_git: options.git,
            digest: short(hasher.finish()),
        }
    }

    /// The scope of the top directory.
    pub(in crate::worktree) fn enter_top(&self, inputs: &Inputs) -> (Self, Vec<String>) {
        let mut scope = self.clone();
        let complaints = scope.take(b"", inputs);
        // STOPOVER_IGNORE stands at the end of the top's own files: it is asked before them.
        if let (Some(extra), Some(top)) = (&self.own, &scope.own)
            && !Arc::ptr_eq(extra, top)
        {
            let lists = extra.lists.iter().chain(&top.lists).cloned().collect();
            scope.own = Some(Arc::new(Level { lists, up: None }));
        }
        (scope, complaints)
    }

    /// The scope of the directory `path` in this one, of which this one decided `decision`; and what is wrong with
    /// its ignore files. The ignore files of an ignored directory do not count.
    pub(in crate::worktree) fn enter(&self, path: &[u8], decision: &Decision, inputs: &Inputs) -> (Self, Vec<String>) {
        let mut scope = self.clone();
        scope.vendor = false;
        match decision {
            Decision::Ignored { by, itself, .. } => {
                let root = match &self.state {
                    State::Ignored(_, root) if !itself => *root,
                    _ => path.len(),
                };
                scope.state = State::Ignored(by.clone(), root);
                (scope, Vec::new())
            }
            Decision::Stored(_) => {
                let is_git = path.rsplit(|&byte| byte == b'/').next() == Some(GIT);
                scope.state = match self.state {
                    State::InGit(root) => State::InGit(root),
                    _ if is_git => State::InGit(path.len()),
                    _ => State::Stored,
                };
                let complaints =
                    if matches!(scope.state, State::Stored) { scope.take(path, inputs) } else { Vec::new() };
                (scope, complaints)
            }
        }
    }

    /// Whether the ignore files of the directory `path`, so decided, are to be read at all.
    pub(in crate::worktree) fn reads_ignore_files(&self, decision: &Decision) -> bool {
        matches!(decision, Decision::Stored(_)) && !matches!(self.state, State::InGit(_))
    }

    fn take(&mut self, path: &[u8], inputs: &Inputs) -> Vec<String> {
        if inputs.say_nothing() {
            return Vec::new();
        }
        let mut hasher = Hasher::new();
        hasher.update(&self.digest);
        hasher.update(path);
        hasher.update(&[0, u8::from(inputs.vendor)]);
        let mut complaints = Vec::new();
        let mut own = Vec::new();
        for (kind, content) in inputs.files.iter().enumerate() {
            let Some(content) = content else { continue };
            hasher.update(&[kind as u8]);
            hasher.update(&(content.len() as u64).to_le_bytes());
            hasher.update(content);
            let mut source = path.to_vec();
            if !source.is_empty() {
                source.push(b'/');
            }
            let base = source.len();
            source.extend_from_slice(IGNORE_FILES[kind]);
            let list = Arc::new(PatternList::parse(&String::from_utf8_lossy(&source), base, content));
            complaints.append(&mut list.complaints(content));
            if kind == GIT_IGNORE {
                self.git = Some(Arc::new(Level { lists: vec![list], up: self.git.take() }));
            } else {
                own.push(list);
            }
        }
        if !own.is_empty() {
            self.own = Some(Arc::new(Level { lists: own, up: self.own.take() }));
        }
        self.vendor = inputs.vendor;
        self.digest = short(hasher.finish());
        complaints
    }

    /// Names all the rules that hold for the files of this directory, unless it is an ignored one.
    pub(in crate::worktree) fn digest(&self) -> Option<[u8; 16]> {
        matches!(self.state, State::Stored).then_some(self.digest)
    }

    /// What becomes of `path`, an entry of this directory.
    pub(in crate::worktree) fn decide(&self, path: &[u8], is_dir: bool) -> Decision {
        let name = path.rsplit(|&byte| byte == b'/').next().unwrap_or(path);
        let ignored = |by: Hit| Decision::Ignored { leads: is_dir && self.leads(path, path), by, itself: true };
        if let Some(hit) = self.own_match(path, name, is_dir) {
            return if hit.brings_back() { Decision::Stored(Some(hit)) } else { ignored(hit) };
        }
        match &self.state {
            State::Ignored(by, root) => {
                let leads = is_dir && self.leads(path, &path[..*root]);
                Decision::Ignored { by: by.clone(), leads, itself: false }
            }
            State::InGit(_) => Decision::Stored(None),
            State::Stored if name == GIT => {
                if self.store_git {
                    Decision::Stored(None)
                } else {
                    ignored(Hit::first(&GIT_LIST))
                }
            }
            State::Stored => match self.git_match(path, name, is_dir) {
                Some(hit) if !hit.brings_back() => ignored(hit),
                hit => Decision::Stored(hit),
            },
        }
    }

    fn own_match(&self, path: &[u8], name: &[u8], is_dir: bool) -> Option<Hit> {
        let counts = |list: &PatternList, pattern: &Pattern| match &self.state {
            State::Stored => true,
            State::InGit(root) => names(list, pattern, &path[..*root]),
            State::Ignored(_, root) => !pattern.negated || names(list, pattern, &path[..*root]),
        };
        levels(self.own.as_ref())
            .flat_map(|level| &level.lists)
            .find_map(|list| list.last_match(path, name, is_dir, counts))
    }

    fn git_match(&self, path: &[u8], name: &[u8], is_dir: bool) -> Option<Hit> {
        let found = levels(self.git.as_ref())
            .flat_map(|level| &level.lists)
            .find_map(|list| list.last_match(path, name, is_dir, |_, _| true));
        let counts = |_: &PatternList, pattern: &Pattern| self.vendor || &*pattern.text != ONLY_BESIDE_A_MANIFEST;
        found.or_else(|| LIST.last_match(path, name, is_dir, counts))
    }

    /// Whether a `!` of our own leads below `path` and names the ignored directory `root`.
    fn leads(&self, path: &[u8], root: &[u8]) -> bool {
        levels(self.own.as_ref()).flat_map(|level| &level.lists).any(|list| {
            list.patterns.iter().any(|pattern| {
                pattern.negated
                    && names(list, pattern, root)
                    && list.below(path).is_some_and(|below| pattern.leads_below(below))
            })
        })
    }
}

fn names(list: &PatternList, pattern: &Pattern, dir: &[u8]) -> bool {
    list.below(dir).is_some_and(|below| pattern.names(below))
}

fn levels(first: Option<&Arc<Level>>) -> impl Iterator<Item = &Level> {
    std::iter::successors(first.map(AsRef::as_ref), |level| level.up.as_deref())
}

fn short(hash: Hash) -> [u8; 16] {
    let mut digest = [0; 16];
    digest.copy_from_slice(&hash.as_bytes()[..16]);
    digest
}
