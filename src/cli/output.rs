//! What goes to stdout: data for people or scripts, nothing else.

use std::io::{self, Write};

use serde::Serialize;

use super::failure::Failure;
use crate::report::Exit;

/// Prints `text` as it is.
pub(super) fn text(text: &str) -> Result<(), Failure> {
    let mut out = io::stdout().lock();
    out.write_all(text.as_bytes())?;
    out.flush()?;
    Ok(())
}

/// Prints one JSON object on a line of its own.
pub(super) fn json(value: &impl Serialize) -> Result<(), Failure> {
    let mut line = serde_json::to_string(value).map_err(Failure::failed)?;
    line.push('\n');
    text(&line)
}

/// Prints `value` as JSON, or else as text.
pub(super) fn either(as_json: bool, value: &(impl Serialize + std::fmt::Display)) -> Result<(), Failure> {
    if as_json { json(value) } else { text(&value.to_string()) }
}

/// Help and version go to stdout, usage errors to stderr.
pub(super) fn usage(error: &clap::Error) -> u8 {
    // Nobody may be reading: then there is nobody to tell.
    let _ = error.print();
    if error.use_stderr() { Exit::Usage.code() } else { Exit::Success.code() }
}

/// Whether somebody who can answer sits at the terminal.
pub(super) fn is_interactive() -> bool {
    use io::IsTerminal;

    io::stdin().is_terminal() && io::stderr().is_terminal()
}

/// Asks on the terminal; only `yes` is yes.
pub(super) fn confirm(question: &str) -> Result<bool, Failure> {
    let mut err = io::stderr().lock();
    write!(err, "{question} Type yes: ")?;
    err.flush()?;
    let mut answer = String::new();
    io::stdin().read_line(&mut answer)?;
    Ok(answer.trim() == "yes")
}
