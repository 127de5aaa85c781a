//! Which keys of the live tree the rules ignore: asked only where somebody put a key there that nobody vouches for.

use std::collections::BTreeMap;

use futures_util::{StreamExt, TryStreamExt, stream};

use super::{
    super::{SyncError, contents, import::MAX_RULES},
    Live,
};
use crate::{
    rows::{Kind, RelPath, Row},
    store::{GetIf, Got, Store},
    worktree::{RuleOptions, Rules, is_rule_input},
};

impl Live {
    /// The rules as the snapshot's own ignore files have them, and those that others put where it has none.
    pub(super) async fn read_rules(&self, store: &Store, options: &RuleOptions) -> Result<Rules, SyncError> {
        let mut inputs: BTreeMap<RelPath, Option<&Row>> = BTreeMap::new();
        for object in self.objects.iter().flatten() {
            if let Ok(path) = RelPath::from_text(&object.key)
                && is_rule_input(&path).is_some()
            {
                inputs.insert(path, None);
            }
        }
        for (path, row) in self.tree.rows.iter().filter(|(_, row)| row.kind == Kind::File) {
            if is_rule_input(path).is_some() {
                inputs.insert(path.clone(), Some(row));
            }
        }
        let files: Vec<(RelPath, Vec<u8>)> = stream::iter(inputs.into_iter().map(|(path, row)| async move {
            let bytes = self.read_rule(store, &path, row).await?;
            Ok::<_, SyncError>((path, bytes))
        }))
        .buffer_unordered(store.widths().0.max(1))
        .try_collect()
        .await?;
        Ok(Rules::from_files(files, options))
    }

    async fn read_rule(&self, store: &Store, path: &RelPath, row: Option<&Row>) -> Result<Vec<u8>, SyncError> {
        if is_rule_input(path) != Some(true) || row.is_some_and(|row| row.size > MAX_RULES) {
            return Ok(Vec::new());
        }
        if let Some(row) = row
            && let Ok(bytes) = contents::content(store, row).await?
        {
            return Ok(bytes);
        }
        let key = path.to_text();
        let listed = self.objects.iter().flatten().find(|object| *object.key == *key);
        if listed.is_none_or(|listed| listed.size > MAX_RULES) {
            return Ok(Vec::new());
        }
        Ok(match store.get(&key, GetIf::Always).await? {
            Got::Found(object) => object.bytes.to_vec(),
            _ => Vec::new(),
        })
    }
}
