//! `stockade completions` and `stockade man`: generated from the command line itself.

use std::process::ExitCode;

use clap::{Args, CommandFactory};
use clap_complete::Shell;

use super::failure::Failure;
use super::{Context, Program};

/// Print completions for a shell
#[derive(Args)]
#[command(after_long_help = "\
Examples:
  stockade completions bash > /etc/bash_completion.d/stockade
  stockade completions zsh > \"${fpath[1]}/_stockade\"
  stockade completions fish > ~/.config/fish/completions/stockade.fish")]
pub(super) struct Completions {
    /// The shell
    #[arg(value_enum)]
    shell: Shell,
}

/// Print a page of the manual: of the program, or of one command
#[derive(Args)]
#[command(after_long_help = "\
Examples:
  stockade man | man -l -
  stockade man serve | man -l -
  stockade man > /usr/local/share/man/man1/stockade.1")]
pub(super) struct Man {
    /// The command
    command: Option<String>,
}

impl Completions {
    pub(super) fn run(&self, context: &Context) -> Result<ExitCode, Failure> {
        let mut script = Vec::new();
        clap_complete::generate(self.shell, &mut Program::command(), "stockade", &mut script);
        context.output.data(&String::from_utf8_lossy(&script))?;
        Ok(ExitCode::SUCCESS)
    }
}

impl Man {
    pub(super) fn run(&self, context: &Context) -> Result<ExitCode, Failure> {
        let mut program = Program::command();
        program.build();
        let page = match &self.command {
            None => program,
            Some(name) => {
                let unknown = || Failure::usage(format!("no command {name:?}"));
                program.find_subcommand(name).ok_or_else(unknown)?.clone()
            }
        };
        let mut text = Vec::new();
        clap_mangen::Man::new(page)
            .render(&mut text)
            .map_err(|error| Failure::local(format!("cannot write the page: {error}")))?;
        context.output.data(&String::from_utf8_lossy(&text))?;
        Ok(ExitCode::SUCCESS)
    }
}
