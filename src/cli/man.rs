//! `man`: prints man pages, and the guide's page of every command and option.

use std::{fs, path::PathBuf};

use clap::{Args, Command, CommandFactory, ValueEnum};
use clap_mangen::Man;
use clap_markdown::MarkdownOptions;

use crate::{Error, Result};

const PROGRAM: &str = "overmind-export";

/// Print a man page, or write all of them to a directory
#[derive(Debug, Args)]
pub(super) struct ManArgs {
    /// Command to describe [default: the program itself]
    #[arg(value_name = "COMMAND", conflicts_with = "dir")]
    command: Option<String>,
    /// Write the pages of the program and of each command to this directory
    #[arg(long, value_name = "DIR", value_parser = super::path())]
    dir: Option<PathBuf>,
    /// Print every command and option on one Markdown page instead
    #[arg(long, value_name = "FORMAT", default_value = "roff", hide = true, conflicts_with_all = ["command", "dir"])]
    format: PageFormat,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum PageFormat {
    Roff,
    Markdown,
}

impl ManArgs {
    pub(super) fn run(self) -> Result<()> {
        let mut program = super::Arguments::command().disable_help_subcommand(true);
        if self.format == PageFormat::Markdown {
            let options = MarkdownOptions::new()
                .title("Every command and option".to_owned())
                .show_footer(false);
            return super::print_raw(&clap_markdown::help_markdown_command_custom(
                &program, &options,
            ));
        }
        program.build();
        if let Some(folder) = self.dir {
            fs::create_dir_all(&folder).map_err(Error::io("create", &folder))?;
            for (name, page) in pages(&program)? {
                let path = folder.join(name + ".1");
                fs::write(&path, page).map_err(Error::io("write", path))?;
            }
            return Ok(());
        }
        let page = match self.command {
            None => page(&program, PROGRAM.to_owned())?,
            Some(name) => {
                let command = program.get_subcommands().find(|command| command.get_name() == name);
                let command = command.ok_or_else(|| {
                    let known: Vec<_> = program.get_subcommands().map(Command::get_name).collect();
                    Error::invalid("command", &name, format!("use one of {}", known.join(", ")))
                })?;
                page(command, format!("{PROGRAM}-{name}"))?
            }
        };
        super::print_raw(&String::from_utf8_lossy(&page))
    }
}

/// Returns the name and the page of the program and of each command.
fn pages(program: &Command) -> Result<Vec<(String, Vec<u8>)>> {
    let commands = program.get_subcommands().filter(|command| !command.is_hide_set());
    let named = commands.map(|command| (format!("{PROGRAM}-{}", command.get_name()), command));
    let all = [(PROGRAM.to_owned(), program)].into_iter().chain(named);
    all.map(|(name, command)| Ok((name.clone(), page(command, name)?))).collect()
}

fn page(command: &Command, name: String) -> Result<Vec<u8>> {
    // The page of a command has a name such as `overmind-export-export`, as the pages of git do.
    let command = command.clone().name(name);
    let mut page = Vec::new();
    Man::new(command).render(&mut page).map_err(Error::io("write", "a man page"))?;
    Ok(page)
}
