//! The files of a live workspace: out of packs, out of live objects where others edited them, and out of live objects
//! where a pack is gone or wrong. Dumb code like the rest of a restore: what is where was decided before.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use futures_util::{StreamExt, stream};

use super::{
    SyncError,
    contents::{Wanted, Written, unpack},
    live_pull::Live,
    restore::{Done, Restorer, Version, concerns_one},
};
use crate::{
    plan::{Content, Fetch, Source},
    report::{Events, Progress, Receipt, counted},
    rows::{ETag, Hash, Pieces, RelPath, Row},
    worktree::IndexRow,
};

/// Where the content of a file lies.
enum Lies {
    /// In packs, where this row says.
    Packed(Row),
    /// In this live object.
    Object(RelPath, ETag),
    /// Nowhere that is known.
    Nowhere,
}

/// What is known of where contents lie.
struct Places<'a> {
    live: &'a Live,
    /// By content; made when somebody asks.
    packed: Option<HashMap<Content, &'a Row>>,
}

impl<'a> Places<'a> {
    fn new(live: &'a Live) -> Self {
        Self { live, packed: None }
    }

    fn of(&mut self, fetch: &Fetch) -> Lies {
        let row = &fetch.row;
        // An empty file lies in no pack, and so does one whose content was not read yet, however long it is.
        if row.is_stored() && (row.size > 0 || row.hash == Hash::of(b"")) {
            return Lies::Packed(row.clone());
        }
        let Some(content) = Content::of(row) else { return Lies::Nowhere };
        // Its own object and no other, or the one that it is a copy of: what holds the same now may be replaced before it
        // is read, and then be something else's content.
        if let Source::Object { path, .. } = &fetch.from
            && let path = self.live.original(path)
            && let Some(edit) = self.live.outside.edits.get(path).filter(|edit| Content::of(edit) == Some(content))
            && let Some(etag) = &edit.etag
        {
            return Lies::Object(path.clone(), etag.clone());
        }
        let rows = &self.live.tree.rows;
        let packed = self.packed.get_or_insert_with(|| {
            rows.values().filter(|row| row.is_stored()).filter_map(|row| Some((Content::of(row)?, row))).collect()
        });
        match packed.get(&content) {
            Some(stored) => Lies::Packed(Row { pieces: stored.pieces.clone(), ..row.clone() }),
            None => Lies::Nowhere,
        }
    }
}

/// Progress that goes on from what was done before.
struct Further<'a> {
    events: &'a dyn Events,
    before: u64,
    total: u64,
}

impl Events for Further<'_> {
    fn progress(&self, progress: Progress) {
        let current = self.before.saturating_add(progress.current);
        self.events.progress(Progress::new(progress.phase, current, self.total, progress.current_file));
    }

    fn ready(&self) {
        self.events.ready();
    }

    fn durable(&self, receipt: &Receipt) {
        self.events.durable(receipt);
    }

    fn late(&self, receipt: &Receipt) {
        self.events.late(receipt);
    }
}

impl Restorer<'_> {
    /// Files of a live workspace, many at once.
    pub(super) async fn fetch_live(&self, live: &Live, fetches: &[Fetch], done: &mut Done) -> Result<(), SyncError> {
        let mut places = Places::new(live);
        let (mut packed, mut objects) = (Vec::new(), Vec::new());
        for fetch in fetches {
            match (&fetch.from, places.of(fetch)) {
                (Source::Local(_), _) => objects.push(fetch.clone()),
                (_, Lies::Object(path, etag)) => {
                    let from = Source::Object { path, etag: Some(etag) };
                    objects.push(Fetch { from, ..fetch.clone() });
                }
                (_, Lies::Packed(row)) => packed.push(Fetch { row, ..fetch.clone() }),
                (_, Lies::Nowhere) => packed.push(fetch.clone()),
            }
        }
        let total = fetches.iter().map(|fetch| fetch.row.size).sum();
        let further = |before| Further { events: self.events, before, total };
        self.unpack_all(live, &packed, &further(0), done).await?;
        let before = packed.iter().map(|fetch| fetch.row.size).sum();
        self.fetch_all(&objects, &further(before), done).await?;
        // An edit that was deleted again edited nothing: what the snapshot has counts.
        let vanished: BTreeSet<RelPath> = done.vanished.iter().cloned().collect();
        let again = objects.iter().filter(|fetch| vanished.contains(&fetch.path)).filter_map(|fetch| {
            let row = live.tree.rows.get(&fetch.path).filter(|row| row.kind == fetch.row.kind)?.clone();
            Some(Fetch { row, ..fetch.clone() })
        });
        let again: Vec<Fetch> = again.collect();
        if !again.is_empty() {
            self.unpack_all(live, &again, &further(total), done).await?;
            done.vanished.retain(|path| !again.iter().any(|fetch| fetch.path == *path));
        }
        Ok(())
    }

    /// Files whose contents lie in packs, or should.
    async fn unpack_all(
        &self,
        live: &Live,
        fetches: &[Fetch],
        events: &dyn Events,
        done: &mut Done,
    ) -> Result<(), SyncError> {
        let mut wanted = Vec::new();
        for fetch in fetches {
            let expected = self.expected(&fetch.path, fetch.expected.as_ref());
            if let Some(expected) = self.tolerate(&fetch.path, expected, done)? {
                wanted.push(Wanted { path: fetch.path.clone(), row: fetch.row.clone(), expected });
            }
        }
        let mut lost: BTreeMap<RelPath, String> = BTreeMap::new();
        unpack(self.store, self.writer, wanted, events, |path, row, written| {
            match written {
                Written::Done(index) => {
                    done.index.extend(index.map(|index| (path.clone(), index)));
                    done.written.insert(path, row);
                }
                Written::Refused(error) => drop(self.tolerate::<()>(&path, Err(error), done)?),
                Written::Lost(why) => drop(lost.insert(path, why)),
            }
            Ok(())
        })
        .await?;
        if lost.is_empty() {
            return Ok(());
        }
        let lost: Vec<(&Fetch, &String)> =
            fetches.iter().filter_map(|fetch| Some((fetch, lost.get(&fetch.path)?))).collect();
        done.lost.extend(lost.iter().map(|(fetch, _)| fetch.row.hash));
        let holders =
            live.holders(self.store, &lost.iter().map(|(fetch, _)| (&fetch.path, &fetch.row)).collect()).await?;
        let mut running = stream::iter(lost.into_iter().map(|(fetch, why)| {
            let objects = holders.get(&fetch.path).map_or(&[][..], Vec::as_slice);
            async move { (fetch, why, self.heal(live, fetch, objects).await) }
        }))
        .buffer_unordered(self.store.widths().0.max(1));
        let mut healed: Vec<(&RelPath, &String)> = Vec::new();
        while let Some((fetch, why, result)) = running.next().await {
            match result {
                Ok(Some(index)) => {
                    done.index.extend(index.map(|index| (fetch.path.clone(), index)));
                    done.written.insert(fetch.path.clone(), fetch.row.clone());
                    healed.push((&fetch.path, why));
                }
                Ok(None) => {
                    done.failed.push((fetch.path.clone(), format!("{why}, and no live object has this content")));
                }
                Err(SyncError::Write(error)) => drop(self.tolerate::<()>(&fetch.path, Err(error), done)?),
                Err(error) => return Err(error),
            }
        }
        if let Some((path, why)) = healed.first() {
            let count = counted(healed.len() as u64, "file was", "files were");
            tracing::warn!("{count} taken from the live tree, for packs are damaged; the first is {path}: {why}");
        }
        Ok(())
    }

    /// A file whose packs are gone or wrong: any live object with its content does as well. `None`: there is none.
    async fn heal(
        &self,
        live: &Live,
        fetch: &Fetch,
        objects: &[(RelPath, ETag)],
    ) -> Result<Option<Option<IndexRow>>, SyncError> {
        let mut objects = objects.to_vec();
        if objects.is_empty() && !live.is_listed() {
            let meta = self.store.head(&fetch.path.to_text()).await?;
            let fits = meta.filter(|meta| meta.size == fetch.row.size);
            objects.extend(fits.map(|meta| (fetch.path.clone(), meta.etag)));
        }
        let row = Row { pieces: Pieces::None, ..fetch.row.clone() };
        for (path, etag) in objects {
            match self.fetch_version(fetch, &path.to_text(), &etag, &row, true).await {
                Ok(Version::Done(_, index)) => {
                    tracing::debug!("{} is taken from the live object {path}", fetch.path);
                    return Ok(Some(index));
                }
                // Another version, or other bytes.
                Ok(Version::Moved) | Err(SyncError::Incomplete { .. }) => {}
                Err(SyncError::Store(error)) if concerns_one(&error) => {}
                Err(error) => return Err(error),
            }
        }
        Ok(None)
    }
}
