//! The task or step that a command is about: a task's id, a step's id, or a task's id and a step's name.

use tasker::task_of;
use uuid::Uuid;

use crate::{door::Door, ending::Failure};

/// A task or a step, as it is written.
#[derive(Clone, Debug, clap::Args)]
pub struct SubjectArgs {
    /// A task's id, or a step's
    #[arg(value_name = "TASK|STEP")]
    id: Uuid,
    /// The step's name, after its task's id
    #[arg(value_name = "NAME")]
    step: Option<String>,
}

/// A task or a step.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Subject {
    Task(Uuid),
    Step(Uuid),
}

impl SubjectArgs {
    /// Finds it.
    pub async fn find(&self, door: &Door) -> Result<Subject, Failure> {
        match (&self.step, task_of(self.id) == self.id) {
            (None, true) => Ok(Subject::Task(self.id)),
            (None, false) => Ok(Subject::Step(self.id)),
            (Some(name), _) => match door.step_named(task_of(self.id), name).await? {
                Some(id) => Ok(Subject::Step(id)),
                None if door.task(task_of(self.id)).await?.is_none() => Err(unknown_task(self.id)),
                None => Err(Failure::misused(format!("task {} has no step `{name}`", self.id))),
            },
        }
    }
}

/// There is no such task.
pub fn unknown_task(task_id: Uuid) -> Failure {
    Failure::misused(format!("there is no task {task_id}; `tasker task list` shows those that there are"))
}
