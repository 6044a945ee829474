//! `ebm completions` and `ebm man`: what shells and manuals know of the command line.

use std::path::PathBuf;

use clap::{Args, CommandFactory, ValueEnum};
use ebm::whole_file;

use crate::Arguments;
use crate::outcome::{End, Failure, Outcome, io};
use crate::output::Output;

#[derive(Debug, Args)]
pub(crate) struct Completions {
    /// The shell; put what is printed where it looks for completions.
    #[arg(value_enum)]
    shell: Shell,
}

#[derive(Clone, Copy, Debug, ValueEnum)]
enum Shell {
    Bash,
    Zsh,
    Fish,
}

impl Completions {
    pub fn run(self, out: &mut Output) -> Outcome {
        let shell = match self.shell {
            Shell::Bash => clap_complete::Shell::Bash,
            Shell::Zsh => clap_complete::Shell::Zsh,
            Shell::Fish => clap_complete::Shell::Fish,
        };
        let mut script = Vec::new();
        clap_complete::generate(shell, &mut Arguments::command(), "ebm", &mut script);
        out.line(String::from_utf8_lossy(&script).trim_end())?;
        out.flush()?;
        Ok(End::Done)
    }
}

#[derive(Debug, Args)]
pub(crate) struct Man {
    /// The folder to make; one page a command.
    #[arg(value_name = "FOLDER")]
    folder: PathBuf,
}

impl Man {
    pub fn run(self, out: &mut Output) -> Outcome {
        whole_file::new("folder", &self.folder)?;
        let mut pages = Vec::new();
        let mut command = Arguments::command();
        command.build();
        collect(&command, "ebm", &mut pages)?;
        whole_file::make_folder(&self.folder, |at| {
            pages.iter().try_for_each(|(name, page)| whole_file::replace(&at.join(name), page))
        })?;
        out.line(format!(
            "{}: {} pages; `man {}/ebm.1`",
            self.folder.display(),
            pages.len(),
            self.folder.display()
        ))?;
        out.flush()?;
        Ok(End::Done)
    }
}

/// The page of a command and those of its own commands.
fn collect(command: &clap::Command, name: &str, pages: &mut Vec<(String, Vec<u8>)>) -> Result<(), Failure> {
    let mut page = Vec::new();
    clap_mangen::Man::new(command.clone()).title(name).render(&mut page).map_err(io("man"))?;
    pages.push((format!("{name}.1"), page));
    for inner in command.get_subcommands().filter(|c| c.get_name() != "help") {
        collect(inner, &format!("{name}-{}", inner.get_name()), pages)?;
    }
    Ok(())
}
