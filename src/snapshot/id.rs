//! Names of snapshots and of writes. None is ever used twice: the random digits come from the caller.

use std::{fmt, str::FromStr};

use serde::{Deserialize, Deserializer, Serialize, Serializer, de::Error as _};

/// The largest sequence number that ten digits hold.
pub(super) const MAX_SEQ: u64 = 9_999_999_999;

/// The id of a snapshot: `<seq, 10 digits>-<12 random hex digits>`, drawn anew for every attempt to commit.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct SnapshotId {
    seq: u64,
    random: [u8; 6],
}

impl SnapshotId {
    /// The id of snapshot number `seq`; numbers end at ten digits.
    #[must_use]
    pub fn new(seq: u64, random: [u8; 6]) -> Self {
        Self { seq: seq.min(MAX_SEQ), random }
    }

    /// Its number.
    #[must_use]
    pub const fn seq(&self) -> u64 {
        self.seq
    }
}

impl fmt::Display for SnapshotId {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(out, "{:010}-", self.seq)?;
        hex(out, &self.random)
    }
}

impl FromStr for SnapshotId {
    type Err = NoId;

    fn from_str(text: &str) -> Result<Self, NoId> {
        let (seq, random) = text.split_once('-').ok_or(NoId)?;
        if seq.len() != 10 || !seq.bytes().all(|digit| digit.is_ascii_digit()) {
            return Err(NoId);
        }
        Ok(Self { seq: seq.parse().map_err(|_| NoId)?, random: unhex(random)? })
    }
}

/// How often prune moved the workspace: a count, with random digits so that it never repeats.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct Gc {
    count: u64,
    random: [u8; 6],
}

impl Gc {
    /// The first one of a workspace.
    #[must_use]
    pub const fn first(random: [u8; 6]) -> Self {
        Self { count: 0, random }
    }

    /// The next one.
    #[must_use]
    pub const fn next(self, random: [u8; 6]) -> Self {
        Self { count: self.count.saturating_add(1), random }
    }

    /// The count.
    #[must_use]
    pub const fn count(&self) -> u64 {
        self.count
    }
}

impl fmt::Display for Gc {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(out, "{}-", self.count)?;
        hex(out, &self.random)
    }
}

impl FromStr for Gc {
    type Err = NoId;

    fn from_str(text: &str) -> Result<Self, NoId> {
        let (count, random) = text.split_once('-').ok_or(NoId)?;
        let parsed = Self { count: count.parse().map_err(|_| NoId)?, random: unhex(random)? };
        if parsed.to_string() == text { Ok(parsed) } else { Err(NoId) }
    }
}

/// What tells one write of head.json from every other: 12 random hex digits.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct WriteId([u8; 6]);

impl WriteId {
    /// The id of one write.
    #[must_use]
    pub const fn new(random: [u8; 6]) -> Self {
        Self(random)
    }
}

impl fmt::Display for WriteId {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        hex(out, &self.0)
    }
}

impl FromStr for WriteId {
    type Err = NoId;

    fn from_str(text: &str) -> Result<Self, NoId> {
        unhex(text).map(Self)
    }
}

/// The text is no id.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("it is no id")]
pub struct NoId;

fn hex(out: &mut fmt::Formatter<'_>, bytes: &[u8]) -> fmt::Result {
    bytes.iter().try_for_each(|byte| write!(out, "{byte:02x}"))
}

fn unhex(text: &str) -> Result<[u8; 6], NoId> {
    let digits: &[u8; 12] = text.as_bytes().try_into().map_err(|_| NoId)?;
    let value = |digit: u8| match digit {
        b'0'..=b'9' => Ok(digit - b'0'),
        b'a'..=b'f' => Ok(digit - b'a' + 10),
        _ => Err(NoId),
    };
    let mut bytes = [0; 6];
    for (byte, pair) in bytes.iter_mut().zip(digits.chunks_exact(2)) {
        *byte = value(pair[0])? << 4 | value(pair[1])?;
    }
    Ok(bytes)
}

macro_rules! as_text {
    ($($name:ident),*) => {$(
        impl fmt::Debug for $name {
            fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
                fmt::Display::fmt(self, out)
            }
        }

        impl Serialize for $name {
            fn serialize<S: Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
                to.collect_str(self)
            }
        }

        impl<'de> Deserialize<'de> for $name {
            fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
                let text = std::borrow::Cow::<'de, str>::deserialize(from)?;
                text.parse().map_err(|_| D::Error::custom(concat!("no ", stringify!($name))))
            }
        }
    )*};
}
as_text!(SnapshotId, Gc, WriteId);

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn an_id_is_ten_digits_and_twelve_hex_digits() {
        let id = SnapshotId::new(41, [0xab, 0, 1, 2, 3, 0xff]);
        assert_eq!(id.to_string(), "0000000041-ab00010203ff");
        assert_eq!(id.to_string().parse(), Ok(id));
        for wrong in [
            "",
            "-",
            "41-ab00010203ff",
            "0000000041-AB00010203FF",
            "0000000041-ab00010203f",
            "+000000041-ab00010203ff",
            "0000000041-ab00010203ff/../x",
        ] {
            assert_eq!(wrong.parse::<SnapshotId>(), Err(NoId), "{wrong}");
        }
    }

    #[test]
    fn a_gc_counts_up_and_never_repeats() {
        let first = Gc::first([1; 6]);
        assert_eq!(first.next([2; 6]).count(), 1);
        assert_ne!(first.next([2; 6]), first.next([3; 6]));
        assert_eq!("01-020202020202".parse::<Gc>(), Err(NoId));
    }

    proptest! {
        #[test]
        fn ids_sort_as_their_numbers_and_as_their_texts(a in 0..MAX_SEQ, b in 0..MAX_SEQ, x: [u8; 6], y: [u8; 6]) {
            let (one, other) = (SnapshotId::new(a, x), SnapshotId::new(b, y));
            prop_assert_eq!(one.cmp(&other), one.to_string().cmp(&other.to_string()));
            prop_assert_eq!(one.to_string().parse(), Ok(one));
        }
    }
}
