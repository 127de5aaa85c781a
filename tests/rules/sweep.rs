//! Prune, delete, history and going back (section 2; I1, I4, I5, I7).

use super::{Rule, rule};

const DELETE: &str = "src/sync/delete.rs";
const PRUNE: &str = "src/sync/prune.rs";
const REACH: &str = "src/sync/prune/reach.rs";
const ROOTS: &str = "src/plan/prune.rs";

pub(super) const RULES: &[Rule] = &[
    rule(
        "2, prune",
        "gc is raised before anything is deleted",
        &[(
            "src/snapshot/succession.rs",
            "Self { gc: «self.gc.next(gc_random)», ..self.rewritten(written) }",
            "{ let _ = gc_random; self.gc }",
        )],
        ("history", "what_a_prune_takes_from_a_commit_on_its_way_goes_up_again"),
    ),
    rule(
        "2, prune",
        "a prune whose write was lost starts again",
        &[(
            PRUNE,
            "if let Published::Won(_) = «publish(&store, Some(&surplus.at), &next).await?» {",
            "{ publish(&store, Some(&surplus.at), &next).await?; Published::Won(None) }",
        )],
        ("history", "a_prune_that_meets_a_commit_looks_again"),
    ),
    rule(
        "2, prune",
        "every kept snapshot is reachable",
        &[(ROOTS, "roots.extend(«head.history».iter().chain(head.snapshot)", "[].as_slice()")],
        ("history", "a_prune_takes_what_nothing_reaches_and_nothing_else"),
    ),
    rule(
        "2, prune",
        "the present snapshot is reachable",
        &[(ROOTS, ".chain(«head.snapshot»).map(|id| (id.clone(), Need::Must))", "None")],
        ("lib", "plan::prune::tests::head_history_the_mirror_and_what_is_recent_are_kept"),
    ),
    rule(
        "2, prune",
        "every recent snapshot is reachable",
        &[(ROOTS, "recent(«head.lineage», head.built_from).iter()", "&head.lineage[head.lineage.len()..]")],
        ("history", "a_prune_keeps_the_mirror_what_it_builds_on_and_what_may_still_be_caught_up"),
    ),
    rule(
        "2, prune",
        "the mirror is reachable",
        &[(ROOTS, ".iter().chain(«head.mirror»).map(|id| (id.clone(), Need::May))", "None")],
        ("lib", "plan::prune::tests::head_history_the_mirror_and_what_is_recent_are_kept"),
    ),
    rule(
        "2, prune",
        "the base of a reachable tree is reachable",
        &[(REACH, "if let Some(base) = «header.base» {", "None::<SnapshotId>")],
        ("history", "a_prune_forgets_by_retention_what_it_then_sweeps_but_no_base_and_no_tag"),
    ),
    rule(
        "2, prune",
        "the packs of a reachable tree are reachable",
        &[(REACH, "kept.extend(«packs.iter()».map(pack_key));", "{ let _ = packs; [].iter() }")],
        ("history", "a_prune_takes_what_nothing_reaches_and_nothing_else"),
    ),
    rule(
        "2, prune",
        "the mirror of a reachable snapshot is reachable",
        &[(
            REACH,
            "let mirrors = roots.keys().filter(|id| «there.contains(id.mirror_key().as_str())»);",
            "{ let _ = id; false }",
        )],
        ("history", "a_prune_keeps_the_mirror_what_it_builds_on_and_what_may_still_be_caught_up"),
    ),
    rule(
        "2, prune",
        "the base of a reachable mirror is reachable",
        &[(REACH, "kept.extend(«header.base».map(|base| base.mirror_key()));", "None::<SnapshotId>")],
        ("history", "a_prune_keeps_what_the_mirror_is_written_over"),
    ),
    rule(
        "2, prune",
        "what is kept and cannot be read ends the prune",
        &[(
            REACH,
            "match (read_header(store, &id.tree_key(), &what, read).await?, «need») {",
            "{ let _ = need; Need::May }",
        )],
        ("history", "a_prune_that_cannot_read_what_is_kept_deletes_nothing"),
    ),
    rule(
        "2, prune",
        "what is younger than a day stays",
        &[(ROOTS, "let old = |age: u64| «!courtesy || age >= COURTESY_SECONDS»;", "{ let _ = age; true }")],
        ("history", "what_is_younger_than_a_day_stays"),
    ),
    rule(
        "2, servers",
        "without conditional writes a prune wants to be alone",
        &[(PRUNE, "if «may_race && !config.call.sole_writer» {", "false")],
        ("history", "without_conditional_writes_a_prune_wants_to_be_alone_and_keeps_strays"),
    ),
    rule(
        "2, servers",
        "strays are kept",
        &[(PRUNE, "let strays = if «may_race» {", "false")],
        ("history", "without_conditional_writes_a_prune_wants_to_be_alone_and_keeps_strays"),
    ),
    rule(
        "2.4",
        "retention never goes below one hour",
        &[(
            "src/plan/retention.rs",
            "let floor = «until.is_none_or(|until| until > now.saturating_sub(FLOOR_SECONDS))»;",
            "until.is_none()",
        )],
        ("lib", "plan::retention::tests::what_was_head_within_the_hour_is_kept"),
    ),
    rule(
        "2, prune",
        "a tagged snapshot is kept",
        &[("src/plan/retention.rs", "keep[at] = «entry.tagged» ||", "false")],
        ("lib", "plan::retention::tests::tags_and_the_last_hour_stay_however_many_they_are"),
    ),
    rule(
        "2, delete",
        "a live object is deleted only in the version that was listed",
        &[(DELETE, "store.delete(&listed.key, «Some(&listed.etag)»).await?))", "None")],
        ("history", "an_object_that_was_written_since_it_was_listed_is_listed_again_before_it_is_deleted"),
    ),
    rule(
        "2, delete",
        "a delete ends when head is no tombstone any more",
        &[(
            DELETE,
            "if «begun && !is_deleted || alive.is_some_and(|alive| *birth.get_or_insert(alive) != alive)» {",
            "false",
        )],
        ("history", "a_workspace_that_is_made_anew_while_it_is_deleted_keeps_what_is_its_own"),
    ),
    rule(
        "2, delete",
        "live objects are deleted only while the tombstone was seen",
        &[(DELETE, "Some(_) if «is_still(store, Some(stone)).await?» =>", "true")],
        ("history", "a_delete_that_was_asleep_takes_nothing_of_a_workspace_that_was_made_anew_meanwhile"),
    ),
    rule(
        "2, delete",
        "a tombstone raises gc",
        &[(
            "src/snapshot/head.rs",
            "mirror: None,\n            gc: «self.gc.next(gc_random)»,\n            write_id",
            "{ let _ = gc_random; self.gc }",
        )],
        ("history", "what_comes_while_a_workspace_is_deleted_goes_in_a_round_of_its_own_gc"),
    ),
    rule(
        "2, delete",
        "a new life raises gc",
        &[("src/snapshot/head.rs", "Self { gc: «self.gc.next(gc_random)», ..Self::first_plain", "self.gc")],
        ("lib", "snapshot::head::tests::a_deleted_workspace_is_born_again_from_its_tombstone"),
    ),
    rule(
        "2, prune",
        "a restore in place replaces only what the commit before has stored",
        &[("src/sync/rewind.rs", "else { «past.origin.as_ref()» };", "Some(&local)")],
        ("history", "what_no_commit_stored_is_neither_replaced_nor_removed"),
    ),
    rule(
        "2, prune",
        "a restore in place ends with a commit",
        &[("src/cli/restore.rs", "let after = «commit(context, config)?»;", "before.clone()")],
        ("history", "a_directory_goes_back_between_two_commits_and_nothing_is_lost"),
    ),
    rule(
        "2, prune",
        "a restore in place begins with a commit",
        &[("src/cli/restore.rs", "let before = «commit(context, config)?»;", "Receipt::failed(&0)")],
        ("history", "a_directory_goes_back_between_two_commits_and_nothing_is_lost"),
    ),
];
