//! The names of what is not in a tree though its container had it, for whoever restores the tree: that container is gone
//! by then.

use std::fmt;

use serde::{
    Deserialize, Serialize,
    de::{Deserializer, Error, SeqAccess, Visitor},
};

/// The most names a tree has.
const NAMES: usize = 1000;
/// The most bytes of one: the longest path with each of its bytes escaped.
const NAME_BYTES: usize = 4 * 4096;
/// The most bytes of all of them.
const BYTES: usize = 256 << 10;

/// Files whose scanned content is not in a tree. At most 1,000 names, the rest is counted.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Missing {
    names: Vec<String>,
    more: u64,
}

impl Missing {
    /// These; what is above the limits is counted.
    #[must_use]
    pub fn of(names: impl IntoIterator<Item = String>) -> Self {
        let mut missing = Self::default();
        let mut bytes = 0;
        for mut name in names {
            name.truncate(name.floor_char_boundary(NAME_BYTES));
            bytes += name.len();
            if missing.more == 0 && missing.names.len() < NAMES && bytes <= BYTES {
                missing.names.push(name);
            } else {
                missing.more += 1;
            }
        }
        missing
    }

    /// The names, as paths are spelled.
    #[must_use]
    pub fn names(&self) -> &[String] {
        &self.names
    }

    /// How many more there are.
    #[must_use]
    pub const fn more(&self) -> u64 {
        self.more
    }

    /// As it was read.
    pub(super) fn read(names: Names, more: u64) -> Self {
        Self { names: names.0, more }
    }

    pub(super) fn written(&self) -> Names {
        Names(self.names.clone())
    }
}

/// The names as JSON has them. They are counted as they come: no more are ever held.
#[derive(Serialize, Default)]
pub(super) struct Names(Vec<String>);

impl Names {
    #[allow(clippy::trivially_copy_pass_by_ref, reason = "serde's signature")]
    pub(super) const fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

impl<'de> Deserialize<'de> for Names {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        struct Reader;

        impl<'de> Visitor<'de> for Reader {
            type Value = Names;

            fn expecting(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(out, "a list of at most {NAMES} names")
            }

            fn visit_seq<A: SeqAccess<'de>>(self, mut list: A) -> Result<Names, A::Error> {
                let (mut names, mut bytes) = (Vec::new(), 0);
                while let Some(name) = list.next_element::<String>()? {
                    bytes += name.len();
                    if names.len() == NAMES || name.len() > NAME_BYTES || bytes > BYTES {
                        return Err(A::Error::custom("its list of missing files is above its limits"));
                    }
                    names.push(name);
                }
                Ok(Names(names))
            }
        }

        from.deserialize_seq(Reader)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(text: &str) -> Result<Names, serde_json::Error> {
        serde_json::from_str(text)
    }

    #[test]
    fn what_is_written_can_be_read_whatever_it_was_made_of() {
        for (count, length) in [(0, 0), (1, 5), (1000, 10), (1500, 10), (40, 20_000), (3, 200_000)] {
            let missing = Missing::of((0..count).map(|_| "é".repeat(length)));
            assert_eq!(missing.names().len() as u64 + missing.more(), count);
            assert!(count == 0 || !missing.names().is_empty());
            let text = serde_json::to_string(&missing.written()).unwrap();
            assert_eq!(Missing::read(read(&text).unwrap(), missing.more()), missing);
        }
        let (all, more) = (Missing::of((0..1002).map(|n| n.to_string())), 2);
        assert_eq!((all.names().len(), all.more(), all.names()[999].as_str()), (1000, more, "999"));
    }

    #[test]
    fn a_list_above_the_limits_is_refused() {
        let list = |count: usize, length: usize| serde_json::to_string(&vec!["x".repeat(length); count]).unwrap();
        assert!(read(&list(1000, 262)).is_ok());
        for (count, length) in [(1001, 1), (1, NAME_BYTES + 1), (1000, 263)] {
            assert!(read(&list(count, length)).is_err(), "{count} of {length}");
        }
        assert!(read("7").is_err() && read("[7]").is_err() && read("null").is_err());
    }
}
