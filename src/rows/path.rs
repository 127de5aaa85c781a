//! Paths inside a workspace, and their one spelling as text.
//!
//! A path is bytes, as Linux has it. As a key of the bucket, in trees, in JSON and in messages it is text: valid UTF-8
//! stays as it is, each other byte becomes `\xHH`, and a backslash that stands before `xHH` becomes `\x5c`, so that no
//! two paths share a spelling. Decoding knows only `\x5c` and `\x80` to `\xff`, and takes the result only if encoding
//! it gives the same text again: otherwise `\x2f` or `\x2e\x2e` would be a way out of the workspace.

use std::{
    borrow::{Borrow, Cow},
    ffi::OsStr,
    fmt,
    os::unix::ffi::OsStrExt,
    path::Path,
};

/// The longest path, in bytes: `PATH_MAX` less the closing NUL.
pub const MAX_PATH_BYTES: usize = 4095;
/// The longest segment of a path, in bytes: `NAME_MAX`.
pub const MAX_SEGMENT_BYTES: usize = 255;

/// A path below the workspace: one or more segments, none of them empty, `.`, `..`, or with a NUL.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct RelPath(Box<[u8]>);

/// Why some bytes are no path of a workspace.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum PathError {
    /// There is nothing, a leading or trailing slash, or two slashes in a row.
    #[error("it has an empty segment")]
    EmptySegment,
    /// A segment is `.` or `..`.
    #[error("it has a segment \".\" or \"..\"")]
    DotSegment,
    /// A NUL byte.
    #[error("it has a NUL byte")]
    Nul,
    /// A segment is `.stopover`, which is stopover's own at every level.
    #[error("it has a segment \".stopover\", which is stopover's own")]
    Reserved,
    /// A segment above 255 bytes.
    #[error("a segment is longer than 255 bytes")]
    SegmentTooLong,
    /// The whole above 4,095 bytes.
    #[error("it is longer than 4,095 bytes")]
    TooLong,
    /// Text that no path is spelt as.
    #[error("it has an escape that no name is spelt with")]
    Escape,
}

impl RelPath {
    /// Checks `bytes` and takes them.
    ///
    /// # Errors
    /// The first rule that `bytes` break.
    pub fn new(bytes: impl Into<Vec<u8>>) -> Result<Self, PathError> {
        let bytes = bytes.into();
        if bytes.len() > MAX_PATH_BYTES {
            return Err(PathError::TooLong);
        }
        for segment in bytes.split(|&byte| byte == b'/') {
            match segment {
                b"" => return Err(PathError::EmptySegment),
                b"." | b".." => return Err(PathError::DotSegment),
                b".stopover" => return Err(PathError::Reserved),
                _ if segment.len() > MAX_SEGMENT_BYTES => return Err(PathError::SegmentTooLong),
                _ if segment.contains(&0) => return Err(PathError::Nul),
                _ => {}
            }
        }
        Ok(Self(bytes.into_boxed_slice()))
    }

    /// Reads the spelling that [`RelPath::to_text`] gives.
    ///
    /// # Errors
    /// [`PathError::Escape`] for text that is no path's spelling, else as [`RelPath::new`].
    pub fn from_text(text: &str) -> Result<Self, PathError> {
        let path = Self::new(unescape(text))?;
        if path.to_text() == text { Ok(path) } else { Err(PathError::Escape) }
    }

    /// The one spelling as text; borrowed where nothing needs an escape.
    #[must_use]
    pub fn to_text(&self) -> Cow<'_, str> {
        escape(&self.0)
    }

    /// The bytes, as the file system has them.
    #[must_use]
    pub fn as_bytes(&self) -> &[u8] {
        &self.0
    }

    /// The path as the standard library wants it; still relative.
    #[must_use]
    pub fn as_path(&self) -> &Path {
        Path::new(OsStr::from_bytes(&self.0))
    }

    /// The last segment.
    #[must_use]
    pub fn name(&self) -> &[u8] {
        self.0.rsplit(|&byte| byte == b'/').next().unwrap_or(&self.0)
    }

    /// The path without its last segment; `None` at the top.
    #[must_use]
    pub fn parent(&self) -> Option<Self> {
        let cut = self.0.iter().rposition(|&byte| byte == b'/')?;
        Some(Self(self.0[..cut].into()))
    }

    /// Its parents, nearest first.
    pub fn ancestors(&self) -> impl Iterator<Item = Self> {
        std::iter::successors(self.parent(), Self::parent)
    }

    /// Its segments, from the top.
    pub fn segments(&self) -> impl Iterator<Item = &[u8]> {
        self.0.split(|&byte| byte == b'/')
    }

    /// The path of `name` in this directory.
    ///
    /// # Errors
    /// As [`RelPath::new`].
    pub fn join(&self, name: &[u8]) -> Result<Self, PathError> {
        let mut bytes = Vec::with_capacity(self.0.len() + 1 + name.len());
        bytes.extend_from_slice(&self.0);
        bytes.push(b'/');
        bytes.extend_from_slice(name);
        Self::new(bytes)
    }

    /// The same directory, another last segment.
    ///
    /// # Errors
    /// As [`RelPath::new`].
    pub fn with_name(&self, name: &[u8]) -> Result<Self, PathError> {
        self.parent().map_or_else(|| Self::new(name), |parent| parent.join(name))
    }

    /// Whether this path lies below `other` (not: is `other`).
    #[must_use]
    pub fn is_below(&self, other: &Self) -> bool {
        self.0.len() > other.0.len() && self.0[other.0.len()] == b'/' && self.0.starts_with(&other.0)
    }
}

// Tables can be asked by bytes: a slice orders and hashes exactly like the path.
impl Borrow<[u8]> for RelPath {
    fn borrow(&self) -> &[u8] {
        &self.0
    }
}

impl fmt::Display for RelPath {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str(&self.to_text())
    }
}

impl fmt::Debug for RelPath {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(out, "{:?}", self.to_text())
    }
}

/// Spells any bytes (a symlink's target) by the rule for paths; borrowed where nothing needs an escape.
#[must_use]
pub fn spell(bytes: &[u8]) -> Cow<'_, str> {
    escape(bytes)
}

/// Reads what [`spell`] wrote.
///
/// # Errors
/// [`PathError::Escape`] for text that is no bytes' spelling.
pub fn read_spelling(text: &str) -> Result<Vec<u8>, PathError> {
    let bytes = unescape(text);
    if escape(&bytes) == text { Ok(bytes) } else { Err(PathError::Escape) }
}

fn escape(bytes: &[u8]) -> Cow<'_, str> {
    if let Ok(text) = std::str::from_utf8(bytes)
        && !text.contains("\\x")
    {
        return Cow::Borrowed(text);
    }
    let mut text = String::with_capacity(bytes.len() + 16);
    let mut at = 0;
    for chunk in bytes.utf8_chunks() {
        for character in chunk.valid().chars() {
            if character == '\\' && is_escape(&bytes[at..]) {
                text.push_str("\\x5c");
            } else {
                text.push(character);
            }
            at += character.len_utf8();
        }
        for byte in chunk.invalid() {
            text.push_str(&format!("\\x{byte:02x}"));
            at += 1;
        }
    }
    Cow::Owned(text)
}

/// Whether `bytes` begin like an escape: a backslash, `x` and two lower-case hex digits.
fn is_escape(bytes: &[u8]) -> bool {
    matches!(bytes, [b'\\', b'x', high, low, ..] if hex(*high).is_some() && hex(*low).is_some())
}

fn hex(digit: u8) -> Option<u8> {
    match digit {
        b'0'..=b'9' => Some(digit - b'0'),
        b'a'..=b'f' => Some(digit - b'a' + 10),
        _ => None,
    }
}

fn unescape(text: &str) -> Vec<u8> {
    let mut rest = text.as_bytes();
    let mut bytes = Vec::with_capacity(rest.len());
    while let [first, tail @ ..] = rest {
        if let [b'\\', b'x', high, low, after @ ..] = rest
            && let (Some(high), Some(low)) = (hex(*high), hex(*low))
            && (high << 4 | low == b'\\' || high >= 8)
        {
            bytes.push(high << 4 | low);
            rest = after;
        } else {
            bytes.push(*first);
            rest = tail;
        }
    }
    bytes
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn hostile_paths_are_refused_by_the_rule_they_break() {
        for (bytes, error) in [
            (&b""[..], PathError::EmptySegment),
            (b"/etc/passwd", PathError::EmptySegment),
            (b"a//b", PathError::EmptySegment),
            (b"a/", PathError::EmptySegment),
            (b"..", PathError::DotSegment),
            (b"a/../b", PathError::DotSegment),
            (b"a/./b", PathError::DotSegment),
            (b"a\0b", PathError::Nul),
            (b".stopover/head.json", PathError::Reserved),
            (b"a/.stopover", PathError::Reserved),
        ] {
            assert_eq!(RelPath::new(bytes), Err(error), "{bytes:?}");
        }
        assert_eq!(RelPath::new(vec![b'a'; 256]), Err(PathError::SegmentTooLong));
        assert_eq!(RelPath::new("a/".repeat(2048) + "b"), Err(PathError::TooLong));
    }

    #[test]
    fn escapes_that_would_lead_out_are_not_decoded() {
        for text in ["\\x2e\\x2e", "a\\x2fb", "\\x00"] {
            let path = RelPath::from_text(text);
            assert!(path.is_err() || path.is_ok_and(|path| path.as_bytes() == text.as_bytes()), "{text}");
        }
        assert_eq!(RelPath::from_text("caf\\xe9").map(|path| path.as_bytes().to_vec()), Ok(b"caf\xe9".to_vec()));
        assert_eq!(RelPath::from_text("\\xc3\\xa9"), Err(PathError::Escape));
    }

    #[test]
    fn a_path_knows_its_family() {
        let path = RelPath::new("a/b/c").unwrap();
        assert_eq!(path.name(), b"c");
        assert_eq!(path.ancestors().map(|path| path.to_string()).collect::<Vec<_>>(), ["a/b", "a"]);
        assert!(path.is_below(&RelPath::new("a").unwrap()));
        assert!(!RelPath::new("ab").unwrap().is_below(&RelPath::new("a").unwrap()));
        assert!(!path.is_below(&path));
        assert_eq!(path.with_name(b"d").unwrap().to_string(), "a/b/d");
    }

    proptest! {
        #[test]
        fn every_path_survives_its_spelling(bytes in proptest::collection::vec(
            prop_oneof![Just(b'\\'), Just(b'x'), Just(b'5'), Just(b'c'), Just(b'/'), Just(0xc3), Just(0xa9), any::<u8>()], 1..24))
        {
            if let Ok(path) = RelPath::new(bytes) {
                let text = path.to_text().into_owned();
                prop_assert_eq!(RelPath::from_text(&text), Ok(path));
            }
        }

        #[test]
        fn no_two_texts_mean_one_path(text in "[\\\\x5c80ef/a]{1,16}") {
            if let Ok(path) = RelPath::from_text(&text) {
                prop_assert_eq!(path.to_text(), text);
            }
        }
    }
}
