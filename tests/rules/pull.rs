//! Pull (section 3; I2 to I4, I9): what is verified, what others did, when a directory is ready, what is replaced.

use super::{Rule, rule};

const LIVE_PULL: &str = "src/sync/live_pull.rs";
const LIVE_RESTORE: &str = "src/sync/live_restore.rs";
const OUTSIDE: &str = "src/plan/outside.rs";
const PAST: &str = "src/sync/past.rs";
const PULL: &str = "src/sync/pull.rs";
const WRITER: &str = "src/worktree/writer/mod.rs";

pub(super) const RULES: &[Rule] = &[
    rule(
        "3",
        "a head older than the last one seen is refused",
        &[(PULL, "if «seq < mine.seq && !self.config.call.allow_older» {", "false")],
        ("live_pull", "an_older_head_is_refused_unless_it_was_asked_for"),
    ),
    rule(
        "1",
        "a pull into a ready directory of another birth is refused",
        &[(PULL, "if «is_gone(mine, self.found.head())» {", "false")],
        ("live_pull", "a_workspace_made_anew_is_no_newer_state_of_the_old_one"),
    ),
    rule(
        "3.1",
        "after the LIST head is read once more",
        &[
            (
                LIVE_PULL,
                "false => «read_head_since(store, Some(live.head.clone())).await?»,",
                "Some(live.head.clone())",
            ),
            (
                LIVE_PULL,
                "does not have.\n                now = «read_head_since(store, Some(live.head.clone())).await?»;",
                "Some(live.head.clone())",
            ),
        ],
        ("live_pull", "a_siblings_catch_up_while_the_live_tree_is_listed_is_nobodys_edit"),
    ),
    rule(
        "3.1",
        "what a listing of a plain workspace lacks is looked for by name",
        &[("src/sync/import.rs", "if «unasked.is_empty()» {", "true")],
        ("evidence", "what_a_listing_of_a_plain_workspace_lacks_is_looked_for_by_name"),
    ),
    rule(
        "3.2",
        "an edit of others is merged over the mirrored content",
        &[(OUTSIDE, "Some(held) if «row.kind == Kind::File» => {", "false")],
        ("live_pull", "what_others_did_to_the_live_tree_is_merged"),
    ),
    rule(
        "3.2",
        "what a recent snapshot had at a key is no edit of others",
        &[(
            OUTSIDE,
            "is_ours = «content.is_some_and(|content| known.contains(&content))»;",
            "{ let _ = content; false }",
        )],
        ("live_pull", "a_catch_up_on_its_way_is_nobodys_edit"),
    ),
    rule(
        "3.2",
        "what lies in the way of a directory is refused only where no recent snapshot had it",
        &[(OUTSIDE, "if directories.contains(&path) && «!may_be_known» {", "{ let _ = may_be_known; true }")],
        ("lib", "plan::outside::tests::a_file_in_the_way_of_a_directory_is_refused_unless_a_recent_snapshot_had_it"),
    ),
    rule(
        "3.2",
        "recent snapshots are asked about what lies in the way of a directory",
        &[(LIVE_PULL, "&& «found.in_the_way().next().is_none()»)", "true")],
        ("live_tree", "a_zombie_that_wakes_before_any_request_of_its_catch_up_changes_nothing_of_its_siblings"),
    ),
    rule(
        "3.2",
        "what is left of a directory that head has no more is in nobodys way",
        &[(OUTSIDE, "if !is_ours || «Content::at(head, &path).is_some()» {", "true")],
        ("lib", "plan::outside::tests::what_is_left_of_a_directory_that_head_has_no_more_is_in_nobodys_way"),
    ),
    rule(
        "3.2",
        "the tombstones of a plain snapshot explain objects to a pull",
        &[(
            LIVE_PULL,
            "let hidden = «hidden_rows(store, &tombstones, &mut known).await?»;",
            "{ let _ = (tombstones, &mut known); Rows::new() }",
        )],
        ("tombstones", "what_a_plain_container_could_not_delete_stays_removed_until_the_first_mirror_says_so"),
    ),
    rule(
        "3.1",
        "after a 404 head is read once more",
        &[(LIVE_PULL, "others |= «!unproven.is_empty()»;", "{ let _ = &unproven; false }")],
        ("live_pull", "what_a_sibling_deletes_while_a_pull_asks_for_it_by_name_is_nobodys_outside_delete"),
    ),
    rule(
        "3.4",
        "an edit of others is read from its own object",
        &[(
            "src/sync/live_restore.rs",
            "&& let Some(edit) = «self.live.outside.edits.get(path)».filter(",
            "{ let _ = path; self.live.outside.edits.values().find(|edit| Content::of(edit) == Some(content)) }",
        )],
        ("live_pull", "an_edit_that_is_replaced_while_it_is_fetched_is_the_content_of_no_other"),
    ),
    rule(
        "3",
        "a mark in the place of which the tree has something else is no folder",
        &[("src/plan/imports.rs", "        «!is_replaced»\n    });", "true")],
        ("tombstones", "what_took_the_place_of_a_marked_folder_is_restored"),
    ),
    rule(
        "3.3",
        "what is missing is deleted only where head has the mirrored row",
        &[(OUTSIDE, "&& «unchanged(head)»", "true")],
        ("lib", "plan::outside::tests::a_missing_object_is_a_delete_only_if_nothing_else_explains_it"),
    ),
    rule(
        "3.3",
        "what is missing is deleted only where every recent snapshot has the mirrored row",
        &[(OUTSIDE, "&& «explained.recent.iter().all(|rows| unchanged(rows))»", "true")],
        ("lib", "plan::outside::tests::a_missing_object_is_a_delete_only_if_nothing_else_explains_it"),
    ),
    rule(
        "3.3",
        "while a recent snapshot cannot be read nothing is deleted",
        &[(LIVE_PULL, "self.complete = «false»;", "true")],
        ("live_pull", "while_a_recent_snapshot_cannot_be_read_nothing_counts_as_deleted_by_others"),
    ),
    rule(
        "3.3",
        "what is missing is deleted only if a HEAD says 404",
        &[
            (LIVE_PULL, "found.missing.keys().filter(|path| «!self.gone.contains(*path)»).cloned()", "false"),
            (OUTSIDE, ".filter(|(path, _)| «gone.contains(*path)»)", "{ let _ = path; true }"),
        ],
        ("live_pull", "a_listing_with_gaps_deletes_nothing"),
    ),
    rule(
        "3.3",
        "never more than half of the mirrored objects are deleted",
        &[(
            OUTSIDE,
            "let accepted = accept_deletes || «missing <= explained.mirror.rows.len() / 2»;",
            "{ let _ = missing; true }",
        )],
        ("live_pull", "when_most_of_the_live_tree_is_gone_nothing_is_deleted"),
    ),
    rule(
        "3.4",
        "every piece is checked against its hash",
        &[("src/snapshot/frame.rs", ".filter(|found| «piece.holds(found)»)", "{ let _ = found; true }")],
        ("lib", "sync::contents::tests::a_row_that_lies_about_its_content_writes_nothing"),
    ),
    rule(
        "3.4",
        "what a pack does not have comes from the live object of that content",
        &[(LIVE_RESTORE, "for (path, etag) in «objects» {", "{ let _ = objects; Vec::<(RelPath, ETag)>::new() }")],
        ("live_pull", "what_a_pack_does_not_have_comes_from_the_live_tree"),
    ),
    rule(
        "3.4",
        "what a pull did not find in its pack is packed again",
        &[("src/sync/healing.rs", "if «lost.is_empty()» {", "{ let _ = &lost; true }")],
        ("live_edges", "what_lies_in_no_pack_any_more_is_packed_again_though_others_committed_in_between"),
    ),
    rule(
        "3.4",
        "what lies nowhere fails the restore",
        &[(PULL, "if «!self.config.call.allow_partial» {", "false")],
        ("live_pull", "what_lies_nowhere_fails_the_restore_by_name"),
    ),
    rule(
        "2, prune",
        "a restore that meets a swept object reads head again",
        &[(PULL, "if «self.has_moved().await?» {", "false")],
        ("live_pull", "a_snapshot_that_was_swept_while_it_was_read_is_read_anew"),
    ),
    rule(
        "3.5",
        "an existing file is replaced only if its stat is still the scanned one",
        &[(WRITER, "Expected::Same(wanted)) if «self.is_still(&wanted, &stat)» =>", "{ let _ = wanted; true }")],
        ("writes", "only_the_expected_file_is_replaced"),
    ),
    rule(
        "3.5",
        "what is replaced was not touched in any way since the scan",
        &[("src/sync/restore.rs", "Ok(Expected::Same(«seen».map_or(stat,", "seen.filter(|_| false)")],
        ("races", "an_edit_during_a_pull_that_keeps_size_and_time_is_not_replaced"),
    ),
    rule(
        "3.7",
        "a pull notes its snapshot before its first write",
        &[(PULL, "«state.set_pulling(&Pulling { snapshot: snapshot_of(self.found.head()), empty })?»;", "{}")],
        ("live_pull", "pulls_that_are_killed_one_after_the_other_edit_nothing_in_a_directory_that_was_ready"),
    ),
    rule(
        "3.7",
        "what a killed pull made of a ready directory is part of O",
        &[(PAST, "if «local.get(path).is_some_and(|there| there.same_content(row))» {", "false")],
        ("live_pull", "a_pull_that_was_killed_in_a_directory_that_was_ready_edited_nothing_there"),
    ),
    rule(
        "3.7",
        "what a killed pull removed from a ready directory is no deletion",
        &[(PAST, "origin.retain(|path, _| «rows.contains_key(path) || !is_gone(path)»);", "{ let _ = path; true }")],
        ("live_pull", "a_pull_that_was_killed_in_a_directory_that_was_ready_edited_nothing_there"),
    ),
    rule(
        "3.7",
        "where nobody knows what a killed pull made nothing counts as deleted",
        &[(PAST, "origin.retain(|path, _| «!is_gone(path)»);", "{ let _ = path; true }")],
        ("live_pull", "where_the_snapshot_of_a_killed_pull_is_gone_nothing_counts_as_deleted"),
    ),
    rule(
        "3.7",
        "what a killed pull left in an empty directory and head does not know moves aside",
        &[(PAST, "let abandoned = if «was_empty» {", "{ let _ = was_empty; false }")],
        ("live_pull", "what_a_killed_restore_of_a_snapshot_left_is_no_ones_new_file"),
    ),
    rule(
        "3.7",
        "what was not written keeps the row of the O before",
        &[(
            "src/sync/pull/notes.rs",
            "let unwritten = «unwritten(done)»;\n        // What was to lie",
            "Default::default()",
        )],
        ("races", "an_edit_during_a_pull_that_keeps_size_and_time_is_not_replaced"),
    ),
    rule(
        "3",
        "a local file that differs in a directory that was never ready moves aside",
        &[(
            "src/plan/restore.rs",
            "if «self.origin.is_none()» {\n                self.plan.clear.push(Clear::MoveAside",
            "false",
        )],
        ("live_pull", "what_lies_in_a_directory_that_was_never_ready_moves_aside_where_it_differs"),
    ),
    rule(
        "2",
        "another directory than the state knows was never ready",
        &[(PAST, "if «mine.as_ref().is_some_and(|mine| mine.directory != Some(dir.identity()))» {", "false")],
        ("evidence", "notes_that_came_along_with_a_copy_of_a_directory_say_nothing_of_the_copy"),
    ),
    rule(
        "2",
        "the same name on another server is another workspace",
        &[(
            "src/sync/session.rs",
            "if «*there == here || birth.is_some() && birth == mine.birth» {",
            "{ let _ = (there, birth); true }",
        )],
        ("elsewhere", "what_was_imported_from_one_server_is_not_committed_to_another"),
    ),
];
