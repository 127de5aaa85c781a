//! The files of a live workspace: out of packs, out of live objects where others edited them, and out of live objects
//! where a pack is gone or wrong. Dumb code like the rest of a restore: what is where was decided before.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use super::{
    SyncError,
    contents::{Wanted, Written, unpack},
    live_pull::Live,
    restore::{Done, Restorer, Version, concerns_one},
};
use crate::{
    plan::{Content, Fetch, Source},
    report::{Events, Progress, Receipt},
    rows::{ETag, Hash, Pieces, RelPath, Row},
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
    edited: HashMap<Content, (RelPath, ETag)>,
    /// By content; made when somebody asks.
    packed: Option<HashMap<Content, &'a Row>>,
}

impl<'a> Places<'a> {
    fn new(live: &'a Live) -> Self {
        Self { live, edited: live.edited(), packed: None }
    }

    fn of(&mut self, row: &Row) -> Lies {
        // An empty file lies in no pack, and so does one whose content was not read yet, however long it is.
        if row.is_stored() && (row.size > 0 || row.hash == Hash::of(b"")) {
            return Lies::Packed(row.clone());
        }
        let Some(content) = Content::of(row) else { return Lies::Nowhere };
        if let Some((path, etag)) = self.edited.get(&content) {
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
}

impl Restorer<'_> {
    /// Files of a live workspace, many at once.
    pub(super) async fn fetch_live(&self, live: &Live, fetches: &[Fetch], done: &mut Done) -> Result<(), SyncError> {
        let mut places = Places::new(live);
        let (mut packed, mut objects) = (Vec::new(), Vec::new());
        for fetch in fetches {
            match (&fetch.from, places.of(&fetch.row)) {
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
        let contents = lost.iter().filter_map(|(fetch, _)| Content::of(&fetch.row)).collect();
        let holders = live.holders(self.store, &contents).await?;
        for (fetch, why) in lost {
            done.lost.insert(fetch.row.hash);
            let known = Content::of(&fetch.row).and_then(|content| holders.get(&content));
            self.heal(live, fetch, known.map_or(&[], Vec::as_slice), why, done).await?;
        }
        Ok(())
    }

    /// A file whose packs are gone or wrong: any live object with its content does as well.
    async fn heal(
        &self,
        live: &Live,
        fetch: &Fetch,
        holders: &[(RelPath, ETag)],
        why: &str,
        done: &mut Done,
    ) -> Result<(), SyncError> {
        let mut objects = holders.to_vec();
        let own = match live.listed(&fetch.path, fetch.row.size) {
            None if !live.is_listed() && objects.is_empty() => {
                let meta = self.store.head(&fetch.path.to_text()).await?;
                meta.filter(|meta| meta.size == fetch.row.size).map(|meta| meta.etag)
            }
            listed => listed,
        };
        objects.extend(own.map(|etag| (fetch.path.clone(), etag)));
        // Its own key is the likeliest.
        objects.sort_by_key(|(path, _)| *path != fetch.path);
        objects.dedup();
        let row = Row { pieces: Pieces::None, ..fetch.row.clone() };
        for (path, etag) in objects {
            match self.fetch_version(fetch, &path.to_text(), &etag, &row, true).await {
                Ok(Version::Done(_, index)) => {
                    tracing::warn!("{why}: {} was taken from the live object {path}", fetch.path);
                    done.index.extend(index.map(|index| (fetch.path.clone(), index)));
                    done.written.insert(fetch.path.clone(), fetch.row.clone());
                    return Ok(());
                }
                // Another version, or other bytes.
                Ok(Version::Moved) | Err(SyncError::Incomplete { .. }) => {}
                Err(SyncError::Store(error)) if concerns_one(&error) => {}
                Err(SyncError::Write(error)) => {
                    self.tolerate::<()>(&fetch.path, Err(error), done)?;
                    return Ok(());
                }
                Err(error) => return Err(error),
            }
        }
        done.failed.push((fetch.path.clone(), format!("{why}, and no live object has this content")));
        Ok(())
    }
}
