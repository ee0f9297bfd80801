//! Histories in one line, brought about by the real verbs alone, and the picture of what the views then say.
//!
//! A history is words with spaces between them. The first task is submitted before it, unless it begins with `submit`.
//!
//! | word | what happens |
//! |---|---|
//! | `submit(run_at=1h,deadline=2h,priority=high,context={"a":1},unique=k)` | another task of the workflow; instants count from now |
//! | `a:in_progress` | a worker claims step a; fails the test where it is not given |
//! | `a:complete` `a:skipped` `a:failed` `a:fatal` | it is claimed, if it is not yet, and ends so |
//! | `a:asked(30s)` `a:waits(1h)` | it fails and the far side asked for a delay; it asks to run not before an instant |
//! | `a:released` `a:lost` | its worker gives it back; its lease expires and is reaped |
//! | `a:cancel` `a:retry` `a:resolve` `a:edit` `a:limit(5)` | a person's verbs over a step |
//! | `task:pause` `task:resume` `task:cancel` `task:retry` `task:resolve` | a person's verbs over the task |
//! | `+5s` `-5s` `reap` | the clock moves, or goes back; somebody reaps |
//!
//! `2.a:complete` is about the second task's step a, and `a:retry!nothing_to_retry` expects the refusal (or the answer
//! other than `settled`) of that name.

use std::collections::HashMap;

use serde_json::value::RawValue;
use tasker::{
    Error,
    store::{ByHand, Released, Store},
    workflow::Definition,
};
use uuid::Uuid;

use super::{
    TestDatabase,
    database::delta,
    sketch::{priority, sketch},
    worker::{Claim, LEASE, Outcome, Worker, reap},
};

/// A workflow and its tasks, moved by a history.
pub struct Play<'a> {
    /// Where.
    pub db: &'a TestDatabase,
    /// The workflow.
    pub definition: Definition,
    /// Its version's id.
    pub named_task_id: i32,
    /// Who runs the steps.
    pub worker: Worker,
    /// The tasks, in the order of their submission.
    pub tasks: Vec<Uuid>,
    /// The last claim of each step that had one, by task and step number.
    pub claims: HashMap<(Uuid, i32), Claim>,
}

impl<'a> Play<'a> {
    /// Registers the workflow of a [`sketch`].
    pub async fn of(db: &'a TestDatabase, graph: &str) -> Play<'a> {
        let definition = sketch(graph);
        let named_task_id = db.register(&definition).await.unwrap();
        let worker = Worker::new(db, definition.steps.iter().map(|step| step.handler.clone())).await;
        Play { db, definition, named_task_id, worker, tasks: Vec::new(), claims: HashMap::new() }
    }

    /// Registers a workflow, submits a task of it and lives through a history.
    pub async fn through(db: &'a TestDatabase, graph: &str, history: &str) -> Play<'a> {
        let mut play = Play::of(db, graph).await;
        if !history.trim_start().starts_with("submit") {
            play.live("submit").await;
        }
        play.live(history).await;
        play
    }

    /// The first task.
    pub fn task(&self) -> Uuid {
        self.tasks[0]
    }

    /// A step of the first task.
    pub fn step(&self, name: &str) -> Uuid {
        tasker::step_id(self.task(), self.number(name))
    }

    /// A step's number.
    pub fn number(&self, name: &str) -> i32 {
        let place = self.definition.steps.iter().position(|step| step.name == name);
        place.unwrap_or_else(|| panic!("the workflow has no step `{name}`")) as i32
    }

    /// The state of a step of the first task.
    pub async fn state(&self, name: &str) -> String {
        let (task, number) = (self.task(), self.number(name));
        self.db
            .value(&format!(
                "select state::text from tasker.workflow_steps where task_id = '{task}' and step_number = {number}"
            ))
            .await
    }

    /// Lives through a history.
    pub async fn live(&mut self, history: &str) {
        for word in history.split_whitespace() {
            let (deed, expected) = word.split_once('!').map_or((word, None), |(deed, code)| (deed, Some(code)));
            let answer = self.act(deed).await;
            assert_eq!(
                answer.err().as_deref(),
                expected,
                "`{word}` of `{history}` went otherwise\n{}",
                self.picture().await
            );
            let differs: Vec<String> =
                sqlx::query_scalar("select d::text from tasker.step_readiness_divergences d where d.task_id = any($1)")
                    .bind(&self.tasks)
                    .fetch_all(self.db.pool())
                    .await
                    .unwrap();
            assert!(differs.is_empty(), "after `{word}` of `{history}`: {differs:?}\n{}", self.picture().await);
        }
    }

    /// Does what one word says. `Err`: a refusal's code, or an answer other than `settled`.
    pub async fn act(&mut self, word: &str) -> Result<(), String> {
        if let Some(time) = word.strip_prefix('+') {
            self.db.advance(time).await;
            return Ok(());
        }
        if let Some(time) = word.strip_prefix('-') {
            self.db.set_clock(self.db.now().await - delta(time)).await;
            return Ok(());
        }
        if word == "reap" {
            reap(self.db).await;
            return Ok(());
        }
        if word.starts_with("submit") {
            return self.submit(word.trim_start_matches("submit").trim_matches(['(', ')'])).await;
        }
        let (whom, deed) = word.split_once(':').unwrap_or_else(|| panic!("`{word}` is no word of a history"));
        let (task, name) = whom.split_once('.').map_or((1, whom), |(task, name)| (task.parse().unwrap(), name));
        let task = self.tasks[task - 1];
        let (deed, argument) =
            deed.split_once('(').map_or((deed, ""), |(deed, rest)| (deed, rest.trim_end_matches(')')));
        if name == "task" {
            return self.task_verb(task, deed).await;
        }
        let number = self.number(name);
        match deed {
            "cancel" | "retry" | "resolve" | "edit" | "limit" => {
                self.step_verb(tasker::step_id(task, number), deed, argument).await
            }
            "in_progress" => self.claim(task, number).await,
            _ => self.end(task, number, deed, argument).await,
        }
    }

    /// Submits a task; `how` is what stands in the brackets of `submit(..)`.
    async fn submit(&mut self, how: &str) -> Result<(), String> {
        if self.db.is_held().await {
            // ids are made of the clock: what is submitted later sorts later
            self.db.advance("1ms").await;
        }
        let now = self.db.now().await;
        let (mut context, mut run_at, mut deadline, mut lane, mut unique) = ("{}", None, None, None, None);
        for word in how.split(',').filter(|word| !word.is_empty()) {
            let (what, value) = word.split_once('=').unwrap();
            match what {
                "context" => context = value,
                "run_at" => run_at = Some(now + delta(value)),
                "deadline" => deadline = Some(now + delta(value)),
                "priority" => lane = Some(priority(value)),
                "unique" => unique = Some(value),
                _ => panic!("`{word}` says nothing about a submission"),
            }
        }
        let task_id: Uuid = sqlx::query_scalar(
            "select tasker.submit_task(namespace => $1, name => $2, context => $3::jsonb, run_at => $4, deadline => $5,
               priority => $6, unique_while_live => $7)",
        )
        .bind(&self.definition.namespace)
        .bind(&self.definition.name)
        .bind(context)
        .bind(run_at)
        .bind(deadline)
        .bind(lane.map(|lane| format!("{lane:?}").to_lowercase()))
        .bind(unique)
        .fetch_one(self.db.pool())
        .await
        .map_err(|error| code(error.into()))?;
        self.tasks.push(task_id);
        Ok(())
    }

    async fn task_verb(&self, task: Uuid, verb: &str) -> Result<(), String> {
        let (db, by): (&Store, _) = (self.db, by_hand());
        let done = match verb {
            "pause" => db.pause_task(task, by).await,
            "resume" => db.resume_task(task, by).await,
            "cancel" => db.cancel_task(task, by).await,
            "retry" => db.retry_task(task, by).await,
            "resolve" => db.resolve_task(task, by).await,
            _ => panic!("`{verb}` cannot be done to a task"),
        };
        done.map(drop).map_err(code)
    }

    async fn step_verb(&self, step: Uuid, verb: &str, argument: &str) -> Result<(), String> {
        let (db, by): (&Store, _) = (self.db, by_hand());
        let json = RawValue::from_string(r#"{"by":"hand"}"#.into()).unwrap();
        let done = match verb {
            "cancel" => db.cancel_step(step, by).await,
            "retry" => db.retry_step(step, by).await,
            "resolve" => db.resolve_step(step, &json, by).await,
            "edit" => db.edit_step_input(step, &json, by).await,
            "limit" => db.change_retry_limit(step, argument.parse().unwrap(), by).await,
            _ => panic!("`{verb}` cannot be done to a step"),
        };
        done.map(drop).map_err(code)
    }

    /// Claims this very step, as a worker that serves its handler alone.
    async fn claim(&mut self, task: Uuid, number: i32) -> Result<(), String> {
        let handler = self.worker.handler(&self.definition.steps[number as usize].handler);
        // a worker that serves all tasks searches the queue otherwise than one that drives a task: both have their turn
        let others: bool = self.db.value("select count(*) > 1 from tasker.tasks").await;
        let only_task = others.then_some(task);
        let reply = {
            let mut connection = self.db.pool().acquire().await.unwrap();
            self.worker
                .exchange(&mut connection, &[], &[handler], 1, only_task)
                .await
                .map_err(|error| code(error.into()))?
        };
        match reply.claimed.as_slice() {
            [claim] if (claim.task_id, claim.step_number) == (task, number) => {
                self.claims.insert((task, number), claim.clone());
                Ok(())
            }
            [] => Err("not_claimed".into()),
            others => panic!("claimed {others:?} in place of step {number} of {task}"),
        }
    }

    /// Ends the step's attempt; where none runs, begins it first.
    async fn end(&mut self, task: Uuid, number: i32, how: &str, argument: &str) -> Result<(), String> {
        if !self.claims.contains_key(&(task, number)) {
            self.claim(task, number).await?;
        }
        let fail = |retryable, delay| Outcome::Fail { retryable, delay };
        let outcome = match how {
            "complete" => Outcome::Complete(format!("\"the result of {number}\"")),
            "skipped" => Outcome::Skip,
            "failed" => fail(None, None),
            "fatal" => fail(Some(false), None),
            "asked" => fail(None, Some(delta(argument).as_seconds_f64())),
            "waits" => Outcome::Wait(self.db.now().await + delta(argument)),
            "released" => {
                let claim = self.claims.remove(&(task, number)).unwrap();
                let answers = self.db.release(&[(task, number, claim.claim_id)]).await.map_err(code)?;
                return match answers.as_slice() {
                    [Released::Released] => Ok(()),
                    others => Err(format!("{others:?}")),
                };
            }
            "lost" => {
                self.claims.remove(&(task, number));
                self.db.advance(LEASE).await;
                self.db.advance("1ms").await;
                reap(self.db).await;
                return Ok(());
            }
            _ => panic!("no attempt ends as `{how}`"),
        };
        let claim = self.claims.remove(&(task, number)).unwrap();
        let answers = self.worker.settle(self.db, &[(claim, outcome)]).await;
        match answers.as_slice() {
            [answer] if answer == "settled" => Ok(()),
            others => Err(others.join(" ")),
        }
    }

    /// What the views say of the tasks and their steps, a line for each.
    pub async fn picture(&self) -> String {
        let mut lines = Vec::new();
        for (index, task) in self.tasks.iter().enumerate() {
            let prefix = if self.tasks.len() > 1 { format!("{}.", index + 1) } else { String::new() };
            let words: Vec<String> = sqlx::query_scalar(
                "select concat_ws(' ', c.status, case when c.paused then '(paused)' end, c.execution_status, c.recommended_action,
                   round(c.completion_percentage) || '%', c.health_status)
                 from tasker.task_execution_contexts c where c.task_id = $1",
            )
            .bind(task)
            .fetch_all(self.db.pool())
            .await
            .unwrap();
            lines.push(format!("{prefix}task  {}", words.join("\n")));
            let steps: Vec<(String, String, String, String)> = sqlx::query_as(
                "select v.name, v.current_state::text, coalesce(v.blocking_reason, 'ready'), concat_ws(', ',
                   case when not v.dependencies_satisfied then v.completed_parents || '/' || v.total_parents || ' parents' end,
                   case when v.attempts > 0 or v.retry_limit <> 3 then v.attempts || '/' || v.retry_limit || ' attempts' end,
                   case when v.next_retry_at > tasker.now() and (v.current_state = 'pending' or v.backoff_request_seconds is not null)
                     then 'in ' || extract(epoch from v.next_retry_at - tasker.now())::numeric::float8 || ' s' end)
                 from tasker.step_readiness_statuses v where v.task_id = $1 order by v.step_number",
            )
            .bind(task)
            .fetch_all(self.db.pool())
            .await
            .unwrap();
            for (name, state, reason, details) in steps {
                lines.push(
                    format!("{:<6}{state:<18}{reason:<28}{details}", format!("{prefix}{name}")).trim_end().to_string(),
                );
            }
        }
        lines.iter().map(|line| format!("{line}\n")).collect()
    }
}

fn by_hand() -> ByHand<'static> {
    ByHand { actor: Some("ada"), reason: Some("a test") }
}

/// A refusal's code; any other error is the test's failure.
pub fn code(error: Error) -> String {
    match error {
        Error::Refused { code, .. } => code,
        other => panic!("{other}"),
    }
}
