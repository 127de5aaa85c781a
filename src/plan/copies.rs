//! Names for contents that cannot have the name they want.
//!
//! A copy's name is made of its content's hash: the same content gets the same name, so that merging twice, or by two
//! containers, makes one copy.

use super::merge::Whose;
use crate::rows::{Kind, MAX_SEGMENT_BYTES, RelPath, Row, Rows};

/// How many digits of the hash a name has, tried in this order.
const DIGITS: [usize; 5] = [8, 12, 16, 32, 64];

/// Where a content goes.
pub(super) enum Place {
    /// It is there already.
    Exists(RelPath),
    /// Here; nothing is at this path.
    Free(RelPath),
    /// Nowhere: the path has its number of copies.
    Full,
}

/// Finds the place for `row`, which wanted `path`. `result` has a row for every directory; a name counts as taken,
/// too, where one of `sides` has a directory: it would have to be cleared first. A path gets at most `most` copies of
/// theirs.
pub(super) fn place(result: &Rows, sides: &[&Rows], path: &RelPath, row: &Row, whose: Whose, most: usize) -> Place {
    // Beside the path; where no such name fits into the longest path, beside one of its parents.
    let beside: Vec<RelPath> = std::iter::once(path.clone()).chain(path.ancestors()).collect();
    let names = |counter: Option<u64>| {
        beside.iter().flat_map(move |at| {
            DIGITS.iter().filter_map(move |&digits| at.with_name(&name(path.name(), row, whose, digits, counter)).ok())
        })
    };
    if let Some(copy) = names(None).find(|copy| result.get(copy).is_some_and(|there| there.same_content(row))) {
        return Place::Exists(copy);
    }
    // Ours is in no history: it gets its copy whatever the number.
    if whose == Whose::Theirs && count(result, path) >= most {
        return Place::Full;
    }
    let taken = |copy: &RelPath| {
        result.contains_key(copy)
            || sides.iter().any(|side| side.get(copy).is_some_and(|row| row.kind == Kind::Dir) || has_below(side, copy))
    };
    // All digits of a hash under other content is malice; a number behind them always ends the search.
    std::iter::once(None)
        .chain((2..).map(Some))
        .find_map(|counter| names(counter).find(|copy| !taken(copy)))
        .map_or(Place::Full, Place::Free)
}

/// The copy of theirs beside `path` that holds the content of `row`.
pub(super) fn kept(rows: &Rows, path: &RelPath, row: &Row) -> Option<RelPath> {
    let names =
        DIGITS.iter().filter_map(|&digits| path.with_name(&name(path.name(), row, Whose::Theirs, digits, None)).ok());
    names.into_iter().find(|copy| rows.get(copy).is_some_and(|there| there.same_content(row)))
}

/// Every copy of theirs that `rows` keep of `path`: true ones, whose name is made of their content.
pub(super) fn all_kept<'a>(rows: &'a Rows, path: &RelPath) -> impl Iterator<Item = &'a Row> {
    let tail = infix(Whose::Theirs);
    let mut stem = cut(path.name(), MAX_SEGMENT_BYTES - tail.len() - DIGITS[DIGITS.len() - 1]).to_vec();
    if stem.len() == path.name().len() {
        stem.extend_from_slice(tail.as_bytes());
    }
    let first = path.with_name(&stem).ok();
    let wanted = path.clone();
    first
        .into_iter()
        .flat_map(move |first| {
            rows.range(first.clone()..).take_while(move |(at, _)| at.as_bytes().starts_with(first.as_bytes()))
        })
        .filter(move |(at, row)| kept(rows, &wanted, row).is_some_and(|copy| copy == **at))
        .map(|(_, row)| row)
}

/// The path that `copy` is a copy of theirs of, if its name is made of its content (and was not cut).
pub(super) fn original(copy: &RelPath, row: &Row) -> Option<RelPath> {
    let digits = copy.name().rsplit(|&byte| byte == b'-').next().unwrap_or_default();
    named(copy).filter(|_| row.hash.to_string().as_bytes().starts_with(digits))
}

/// The same by the name alone, where the content cannot be read.
pub(super) fn named(copy: &RelPath) -> Option<RelPath> {
    let tail = infix(Whose::Theirs).as_bytes();
    let at = copy.name().windows(tail.len()).rposition(|part| part == tail)?;
    let digits = &copy.name()[at + tail.len()..];
    let is_hash = DIGITS.contains(&digits.len()) && digits.iter().all(u8::is_ascii_hexdigit);
    if is_hash { copy.with_name(&copy.name()[..at]).ok() } else { None }
}

/// `name.theirs-<digits>`, with the name cut so that the whole fits a directory entry.
fn name(name: &[u8], row: &Row, whose: Whose, digits: usize, counter: Option<u64>) -> Vec<u8> {
    let mut tail = format!("{}{}", infix(whose), &row.hash.to_string()[..digits]);
    if let Some(counter) = counter {
        tail.push_str(&format!("-{counter}"));
    }
    let mut copy = cut(name, MAX_SEGMENT_BYTES - tail.len()).to_vec();
    copy.extend_from_slice(tail.as_bytes());
    copy
}

const fn infix(whose: Whose) -> &'static str {
    match whose {
        Whose::Theirs => ".theirs-",
        Whose::Ours => ".ours-",
    }
}

/// At most `limit` bytes of `name`, and no half character if it is text.
fn cut(name: &[u8], limit: usize) -> &[u8] {
    if name.len() <= limit {
        return name;
    }
    let end = std::str::from_utf8(name).map_or(limit, |text| text.floor_char_boundary(limit));
    &name[..end]
}

/// How many copies of theirs `path` has in `rows`.
fn count(rows: &Rows, path: &RelPath) -> usize {
    let tail = infix(Whose::Theirs);
    let mut stem = cut(path.name(), MAX_SEGMENT_BYTES - tail.len() - DIGITS[0]).to_vec();
    stem.extend_from_slice(tail.as_bytes());
    let Ok(first) = path.with_name(&stem) else { return 0 };
    rows.range(first.clone()..)
        .take_while(|(at, _)| at.as_bytes().starts_with(first.as_bytes()))
        .filter(|(at, row)| {
            let digits = &at.as_bytes()[first.as_bytes().len()..];
            row.kind != Kind::Dir
                && digits.len() >= DIGITS[0]
                && digits.iter().all(|digit| matches!(digit, b'0'..=b'9' | b'a'..=b'f'))
        })
        .count()
}

/// Whether `rows` has anything below `path`.
pub(super) fn has_below(rows: &Rows, path: &RelPath) -> bool {
    below(rows, path).next().is_some()
}

/// What `rows` has below `path`, in path order.
pub(super) fn below<'a>(rows: &'a Rows, path: &RelPath) -> impl Iterator<Item = (&'a RelPath, &'a Row)> {
    // Everything below begins with "path/", and those stand together.
    let mut first = path.as_bytes().to_vec();
    first.push(b'/');
    let prefix = first.clone();
    rows.range::<[u8], _>((std::ops::Bound::Excluded(&first[..]), std::ops::Bound::Unbounded))
        .take_while(move |(at, _)| at.as_bytes().starts_with(&prefix))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{plan::COPIES_LIMIT, rows::Hash};

    fn row(content: &[u8]) -> Row {
        Row::file(Hash::of(content), content.len() as u64, 0o644)
    }

    fn path(text: &str) -> RelPath {
        RelPath::new(text).unwrap()
    }

    fn free(result: &Rows, at: &RelPath, row: &Row) -> RelPath {
        match place(result, &[], at, row, Whose::Theirs, COPIES_LIMIT) {
            Place::Free(copy) => copy,
            Place::Exists(_) | Place::Full => panic!("no free place"),
        }
    }

    #[test]
    fn a_name_is_cut_to_what_a_directory_holds_without_breaking_a_character() {
        let long = path(&"é".repeat(127));
        let copy = free(&Rows::new(), &long, &row(b"x"));
        assert!(copy.name().len() <= MAX_SEGMENT_BYTES);
        assert!(std::str::from_utf8(copy.name()).is_ok());
        assert!(copy.to_string().ends_with(&format!(".theirs-{}", row(b"x").hash.short())));
    }

    #[test]
    fn a_name_that_other_content_has_gets_more_digits() {
        let at = path("d/a");
        let first = free(&Rows::new(), &at, &row(b"x"));
        let mut result = Rows::from([(first.clone(), row(b"y"))]);
        let mut seen = vec![first];
        for _ in 0..7 {
            let next = free(&result, &at, &row(b"x"));
            assert!(!seen.contains(&next));
            result.insert(next.clone(), Row::dir(0o755));
            seen.push(next);
        }
        assert!(seen[1].name().len() == seen[0].name().len() + 4);
    }

    #[test]
    fn where_no_name_fits_the_longest_path_the_copy_goes_up() {
        let deep = (0..16).map(|_| "d".repeat(254)).collect::<Vec<_>>().join("/");
        let at = path(&format!("{deep}/abcdefgh"));
        let copy = free(&Rows::new(), &at, &row(b"x"));
        assert!(at.ancestors().any(|up| copy.parent() == up.parent()), "{}", copy.as_bytes().len());
        assert!(copy.name().starts_with(b"abcdefgh.theirs-"));
    }

    #[test]
    fn eight_copies_are_enough_and_only_true_ones_count() {
        let at = path("a");
        let mut result: Rows = (0..7u8).map(|n| (free(&Rows::new(), &at, &row(&[n])), row(&[n]))).collect();
        result.insert(path("a.theirs-notes.txt"), row(b"notes"));
        result.insert(path("a.theirs-12345678"), Row::dir(0o755));
        let last = free(&result, &at, &row(b"last"));
        result.insert(last.clone(), row(b"last"));
        assert!(matches!(place(&result, &[], &at, &row(b"more"), Whose::Theirs, COPIES_LIMIT), Place::Full));
        assert!(matches!(place(&result, &[], &at, &row(b"more"), Whose::Ours, COPIES_LIMIT), Place::Free(_)));
        assert!(
            matches!(place(&result, &[], &at, &row(b"last"), Whose::Theirs, COPIES_LIMIT), Place::Exists(at) if at == last)
        );
    }

    #[test]
    fn below_is_what_lies_in_a_directory_and_not_its_neighbours() {
        let rows: Rows = ["a", "a-b", "a/x", "a/x/y", "a0"].iter().map(|at| (path(at), row(b"x"))).collect();
        let found: Vec<String> = below(&rows, &path("a")).map(|(at, _)| at.to_string()).collect();
        assert_eq!(found, ["a/x", "a/x/y"]);
    }
}
