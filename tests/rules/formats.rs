//! Decoders take hostile bytes, and newer formats are left alone (sections 1 and 3.5; I1).

use super::{Rule, rule};

const FRAME: &str = "src/snapshot/frame.rs";
const HEAD: &str = "src/snapshot/head.rs";
const LINES: &str = "src/snapshot/lines.rs";
const PATH: &str = "src/rows/path.rs";
const PLACES: &str = "src/snapshot/places.rs";
const TREE: &str = "src/snapshot/tree.rs";

pub(super) const RULES: &[Rule] = &[
    rule(
        "3.5",
        "a frame is bounded before memory is taken",
        &[(
            FRAME,
            "if «inflated == 0 || inflated > MAX_FRAME_BYTES || body == 0 || !possible» {",
            "{ let _ = possible; false }",
        )],
        ("lib", "snapshot::pack::tests::a_frame_must_be_what_the_tree_says_and_no_longer_than_it_says_itself"),
    ),
    rule(
        "3.5",
        "a frame is what the tree says",
        &[(FRAME, "if «!told» {", "{ let _ = told; false }")],
        ("lib", "snapshot::pack::tests::a_frame_must_be_what_the_tree_says_and_no_longer_than_it_says_itself"),
    ),
    rule(
        "3.5",
        "a frame inflates to what it says and to no less",
        &[(FRAME, "Ok(length) if «length == self.content.len()» => Ok(&self.content),", "{ let _ = length; true }")],
        ("lib", "snapshot::pack::tests::a_frame_must_be_what_the_tree_says_and_no_longer_than_it_says_itself"),
    ),
    rule(
        "3.5",
        "a coding that is not known is a newer one",
        &[(FRAME, "other => «return Err(newer(format!(\"coding {other}\")))»,", "{ let _ = other; Coding::Raw }")],
        ("lib", "snapshot::pack::tests::a_version_or_coding_that_is_not_known_was_made_by_a_newer_stopover"),
    ),
    rule(
        "3.5",
        "rows ascend strictly",
        &[(TREE, "if «self.last.as_ref().is_some_and(|last| last >= path)» {", "false")],
        ("lib", "snapshot::tree::tests::hostile_rows_are_refused_with_what_is_wrong"),
    ),
    rule(
        "3.5",
        "no row lies below a file or symlink",
        &[(TREE, "self.files.iter().find(|file| «path.is_below(file)»)", "{ let _ = file; false }")],
        ("lib", "snapshot::tree::tests::hostile_rows_are_refused_with_what_is_wrong"),
    ),
    rule(
        "1",
        "in a whole tree each directory on the way has its row",
        &[(TREE, "if «self.whole && path.parent().is_some_and(|parent| !self.dirs.contains(&parent))» {", "false")],
        ("lib", "snapshot::tree::tests::hostile_rows_are_refused_with_what_is_wrong"),
    ),
    rule(
        "3.5",
        "a mode is permission bits and nothing else",
        &[("src/snapshot/row.rs", "text.len() == 4 && «*mode & !PERMISSION_BITS == 0» &&", "{ let _ = mode; true }")],
        ("lib", "snapshot::tree::tests::hostile_rows_are_refused_with_what_is_wrong"),
    ),
    rule(
        "3.5",
        "a tree that was cut short is no smaller tree",
        &[(LINES, "if «self.number - 1 != count» {", "false")],
        ("lib", "snapshot::tree::tests::a_tree_cut_short_anywhere_is_no_smaller_tree"),
    ),
    rule(
        "3.5",
        "the rows of a tree are bounded",
        &[(LINES, "if «count > self.limits.rows» {", "false")],
        ("lib", "snapshot::tree::tests::limits_hold_before_memory_is_taken"),
    ),
    rule(
        "3.5",
        "a line is bounded before it is read",
        &[(LINES, "if «read > self.limits.line» {", "false")],
        ("lib", "snapshot::tree::tests::limits_hold_before_memory_is_taken"),
    ),
    rule(
        "3.5",
        "what a tree inflates to is bounded",
        &[
            (LINES, "let most = «self.limits.line.min(self.left)»;", "self.limits.line"),
            (LINES, "if «read > self.left» {", "false"),
            (LINES, "self.left -= «read»;", "0"),
        ],
        ("lib", "snapshot::tree::tests::limits_hold_before_memory_is_taken"),
    ),
    rule(
        "1",
        "a tree of a later format is left alone",
        &[(LINES, "if «format > self.subject.format» {", "false")],
        ("lib", "snapshot::tree::tests::unknown_keys_are_passed_over_and_a_newer_format_is_not"),
    ),
    rule(
        "1",
        "a head of a later format is left alone",
        &[(HEAD, "if «format > HEAD_FORMAT» {", "false")],
        ("restore", "what_a_newer_stopover_made_is_left_alone"),
    ),
    rule(
        "8, I7",
        "a head whose snapshot is not the last of its lineage is refused",
        &[(
            HEAD,
            "(_, Some(id)) if «id.seq() != self.seq || self.lineage.last() != Some(&id)» => {",
            "{ let _ = id; false }",
        )],
        ("lib", "snapshot::head::tests::a_head_that_contradicts_itself_is_refused"),
    ),
    rule(
        "1",
        "a tree that calls itself another one is damaged",
        &[("src/sync/snapshots.rs", "if «found != *id» {", "{ let _ = found; false }")],
        ("live_pull", "a_tree_that_is_another_one_is_no_tree_of_head"),
    ),
    rule(
        "1",
        "an overlay counts only over the base that it names",
        &[(
            "src/snapshot/overlay.rs",
            "«belongs(tree::SUBJECT, &base.header.id, base.header.base, &overlay.header.id, overlay.header.base)?»;",
            "()",
        )],
        ("lib", "snapshot::tree::tests::an_overlay_of_an_overlay_or_of_another_base_is_refused"),
    ),
    rule(
        "1",
        "the pieces of a file are those of its hash",
        &[(
            "src/rows/pieces.rs",
            "&& «merge(pieces.len(), &|index| *pieces[index].hash.as_bytes()) == Some(self.hash)»",
            "true",
        )],
        ("lib", "snapshot::tree::tests::places_that_no_frame_has_are_refused"),
    ),
    rule(
        "3.5",
        "a piece lies within its frame",
        &[(PLACES, "is_some_and(|end| «end <= frame.inflated»)", "{ let _ = end; true }")],
        ("lib", "snapshot::tree::tests::places_that_no_frame_has_are_refused"),
    ),
    rule(
        "3.5",
        "frames lie apart",
        &[(PLACES, "if «fits && apart» { Ok(()) }", "{ let _ = apart; fits }")],
        ("lib", "snapshot::tree::tests::places_that_no_frame_has_are_refused"),
    ),
    rule(
        "3.5",
        "what is called zeros is zeros",
        &[("src/sync/contents/incoming.rs", "if ends_in_zeros && «!piece.holds_zeros()» {", "false")],
        ("lib", "sync::contents::tests::a_row_that_lies_about_its_content_writes_nothing"),
    ),
    rule(
        "3.5",
        "no path leads out of the workspace",
        &[(PATH, "b\".\" | b\"..\" => «return Err(PathError::DotSegment)»,", "{}")],
        ("restore", "hostile_keys_are_refused_by_name_and_nothing_outside_is_written"),
    ),
    rule(
        "3.1",
        "no path leads into the state directory",
        &[(PATH, "b\".stopover\" => «return Err(PathError::Reserved)»,", "{}")],
        ("lib", "rows::path::tests::hostile_paths_are_refused_by_the_rule_they_break"),
    ),
];
