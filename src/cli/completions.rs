//! `completions`: prints a completion script for a shell.

use crate::Result;
use clap::{Args, CommandFactory};
use clap_complete::Shell;

/// Print a completion script for a shell
#[derive(Debug, Args)]
pub(super) struct CompletionsArgs {
    /// Shell to print the script for
    shell: Shell,
}

impl CompletionsArgs {
    pub(super) fn run(&self) -> Result<()> {
        let mut script = Vec::new();
        let mut command = super::Arguments::command();
        clap_complete::generate(self.shell, &mut command, "overmind-export", &mut script);
        super::print_raw(&String::from_utf8_lossy(&script))
    }
}
