//! What the command line looks like: the subcommands, their flags, and one flag for each variable.

use clap::{Args, CommandFactory, Parser, Subcommand};

use super::{
    commit::Commit, completions::Completions, delete::Delete, diff::Diff, doctor::Doctor, download::Download,
    explain::Explain, health::Health, install::Install, list::List, man::Man, prune::Prune, pull::Pull,
    restore::Restore, run::Run, snapshots::Snapshots, status::Status, tag::Tag, upload::Upload,
};
use crate::config::{Call, flag_args};

const ABOUT: &str = "The first process of an ephemeral container: restores its workspace from S3, installs its dependencies, runs \
     the app, and stores what changed";

const AFTER: &str = "Every variable has a flag of the same name (STOPOVER_STOP_TIMEOUT, --stop-timeout); flags win. `stopover COMMAND -h` \
     is short, `--help` lists them all.\n\n\
     Exit codes of run: the app's; 2 usage or configuration; 80 restore failed; 81 install failed; 82 the app ended well \
     but something was not stored; 128+n stopped by signal n before the app began.\n\
     Exit codes of the others: 0; 1 failed; 2 usage; 3 done but with refused or unreadable files; 4 refused by a guard.";

/// The whole command line.
#[derive(Parser, Debug)]
#[command(name = "stopover", version, about = ABOUT, after_help = AFTER, max_term_width = 120)]
pub(super) struct Cli {
    /// What PID 1 hands to its children.
    #[arg(long, hide = true, global = true, value_name = "WORDS")]
    pub(super) handover: Option<String>,
    /// The subcommand.
    #[command(subcommand)]
    pub(super) command: Command,
}

/// The subcommands.
#[derive(Subcommand, Debug)]
pub(super) enum Command {
    Run(Run),
    Pull(Pull),
    Commit(Commit),
    Status(Status),
    Explain(Explain),
    Install(Install),
    Health(Health),
    #[command(visible_alias = "sync")]
    Upload(Upload),
    Download(Download),
    List(List),
    Delete(Delete),
    Snapshots(Snapshots),
    Diff(Diff),
    Tag(Tag),
    Restore(Restore),
    Prune(Prune),
    Doctor(Doctor),
    Completions(Completions),
    Man(Man),
}

/// The parser. For `run`, which has no time to lose, without what only other commands need.
pub(super) fn command(is_run: bool) -> clap::Command {
    if is_run {
        let root = clap::Command::new("stopover").version(env!("CARGO_PKG_VERSION")).subcommand_required(true);
        let handover = clap::Arg::new("handover").long("handover").hide(true).global(true);
        return root.arg(handover).args(flag_args()).subcommand(Run::augment_args(clap::Command::new("run")));
    }
    Cli::command().args(flag_args())
}

/// What loosens the guards of a restore: of `run` and `pull`.
#[derive(Args, Debug, Clone, Copy, Default)]
#[allow(clippy::struct_excessive_bools, reason = "flags")]
pub(super) struct RestoreGuards {
    /// Remove local files that the workspace does not have
    #[arg(long, help_heading = "Guards")]
    delete: bool,
    /// Take it for meant that more than half of the objects are gone from the bucket
    #[arg(long, help_heading = "Guards")]
    accept_deletes: bool,
    /// Go on though some files cannot be restored; each is named
    #[arg(long, help_heading = "Guards")]
    allow_partial: bool,
    /// Take a snapshot that is older than the last one seen here
    #[arg(long, help_heading = "Guards")]
    allow_older: bool,
}

impl RestoreGuards {
    pub(super) fn call(self, dry_run: bool) -> Call {
        let Self { delete, accept_deletes, allow_partial, allow_older } = self;
        Call { delete, accept_deletes, allow_partial, allow_older, dry_run, ..Call::default() }
    }

    /// The flags again, for PID 1's children.
    pub(super) fn words(self) -> impl Iterator<Item = &'static str> {
        [
            (self.delete, "--delete"),
            (self.accept_deletes, "--accept-deletes"),
            (self.allow_partial, "--allow-partial"),
            (self.allow_older, "--allow-older"),
        ]
        .into_iter()
        .filter_map(|(set, word)| set.then_some(word))
    }
}

/// The same flags where PID 1 passes them to a child that has no use for them.
#[derive(Args, Debug, Clone, Copy, Default)]
#[allow(clippy::struct_excessive_bools, reason = "flags")]
#[allow(dead_code, reason = "taken and not looked at: all children get the flags that run got")]
pub(super) struct PassedGuards {
    #[arg(long = "delete", id = "passed-delete", hide = true, requires = "handover")]
    delete: bool,
    #[arg(long = "accept-deletes", id = "passed-accept-deletes", hide = true, requires = "handover")]
    accept_deletes: bool,
    #[arg(long = "allow-partial", id = "passed-allow-partial", hide = true, requires = "handover")]
    allow_partial: bool,
    #[arg(long = "allow-older", id = "passed-allow-older", hide = true, requires = "handover")]
    allow_older: bool,
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::FromArgMatches;

    #[test]
    fn the_parser_holds_together() {
        command(false).debug_assert();
        command(true).debug_assert();
    }

    #[test]
    fn run_means_the_same_to_both_parsers() {
        let words = ["stopover", "--grace=1s", "run", "--allow-older", "--dir", "/x", "--", "sh", "-c", "true"];
        for is_run in [true, false] {
            let matches = command(is_run).try_get_matches_from(words).unwrap();
            let cli = Cli::from_arg_matches(&matches).unwrap();
            let matches = matches.subcommand_matches("run").unwrap();
            assert_eq!(crate::config::flag_words(matches), ["--dir=/x", "--grace=1s"]);
            let Command::Run(run) = cli.command else { panic!("not run") };
            assert_eq!(run.command(), ["sh", "-c", "true"]);
            assert_eq!(run.guards().words().collect::<Vec<_>>(), ["--allow-older"]);
        }
    }

    #[test]
    fn every_command_has_an_example() {
        let mut root = command(false);
        root.build();
        for subcommand in root.get_subcommands_mut().filter(|subcommand| subcommand.get_name() != "help") {
            let help = subcommand.render_long_help().to_string();
            let example = format!("stopover {}", subcommand.get_name());
            assert!(
                help.contains("Example") && help.matches(&example).count() > 1,
                "{}: {help}",
                subcommand.get_name()
            );
        }
    }

    #[test]
    fn a_guard_of_another_command_is_a_usage_error_but_from_pid_1() {
        let parse = |words: &[&str]| command(false).try_get_matches_from([&["stopover"], words].concat());
        assert!(parse(&["commit", "--allow-older"]).is_err());
        assert!(parse(&["commit", "--allow-older", "--handover", "ready"]).is_ok());
        assert!(parse(&["install", "--delete", "--handover="]).is_ok());
        assert!(parse(&["list", "--delete"]).is_err());
    }
}
