//! Commit: what a directory may take for its past, the merge, what of a scan counts, and the write of head (sections 2.1
//! to 2.5, "Too little time", merge3; I1 to I5, I7, I8).

use super::{Rule, rule};

const ANCESTRY: &str = "src/plan/ancestry.rs";
const COMMIT: &str = "src/sync/commit.rs";
const LIVE_COMMIT: &str = "src/sync/live_commit.rs";
const MERGE: &str = "src/plan/merge.rs";
const NOTES: &str = "src/sync/commit_notes.rs";
const PACKS: &str = "src/sync/packs.rs";
const PRESENCE: &str = "src/plan/presence.rs";
const PUBLISH: &str = "src/sync/publish.rs";
const SESSION: &str = "src/sync/session.rs";

pub(super) const RULES: &[Rule] = &[
    // What a directory may take for its past.
    rule(
        "2.2",
        "O counts only if mine or seen is in the lineage or the history",
        &[(ANCESTRY, "Present::Head(ancestry) => «ids().any(|id| ancestry.knows(id))»,", "true")],
        ("evidence", "a_commit_that_is_no_ancestor_of_the_present_one_is_no_base"),
    ),
    rule(
        "2.2",
        "the O of an import counts only while the lineage reaches birth",
        &[(ANCESTRY, "if ids().next().is_none() => «ancestry.reaches_birth()»", "true")],
        ("lib", "sync::base::tests::the_origin_is_a_base_as_far_as_the_head_proves_it"),
    ),
    rule(
        "2.2",
        "an O that is older than the lineage proves that a row was not edited here",
        &[(ANCESTRY, "ids().all(|id| «ancestry.is_too_old(id)»)", "id.seq() == u64::MAX")],
        ("lib", "sync::base::tests::the_origin_is_a_base_as_far_as_the_head_proves_it"),
    ),
    rule(
        "2.2",
        "a head that descends from mine is noted as seen",
        &[(COMMIT, "if «seen.is_some() && self.mine.seen != seen» {", "false")],
        ("lineage", "what_was_seen_proves_the_base_however_far_the_lineage_has_gone"),
    ),
    rule(
        "2.2",
        "a row of O goes only if its own lstat says so",
        &[("src/sync/local.rs", "missing.filter(|path| «matches!(dir.look(path), Presence::Gone)»)", "true")],
        ("commit", "a_removed_file_is_removed_there_and_an_ignored_one_is_not"),
    ),
    rule(
        "2.2",
        "what a scan lacks without proof stays as it was",
        &[(PRESENCE, "if !displaced && (waits || «!seen.gone.contains(path)») {", "false")],
        ("commit", "a_removed_file_is_removed_there_and_an_ignored_one_is_not"),
    ),
    rule(
        "2.2",
        "what lies in a directory that could not be read is not absent",
        &[(PRESENCE, "|| «path.ancestors().any(|up| seen.not_stored.contains(&up))»;", "false")],
        ("lib", "plan::presence::tests::what_a_scan_lacks_without_proof_stays_as_it_was_taken_in"),
    ),
    rule(
        "2.2",
        "what is to be deleted beside a running app must be missing twice",
        &[(COMMIT, "if «!is_alone && !missed.is_empty()» {", "false")],
        ("evidence", "a_file_that_moves_while_a_scan_goes_on_is_in_the_snapshot"),
    ),
    // The merge.
    rule(
        "2, merge3",
        "changed differently on both sides both contents are kept",
        &[(MERGE, "self.take(Side::Ours, ours, «Some(Side::Theirs)»)", "None")],
        ("live", "what_two_directories_change_is_in_both"),
    ),
    rule(
        "2, merge3",
        "a change of ours wins over a delete of theirs",
        &[(MERGE, "(Some(ours), None) => (!«deleted(ours)»)", "self.base.is_some()")],
        ("lib", "plan::merge::tests::a_change_wins_over_a_delete_on_either_side"),
    ),
    rule(
        "2, merge3",
        "a change of theirs wins over a delete of ours",
        &[(MERGE, "(None, Some(theirs)) => (!«deleted(theirs)»)", "self.base.is_some()")],
        ("lib", "plan::merge::tests::a_change_wins_over_a_delete_on_either_side"),
    ),
    rule(
        "2, merge3",
        "without a base nothing is deleted",
        &[(
            MERGE,
            "let deleted = |row: &Row| «self.base.is_some_and(|base| base.same(row))»;",
            "self.base.is_none_or(|base| base.same(row))",
        )],
        ("live_edges", "a_state_directory_that_goes_while_the_app_shuts_down_costs_no_file"),
    ),
    rule(
        "2, merge3",
        "a conflict that the other side has met and kept is settled",
        &[(MERGE, "sides.settled = «true»;", "false")],
        ("lib", "plan::merge::tests::what_the_other_side_has_met_and_kept_in_a_copy_makes_no_second_one"),
    ),
    // Too little time.
    rule(
        "2, too little time",
        "what is not stored is replaced by the row of O before the merge",
        &[(PRESENCE, "ours.retain(|path, row| «stored(path, row)»);", "{ let _ = stored(path, row); true }")],
        ("lib", "plan::presence::tests::a_content_not_stored_gives_way_to_the_row_before_or_to_nothing"),
    ),
    rule(
        "2, too little time",
        "a partial tree deletes nothing",
        &[(PRESENCE, "let waits = «seen.partial && !seen.groups.may_lack(path, &lacking)»", "false")],
        ("shutdown", "what_hangs_at_the_deadline_is_named_and_the_rest_is_committed"),
    ),
    rule(
        "2, too little time",
        "a database goes whole with its journals or not at all",
        &[(
            PRESENCE,
            "let waiting = «seen.groups.waiting(&lacking)»;",
            "std::collections::BTreeMap::<RelPath, RelPath>::new()",
        )],
        ("partial", "a_database_whose_new_log_cannot_be_read_stays_as_it_was"),
    ),
    rule(
        "2, too little time",
        "of a stored group the journal that is gone goes",
        &[(
            "src/plan/deadline.rs",
            "«self.parts.contains(path) && self.with(path).is_some()» && self.culprit",
            "false",
        )],
        ("lib", "plan::deadline::tests::of_a_stored_database_the_journal_that_is_gone_goes_even_when_time_ran_out"),
    ),
    rule(
        "2, too little time",
        "a tree that lacks contents says that it is partial",
        &[(LIVE_COMMIT, "partial: «is_partial»,", "false")],
        ("partial", "the_next_pull_names_what_a_snapshot_lacks"),
    ),
    rule(
        "2, too little time",
        "a partial tree names what it lacks",
        &[(LIVE_COMMIT, "missing: «local.lacking().names()»,", "crate::snapshot::Missing::default()")],
        ("partial", "the_next_pull_names_what_a_snapshot_lacks"),
    ),
    rule(
        "2, too little time",
        "whoever wants all or the old keeps the old head at the deadline",
        &[(LIVE_COMMIT, "if «packed.is_cut_short() && self.config.on_deadline == OnDeadline::Old» {", "false")],
        ("live_life", "whoever_wants_all_or_the_old_keeps_the_old_snapshot_of_a_live_workspace_at_the_deadline"),
    ),
    // Uploads.
    rule(
        "2.3",
        "when gc has moved what was uploaded before does not count",
        &[("src/plan/content.rs", "let moved = «self.gc != gc»;", "{ self.gc = gc; return false }")],
        ("history", "what_a_prune_takes_from_a_commit_on_its_way_goes_up_again"),
    ),
    rule(
        "2.3",
        "a pack that did not arrive is named by nobody",
        &[(PACKS, "for piece in «std::mem::take(&mut self.held)» {", "Vec::new()")],
        ("lib", "sync::packs::tests::a_last_pack_counts_until_the_next_plan_unless_it_went"),
    ),
    rule(
        "2.3",
        "where content lies only theirs knows",
        &[(MERGE, "_ => «content.pieces.without_places()»,", "content.pieces.clone()")],
        ("lib", "plan::merge::tests::where_content_lies_is_no_change_and_only_theirs_knows_where"),
    ),
    rule(
        "2.3",
        "head is not written before the last pack has arrived",
        &[(LIVE_COMMIT, "if «sent?.is_some()» {", "{ let _ = sent?; true }")],
        ("live_life", "whoever_wants_all_or_the_old_keeps_the_old_snapshot_of_a_live_workspace_at_the_deadline"),
    ),
    rule(
        "1",
        "every attempt to commit draws a new id",
        &[(LIVE_COMMIT, "let id = SnapshotId::new(head.map_or(1, |at| at.head.next_seq()), «random()?»);", "[7; 6]")],
        ("evidence", "two_attempts_of_one_number_have_no_name_in_common"),
    ),
    // The write of head.
    rule(
        "2.4",
        "head is written on the condition of its old version",
        &[(
            PUBLISH,
            "let condition = «old.map_or(PutIf::Absent, |old| PutIf::Match(&old.etag))»;",
            "{ let _ = old; PutIf::Any }",
        )],
        ("races", "of_two_commits_at_once_neither_is_lost"),
    ),
    rule(
        "2.4",
        "our id in the lineage means durable",
        &[(ANCESTRY, "_ if «is_ours» => Cas::Durable", "is_ours && false")],
        ("lib", "sync::publish::tests::whatever_the_server_answers_a_commit_that_nobody_outran_is_head_in_the_end"),
    ),
    rule(
        "2.4",
        "durable even if others are on top",
        &[(PUBLISH, "=> «now.has_in_lineage(id)»,", "now.snapshot == Some(*id)")],
        ("lib", "sync::publish::tests::what_others_wrote_meanwhile_is_read_by_the_table_whatever_the_answer_was"),
    ),
    rule(
        "2.4",
        "where head is the old one the same bytes go again",
        &[(ANCESTRY, "_ if «is_old» => Cas::Again", "is_old && false")],
        ("lib", "sync::publish::tests::whatever_the_server_answers_a_commit_that_nobody_outran_is_head_in_the_end"),
    ),
    rule(
        "2.4",
        "a workspace that was deleted or made anew while head is written is gone",
        &[(ANCESTRY, "Present::Head(_) if «is_gone(past, present)» => Cas::Gone", "false")],
        ("lib", "sync::publish::tests::what_others_wrote_meanwhile_is_read_by_the_table_whatever_the_answer_was"),
    ),
    rule(
        "2.4",
        "a head that is gone, deleted or of another birth ends the commit",
        &[(COMMIT, "if «is_gone(&self.mine, head)» {", "false")],
        ("gone", "a_workspace_made_anew_takes_nothing_of_the_old_ones_containers"),
    ),
    rule(
        "8, I7",
        "head never names an older mirror than before",
        &[(
            "src/snapshot/succession.rs",
            "head.mirror = «head.mirror.into_iter().chain(mirror).max_by_key(SnapshotId::seq)»;",
            "mirror",
        )],
        ("lib", "snapshot::succession::tests::a_head_never_names_an_older_mirror_than_before"),
    ),
    // O and mine.
    rule(
        "2.5",
        "O is what the scan saw and not the result",
        &[(LIVE_COMMIT, "let noted = self.note_pending(&next, «&ours»)?;", "&tree.rows")],
        ("live", "what_two_directories_change_is_in_both"),
    ),
    rule(
        "2.5",
        "O is what the scan saw for the next commit of the same process",
        &[(LIVE_COMMIT, "self.settle(&next, «ours», noted)?;", "{ let _ = ours; merged.rows.clone() }")],
        ("evidence", "what_an_early_commit_merged_is_neither_taken_in_nor_quiet"),
    ),
    rule(
        "2.5",
        "O and mine are noted as pending before head is written",
        &[(NOTES, "pending: «Some(pending)», ..self.mine.clone()", "{ let _ = pending; None }")],
        ("races", "a_commit_that_died_before_or_after_its_head_is_finished_by_the_next_one"),
    ),
    rule(
        "2.5",
        "pending becomes O only when a head has its id in the lineage",
        &[(SESSION, "if «!head.is_some_and(|at| at.head.has_in_lineage(&id))» {", "false")],
        ("lib", "sync::session::tests::rows_that_took_their_place_before_a_kill_belong_to_the_commit_that_was_pending"),
    ),
    rule(
        "8, I8",
        "quiet is claimed only by who knows that no app runs",
        &[(COMMIT, "return committer.commit(«false», &control, events).await;", "true")],
        ("honesty", "quiet_is_claimed_only_by_who_knows_that_no_app_runs"),
    ),
    rule(
        "8, I8",
        "the early commit of a stop is not quiet",
        &[(COMMIT, "match committer.commit(«false», &control.of_early(), events).await {", "true")],
        ("evidence", "what_an_early_commit_merged_is_neither_taken_in_nor_quiet"),
    ),
    // Whose directory this is.
    rule(
        "2",
        "another directory than the one that was restored is not committed",
        &[(COMMIT, "if «mine.directory != Some(dir.identity())» {", "false")],
        ("evidence", "notes_that_came_along_with_a_copy_of_a_directory_say_nothing_of_the_copy"),
    ),
    rule(
        "3.7",
        "a directory whose restore did not finish is not committed",
        &[(COMMIT, "if «state.pulling()?.is_some()» {", "false")],
        ("live_pull", "pulls_that_are_killed_one_after_the_other_edit_nothing_in_a_directory_that_was_ready"),
    ),
    rule(
        "2",
        "who lost his notes and whose workspace was made anew stores nothing",
        &[(NOTES, "Some(birth) => «head.birth == birth»,", "true")],
        ("lineage", "a_container_that_lost_its_notes_stores_nothing_in_a_workspace_that_was_made_anew"),
    ),
    rule(
        "2",
        "after an import there is no base for who lost his notes",
        &[(NOTES, "tree.filter(|_| «!handover.plain» && !handover.part)", "true")],
        ("lineage", "a_plain_container_that_lost_its_notes_deletes_nothing_that_it_did_not_take_in"),
    ),
    rule(
        "2",
        "what a restore did not write is no base for who lost his notes",
        &[(NOTES, "tree.filter(|_| !handover.plain && «!handover.part»)", "true")],
        ("lineage", "what_a_restore_could_not_write_is_deleted_by_no_container_that_lost_its_notes"),
    ),
    rule(
        "2",
        "an early commit without an answer leaves the last one its time",
        &[("src/sync/control.rs", "() = self.until_early_is_late(), if «self.is_early» => {}", "false")],
        ("lib", "sync::control::tests::an_early_commit_that_hangs_leaves_most_of_the_time_that_is_left"),
    ),
    // What comes of what a pull took in.
    rule(
        "3.7",
        "what a pull took in and no snapshot has is stored before it is overwritten",
        &[("src/sync/taken_in.rs", "if «taken.is_empty() || !is_time» ||", "true")],
        ("live_edges", "what_others_wrote_and_a_pull_took_in_stays_as_the_app_left_it_and_is_in_history"),
    ),
    rule(
        "3.7",
        "what a pull took in is part of O",
        &[("src/sync/taken_in.rs", "add_taken_in(&mut origin, «&taken», theirs);", "&[][..]")],
        ("live_edges", "what_others_wrote_and_a_pull_took_in_stays_as_the_app_left_it_and_is_in_history"),
    ),
];
