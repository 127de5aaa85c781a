//! Meetings of which one deletes the workspace: whoever had it is refused from then on and keeps what lies in his
//! directory; what is left of it goes with the next delete; and a new workspace of the same name is nobody's but its
//! own.

use std::collections::BTreeSet;

use super::{
    Act,
    meetings::{Case, Meanwhile, ended, is_merged},
    points::{assert_same, start},
};
use crate::support::{
    checker::{Checked, files, on_disk},
    story::{Directory, Ended},
};

/// What a commit to a deleted workspace exits with.
pub(super) const DELETED: i32 = 1;

impl Case<'_> {
    /// Whether the workspace is deleted in it.
    pub(super) fn is_of_an_end(&self) -> bool {
        self.meeting.act == Act::Delete
            || matches!(self.meeting.meanwhile, Meanwhile::Deletes | Meanwhile::DeletesAndBegins)
    }

    /// Somebody else deletes the workspace.
    pub(super) fn is_deleted(&self, place: &str) {
        ended(self.there.stopover(&["delete", &self.ground.story.url(), "--yes"]), place);
    }

    /// The directory of who begins a new workspace of the same name, as it is at first.
    pub(super) fn anew(&self) -> Directory {
        let anew = self.ground.directory("anew");
        std::fs::remove_dir_all(&anew.path).unwrap();
        self.ground.directory("anew")
    }

    /// What a container gets that starts when both are done, or dead.
    pub(super) fn end_is_seen(&self, place: &str) -> &'static str {
        let checked = self.checked(place);
        let things = self.pulled(place);
        if self.meeting.meanwhile == Meanwhile::DeletesAndBegins {
            assert_same(&things, &on_disk(&self.ground.directory("anew").path), &format!("{place}: a pull"));
            return "the new one's";
        }
        if checked.state.as_deref() != Some("deleted") {
            is_merged(&self.was, &self.was, &self.theirs, &things)
                .unwrap_or_else(|wrong| panic!("{place}: a pull: {wrong}"));
            return "the other's";
        }
        let known: BTreeSet<Vec<u8>> =
            [&self.was, &self.ours, &self.theirs].into_iter().flat_map(|things| files(things).into_values()).collect();
        let parts: Vec<String> =
            files(&things).into_iter().filter(|(_, bytes)| !known.contains(bytes)).map(|(path, _)| path).collect();
        assert!(parts.is_empty(), "{place}: a deleted workspace has {parts:?}");
        if things.is_empty() { "nothing" } else { "what is not deleted yet" }
    }

    /// The next delete leaves nothing, nobody commits to it any more, and nobody has lost anything.
    pub(super) fn end_goes_on(&self, place: &str) {
        let directories = [&self.here, &self.there].map(|directory| on_disk(&directory.path));
        self.is_deleted(place);
        let is_gone = |checked: &Checked| checked.own.len() == 1 && checked.state.as_deref() == Some("deleted");
        let checked = self.checked(place);
        assert!(
            is_gone(&checked) && checked.live.is_empty(),
            "{place}: there is {:?}, {:?}",
            checked.own,
            checked.live
        );
        for directory in [&self.here, &self.there] {
            is_refused(&directory.checkpoint(), place);
            let guarded = directory.pull();
            assert_eq!(guarded.code(), 4, "{place}: {}\n{}", guarded.stdout, guarded.stderr);
        }
        let checked = self.checked(place);
        assert!(checked.state.as_deref() == Some("deleted") && checked.live.is_empty(), "{place}: {:?}", checked.live);
        for (directory, before) in [&self.here, &self.there].into_iter().zip(directories) {
            assert_same(&on_disk(&directory.path), &before, &format!("{place}: {}", directory.path.display()));
        }
    }

    /// The first one does the same again, and the new workspace goes on.
    pub(super) fn new_one_goes_on(&self, place: &str) {
        ended(start(self.ground, &self.here, self.meeting.act).ends(), place);
        self.checked(place);
        let anew = self.ground.directory("anew");
        anew.file("again.txt", "again");
        let receipt = ended(anew.stopover(&["commit", "--json"]), place).json();
        assert_eq!(receipt["live_tree"], "current", "{place}: {receipt}");
        let (checked, things) = (self.checked(place), on_disk(&anew.path));
        assert_same(&checked.tree, &things, &format!("{place}: the tree at the end"));
        assert!(checked.live == files(&things), "{place}: objects {:?}", checked.live.keys());
        assert_same(&self.pulled(place), &things, &format!("{place}: a pull at the end"));
        is_refused(&self.there.checkpoint(), place);
    }
}

/// A commit to a workspace that was deleted.
#[track_caller]
pub(super) fn is_refused(ended: &Ended, place: &str) {
    let says = ended.stderr.contains("was deleted since this directory was restored");
    assert!(ended.code() == DELETED && says, "{place}: exit {}\n{}\n{}", ended.code(), ended.stdout, ended.stderr);
}
