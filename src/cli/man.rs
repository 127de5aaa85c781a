//! `stopover man`: the manual pages.

use std::path::PathBuf;

use clap::Args;

use super::{args, failure::Failure, output};
use crate::report::Exit;

/// Print the manual page, or write one for each command into a directory
#[derive(Args, Debug)]
#[command(after_help = "Examples:\n  stopover man | man -l -\n  stopover man --to /usr/share/man/man1")]
pub(super) struct Man {
    /// The directory
    #[arg(long, value_name = "DIR")]
    to: Option<PathBuf>,
}

impl Man {
    pub(super) fn run(self) -> Result<u8, Failure> {
        let command = args::command(false);
        match self.to {
            Some(directory) => {
                clap_mangen::generate_to(command, &directory).map_err(|error| {
                    Failure::failed(format!("cannot write pages to {}: {error}", directory.display()))
                })?;
            }
            None => {
                let mut page = Vec::new();
                clap_mangen::Man::new(command).render(&mut page)?;
                output::text(&String::from_utf8_lossy(&page))?;
            }
        }
        Ok(Exit::Success.code())
    }
}
