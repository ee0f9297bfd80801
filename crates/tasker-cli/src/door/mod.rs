//! Where commands knock: a database, or a Tasker server over HTTP. Each question is one call here, and its answer is the library's own model
//! whichever way it came, so that a command prints the same.

mod following;
mod http;

use reqwest::header::HeaderValue;
use serde::{Deserialize, Serialize};
use serde_json::{json, value::RawValue};
use tasker::{
    Submission, Tasker,
    context::TaskExecutionContext,
    readiness::{StepState, TaskState},
    store::{
        ByHand, Cause, NamedTask, NamedTaskGraph, StepVerb, Steps, Submitted, TaskFilter, TaskListItem, TaskVerb,
        WorkflowStep, WorkflowStepAttempt,
    },
    task_of,
    workflow::Definition,
};
use tasker_server::diagram::{Format, Layouts};
use uuid::Uuid;

use self::http::Ask;
pub use self::{
    following::{Following, Happened},
    http::{Server, ServerArgs},
};
use crate::ending::Failure;

/// How many things are asked for at once, steps with their results too.
pub const PAGE: i32 = 1000;

/// A database that is open, or a server.
pub enum Door {
    Database(Box<Tasker>),
    Http(Server),
}

/// A task, whole but for its steps.
pub struct Task {
    /// What it is.
    pub item: TaskListItem,
    /// Its input, as JSON text.
    pub input: String,
    /// What it is doing.
    pub context: TaskExecutionContext,
}

/// A page of a list.
#[derive(Deserialize)]
struct Page<T> {
    items: Vec<T>,
    next: Option<String>,
}

/// Nothing where the thing is not there.
fn found<T>(asked: Result<T, Failure>) -> Result<Option<T>, Failure> {
    match asked {
        Err(failure) if failure.is("unknown_task") || failure.is("unknown_step") => Ok(None),
        asked => asked.map(Some),
    }
}

impl Door {
    /// Submits a task. Over HTTP it has an idempotency key in any case, so that it can be sent again where the answer is lost.
    pub async fn submit(
        &self,
        namespace: &str,
        name: &str,
        input: &RawValue,
        submission: Submission,
    ) -> Result<Submitted, Failure> {
        let server = match self {
            Door::Database(tasker) => {
                let submission = Submission { actor: actor(), ..submission };
                return Ok(tasker.submit(namespace, name, &input, submission).await?);
            }
            Door::Http(server) => server,
        };
        #[derive(Serialize)]
        struct NewTask<'a> {
            input: &'a RawValue,
            #[serde(flatten)]
            said: serde_json::Value,
        }
        let Submission {
            version, idempotency_key, unique_while_live, run_at, priority, deadline, tags, summary, ..
        } = submission;
        let said = json!({
            "namespace": namespace, "name": name, "version": version, "unique_while_live": unique_while_live, "run_at": run_at,
            "priority": priority, "deadline": deadline, "tags": tags, "summary": summary,
        });
        let is_ours = idempotency_key.is_none();
        let key = idempotency_key.unwrap_or_else(|| format!("tasker-cli-{}", Uuid::new_v4()));
        let key = HeaderValue::from_str(&key)
            .map_err(|_| Failure::misused("over HTTP an idempotency key is plain ASCII").coded("bad_key"))?;
        let ask = Ask::post(&["tasks"], &NewTask { input, said })?.header("Idempotency-Key", key).repeatable();
        let answer = server.answer(&ask).await?;
        let submitted: Submitted = answer.read()?;
        // what is there by a key of ours was submitted by us just now
        let is_first = is_ours && answer.is_repeated && unique_while_live.is_none();
        Ok(Submitted { existing: submitted.existing && !is_first, ..submitted })
    }

    /// Tasks that match, the newest first.
    pub async fn tasks(
        &self,
        filter: &TaskFilter,
        before: Option<Uuid>,
        at_most: u32,
    ) -> Result<Vec<TaskListItem>, Failure> {
        let server = match self {
            Door::Database(tasker) => return Ok(tasker.store().tasks(filter, before, at_most.into()).await?),
            Door::Http(server) => server,
        };
        let ask = Ask::get(&["tasks"])
            .with("namespace", filter.namespace.as_ref())
            .with("name", filter.name.as_ref())
            .with("state", filter.state)
            .with("execution_status", filter.execution_status.as_ref())
            .with("tags", filter.tags.as_ref());
        pages(server, ask, before.map(|id| id.to_string()), at_most).await
    }

    /// A task; `None`: there is none with this id.
    pub async fn task(&self, task_id: Uuid) -> Result<Option<Task>, Failure> {
        let server = match self {
            Door::Database(tasker) => {
                let store = tasker.store();
                let Some(item) = store.task(task_id).await? else { return Ok(None) };
                let context = TaskExecutionContext::find(store, task_id).await?;
                let input = store.context_of(task_id).await?;
                return Ok(context.zip(input).map(|(context, input)| Task { item, input, context }));
            }
            Door::Http(server) => server,
        };
        #[derive(Deserialize)]
        struct Beside {
            context: Box<RawValue>,
            workflow_summary: TaskExecutionContext,
        }
        let Some(answer) = found(server.answer(&Ask::get(&["tasks", &task_id.to_string()])).await)? else {
            return Ok(None);
        };
        let Beside { context, workflow_summary } = answer.read()?;
        Ok(Some(Task { item: answer.read()?, input: context.get().into(), context: workflow_summary }))
    }

    /// A page of a task's steps by number, from this number on; and whether there may be more.
    pub async fn steps(
        &self,
        task_id: Uuid,
        from: usize,
        with_results: bool,
    ) -> Result<(Vec<WorkflowStep>, bool), Failure> {
        match self {
            Door::Database(tasker) => {
                let which = Steps::From(from as i32, PAGE);
                let (steps, is_cut) = tasker.store().workflow_steps_page(task_id, which, with_results).await?;
                let is_full = steps.len() == PAGE as usize;
                Ok((steps, is_cut || is_full))
            }
            Door::Http(server) => {
                let ask = Ask::get(&["tasks", &task_id.to_string(), "workflow_steps"])
                    .with("from", Some(from))
                    .with("limit", Some(PAGE))
                    .with("without_results", Some(!with_results));
                let page = server.ask::<Page<WorkflowStep>>(ask).await?;
                Ok((page.items, page.next.is_some()))
            }
        }
    }

    /// All of a task's steps by number, without their results.
    pub async fn all_steps(&self, task_id: Uuid) -> Result<Vec<WorkflowStep>, Failure> {
        let mut steps = Vec::new();
        loop {
            let (mut page, is_more) = self.steps(task_id, steps.len(), false).await?;
            steps.append(&mut page);
            if !is_more {
                return Ok(steps);
            }
        }
    }

    /// The step with this name in a task; `None`: it has none, or there is no such task.
    pub async fn step_named(&self, task_id: Uuid, name: &str) -> Result<Option<Uuid>, Failure> {
        match self {
            Door::Database(tasker) => {
                let steps = tasker.store().workflow_steps(task_id, Steps::Named(name), false).await?;
                Ok(steps.into_iter().next().map(|step| step.workflow_step_id))
            }
            Door::Http(server) => {
                let ask = Ask::get(&["tasks", &task_id.to_string(), "workflow_steps"])
                    .with("name", Some(name))
                    .with("without_results", Some(true));
                let page = found(server.ask::<Page<WorkflowStep>>(ask).await)?;
                Ok(page.and_then(|page| page.items.into_iter().next()).map(|step| step.workflow_step_id))
            }
        }
    }

    /// A step, with its result; `None`: there is none with this id.
    pub async fn step(&self, id: Uuid) -> Result<Option<WorkflowStep>, Failure> {
        match self {
            Door::Database(tasker) => {
                let which = Steps::From(tasker::step_number_of(id), 1);
                Ok(tasker.store().workflow_steps(task_of(id), which, true).await?.into_iter().next())
            }
            Door::Http(server) => found(server.ask(Ask::get(&["workflow_steps", &id.to_string()])).await),
        }
    }

    /// A step's attempts, the first one first.
    pub async fn attempts(&self, id: Uuid) -> Result<Vec<WorkflowStepAttempt>, Failure> {
        match self {
            Door::Database(tasker) => Ok(tasker.store().attempts(id).await?),
            Door::Http(server) => {
                let ask = Ask::get(&["workflow_steps", &id.to_string(), "attempts"]);
                Ok(server.ask::<Page<WorkflowStepAttempt>>(ask).await?.items)
            }
        }
    }

    /// Every cause why a step does not run.
    pub async fn explain_step(&self, id: Uuid) -> Result<Vec<Cause>, Failure> {
        match self {
            Door::Database(tasker) => Ok(tasker.store().explain_step(id).await?),
            Door::Http(server) => {
                Ok(server.ask::<Page<Cause>>(Ask::get(&["workflow_steps", &id.to_string(), "explain"])).await?.items)
            }
        }
    }

    /// Does a verb to a task. Gives its state from then on.
    pub async fn to_task(&self, verb: TaskVerb, id: Uuid, reason: Option<&str>) -> Result<TaskState, Failure> {
        match self {
            Door::Database(tasker) => {
                let state = tasker.store().to_task(verb, id, by(&actor(), reason)).await?;
                woken(tasker).await;
                Ok(state)
            }
            Door::Http(server) => {
                #[derive(Deserialize)]
                struct Now {
                    state: TaskState,
                }
                let ask = Ask::post(&["tasks", &id.to_string(), verb.as_str()], &json!({ "reason": reason }))?;
                Ok(server.ask::<Now>(ask).await?.state)
            }
        }
    }

    /// Does a verb to a step. Gives its state from then on.
    pub async fn to_step(&self, verb: StepVerb<'_>, id: Uuid, reason: Option<&str>) -> Result<StepState, Failure> {
        match self {
            Door::Database(tasker) => {
                let state = tasker.store().to_step(verb, id, by(&actor(), reason)).await?;
                woken(tasker).await;
                Ok(state)
            }
            Door::Http(server) => {
                #[derive(Default, Serialize)]
                struct Why<'a> {
                    #[serde(skip_serializing_if = "Option::is_none")]
                    result: Option<&'a RawValue>,
                    #[serde(skip_serializing_if = "Option::is_none")]
                    input: Option<&'a RawValue>,
                    #[serde(skip_serializing_if = "Option::is_none")]
                    retry_limit: Option<i32>,
                    reason: Option<&'a str>,
                }
                #[derive(Deserialize)]
                struct Now {
                    state: StepState,
                }
                let why = Why { reason, ..Why::default() };
                let (word, why) = match verb {
                    StepVerb::Retry => ("retry", why),
                    StepVerb::Cancel => ("cancel", why),
                    StepVerb::Resolve(result) => ("resolve", Why { result: Some(result), ..why }),
                    StepVerb::EditInput(input) => ("edit_input", Why { input: Some(input), ..why }),
                    StepVerb::ChangeLimit(limit) => ("change_limit", Why { retry_limit: Some(limit), ..why }),
                };
                let ask = Ask::post(&["workflow_steps", &id.to_string(), word], &why)?;
                Ok(server.ask::<Now>(ask).await?.state)
            }
        }
    }

    /// Writes a workflow under its version; the same content again changes nothing. Gives its id.
    pub async fn register(&self, definition: &Definition) -> Result<i32, Failure> {
        match self {
            Door::Database(tasker) => Ok(tasker.register_definition(definition).await?),
            Door::Http(server) => {
                #[derive(Deserialize)]
                struct Registered {
                    named_task_id: i32,
                }
                let ask = Ask::post(&["named_tasks"], &definition.to_file())?.repeatable();
                Ok(server.ask::<Registered>(ask).await?.named_task_id)
            }
        }
    }

    /// Workflows' versions, the last one registered first.
    pub async fn workflows(
        &self,
        namespace: Option<&str>,
        name: Option<&str>,
        at_most: u32,
    ) -> Result<Vec<NamedTask>, Failure> {
        match self {
            Door::Database(tasker) => {
                Ok(tasker.store().named_tasks(namespace, name, None, None, at_most.into()).await?)
            }
            Door::Http(server) => {
                pages(server, Ask::get(&["named_tasks"]).with("namespace", namespace).with("name", name), None, at_most)
                    .await
            }
        }
    }

    /// A workflow's version with its graph; without a version, its highest release.
    pub async fn workflow(
        &self,
        namespace: &str,
        name: &str,
        version: Option<&str>,
    ) -> Result<NamedTaskGraph, Failure> {
        match self {
            Door::Database(tasker) => {
                let id = tasker.store().find_named_task(namespace, name, version).await?;
                let graph = tasker.store().named_task(id).await?;
                graph.ok_or_else(|| Failure::unable(format!("there is no workflow {namespace}.{name}")))
            }
            Door::Http(server) => {
                let path: Vec<&str> = ["named_tasks", namespace, name].into_iter().chain(version).collect();
                server.ask(Ask::get(&path)).await
            }
        }
    }

    /// A picture of a task.
    pub async fn picture_of_task(&self, task_id: Uuid, format: Format) -> Result<String, Failure> {
        match self {
            Door::Database(tasker) => Ok(Layouts::default().of_task(tasker, task_id, format).await?),
            Door::Http(server) => picture(server, &["tasks", &task_id.to_string()], format).await,
        }
    }

    /// A picture of a workflow's version; without one, of its highest release.
    pub async fn picture_of_workflow(
        &self,
        namespace: &str,
        name: &str,
        version: Option<&str>,
        format: Format,
    ) -> Result<String, Failure> {
        match self {
            Door::Database(tasker) => {
                let id = tasker.store().find_named_task(namespace, name, version).await?;
                Ok(Layouts::default().of_workflow(tasker, id, format).await?)
            }
            Door::Http(server) => {
                let highest = match version {
                    Some(version) => version.to_owned(),
                    None => self.workflow(namespace, name, None).await?.named_task.version,
                };
                picture(server, &["named_tasks", namespace, name, &highest], format).await
            }
        }
    }

    /// Follows what happens to a task, after an event's id or from now on.
    pub async fn follow(&self, task_id: Uuid, after: Option<&str>) -> Result<Following, Failure> {
        match self {
            Door::Database(tasker) => Following::in_database(tasker, task_id, after).await,
            Door::Http(server) => Following::over_http(server, task_id, after).await,
        }
    }
}

/// As many things as are wanted, page by page.
async fn pages<T: serde::de::DeserializeOwned>(
    server: &Server,
    ask: Ask,
    mut before: Option<String>,
    at_most: u32,
) -> Result<Vec<T>, Failure> {
    let mut items = Vec::new();
    loop {
        let wanted = (at_most as usize - items.len()).min(PAGE as usize);
        let page: Page<T> = server.ask(ask.clone().with("before", before).with("limit", Some(wanted))).await?;
        items.extend(page.items);
        before = page.next;
        if before.is_none() || items.len() >= at_most as usize {
            return Ok(items);
        }
    }
}

async fn picture(server: &Server, of: &[&str], format: Format) -> Result<String, Failure> {
    let ask = Ask::get(&[of, &["diagram"]].concat()).of_type(format.content_type());
    let word = serde_json::to_value(format).ok().and_then(|word| word.as_str().map(str::to_owned));
    Ok(server.answer(&ask.with("format", word)).await?.text)
}

/// Who acts on a database by hand: over HTTP it is the key's name.
fn actor() -> Option<String> {
    std::env::var("USER").ok()
}

fn by<'a>(actor: &'a Option<String>, reason: Option<&'a str>) -> ByHand<'a> {
    ByHand { actor: actor.as_deref(), reason }
}

/// A hint: without it workers look within their poll interval.
async fn woken(tasker: &Tasker) {
    let _ = tasker.store().wake().await;
}
