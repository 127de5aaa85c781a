//! Files that package managers read: a restore fetches them first, so that dependencies can be looked at while the rest
//! is on its way. It must not know what is done with them.

use crate::rows::RelPath;

/// Manifests, lockfiles and settings by name, at whatever level: members of a workspace have theirs, too.
const NAMES: &[&str] = &[
    ".npmrc",
    ".yarnrc.yml",
    "Cargo.lock",
    "Cargo.toml",
    "Gemfile",
    "Gemfile.lock",
    "Pipfile",
    "Pipfile.lock",
    "bun.lock",
    "bun.lockb",
    "bunfig.toml",
    "composer.json",
    "composer.lock",
    "constraints.txt",
    "deno.json",
    "deno.jsonc",
    "deno.lock",
    "go.mod",
    "go.sum",
    "go.work",
    "go.work.sum",
    "mix.exs",
    "mix.lock",
    "npm-shrinkwrap.json",
    "package-lock.json",
    "package.json",
    "package.json5",
    "packages.lock.json",
    "pdm.lock",
    "pnpm-lock.yaml",
    "pnpm-workspace.yaml",
    "poetry.lock",
    "pyproject.toml",
    "requirements.txt",
    "setup.cfg",
    "setup.py",
    "uv.lock",
    "yarn.lock",
];

/// Whether a package manager reads what has this name.
#[must_use]
pub(super) fn is_manifest(path: &RelPath) -> bool {
    std::str::from_utf8(path.name()).is_ok_and(|name| NAMES.binary_search(&name).is_ok())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_manifest_is_known_by_its_name_at_every_level() {
        assert!(NAMES.is_sorted());
        for name in NAMES {
            assert!(is_manifest(&RelPath::new(*name).unwrap()), "{name}");
        }
        assert!(is_manifest(&RelPath::new("packages/a/package.json").unwrap()));
        for other in ["package.json/x", "my-package.json", "cargo.toml", "go.mod2", "caf\u{e9}"] {
            assert!(!is_manifest(&RelPath::new(other).unwrap()), "{other}");
        }
    }
}
