//! What the views must say of a world, and what they say.

use std::collections::{BTreeMap, HashMap};

use sqlx::FromRow;
use uuid::Uuid;

use super::rules::{Due, State, World};
use crate::support::{Moment, TestDatabase};

/// A row of `step_readiness_statuses`.
#[derive(Clone, Debug, PartialEq, FromRow)]
pub struct StepRow {
    pub workflow_step_id: Uuid,
    pub current_state: String,
    pub dependencies_satisfied: bool,
    pub retry_eligible: bool,
    pub ready_for_execution: bool,
    pub blocking_reason: Option<String>,
    pub last_failure_at: Option<Moment>,
    pub next_retry_at: Option<Moment>,
    pub total_parents: i32,
    pub completed_parents: i32,
    pub attempts: i32,
    pub retry_limit: i32,
    pub backoff_request_seconds: Option<f64>,
    pub last_attempted_at: Option<Moment>,
}

/// What is not in that view: of `workflow_steps`, and its lease.
#[derive(Clone, Debug, PartialEq, FromRow)]
pub struct Record {
    pub workflow_step_id: Uuid,
    pub attempts_before: i32,
    pub generation: i32,
    pub timer: Option<Moment>,
    pub lease: Option<Uuid>,
    pub lease_expires_at: Option<Moment>,
}

/// A row of `task_workflow_summaries`, of which `task_execution_contexts` is a part.
#[derive(Clone, Debug, PartialEq, FromRow)]
pub struct TaskRow {
    pub task_id: Uuid,
    pub status: String,
    pub paused: bool,
    pub total_steps: i64,
    /// pending, in_progress, complete, failed, cancelled, resolved_manually, skipped.
    pub counts: Vec<i64>,
    pub ready_steps: i64,
    pub execution_status: String,
    pub recommended_action: String,
    pub completion_percentage: f64,
    pub health_status: String,
    pub next_retry_at: Option<Moment>,
    pub root_step_ids: Vec<Uuid>,
    pub root_step_count: i64,
    pub blocked_step_ids: Vec<Uuid>,
    pub blocking_reasons: sqlx::types::Json<BTreeMap<Uuid, String>>,
    pub next_executable_step_ids: Vec<Uuid>,
    pub processing_strategy: String,
    /// Whether the context says the same.
    pub is_context_a_part: bool,
}

/// A row of `step_dag_relationships`.
#[derive(Clone, Debug, PartialEq, FromRow)]
pub struct Relationship {
    pub workflow_step_id: Uuid,
    pub parent_step_ids: Vec<Uuid>,
    pub child_step_ids: Vec<Uuid>,
    pub parent_count: i32,
    pub child_count: i32,
    pub is_root_step: bool,
    pub is_leaf_step: bool,
    pub min_depth_from_root: i32,
    pub max_depth_from_root: i32,
    pub max_depth_to_leaf: i32,
}

const STATES: [State; 7] = [
    State::Pending,
    State::InProgress,
    State::Complete,
    State::Failed,
    State::Cancelled,
    State::ResolvedManually,
    State::Skipped,
];

pub async fn steps(db: &TestDatabase, tasks: &[Uuid]) -> HashMap<Uuid, StepRow> {
    let rows: Vec<StepRow> = sqlx::query_as(
        "select v.workflow_step_id, v.current_state::text as current_state, v.dependencies_satisfied, v.retry_eligible, v.ready_for_execution, v.blocking_reason,
           v.last_failure_at, v.next_retry_at, v.total_parents, v.completed_parents, v.attempts, v.retry_limit, v.backoff_request_seconds::float8, v.last_attempted_at
         from unnest($1::uuid[]) t(id) cross join lateral (select * from tasker.step_readiness_statuses v where v.task_id = t.id offset 0) v",
    )
    .bind(tasks)
    .fetch_all(db.pool())
    .await
    .unwrap();
    rows.into_iter().map(|row| (row.workflow_step_id, row)).collect()
}

pub async fn records(db: &TestDatabase, tasks: &[Uuid]) -> HashMap<Uuid, Record> {
    let rows: Vec<Record> = sqlx::query_as(
        "select s.workflow_step_id, s.attempts_before, s.generation, s.timer, l.claim_id as lease, l.lease_expires_at
         from unnest($1::uuid[]) t(id) cross join lateral (select * from tasker.workflow_steps s where s.task_id = t.id offset 0) s
         left join lateral (select * from tasker.leases l where l.task_id = t.id and l.step_number = s.step_number offset 0) l on true",
    )
    .bind(tasks)
    .fetch_all(db.pool())
    .await
    .unwrap();
    rows.into_iter().map(|row| (row.workflow_step_id, row)).collect()
}

pub async fn tasks(db: &TestDatabase, tasks: &[Uuid]) -> HashMap<Uuid, TaskRow> {
    let rows: Vec<TaskRow> = sqlx::query_as(
        "select s.task_id, s.status::text as status, s.paused, s.total_steps, array[s.pending_steps, s.in_progress_steps, s.completed_steps, s.failed_steps,
             s.cancelled_steps, s.resolved_manually_steps, s.skipped_steps] as counts,
           s.ready_steps, s.execution_status, s.recommended_action, s.completion_percentage::float8, s.health_status, s.next_retry_at,
           s.root_step_ids, s.root_step_count, s.blocked_step_ids, s.blocking_reasons, s.next_executable_step_ids, s.processing_strategy,
           c.* is not distinct from (s.task_id, s.named_task_id, s.status, s.paused, s.total_steps, s.pending_steps, s.in_progress_steps, s.completed_steps,
             s.failed_steps, s.cancelled_steps, s.resolved_manually_steps, s.skipped_steps, s.ready_steps, s.execution_status,
             s.recommended_action, s.completion_percentage, s.health_status, s.next_retry_at) as is_context_a_part
         from unnest($1::uuid[]) t(id)
         cross join lateral (select * from tasker.task_workflow_summaries s where s.task_id = t.id offset 0) s
         cross join lateral (select * from tasker.task_execution_contexts c where c.task_id = t.id offset 0) c",
    )
    .bind(tasks)
    .fetch_all(db.pool())
    .await
    .unwrap();
    rows.into_iter().map(|row| (row.task_id, row)).collect()
}

pub async fn relationships(db: &TestDatabase, task: Uuid) -> Vec<Relationship> {
    sqlx::query_as("select * from tasker.step_dag_relationships r where r.task_id = $1 order by r.step_number")
        .bind(task)
        .fetch_all(db.pool())
        .await
        .unwrap()
}

impl World {
    pub fn step_row(&self, task: usize, step: usize) -> StepRow {
        let s = &self.tasks[task].steps[step];
        let reason = self.blocking_reason(task, step);
        let limit = self.limit(task, step);
        StepRow {
            workflow_step_id: tasker::step_id(self.tasks[task].id, step as i32),
            current_state: s.state.word().into(),
            dependencies_satisfied: self.dependencies_satisfied(task, step),
            retry_eligible: s.retryable && s.attempts < limit && self.is_due(task, step),
            ready_for_execution: reason.is_none(),
            blocking_reason: reason.map(str::to_string),
            last_failure_at: s.last_failure_at,
            next_retry_at: instant(s.due),
            total_parents: self.nodes[step].parents.len() as i32,
            completed_parents: self.satisfied_parents(task, step) as i32,
            attempts: s.attempts,
            retry_limit: limit,
            backoff_request_seconds: s.asked_delay,
            last_attempted_at: s.last_attempted_at,
        }
    }

    pub fn record(&self, task: usize, step: usize) -> Record {
        let s = &self.tasks[task].steps[step];
        Record {
            workflow_step_id: tasker::step_id(self.tasks[task].id, step as i32),
            attempts_before: s.attempts_before,
            generation: s.generation,
            timer: s.timer,
            lease: s.lease.as_ref().map(|lease| lease.claim_id),
            lease_expires_at: s.lease.as_ref().map(|lease| lease.expires_at),
        }
    }

    /// 3.2, of which 3.1 and 3.3 are a part.
    pub fn task_row(&self, task: usize) -> TaskRow {
        let t = &self.tasks[task];
        let all = 0..self.nodes.len();
        let ids = |test: &dyn Fn(usize) -> bool| -> Vec<Uuid> {
            all.clone().filter(|step| test(*step)).map(|step| tasker::step_id(t.id, step as i32)).collect()
        };
        let count = |state: State| t.steps.iter().filter(|step| step.state == state).count() as i64;
        let satisfied = t.steps.iter().filter(|step| step.state.satisfies()).count();
        let ready = ids(&|step| self.is_ready(task, step));
        let leased = t.steps.iter().any(|step| step.lease.is_some());
        let open: Vec<usize> = all.clone().filter(|step| self.is_open(task, *step)).collect();
        let earliest =
            |steps: &mut dyn Iterator<Item = usize>| steps.filter_map(|step| instant(t.steps[step].due)).min();
        let next = earliest(&mut open.iter().copied());
        let next_retry = earliest(&mut open.iter().copied().filter(|step| t.steps[*step].state == State::Failed));
        let is_blocked =
            |step: usize| !matches!(self.blocking_reason(task, step), None | Some("finished" | "in_progress"));
        // 3.1
        let (execution_status, recommended_action) = match t.state {
            State::Complete => ("all_complete", "none"),
            State::Cancelled => ("cancelled", "none"),
            State::ResolvedManually => ("resolved_manually", "none"),
            State::Failed => ("blocked_by_failures", "handle_failures"),
            _ if satisfied == t.steps.len() => ("all_complete", "finalize_task"),
            _ if !ready.is_empty() => ("has_ready_steps", "execute_ready_steps"),
            _ if leased => ("processing", "wait_for_completion"),
            _ if open.is_empty() => ("blocked_by_failures", "handle_failures"),
            _ if t.paused => ("paused", "resume_task"),
            _ if open.iter().any(|step| self.is_due(task, *step)) => ("waiting_for_capacity", "wait_for_capacity"),
            _ if next_retry.is_some() && next_retry == next => ("waiting_for_retry", "wait_for_retry"),
            _ if next.is_some() => ("scheduled", "wait_until_scheduled"),
            _ => ("waiting_for_dependencies", "wait_for_dependencies"),
        };
        // 3.3
        let health_status = match t.state {
            _ if execution_status == "blocked_by_failures" => "blocked",
            State::Cancelled | State::ResolvedManually => "unknown",
            _ if count(State::Failed) + count(State::Cancelled) > 0 => "recovering",
            _ => "healthy",
        };
        let strategy = match ready.len() {
            0 => "waiting",
            1 => "sequential",
            2..=5 => "small_parallel",
            _ => "batch_parallel",
        };
        let reason = |step: usize| {
            (tasker::step_id(t.id, step as i32), self.blocking_reason(task, step).unwrap_or_default().to_string())
        };
        TaskRow {
            task_id: t.id,
            status: t.state.word().into(),
            paused: t.paused,
            total_steps: t.steps.len() as i64,
            counts: STATES.iter().map(|state| count(*state)).collect(),
            ready_steps: ready.len() as i64,
            execution_status: execution_status.into(),
            recommended_action: recommended_action.into(),
            completion_percentage: (10_000.0 * satisfied as f64 / t.steps.len() as f64).round() / 100.0,
            health_status: health_status.into(),
            next_retry_at: next,
            root_step_ids: ids(&|step| self.nodes[step].parents.is_empty()),
            root_step_count: self.nodes.iter().filter(|node| node.parents.is_empty()).count() as i64,
            blocked_step_ids: ids(&is_blocked),
            blocking_reasons: sqlx::types::Json(all.clone().filter(|step| is_blocked(*step)).map(reason).collect()),
            next_executable_step_ids: ready,
            processing_strategy: strategy.into(),
            is_context_a_part: true,
        }
    }

    /// By following every path.
    pub fn relationship(&self, task: usize, step: usize) -> Relationship {
        let id = |step: usize| tasker::step_id(self.tasks[task].id, step as i32);
        let parents = |step: usize| self.nodes[step].parents.iter().map(|parent| *parent as usize).collect::<Vec<_>>();
        let children = |step: usize| -> Vec<usize> {
            (0..self.nodes.len()).filter(|other| self.nodes[*other].parents.contains(&(step as u32))).collect()
        };
        let (up, down) = (lengths(step, &parents), lengths(step, &children));
        Relationship {
            workflow_step_id: id(step),
            parent_step_ids: parents(step).into_iter().map(id).collect(),
            child_step_ids: children(step).into_iter().map(id).collect(),
            parent_count: parents(step).len() as i32,
            child_count: children(step).len() as i32,
            is_root_step: parents(step).is_empty(),
            is_leaf_step: children(step).is_empty(),
            min_depth_from_root: *up.iter().min().unwrap(),
            max_depth_from_root: *up.iter().max().unwrap(),
            max_depth_to_leaf: *down.iter().max().unwrap(),
        }
    }
}

fn instant(due: Due) -> Option<Moment> {
    match due {
        Due::Now => None,
        Due::At(at) => Some(at),
        Due::Between(..) => panic!("the chosen instant has not been read"),
    }
}

/// The length of every path from a step to an end.
fn lengths(step: usize, next: &dyn Fn(usize) -> Vec<usize>) -> Vec<i32> {
    let further: Vec<i32> =
        next(step).into_iter().flat_map(|step| lengths(step, next)).map(|length| length + 1).collect();
    if further.is_empty() { vec![0] } else { further }
}
