//! The difference of two tables, for people and for counting.

use crate::rows::{Kind, RelPath, Row, Rows};

/// How a path differs.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub enum ChangeKind {
    /// It is new.
    Added,
    /// Its kind or content differs.
    Modified,
    /// It is gone.
    Deleted,
    /// Only mode or owner differ.
    Metadata,
}

impl ChangeKind {
    /// The word used in JSON.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Added => "added",
            Self::Modified => "modified",
            Self::Deleted => "deleted",
            Self::Metadata => "metadata",
        }
    }
}

/// One path that differs.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Change {
    /// The path.
    pub path: RelPath,
    /// How it differs.
    pub change: ChangeKind,
    /// Its kind: the new one, of a deleted path the old one.
    pub kind: Kind,
    /// Bytes of the new content, of a deleted path those of the old one.
    pub size: u64,
}

/// What makes `to` out of `from`, in path order. A time is no change.
#[must_use]
pub fn changes(from: &Rows, to: &Rows) -> Vec<Change> {
    let change =
        |path: &RelPath, row: &Row, change| Change { path: path.clone(), change, kind: row.kind, size: row.size };
    let mut found: Vec<Change> = to
        .iter()
        .filter_map(|(path, row)| match from.get(path) {
            None => Some(change(path, row, ChangeKind::Added)),
            Some(old) if !old.same_content(row) => Some(change(path, row, ChangeKind::Modified)),
            Some(old) if !old.same(row) => Some(change(path, row, ChangeKind::Metadata)),
            Some(_) => None,
        })
        .collect();
    found.extend(
        from.iter()
            .filter(|(path, _)| !to.contains_key(*path))
            .map(|(path, row)| change(path, row, ChangeKind::Deleted)),
    );
    found.sort_by(|a, b| a.path.cmp(&b.path));
    found
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::rows::Hash;

    #[test]
    fn each_kind_of_change_is_told_apart() {
        let file = |content: &[u8], mode| Row::file(Hash::of(content), content.len() as u64, mode);
        let table = |rows: &[(&str, Row)]| -> Rows {
            rows.iter().map(|(path, row)| (RelPath::new(*path).unwrap(), row.clone())).collect()
        };
        let from = table(&[
            ("d", file(b"1", 0o644)),
            ("e", file(b"1", 0o644)),
            ("m", file(b"1", 0o644)),
            ("s", file(b"1", 0o644)),
        ]);
        let to = table(&[
            ("a", file(b"22", 0o644)),
            ("e", Row { mtime_ns: 7, ..file(b"1", 0o644) }),
            ("m", file(b"2", 0o644)),
            ("s", file(b"1", 0o755)),
        ]);
        let found: Vec<_> = changes(&from, &to).into_iter().map(|c| (c.path.to_string(), c.change, c.size)).collect();
        assert_eq!(
            found,
            [
                ("a".to_owned(), ChangeKind::Added, 2),
                ("d".to_owned(), ChangeKind::Deleted, 1),
                ("m".to_owned(), ChangeKind::Modified, 1),
                ("s".to_owned(), ChangeKind::Metadata, 1),
            ]
        );
    }
}
