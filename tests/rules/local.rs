//! The directory: what is gone, and ways that no link leads astray (sections 2.2 and 3.5; I3).

use super::{Rule, rule};

const DIRECTORY: &str = "src/worktree/directory.rs";

pub(super) const RULES: &[Rule] = &[
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
