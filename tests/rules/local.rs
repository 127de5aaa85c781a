//! The directory: what a scan may call unchanged, and ways that no link leads astray (sections 2.1 and 3.5; I3, I11).

use super::{Rule, rule};

const DIRECTORY: &str = "src/worktree/directory.rs";
const INDEX: &str = "src/worktree/index.rs";
const SCAN: &str = "src/worktree/scan/mod.rs";

pub(super) const RULES: &[Rule] = &[
    rule(
        "2.1",
        "a racy or warm row proves nothing",
        &[(INDEX, "«!self.racy && !self.warm» && self.is_of(stat)", "true")],
        ("scan", "unchanged_is_said_only_of_what_did_not_change"),
    ),
    rule(
        "2.1",
        "a row that was hashed while it was mapped is warm",
        &[(SCAN, "|| «outcomes.mapped.has(stat.ino, &dir.path().join(path.as_path()))»;", "false")],
        ("scan", "a_file_that_is_mapped_while_it_is_hashed_is_hashed_again_until_it_is_not"),
    ),
    rule(
        "2.1",
        "where a process could not be read every hashed row is warm",
        &[("src/worktree/mapped.rs", "«!self.complete» || self.inodes.contains(&inode)", "false")],
        ("scan", "where_a_process_cannot_be_read_every_hashed_row_is_warm_and_a_restored_one_is_not"),
    ),
    rule(
        "2.1",
        "where stores leave no trace nothing is believed",
        &[
            (SCAN, "if «touched.as_ref().is_some_and(|touched| touched.stores_are_seen)» {", "true"),
            (SCAN, "row.warm = «touched.as_ref().is_none_or(|touched| !touched.stores_are_seen)»", "false"),
        ],
        ("scan", "in_memory_too_where_stores_leave_no_trace"),
    ),
    rule(
        "2.1",
        "a file that moves while it is read is read again",
        &[("src/worktree/scan/hashing.rs", "if «!moved && cut.size == before.size» {", "{ let _ = moved; true }")],
        ("scan", "a_file_that_never_holds_still_is_said_to_be_changing"),
    ),
    rule(
        "2.1",
        "the same means the same ctime, too",
        &[(
            INDEX,
            "&& «(self.mtime_ns, self.ctime_ns) == (stat.mtime_ns, stat.ctime_ns)»",
            "self.mtime_ns == stat.mtime_ns",
        )],
        ("scan", "unchanged_is_said_only_of_what_did_not_change"),
    ),
    rule(
        "2.2",
        "a directory that was removed under the scan is not an empty one",
        &[(SCAN, "if «dir.is_removed()» {", "false")],
        ("paths", "a_workspace_that_was_removed_under_the_scan_is_not_an_empty_one"),
    ),
    rule(
        "2.2",
        "in a directory that was removed nothing is gone",
        &[(DIRECTORY, "Errno::ELOOP) if «!self.is_removed()» => Presence::Gone,", "true")],
        ("lib", "worktree::directory::tests::nothing_is_gone_from_a_directory_that_was_removed_itself"),
    ),
    rule(
        "3.5",
        "no way leads through a symbolic link",
        &[(
            DIRECTORY,
            "let resolve = ResolveFlag::RESOLVE_BENEATH | «ResolveFlag::RESOLVE_NO_SYMLINKS» |",
            "ResolveFlag::RESOLVE_BENEATH",
        )],
        ("lib", "worktree::directory::tests::a_link_in_the_way_is_no_directory_and_leads_nowhere"),
    ),
    rule(
        "3.5",
        "no way leads onto another mount",
        &[(DIRECTORY, "| «ResolveFlag::RESOLVE_NO_XDEV»;", "ResolveFlag::RESOLVE_BENEATH")],
        ("lib", "worktree::directory::tests::another_mount_is_neither_gone_nor_entered"),
    ),
    rule(
        "3.5",
        "step by step no way leads through a symbolic link either",
        &[(
            DIRECTORY,
            "else { OFlag::O_PATH | OFlag::O_DIRECTORY | «OFlag::O_NOFOLLOW» | OFlag::O_CLOEXEC };",
            "OFlag::O_PATH",
        )],
        ("lib", "worktree::directory::tests::a_link_in_the_way_is_no_directory_and_leads_nowhere"),
    ),
    rule(
        "2",
        "the state of another user is refused",
        &[("src/state/mod.rs", "if «stat.st_uid != us» {", "false")],
        ("lib", "state::tests::the_state_of_another_user_is_refused"),
    ),
    rule(
        "3.7",
        "a restore that was not on the disk does not count after a restart",
        &[("src/state/restart.rs", "if «!ready.flushed» {", "false")],
        ("lib", "state::restart::tests::a_restore_that_was_not_on_the_disk_does_not_count_after_a_restart"),
    ),
];
