//! `tasker completions`: what a shell needs to know to complete our words.

use clap::{Command, CommandFactory};
use clap_complete::{Shell, generate};

use crate::{
    Cli,
    ending::{Ending, Failure},
    output::print,
};

/// Print a shell's completions: `source <(tasker completions bash)`
#[derive(clap::Args)]
pub struct Args {
    /// Whose
    shell: Shell,
}

/// Prints them.
pub fn run(Args { shell }: Args) -> Result<Ending, Failure> {
    let mut script = Vec::new();
    let mut command: Command = Cli::command();
    generate(shell, &mut command, "tasker", &mut script);
    print(&String::from_utf8_lossy(&script))?;
    Ok(Ending::Done)
}
