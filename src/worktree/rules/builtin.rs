//! The built-in list: what is not stored unless an ignore file says otherwise. This is the one place it is written.
//!
//! It has the lowest precedence, like git's `core.excludesFile`: a `!node_modules/` in any ignore file undoes its line.
//! Two things are apart from it: `.stopover`, which is never stored at any level and cannot be brought back, and
//! `.git`, which the `--git` switch decides and only a `.stopoverignore` can bring back.

use std::sync::{Arc, LazyLock};

use super::list::PatternList;

/// Directories of dependencies and build output that can be made again, logs, secrets of one machine, and what
/// desktops and editors leave. `.env.example` is source.
pub const BUILT_IN: &str = "\
node_modules/
__pycache__/
.venv/
vendor/
dist/
build/
*.log
.env
.env.local
.env.*.local
.DS_Store
.vscode/
.idea/
/lost+found/
";

/// The line of the list that holds only beside a `composer.json` or `Gemfile`: elsewhere `vendor` is source.
pub(super) const ONLY_BESIDE_A_MANIFEST: &str = "vendor/";

/// The manifests beside which `vendor/` holds dependencies.
pub(super) const VENDOR_MANIFESTS: [&[u8]; 2] = [b"composer.json", b"Gemfile"];

/// The name that the `--git` switch decides about.
pub(super) const GIT: &[u8] = b".git";

/// The list, read.
pub(super) static LIST: LazyLock<Arc<PatternList>> =
    LazyLock::new(|| Arc::new(PatternList::parse("built-in", 0, BUILT_IN.as_bytes())));

/// The one rule of the `--git` switch, for messages.
pub(super) static GIT_LIST: LazyLock<Arc<PatternList>> =
    LazyLock::new(|| Arc::new(PatternList::parse("built-in", 0, b".git")));
