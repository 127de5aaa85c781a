//! The live tree follows (sections 2.6 and 2.7; I4, I6).

use super::{Rule, rule};

const CATCH_UP: &str = "src/sync/catch_up.rs";
const KEY: &str = "src/sync/catch_up/key.rs";
const LIVE: &str = "src/plan/live.rs";
const LIVE_COMMIT: &str = "src/sync/live_commit.rs";
const WATCH: &str = "src/sync/watch.rs";

pub(super) const RULES: &[Rule] = &[
    rule(
        "2.6",
        "a put carries If-Match with the last known version or If-None-Match",
        &[(KEY, "let condition = «expected.map_or(PutIf::Absent, PutIf::Match)»;", "{ let _ = expected; PutIf::Any }")],
        ("lib", "sync::catch_up::tests::an_outside_edit_is_left_alone_and_keeps_its_old_row"),
    ),
    rule(
        "2.6",
        "a delete carries the version that is known",
        &[(KEY, "self.store.delete(&path.to_text(), «Some(etag)»).await {", "{ let _ = etag; None }")],
        ("lib", "sync::catch_up::tests::without_conditions_on_deletes_it_is_looked_at_just_before"),
    ),
    rule(
        "2.6",
        "no request goes out unless head was seen in the last 5 s",
        &[(WATCH, "self.look_unless(|at| «at.elapsed() < FRESH»).await", "true")],
        ("lib", "sync::catch_up::tests::nothing_goes_out_on_the_strength_of_a_head_that_was_seen_long_ago"),
    ),
    rule(
        "2.6",
        "a catch-up stops when the snapshot of head has moved",
        &[(WATCH, "&& «head.head.snapshot == self.snapshot» =>", "true")],
        ("lib", "sync::catch_up::tests::nothing_more_is_sent_when_head_has_moved"),
    ),
    rule(
        "2.6",
        "after a 412 head is read before the object is looked at",
        &[(KEY, "if !is_look && «!self.watch.is_still_after(Instant::now()).await?» {", "false")],
        ("lib", "sync::catch_up::tests::what_a_newer_commit_put_back_is_not_overwritten"),
    ),
    rule(
        "2.6",
        "what a recent snapshot had at a key is ours",
        &[(LIVE, "for rows in std::iter::once(&present).chain(«self.recent») {", "&[][..]")],
        ("lib", "sync::catch_up::tests::what_a_sibling_left_of_a_recent_catch_up_is_met_and_replaced"),
    ),
    rule(
        "2.6",
        "every key where a recent snapshot differs from R is caught up",
        &[(LIVE, "let tables = std::iter::once(result).chain(«explained.recent».iter().copied());", "[].as_slice()")],
        ("lib", "sync::catch_up::tests::what_a_sibling_left_of_a_recent_catch_up_is_met_and_replaced"),
    ),
    rule(
        "2.6",
        "where the mirror alone equals R it is looked first",
        &[(LIVE, "if «is_settled» {", "{ let _ = is_settled; true }")],
        ("live_tree", "a_catch_up_that_was_cancelled_anywhere_and_then_reversed_leaves_no_trace"),
    ),
    rule(
        "2.6",
        "what no snapshot explains is an outside edit and is left",
        &[(LIVE, "if «!known.contains(&content)» {", "false")],
        ("lib", "sync::catch_up::tests::an_outside_edit_is_left_alone_and_keeps_its_old_row"),
    ),
    rule(
        "2.6",
        "a copy of theirs in a recent snapshot explains the object it was made of",
        &[(
            LIVE,
            "known.extend(copies::all_kept(rows, path).filter_map(«Content::of»));",
            "(|_: &Row| None) as fn(&Row) -> Option<Content>",
        )],
        ("lib", "plan::live::tests::a_copy_that_a_snapshot_keeps_explains_the_object_it_was_made_of"),
    ),
    rule(
        "2.6",
        "bytes go from the disk only if they still hash to the row of R",
        &[(KEY, "Ok(read.filter(|outgoing| «outgoing.row.same_content(row)»))", "{ let _ = (outgoing, row); true }")],
        ("lib", "sync::catch_up::tests::what_is_another_on_the_disk_by_now_comes_out_of_the_packs"),
    ),
    rule(
        "2.6",
        "where a directory takes the place of a file its delete comes first",
        &[(LIVE, "let list = match «delete_first(path, result)» {", "delete_first(path, result).map(|_| false)")],
        ("lib", "plan::live::tests::a_file_makes_room_for_a_directory_before_anything_is_put_and_the_reverse"),
    ),
    rule(
        "2.6",
        "an outside edit keeps its old mirror row",
        &[(
            LIVE,
            "Ended::Outside | Ended::Denied(None) | Ended::NameRefused => «{}»",
            "{ next.rows.remove(&step.path); }",
        )],
        ("lib", "sync::catch_up::tests::an_outside_edit_is_left_alone_and_keeps_its_old_row"),
    ),
    rule(
        "2.7",
        "what may not be deleted is mirrored as it was met",
        &[(KEY, "How::Denied(_, held) => Self::Denied(«held»),", "held.and(None)")],
        ("tombstones", "what_was_removed_before_a_mirror_had_it_and_may_not_be_deleted_stays_removed"),
    ),
    rule(
        "2.7",
        "who refuses a delete does not say which version is there",
        &[(KEY, "if proven.is_none() && «self.may_be_newer(step)» => {", "{ let _ = self.may_be_newer(step); false }")],
        ("tombstones", "what_was_removed_before_a_mirror_had_it_and_may_not_be_deleted_stays_removed"),
    ),
    rule(
        "2.6",
        "the tombstones of a plain snapshot explain objects to a catch-up",
        &[(
            CATCH_UP,
            "rows.extend(«hidden_rows(self.store, &removed, &mut known).await?»);",
            "{ let _ = (removed, &mut known); Rows::new() }",
        )],
        ("tombstones", "what_a_plain_container_could_not_delete_stays_removed_until_the_first_mirror_says_so"),
    ),
    rule(
        "2.7",
        "a mirror is written only when every step has ended",
        &[(LIVE, "match «ended.get(&step.path)?» {", "ended.get(&step.path).unwrap_or(&Ended::Outside)")],
        (
            "lib",
            "sync::catch_up::tests::a_content_that_is_nowhere_any_more_leaves_the_catch_up_unfinished_and_nothing_else_undone",
        ),
    ),
    rule(
        "2.7",
        "a mirror is written only while head names its snapshot",
        &[(CATCH_UP, "if (self.stop)() || «!watch.is_still_after(Instant::now()).await?» {", "false")],
        ("lib", "sync::catch_up::tests::no_mirror_is_written_when_head_has_moved_since_the_last_object"),
    ),
    rule(
        "2.7",
        "a commit that finds nothing changed finishes a catch-up whose mirror is missing",
        &[(
            LIVE_COMMIT,
            "if «is_current && is_noted» && self.config.live_tree",
            "{ let _ = (is_current, is_noted); true }",
        )],
        ("evidence", "a_commit_with_nothing_to_store_finishes_the_catch_up_of_one_that_was_killed"),
    ),
    rule(
        "2.7",
        "recent is everything since the mirror that the mirror was built from",
        &[(
            "src/plan/ancestry.rs",
            "at.map_or(lineage, |at| «&lineage[at + 1..]»)",
            "&lineage[lineage.len() - 1 + 0 * at..]",
        )],
        ("lib", "plan::ancestry::tests::recent_is_what_came_after_the_mirror_before_the_present_one"),
    ),
    rule(
        "2.7",
        "without a mirror all of the lineage is recent",
        &[("src/plan/ancestry.rs", "at.map_or(«lineage», |at|", "&lineage[lineage.len() - 1..]")],
        ("lib", "plan::ancestry::tests::recent_is_what_came_after_the_mirror_before_the_present_one"),
    ),
    rule(
        "3.3",
        "an outside delete that was refused is written again as if not mirrored",
        &[(LIVE, "(«self.refused.get(path) != Some(&held.etag)»).then_some(held)", "true")],
        ("lib", "sync::catch_up::tests::a_refused_delete_is_written_again_and_the_mirror_stays_whole"),
    ),
    rule(
        "2.6",
        "a TERM cancels a catch-up at once",
        &[("src/supervise/commits.rs", "«child.cancel(now, patience)»;", "()")],
        ("load", "a_stop_during_a_catch_up_that_hangs_does_not_wait_for_it"),
    ),
    rule(
        "2.6",
        "at the deadline no request is waited for",
        &[(
            "src/sync/control.rs",
            "let Some(listening) = «&self.listening» else { return std::future::pending().await };",
            "&None",
        )],
        ("lib", "sync::catch_up::tests::a_request_that_hangs_keeps_nobody_past_the_deadline"),
    ),
    // An import.
    rule(
        "2.6",
        "a refusal is never absence",
        &[(
            "src/store/read.rs",
            "Err(trouble) if «trouble.status() == Some(404) && is_absent(&trouble)» => Ok(None),",
            "matches!(trouble.status(), Some(403 | 404))",
        )],
        ("access", "a_refusal_is_never_absence"),
    ),
    // Servers.
    rule(
        "2, servers",
        "without condition on DELETE the version is looked at first",
        &[(
            "src/store/delete.rs",
            "Ok(Some(meta)) if «meta.etag != *version» => return Ok(Deleted::Refused),",
            "{ let _ = meta; false }",
        )],
        ("lib", "sync::catch_up::tests::without_conditions_on_deletes_it_is_looked_at_just_before"),
    ),
    rule(
        "2, servers",
        "without condition on PUT it is looked before",
        &[(
            "src/store/write.rs",
            "(PutIf::Match(etag), Some(meta)) if «meta.etag != *etag» => Some(Put::Refused),",
            "false",
        )],
        ("measuring", "nothing_of_others_is_overwritten_on_a_server_that_could_not_be_measured"),
    ),
    rule(
        "2, servers",
        "a conditional write whose reply is lost is not repeated blindly",
        &[("src/store/write.rs", "let repeat = if «condition == PutIf::Any» {", "true")],
        ("network", "a_conditional_put_whose_reply_is_lost_is_uncertain_and_not_repeated"),
    ),
    rule(
        "8, I6",
        "Complete carries its condition",
        &[(
            "src/store/multipart.rs",
            "let request = match «condition» {\n                    PutIf::Absent => request.if_none_match",
            "{ let _ = condition; PutIf::Any }",
        )],
        ("large_files", "an_object_that_others_replace_meanwhile_is_left_to_the_next_pull"),
    ),
];
