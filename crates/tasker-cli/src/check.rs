//! `tasker check`: judges workflow files without running anything.

use std::path::PathBuf;

use serde_json::{Value, json};
use tasker::workflow::{Definition, Refused};

use crate::{
    Session,
    ending::{Ending, Failure},
    output::{Paint, counted, print, print_json},
};

/// Say everything that is wrong with workflow files; nothing is run, and no database is needed
#[derive(clap::Args)]
pub struct Args {
    /// Workflows, in YAML
    #[arg(required = true, value_name = "FILE")]
    files: Vec<PathBuf>,
}

/// Checks all of them: 2 where one is refused.
pub async fn run(args: Args, session: &Session) -> Result<Ending, Failure> {
    let checked: Vec<_> = args.files.iter().map(|file| (file, Definition::from_file(file, &[]))).collect();
    let is_refused = checked.iter().any(|(_, checked)| checked.is_err());
    if session.json {
        let files = checked.iter().map(|(file, checked)| match checked {
            Ok(workflow) => json!({
                "file": file.display().to_string(), "valid": true, "namespace": workflow.namespace, "name": workflow.name,
                "version": workflow.version, "steps": workflow.steps.len(), "problems": [],
            }),
            Err(refused) => json!({ "file": file.display().to_string(), "valid": false, "problems": problems(refused) }),
        });
        print_json(&files.collect::<Value>())?;
    } else {
        let paint = Paint::stdout();
        for (file, checked) in &checked {
            print(&match checked {
                Ok(Definition { namespace, name, version, steps, .. }) => format!(
                    "{} {}: {namespace}.{name} {version}, {}\n",
                    paint.green("✓"),
                    file.display(),
                    counted(steps.len(), "step")
                ),
                Err(refused) => format!("{} {}:\n{refused}\n", paint.red("✗"), file.display()),
            })?;
        }
    }
    Ok(if is_refused { Ending::Misused } else { Ending::Done })
}

fn problems(refused: &Refused) -> Value {
    let problem = |problem: &tasker::workflow::Located| {
        let (line, column) = problem.position.unzip();
        json!({ "file": problem.file, "line": line, "column": column, "message": problem.message })
    };
    refused.problems.iter().map(problem).collect()
}
