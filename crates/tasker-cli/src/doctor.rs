//! `tasker doctor`: what is wrong with a database, each finding with its remedy.

use tasker::store::{Examination, Finding};

use crate::{
    Session,
    ending::{Ending, Failure},
    output::{Paint, counted, print, print_json},
};

/// Look for what is wrong with the database
#[derive(clap::Args)]
pub struct Args {
    /// Recount tasks that are complete, cancelled or resolved, too: reads all of history
    #[arg(long)]
    all: bool,
}

/// Examines. Advice alone is no failure.
pub async fn run(args: Args, session: &Session) -> Result<Ending, Failure> {
    session.database.refuse_absent()?;
    let tasker = session.database.open_or_make().await?;
    let examined = tasker.store().examine(args.all).await;
    tasker.close().await;
    let examination = examined?;
    match session.json {
        true => print_json(&examination)?,
        false => print(&text(&examination, Paint::stdout()))?,
    }
    Ok(if examination.is_wrong() { Ending::Failed } else { Ending::Done })
}

fn text(examination: &Examination, paint: Paint) -> String {
    let mut text = String::new();
    for check in &examination.checks {
        let found: Vec<&Finding> = examination.findings.iter().filter(|finding| finding.check == *check).collect();
        let sign = match (found.is_empty(), found.iter().any(|finding| finding.wrong)) {
            (true, _) => paint.green("✓"),
            (false, true) => paint.red("✗"),
            (false, false) => paint.yellow("!"),
        };
        text += &format!("{sign} {}\n", check.replace('_', " "));
        for finding in found {
            text += &format!("    {}\n    {} {}\n", finding.problem, paint.dim("→"), finding.remedy);
        }
    }
    let wrong = examination.findings.iter().filter(|finding| finding.wrong).count();
    text += &match wrong {
        0 => format!("nothing is wrong; schema version {}\n", examination.schema_version),
        _ => format!("{} to mend\n", counted(wrong, "thing")),
    };
    text
}
