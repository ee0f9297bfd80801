//! `tasker schema`: the JSON Schema of workflow files, for editors.

use crate::{
    ending::{Ending, Failure},
    output::print_json,
};

/// Print the JSON Schema of workflow files: editors complete and check with it while one is written
#[derive(clap::Args)]
pub struct Args {}

/// Prints it.
pub fn run() -> Result<Ending, Failure> {
    print_json(&tasker::workflow::schema())?;
    Ok(Ending::Done)
}
