//! Why bytes from the bucket are not taken.

/// Why some bytes are nothing that this version reads.
#[derive(Debug, thiserror::Error)]
pub enum FormatError {
    /// A later version wrote it.
    #[error(
        "{what} has format {format}, this version reads up to {known}: it was made by a newer stopover, use that one"
    )]
    Newer {
        /// `head.json`, `tree` and so on.
        what: &'static str,
        /// The number found.
        format: u64,
        /// The newest number known here.
        known: u64,
    },
    /// Something in it that only a later version could have written, though the number is known.
    #[error("{what} has {found}: it was made by a newer stopover, use that one")]
    NewerKind {
        /// `head.json`, `tree` and so on.
        what: &'static str,
        /// What was found.
        found: String,
    },
    /// It is above a limit.
    #[error("{what} is too large: more than {limit} {unit}")]
    TooLarge {
        /// What is measured.
        what: &'static str,
        /// The limit.
        limit: u64,
        /// In which unit.
        unit: &'static str,
    },
    /// It is damaged, or was never one.
    #[error("{what} is damaged, line {line}: {why}")]
    Malformed {
        /// `head.json`, `tree` and so on.
        what: &'static str,
        /// Counted from 1.
        line: u64,
        /// What is wrong there.
        why: String,
    },
    /// Content is not what it says, or not what the tree says of it.
    #[error("{what} is damaged: {why}")]
    Damaged {
        /// Which frame, or which pack.
        what: String,
        /// What is wrong with it.
        why: String,
    },
    /// The bytes could not be written.
    #[error("{what} could not be written: {error}")]
    Write {
        /// What was to be written.
        what: &'static str,
        /// What writing or deflating said.
        error: std::io::Error,
    },
    /// The bytes could not be read or inflated.
    #[error("{what} could not be read: {error}")]
    Read {
        /// `head.json`, `tree` and so on.
        what: &'static str,
        /// What reading or inflating said.
        error: std::io::Error,
    },
}

impl FormatError {
    /// The begin of a text from the bucket, for a message: whole, it may be as long as a line.
    pub(super) fn begin_of(text: &str) -> &str {
        &text[..text.floor_char_boundary(100)]
    }

    /// The same, said of a frame by its place.
    pub(super) fn about(self, place: impl FnOnce() -> String) -> Self {
        match self {
            Self::Damaged { why, .. } => Self::Damaged { what: place(), why },
            other => other,
        }
    }

    /// Whether a newer version would read it.
    #[must_use]
    pub const fn is_newer(&self) -> bool {
        matches!(self, Self::Newer { .. } | Self::NewerKind { .. })
    }
}
