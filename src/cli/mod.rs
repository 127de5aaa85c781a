//! The command line: one file per subcommand, each from arguments over a library call to output and exit code.

mod run;

use std::process::ExitCode;

/// Parses the arguments, runs the subcommand, maps its result to an exit code.
#[must_use]
pub fn main() -> ExitCode {
    let mut words = std::env::args_os().skip(1);
    match words.next() {
        Some(word) if word == "run" => run::run(words.collect()),
        _ => {
            crate::sys::entry::restore_inherited_mask();
            ExitCode::SUCCESS
        }
    }
}
