//! The end of a run: what it came to, where its outputs are, what would help, and how to go on.

use std::{path::Path, time::Duration};

use serde::Deserialize;
use tasker::{context::TaskExecutionContext, readiness::TaskState, store::Store, workflow::Definition};
use uuid::Uuid;

use crate::{
    Session,
    ending::{Ending, Failure},
    output::{Paint, counted, one_line, print, tell, time},
    report,
};

/// More results of last steps than this are not printed.
const OUTPUTS: usize = 10;
/// How much of a result is printed, in characters.
const OUTPUT_WIDTH: usize = 200;

/// A run that is over.
pub struct Outcome<'a> {
    pub session: &'a Session,
    pub store: &'a Store,
    pub definition: &'a Definition,
    pub file: &'a Path,
    pub task_id: Uuid,
    /// How long this process drove it.
    pub took: Duration,
}

impl Outcome<'_> {
    /// The command line that goes on with it.
    pub fn resume(&self) -> String {
        self.session.database.command(&["run", &self.file.to_string_lossy(), "--resume", &self.task_id.to_string()])
    }

    /// Nothing more can be done without a person.
    pub async fn at_rest(&self, context: &TaskExecutionContext) -> Result<Ending, Failure> {
        let paint = Paint::stderr();
        let steps = counted(context.total_steps as usize, "step");
        let ending = match context.status {
            TaskState::Complete => {
                tell(format_args!("{}: {steps} in {}", paint.green("complete"), time(self.took)));
                Ending::Done
            }
            TaskState::ResolvedManually => {
                tell(format_args!("{} by hand", paint.green("resolved")));
                Ending::Done
            }
            TaskState::Cancelled => {
                tell(format_args!("{} by hand", paint.red("cancelled")));
                Ending::Failed
            }
            _ if context.recommended_action == "resume_task" => {
                let resume = self.session.database.command(&["task", "resume", &self.task_id.to_string()]);
                tell(format_args!("{}; to go on:\n    {resume}\n    {}", paint.yellow("paused"), self.resume()));
                Ending::Failed
            }
            _ => {
                let satisfied = context.completed_steps + context.resolved_manually_steps + context.skipped_steps;
                tell(format_args!("{}: {satisfied} of {steps} done in {}\n", paint.red("failed"), time(self.took)));
                let steps = self.store.steps_of(self.task_id, 0, context.total_steps as i32, false).await?;
                tell(report::trouble(self.store, &steps, paint).await?);
                tell(report::remedies(&self.session.database, self.task_id, &steps, Some(&self.resume())).trim_end());
                Ending::Failed
            }
        };
        if self.session.json {
            self.print_json(context).await?;
        } else {
            self.print_outputs(context).await?;
        }
        Ok(ending)
    }

    /// A signal came; what ran was given back.
    pub async fn interrupted(&self) -> Result<Ending, Failure> {
        tell(format_args!("{}; to go on:\n    {}", Paint::stderr().yellow("interrupted"), self.resume()));
        if self.session.json
            && let Some(context) = TaskExecutionContext::find(self.store, self.task_id).await?
        {
            self.print_json(&context).await?;
        }
        Ok(Ending::Interrupted)
    }

    async fn print_json(&self, context: &TaskExecutionContext) -> Result<(), Failure> {
        match self.store.task(self.task_id).await? {
            Some(task) => report::print_json(self.store, &task, context).await,
            None => Err(Failure::unable(format!("task {} is not there any more", self.task_id))),
        }
    }

    /// The files that were written, and the results of the steps on which no other depends, where they are few.
    async fn print_outputs(&self, context: &TaskExecutionContext) -> Result<(), Failure> {
        let levels = self.definition.levels();
        let is_output =
            |number: &usize| levels[*number].child_count == 0 || self.definition.steps[*number].handler == "render";
        let numbers: Vec<i32> = (0..levels.len()).filter(is_output).map(|number| number as i32).collect();
        if numbers.len() > OUTPUTS {
            let show = self.session.database.command(&["task", "show", &self.task_id.to_string(), "--json"]);
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
