//! The end of a run: what it came to, where its outputs are, what would help, and how to go on.

use std::{path::Path, time::Duration};

use serde::Deserialize;
use tasker::{context::TaskExecutionContext, store::Store, workflow::Definition};
use uuid::Uuid;

use crate::{
    Session,
    door::Door,
    ending::{Ending, Failure},
    output::{Paint, counted, one_line, print, tell},
    report,
    subject::unknown_task,
};

/// More results of last steps than this are not printed.
const OUTPUTS: usize = 10;
/// How much of a result is printed, in characters.
const OUTPUT_WIDTH: usize = 200;

/// A run that is over.
pub struct Outcome<'a> {
    pub session: &'a Session,
    pub store: &'a Store,
    pub door: &'a Door,
    pub definition: &'a Definition,
    pub file: &'a Path,
    pub task_id: Uuid,
    /// How long this process drove it.
    pub took: Duration,
}

impl Outcome<'_> {
    /// The command line that goes on with it.
    pub fn resume(&self) -> String {
        self.session.command(&["run", &self.file.to_string_lossy(), "--resume", &self.task_id.to_string()])
    }

    /// Nothing more can be done without a person.
    pub async fn at_rest(&self, context: &TaskExecutionContext) -> Result<Ending, Failure> {
        let ending = report::tell_end(self.session, self.door, context, self.took, Some(&self.resume())).await?;
        if self.session.json {
            self.print_json(Some(context)).await?;
        } else {
            self.print_outputs(context).await?;
        }
        Ok(ending)
    }

    /// A signal came; what ran was given back.
    pub async fn interrupted(&self) -> Result<Ending, Failure> {
        tell(format_args!("{}; to go on:\n    {}", Paint::stderr().yellow("interrupted"), self.resume()));
        if self.session.json {
            self.print_json(None).await?;
        }
        Ok(Ending::Interrupted)
    }

    async fn print_json(&self, context: Option<&TaskExecutionContext>) -> Result<(), Failure> {
        let task = self.door.task(self.task_id).await?.ok_or_else(|| unknown_task(self.task_id))?;
        report::print_json(self.door, &task.item, context.unwrap_or(&task.context)).await
    }

    /// The files that were written, and the results of the steps on which no other depends, where they are few.
    async fn print_outputs(&self, context: &TaskExecutionContext) -> Result<(), Failure> {
        let levels = self.definition.levels();
        let is_output =
            |number: &usize| levels[*number].child_count == 0 || self.definition.steps[*number].handler == "render";
        let numbers: Vec<i32> = (0..levels.len()).filter(is_output).map(|number| number as i32).collect();
        if numbers.len() > OUTPUTS {
            let show = self.session.command(&["task", "show", &self.task_id.to_string(), "--json"]);
            tell(format_args!("{} have results: {show}", counted(context.completed_steps as usize, "step")));
            return Ok(());
        }
        let results = self.store.results(self.task_id, &numbers).await?;
        for (number, result) in results {
            let Some(step) = self.definition.steps.get(number as usize) else { continue };
            let shown = match (step.handler.as_str(), serde_json::from_str::<Rendered>(&result)) {
                ("render", Ok(Rendered { path })) => path,
                _ => one_line(&result, OUTPUT_WIDTH),
            };
            print(&format!("{}: {shown}\n", step.name))?;
        }
        Ok(())
    }
}

/// The result of the handler `render`.
#[derive(Deserialize)]
struct Rendered {
    path: String,
}
