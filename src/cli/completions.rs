//! `stopover completions SHELL`: what a shell needs to complete our words.

use clap::{Args, ValueEnum};
use clap_complete::Shell;

use super::{args, failure::Failure, output};
use crate::report::Exit;

/// Print the completions for a shell
#[derive(Args, Debug)]
#[command(after_help = "Example:\n  stopover completions bash > /usr/share/bash-completion/completions/stopover")]
pub(super) struct Completions {
    /// The shell
    #[arg(value_enum)]
    shell: ShellName,
}

#[derive(Clone, Copy, Debug, ValueEnum)]
enum ShellName {
    Bash,
    Elvish,
    Fish,
    Zsh,
}

impl Completions {
    pub(super) fn run(self) -> Result<u8, Failure> {
        let shell = match self.shell {
            ShellName::Bash => Shell::Bash,
            ShellName::Elvish => Shell::Elvish,
            ShellName::Fish => Shell::Fish,
            ShellName::Zsh => Shell::Zsh,
        };
        let mut script = Vec::new();
        clap_complete::generate(shell, &mut args::command(false), "stopover", &mut script);
        output::text(&String::from_utf8_lossy(&script))?;
        Ok(Exit::Success.code())
    }
}
