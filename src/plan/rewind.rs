//! What a directory should be when some of it goes back to an older snapshot.

use super::copies::below;
use crate::rows::{Kind, RelPath, Row, Rows};

/// The rows of a directory that has `local` rows, once what is chosen of it is as `old` has it. Nothing chosen means
/// all of it. A path stands for all that lies below it, too; what `old` does not have there is not wanted any more.
#[must_use]
pub fn rewound(old: &Rows, local: &Rows, chosen: &[RelPath]) -> Rows {
    let is_chosen = |path: &RelPath| chosen.is_empty() || chosen.iter().any(|one| path == one || path.is_below(one));
    let copied = |(path, row): (&RelPath, &Row)| (path.clone(), row.clone());
    let mut wanted: Rows = local.iter().filter(|(path, _)| !is_chosen(path)).map(copied).collect();
    for (path, row) in old.iter().filter(|(path, _)| is_chosen(path)) {
        for up in path.ancestors().filter(|up| !is_chosen(up)) {
            if wanted.get(&up).is_none_or(|there| there.kind != Kind::Dir) {
                let row = old.get(&up).filter(|row| row.kind == Kind::Dir);
                wanted.insert(up, row.cloned().unwrap_or_else(|| Row::dir(0o755)));
            }
        }
        wanted.insert(path.clone(), row.clone());
    }
    wanted
}

/// Of the chosen paths those that neither table has anything at.
#[must_use]
pub fn nowhere<'a>(old: &Rows, local: &Rows, chosen: &'a [RelPath]) -> Vec<&'a RelPath> {
    let has = |rows: &Rows, path: &RelPath| rows.contains_key(path) || below(rows, path).next().is_some();
    chosen.iter().filter(|path| !has(old, path) && !has(local, path)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::plan::tables::{dir, file, table};

    fn path(text: &str) -> RelPath {
        RelPath::new(text).unwrap()
    }

    #[test]
    fn all_of_it_is_the_old_table() {
        let (old, local) = (table(&[("a", file("1"))]), table(&[("a", file("2")), ("b", file("3"))]));
        assert_eq!(rewound(&old, &local, &[]), old);
    }

    #[test]
    fn what_is_not_chosen_stays_and_what_is_has_its_parents() {
        let old = table(&[("d", dir()), ("d/x", file("1")), ("e", dir()), ("e/y", file("1")), ("same", file("1"))]);
        let local = table(&[("d", file("not a directory")), ("new", dir()), ("new/z", file("2")), ("same", file("2"))]);
        let wanted = rewound(&old, &local, &[path("d/x"), path("new/z")]);
        let expected = table(&[("d", dir()), ("d/x", file("1")), ("new", dir()), ("same", file("2"))]);
        assert_eq!(wanted, expected);
        let wanted = rewound(&old, &local, &[path("e"), path("new")]);
        let expected = table(&[("d", file("not a directory")), ("e", dir()), ("e/y", file("1")), ("same", file("2"))]);
        assert_eq!(wanted, expected);
    }

    #[test]
    fn a_path_that_is_nowhere_is_told() {
        let (old, local) = (table(&[("d", dir()), ("d/x", file("1"))]), table(&[("b", file("2"))]));
        let chosen = ["d", "d/x", "b", "x", "d/y", "b/c"].map(path);
        let lost: Vec<String> = nowhere(&old, &local, &chosen).iter().map(ToString::to_string).collect();
        assert_eq!(lost, ["x", "d/y", "b/c"]);
    }
}
