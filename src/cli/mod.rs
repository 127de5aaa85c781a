//! The command line: one file per subcommand, each from arguments over a library call to output and exit code.
//!
//! Everything a subcommand shares with the others is in three places: [`context`] (what was set), [`output`] (what is
//! printed) and [`child`] (what only a child of PID 1 does). `run` alone must not start threads or a runtime: it is
//! PID 1.

mod args;
mod child;
mod commit;
mod completions;
mod context;
mod delete;
mod diff;
mod doctor;
mod download;
mod explain;
mod failure;
mod health;
mod install;
mod list;
mod log;
mod man;
mod output;
mod preview;
mod progress;
mod prune;
mod pull;
mod restore;
mod run;
mod runtime;
mod snapshots;
mod status;
mod tag;
mod upload;

use std::{ffi::OsString, process::ExitCode};

use clap::FromArgMatches;

use self::{
    args::{Cli, Command},
    context::Context,
    failure::Failure,
};
use crate::report::Exit;

/// Parses the arguments, runs the subcommand, maps its result to an exit code.
#[must_use]
pub fn main() -> ExitCode {
    crate::sys::entry::stay_deaf();
    ExitCode::from(answer(std::env::args_os().collect()))
}

fn answer(words: Vec<OsString>) -> u8 {
    // `stopover run -- CMD…`, as every image says it: there is no flag to read, and half of the time that a plain init
    // takes would go into a parser.
    if let [_, run, dashes, command @ ..] = words.as_slice()
        && run == "run"
        && dashes == "--"
    {
        let none = clap::ArgMatches::default();
        return run::Run::of(command.to_vec()).run(&Context::new(&none), &none);
    }
    let is_run =
        words.iter().skip(1).find(|word| !word.as_encoded_bytes().starts_with(b"-")).is_some_and(|word| word == "run");
    let parsed = args::command(is_run)
        .try_get_matches_from(words)
        .and_then(|matches| Cli::from_arg_matches(&matches).map(|cli| (cli, matches)));
    let (cli, matches) = match parsed {
        Ok(parsed) => parsed,
        Err(error) => {
            crate::sys::entry::restore_inherited_mask();
            return output::usage(&error);
        }
    };
    // Global flags are known to the subcommand's matches, wherever they stood.
    let matches = matches.subcommand().map_or(&matches, |(_, matches)| matches);
    let mut context = Context::new(matches);
    if let Command::Run(run) = cli.command {
        return run.run(&context, matches);
    }
    crate::sys::entry::restore_inherited_mask();
    let result = match cli.handover.as_deref() {
        Some(words) => child::prepare(&mut context, words),
        None => Ok(()),
    };
    match result.and_then(|()| dispatch(cli.command, &context)) {
        Ok(code) => code,
        Err(failure) => {
            failure.print(context.log_format());
            failure.code()
        }
    }
}

fn dispatch(command: Command, context: &Context) -> Result<u8, Failure> {
    match command {
        Command::Run(_) => Ok(Exit::Usage.code()),
        Command::Pull(pull) => pull.run(context),
        Command::Commit(commit) => commit.run(context),
        Command::Status(status) => status.run(context),
        Command::Explain(explain) => explain.run(context),
        Command::Install(install) => install.run(context),
        Command::Health(health) => health.run(context),
        Command::Upload(upload) => upload.run(context),
        Command::Download(download) => download.run(context),
        Command::List(list) => list.run(context),
        Command::Delete(delete) => delete.run(context),
        Command::Snapshots(snapshots) => snapshots.run(context),
        Command::Diff(diff) => diff.run(context),
        Command::Tag(tag) => tag.run(context),
        Command::Restore(restore) => restore.run(context),
        Command::Prune(prune) => prune.run(context),
        Command::Doctor(doctor) => doctor.run(context),
        Command::Completions(completions) => completions.run(),
        Command::Man(man) => man.run(),
    }
}
