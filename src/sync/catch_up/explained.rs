//! What explains the objects of the live tree: mirror, recent snapshots, and what was put before without coming to a
//! mirror.

use std::{
    collections::{BTreeMap, BTreeSet, HashMap},
    sync::{Mutex, PoisonError},
};

use crate::{
    plan::{self, Content, Explained, Held},
    rows::{ETag, Hash, Kind, RelPath, Row, Rows},
    state::{self, State},
};

/// The rows of a recent snapshot.
pub(super) enum Recent<'a> {
    /// The caller's.
    At(&'a Rows),
    /// Read for this.
    Read(Rows),
    /// Read for this, and of it what [`differing`] leaves.
    Differing(Rows),
}

impl AsRef<Rows> for Recent<'_> {
    fn as_ref(&self) -> &Rows {
        match self {
            Self::At(rows) => rows,
            Self::Read(rows) | Self::Differing(rows) => rows,
        }
    }
}

/// The files of `rows` that `result` does not have with the same content: what a recent snapshot explains that head's
/// does not. Their keys, and those of the files that `rows` lacks, are added to `keys`: only there nothing is settled.
pub(super) fn differing(mut rows: Rows, result: &Rows, keys: &mut BTreeSet<RelPath>) -> Rows {
    let lacks = |path: &RelPath| rows.get(path).is_none_or(|row| row.kind != Kind::File);
    let lacking = result.iter().filter(|(path, row)| row.kind == Kind::File && lacks(path));
    keys.extend(lacking.map(|(path, _)| path.clone()));
    rows.retain(|path, row| row.kind == Kind::File && !result.get(path).is_some_and(|other| other.same_content(row)));
    keys.extend(rows.keys().cloned());
    rows
}

/// The recent snapshots but for head's.
#[derive(Default)]
pub(super) struct Recents<'a> {
    pub(super) tables: Vec<Recent<'a>>,
    /// The keys where those differ from head's that are not held whole.
    pub(super) differing: BTreeSet<RelPath>,
}

/// Everything that is known of the live tree.
pub(super) struct Known<'a> {
    pub(super) mirror: &'a plan::Mirror,
    result: &'a Rows,
    recent: Vec<&'a Rows>,
    whole: Vec<&'a Rows>,
    refused: &'a BTreeMap<RelPath, ETag>,
}

impl<'a> Known<'a> {
    /// `recent` are the recent snapshots but for that of `result`.
    pub(super) fn new(
        result: &'a Rows,
        mirror: &'a plan::Mirror,
        recent: &'a [Recent<'a>],
        refused: &'a BTreeMap<RelPath, ETag>,
    ) -> Self {
        let whole = recent.iter().filter(|recent| !matches!(recent, Recent::Differing(_))).map(AsRef::as_ref).collect();
        Self { mirror, result, recent: recent.iter().map(AsRef::as_ref).collect(), whole, refused }
    }

    fn explained(&self) -> Explained<'_> {
        Explained { mirror: self.mirror, recent: &self.recent, refused: self.refused }
    }

    /// The same, without the recent snapshots that are not held whole: of those it is known where they differ.
    pub(super) fn of_whole_tables(&self) -> Explained<'_> {
        Explained { recent: &self.whole, ..self.explained() }
    }

    pub(super) fn mirrored(&self, path: &RelPath) -> Option<&Held> {
        self.mirror.rows.get(path)
    }

    /// What an object at `path` may hold and be ours.
    pub(super) fn contents(&self, path: &RelPath) -> BTreeSet<Content> {
        self.explained().known(self.result, path)
    }

    /// Whether a snapshot before had a file at `path`: then there is an object, most likely.
    pub(super) fn was_there(&self, path: &RelPath) -> bool {
        self.recent.iter().any(|rows| Content::at(rows, path).is_some())
    }

    /// The row of a recent snapshot that says what version `etag` held, if its content is `held` or the row names that
    /// version itself.
    pub(super) fn row_of(&self, path: &RelPath, etag: &ETag, held: Option<Hash>) -> Option<&'a Row> {
        let mut rows = self.recent.iter().filter_map(|rows| rows.get(path)).filter(|row| row.kind == Kind::File);
        rows.find(|row| held.map_or(row.etag.as_ref() == Some(etag), |hash| row.hash == hash))
    }

    /// What this version held, by the rows of plain snapshots.
    pub(super) fn held(&self, path: &RelPath, etag: &ETag, size: u64) -> Option<Hash> {
        self.explained().held(path, etag, size)
    }
}

/// What was put by this directory and is in no mirror yet: which version held what.
#[derive(Debug, Default)]
pub(super) struct Sent(Mutex<HashMap<RelPath, HashMap<ETag, Hash>>>);

impl Sent {
    pub(super) fn new(noted: Vec<state::Sent>) -> Self {
        let mut sent: HashMap<RelPath, HashMap<ETag, Hash>> = HashMap::new();
        for state::Sent { path, etag, hash } in noted {
            if let (Ok(path), Some(hash)) = (RelPath::from_text(&path), Hash::from_hex(&hash)) {
                sent.entry(path).or_default().insert(ETag::new(etag), hash);
            }
        }
        Self(Mutex::new(sent))
    }

    /// Whether anything was put there.
    pub(super) fn has(&self, path: &RelPath) -> bool {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).contains_key(path)
    }

    pub(super) fn held(&self, path: &RelPath, etag: &ETag) -> Option<Hash> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).get(path)?.get(etag).copied()
    }

    /// Notes what was put. Unnoted it costs the next catch-up a comparison.
    pub(super) fn note(&self, state: Option<&State>, path: &RelPath, held: &Held) {
        let (etag, hash) = (held.etag.clone(), held.content.hash);
        self.0.lock().unwrap_or_else(PoisonError::into_inner).entry(path.clone()).or_default().insert(etag, hash);
        let Some(state) = state else { return };
        let sent = state::Sent {
            path: path.to_text().into_owned(),
            etag: held.etag.as_str().to_owned(),
            hash: hash.to_string(),
        };
        if let Err(error) = state.add_sent(&sent) {
            tracing::debug!("{error}");
        }
    }
}
