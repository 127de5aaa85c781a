//! A commit of a plain workspace: the live tree is the authority, so it is written first, conditionally; the tree then
//! says what plain objects cannot (modes, links, empty directories), each row with the version of the object it is true
//! for. Where the workspace is live this must not be used: see `live_commit`.

use std::collections::{BTreeMap, BTreeSet};

use super::{
    SyncError,
    base::{base_of, theirs_of},
    commit::{Attempt, Committer},
    live_tree::{LiveTree, Outcome},
    local::{Local, needed, not_deleted, stored_rows, undeleted, with_versions},
    publish::{Published, next_head, publish_for},
    remote::present_tree,
    room::Room,
    session::{owners, with_abilities, with_noted_abilities},
};
use crate::{
    config::OnDeadline,
    plan::{ChangeKind, Merged, Order, changes, tombstones, upload_plan},
    report::{Conflict, NotDeleted, Receipt},
    rows::{ETag, RelPath, Rows},
    snapshot::Head,
};

impl Committer<'_> {
    /// One try; `None` where another writer was faster.
    pub(super) async fn try_plain(
        &mut self,
        Attempt { scan, before, head, quiet, control, events }: Attempt<'_>,
    ) -> Result<Option<Receipt>, SyncError> {
        let now = present_tree(&self.store, head).await?;
        let (theirs, removed) = theirs_of(&self.store, &self.mine, head, self.origin.as_ref(), now).await?;
        let (_, owners) = owners(self.config, self.setting);
        let mut local = Local::new(scan, before, owners, self.origin.as_ref(), &theirs, &self.dir);
        local.group(self.origin.as_ref(), &self.config.together);
        let base = base_of(&self.mine, head, self.origin.as_ref());
        let (_, merged) = local.merge(base, &theirs, false);
        let order = if control.is_last() { Order::NewestFirst } else { Order::ByPath };
        let mut plan = upload_plan(&theirs, &merged, order).in_groups(local.groups(), order);
        let has_changes = !changes(&theirs, &merged.rows).is_empty() || !plan.is_empty();
        if self.config.call.dry_run {
            let planned = self.plain_receipt(&theirs, &merged, &Outcome::default(), &local, quiet, None);
            return Ok(Some(Receipt { durable: false, ..planned }));
        }
        if !has_changes {
            self.save_index();
            let receipt = self.plain_receipt(&theirs, &merged, &Outcome::default(), &local, quiet, None);
            self.tell_durable(events, &receipt);
            return Ok(Some(receipt));
        }
        plan = plan.with_tombstones(&removed, &merged);
        // In a stop each trip counts: what is not known by then is not relied on.
        self.store = if control.is_last() {
            with_noted_abilities(self.store.clone(), Some(&self.state))
        } else {
            with_abilities(self.store.clone(), Some(&self.state), needed(&plan)).await?
        };
        let known: Vec<&Rows> = std::iter::once(&theirs).chain(self.origin.as_ref()).collect();
        let stop = || !quiet && control.app_is_gone() || control.time_is_up();
        let live_tree = LiveTree {
            store: &self.store,
            dir: &self.dir,
            state: Some(&self.state),
            head,
            sent: &self.sent,
            known: &known,
            groups: local.groups(),
            stop: &stop,
            control,
            room: Room::new(),
            events,
        };
        let mut outcome = live_tree.run(&plan).await?;
        if outcome.lost {
            return Ok(None);
        }
        if outcome.stopped && !control.time_is_up() {
            // The app is gone: the second scan begins at once, and what was put is known again.
            return Ok(Some(self.plain_receipt(&theirs, &merged, &outcome, &local, quiet, None)));
        }
        let is_partial = local.take(&outcome);
        if is_partial && outcome.stopped && self.config.on_deadline == OnDeadline::Old {
            let mut receipt = self.plain_receipt(&theirs, &merged, &outcome, &local, quiet, None);
            receipt.durable = false;
            return Ok(Some(receipt));
        }
        if !quiet && control.app_is_gone() {
            return Ok(Some(self.plain_receipt(&theirs, &merged, &outcome, &local, quiet, None)));
        }
        local.part_groups(&plan, &mut outcome, &self.url);
        let (ours, merged) = local.merge(base, &theirs, is_partial);
        let rows = stored_rows(&merged, &theirs, &outcome);
        let (ours, markers) = (with_versions(ours, &rows), self.markers());
        let missing = is_partial.then(|| local.lacking().names());
        let tombstones = tombstones(&undeleted(&removed, &outcome), &markers, &rows);
        let next = next_head(&self.store, head, quiet, missing, &rows, tombstones).await?;
        let noted = self.note_pending(&next, &ours)?;
        match publish_for(&self.mine, &self.store, head, &next).await? {
            Published::Won(_) => {}
            Published::Lost => return Ok(None),
            Published::Gone => {
                return Err(SyncError::Deleted(self.url.clone(), self.config.dir.display().to_string()));
            }
        }
        let receipt = self.plain_receipt(&theirs, &merged, &outcome, &local, quiet, Some(&next));
        self.tell_durable(events, &receipt);
        self.committed = self.committed_files(&theirs, &merged);
        self.settle(&next, ours, noted)?;
        self.warn_of_size(&rows);
        Ok(Some(receipt))
    }

    fn plain_receipt(
        &self,
        theirs: &Rows,
        merged: &Merged,
        outcome: &Outcome,
        local: &Local,
        quiet: bool,
        next: Option<&Head>,
    ) -> Receipt {
        let mut receipt = self.receipt(theirs, merged, local, quiet, next);
        let files = self.committed_files(theirs, merged);
        let deleted: BTreeSet<String> = files
            .iter()
            .filter(|(_, change)| **change == ChangeKind::Deleted)
            .map(|(path, _)| path.to_string())
            .collect();
        let held_back = std::mem::take(&mut receipt.not_deleted);
        receipt.add_not_deleted(not_deleted(outcome).into_iter().map(|left| {
            let was_counted = deleted.contains(&left.path);
            (left, was_counted)
        }));
        let is_new = |one: &NotDeleted| receipt.not_deleted.iter().all(|other| other.path != one.path);
        let held_back: Vec<NotDeleted> = held_back.into_iter().filter(is_new).collect();
        receipt.not_deleted.extend(held_back);
        let copies = outcome.copies.iter();
        receipt
            .conflicts
            .extend(copies.map(|(path, copy)| Conflict { path: path.to_string(), copy: copy.to_string() }));
        receipt
    }

    pub(super) fn markers(&self) -> BTreeMap<RelPath, ETag> {
        let markers = self.mine.markers.iter();
        markers.filter_map(|(path, etag)| Some((RelPath::from_text(path).ok()?, ETag::new(etag.clone())))).collect()
    }
}
