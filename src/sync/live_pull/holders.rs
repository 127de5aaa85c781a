//! Which live objects hold a content that the packs do not have.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use super::{
    super::{SyncError, snapshots::newest_mirror},
    Live, as_planned,
};
use crate::{
    plan::{Content, Whose},
    rows::{ETag, RelPath, Row},
    store::Store,
};

/// How many objects are asked for one content, at most.
const HOLDERS: usize = 8;

impl Live {
    /// Where the object lies that `path` is to hold: elsewhere where others edited what head has changed, too, so that
    /// their content goes beside it.
    pub(in super::super) fn original<'a>(&'a self, path: &'a RelPath) -> &'a RelPath {
        let copy = self.wanted.merged.copies.iter().find(|copy| copy.whose == Whose::Theirs && copy.copy == *path);
        copy.map_or(path, |copy| &copy.path)
    }

    /// Live objects that should hold what these paths are to have, the likeliest first.
    pub(in super::super) async fn holders(
        &self,
        store: &Store,
        lost: &BTreeMap<&RelPath, &Row>,
    ) -> Result<HashMap<RelPath, Vec<(RelPath, ETag)>>, SyncError> {
        let read = match self.objects {
            Some(_) => None,
            // Nobody needed it before.
            None => newest_mirror(store, None, &self.head.head).await?.as_ref().map(as_planned),
        };
        let mut mirrored: HashMap<Content, Vec<(RelPath, ETag)>> = HashMap::new();
        let contents: BTreeSet<Content> = lost.values().filter_map(|row| Content::of(row)).collect();
        for (path, held) in &read.as_ref().unwrap_or(&self.mirror).rows {
            if contents.contains(&held.content) {
                mirrored.entry(held.content).or_default().push((path.clone(), held.etag.clone()));
            }
        }
        for (path, row) in self.outside.edits.iter().filter(|(path, _)| !self.outside.unread.contains_key(*path)) {
            if let (Some(content), Some(etag)) = (Content::of(row), &row.etag)
                && contents.contains(&content)
            {
                mirrored.entry(content).or_default().push((path.clone(), etag.clone()));
            }
        }
        let mut listed: HashMap<RelPath, ETag> = HashMap::new();
        for object in self.objects.iter().flatten() {
            if let Ok(path) = RelPath::from_text(&object.key)
                && lost.get(&path).is_some_and(|row| row.size == object.size)
            {
                listed.insert(path, object.etag.clone());
            }
        }
        let mut holders = HashMap::new();
        for (path, row) in lost {
            let own = listed.remove(*path).map(|etag| ((*path).clone(), etag));
            let mut objects: Vec<(RelPath, ETag)> = own.into_iter().collect();
            let others = Content::of(row).and_then(|content| mirrored.get(&content));
            for other in others.into_iter().flatten().take(HOLDERS) {
                if !objects.contains(other) {
                    objects.push(other.clone());
                }
            }
            holders.insert((*path).clone(), objects);
        }
        Ok(holders)
    }
}
