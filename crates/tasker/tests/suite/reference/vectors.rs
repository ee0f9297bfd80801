//! All vectors of states: every task of up to six steps, each step in any of the seven states, written as rows and put to the views.

use chrono::TimeDelta;
use uuid::Uuid;

use super::{
    rules::{Due, Lease, State, World},
    views,
};
use crate::support::{TestDatabase, sketch, with_database};

use State::*;

const ANY: [State; 7] = [Pending, InProgress, Complete, Failed, Cancelled, ResolvedManually, Skipped];
const BEFORE_ITS_PARENTS: [State; 2] = [Pending, Cancelled];
/// How many tasks are asked about at once.
const AT_ONCE: usize = 2000;

#[test]
fn every_vector_of_independent_steps() {
    with_database(async |db| {
        let sizes = ["a", "a, b", "a, b, c", "a, b, c, d", "a, b, c, d, e", "a, b, c, d, e, f"];
        let mut seen = 0;
        for graph in sizes {
            seen += check(db, graph).await;
        }
        assert_eq!(seen, (1..=6).map(|size| 7_usize.pow(size)).sum::<usize>());
    });
}

#[test]
fn every_possible_vector_of_dependent_steps() {
    with_database(async |db| {
        for graph in [
            "a > b > c > d > e > f",
            "a, b > c, d > e, f",
            "a > b, c, d, e > f",
            "a > b; a, b > c; b, c > d; c, d > e; d, e > f",
            "a, b, c > d; c > e > f",
        ] {
            assert!(check(db, graph).await > 100, "{graph}");
        }
    });
}

#[test]
fn every_possible_vector_of_every_graph_of_up_to_four_steps() {
    with_database(async |db| {
        let mut graphs = 0;
        for size in 1..=4_usize {
            // each subset of the edges from an earlier step to a later one
            let edges: Vec<(usize, usize)> =
                (0..size).flat_map(|child| (0..child).map(move |parent| (parent, child))).collect();
            for subset in 0..1 << edges.len() {
                let name = |step: usize| ["a", "b", "c", "d"][step];
                let chosen = edges.iter().enumerate().filter(|(number, _)| subset >> number & 1 == 1);
                let lines = chosen.map(|(_, (parent, child))| format!("{} > {}", name(*parent), name(*child)));
                let all = (0..size).map(name).collect::<Vec<_>>().join(", ");
                check(db, &std::iter::once(all).chain(lines).collect::<Vec<_>>().join("; ")).await;
                graphs += 1;
            }
        }
        assert_eq!(graphs, 1 + 2 + 8 + 64);
    });
}

/// Vectors in which what has begun, or is satisfied, has satisfied parents.
fn vectors(world: &World) -> Vec<Vec<State>> {
    let mut vectors = vec![Vec::new()];
    for node in &world.nodes {
        vectors = vectors
            .into_iter()
            .flat_map(|vector: Vec<State>| {
                let free = node.parents.iter().all(|parent| vector[*parent as usize].satisfies());
                let states: &[State] = if free { &ANY } else { &BEFORE_ITS_PARENTS };
                states.iter().map(move |state| [&vector[..], &[*state]].concat())
            })
            .collect();
    }
    vectors
}

async fn check(db: &TestDatabase, graph: &str) -> usize {
    let definition = sketch(graph);
    let named_task_id = db.register(&definition).await.unwrap();
    let empty = World::new(&definition, db.now().await);
    let vectors = vectors(&empty);
    for some in vectors.chunks(AT_ONCE) {
        let mut world = empty.clone();
        let ids: Vec<Uuid> = sqlx::query_scalar("select tasker.uuid_v7() from generate_series(1, $1)")
            .bind(some.len() as i32)
            .fetch_all(db.pool())
            .await
            .unwrap();
        for (id, vector) in ids.iter().zip(some) {
            put(&mut world, *id, vector);
        }
        write(db, &world, named_task_id).await;
        let (steps, tasks) = (views::steps(db, &ids).await, views::tasks(db, &ids).await);
        for (task, vector) in some.iter().enumerate() {
            for step in 0..vector.len() {
                let expected = world.step_row(task, step);
                assert_eq!(steps.get(&expected.workflow_step_id), Some(&expected), "`{graph}`: {vector:?}");
            }
            assert_eq!(tasks.get(&ids[task]), Some(&world.task_row(task)), "`{graph}`: {vector:?}");
        }
        db.run("truncate tasker.tasks, tasker.task_transitions, tasker.task_payloads, tasker.workflow_step_transitions, tasker.join_counts, tasker.leases").await;
    }
    vectors.len()
}

/// A task whose steps are in these states.
fn put(world: &mut World, id: Uuid, vector: &[State]) {
    let now = world.now;
    world.submit(id, 0, None, None);
    let task = world.tasks.last_mut().unwrap();
    for (step, state) in task.steps.iter_mut().zip(vector) {
        step.state = *state;
        let is_attempted = matches!(state, InProgress | Complete | Failed | Skipped);
        step.attempts = i32::from(is_attempted);
        step.last_attempted_at = is_attempted.then_some(now);
        step.last_failure_at = (*state == Failed).then_some(now);
        step.due = match state {
            Pending => step.due,
            Failed => Due::At(now + TimeDelta::hours(1)),
            _ => Due::Now,
        };
        step.lease = (*state == InProgress).then(|| Lease { claim_id: Uuid::new_v4(), expires_at: now });
    }
    task.state = InProgress;
    let index = world.tasks.len() - 1;
    world.conclude(index);
}

async fn write(db: &TestDatabase, world: &World, named_task_id: i32) {
    let tasks = &world.tasks;
    sqlx::query(
        "insert into tasker.tasks (task_id, named_task_id, state, open_leaves, run_at, created_at, finished_at)
         select t.id, $2, t.state::tasker.task_state, t.leaves, $5, $5, case when t.state in ('complete', 'failed') then $5 end
         from unnest($1::uuid[], $3::text[], $4::int[]) t(id, state, leaves)",
    )
    .bind(tasks.iter().map(|task| task.id).collect::<Vec<_>>())
    .bind(named_task_id)
    .bind(tasks.iter().map(|task| task.state.word()).collect::<Vec<_>>())
    .bind((0..tasks.len()).map(|task| world.open_leaves(task)).collect::<Vec<_>>())
    .bind(world.now)
    .execute(db.pool())
    .await
    .unwrap();

    let steps: Vec<(usize, usize)> =
        (0..tasks.len()).flat_map(|task| (0..world.nodes.len()).map(move |step| (task, step))).collect();
    let of = |(task, step): &(usize, usize)| &world.tasks[*task].steps[*step];
    sqlx::query(
        "with s as (select * from unnest($1::uuid[], $2::int[], $3::text[], $4::uuid[], $5::int[]) s(task_id, step_number, state, claim_id, satisfied)),
         history as (
           insert into tasker.workflow_step_transitions (task_id, step_number, number, to_state, verb, at, attempt, claim_id, worker_id,
             next_retry_at, retryable, error_kind, last_failure_at, last_attempted_at)
           select s.task_id, s.step_number, 1, s.state::tasker.step_state,
             (case s.state when 'in_progress' then 'claim' when 'cancelled' then 'cancel' when 'resolved_manually' then 'resolve' else 'settle' end)::tasker.verb,
             $6, case when w.attempted then 1 else 0 end, s.claim_id, s.claim_id, case when s.state = 'failed' then $6 + interval '1 hour' end,
             true, case when s.state = 'failed' then 'test_error' end,
             case when s.state = 'failed' then $6 end, case when w.attempted then $6 end
           from s cross join lateral (select s.state in ('in_progress', 'complete', 'failed', 'skipped') as attempted) w where s.state <> 'pending'),
         leased as (
           insert into tasker.leases (task_id, step_number, named_task_id, attempt, claim_id, worker_id, lease_expires_at, limit_key)
           select s.task_id, s.step_number, $7, 1, s.claim_id, s.claim_id, $6, '' from s where s.state = 'in_progress')
         insert into tasker.join_counts (task_id, step_number, satisfied)
         select s.task_id, s.step_number, s.satisfied from s
         join tasker.named_tasks_named_steps n on n.named_task_id = $7 and n.step_number = s.step_number and n.parent_count > 1
         where s.satisfied > 0",
    )
    .bind(steps.iter().map(|(task, _)| tasks[*task].id).collect::<Vec<_>>())
    .bind(steps.iter().map(|(_, step)| *step as i32).collect::<Vec<_>>())
    .bind(steps.iter().map(|step| of(step).state.word()).collect::<Vec<_>>())
    .bind(
        steps
            .iter()
            .map(|step| {
                let is_attempted = matches!(of(step).state, InProgress | Complete | Failed | Skipped);
                of(step).lease.as_ref().map(|lease| lease.claim_id).or_else(|| is_attempted.then(Uuid::new_v4))
            })
            .collect::<Vec<_>>(),
    )
    .bind(steps.iter().map(|(task, step)| world.satisfied_parents(*task, *step) as i32).collect::<Vec<_>>())
    .bind(world.now)
    .bind(named_task_id)
    .execute(db.pool())
    .await
    .unwrap();
}
