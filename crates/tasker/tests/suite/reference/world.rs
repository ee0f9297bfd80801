//! Games: tasks of a random workflow, to which random things happen, in the database and by the rules.

use std::{
    collections::{BTreeMap, BTreeSet},
    fmt::Write,
};

use chrono::TimeDelta;
use tasker::{
    retry,
    workflow::{Concurrency, Definition, Draft, DraftStep, Priority},
};
use uuid::Uuid;

use super::{
    rules::{Due, Outcome, State, Step, World},
    views,
};
use crate::support::{self, Chance, Claim, Moment, TestDatabase, Worker};

const TASKS: usize = 40;
const ROUNDS: usize = 14;

/// What a share of games has come to: a comparison that never saw a state proves nothing about it.
#[derive(Debug, Default)]
pub struct Seen(BTreeMap<String, usize>);

impl Seen {
    fn count(&mut self, what: impl Into<String>) {
        *self.0.entry(what.into()).or_default() += 1;
    }

    /// Everything that the views can say has been said (`task_not_live` is no first reason: a task that has ended has no open step), and
    /// every verb has been refused for each of its reasons.
    pub fn check(&self, cases: usize) {
        if cases < 15_000 {
            return;
        }
        let wanted = "ready finished in_progress not_retryable retries_exhausted dependencies_not_satisfied task_paused waiting_for_retry \
            scheduled_for_later concurrency_limit_reached all_complete cancelled resolved_manually blocked_by_failures has_ready_steps processing paused \
            waiting_for_capacity waiting_for_retry scheduled settled lease_lost released renewed !step_is_finished !task_not_live !nothing_to_retry \
            !step_in_progress !dependencies_not_satisfied !step_not_waiting !limit_too_low !task_is_finished";
        let missing: Vec<&str> = wanted.split_whitespace().filter(|word| !self.0.contains_key(*word)).collect();
        assert!(missing.is_empty(), "never seen: {missing:?}");
    }
}

/// Verbs by hand, one after the other, each with what it was told: far fewer round trips.
pub async fn prepare(db: &TestDatabase) {
    db.run(
        "create function tasker_test.act(verb text, id uuid, argument int) returns text language plpgsql as $$
         declare code text;
         begin
           case verb
             when 'cancel_task' then perform tasker.cancel_task(id);
             when 'retry_task' then perform tasker.retry_task(id);
             when 'resolve_task' then perform tasker.resolve_task(id);
             when 'pause_task' then perform tasker.pause_task(id);
             when 'resume_task' then perform tasker.resume_task(id);
             when 'cancel_step' then perform tasker.cancel_step(id);
             when 'retry_step' then perform tasker.retry_step(id);
             when 'resolve_step' then perform tasker.resolve_step(id, '7');
             when 'edit_step_input' then perform tasker.edit_step_input(id, '{}');
             when 'change_retry_limit' then perform tasker.change_retry_limit(id, argument);
           end case;
           return '';
         exception when sqlstate 'TA001' then
           get stacked diagnostics code = pg_exception_detail;
           return code;
         end $$",
    )
    .await;
}

/// One workflow and its tasks.
pub struct Game<'a> {
    db: &'a TestDatabase,
    chance: Chance,
    world: World,
    worker: Worker,
    /// Two versions with the same graph and other limits: those of the second count.
    versions: [i32; 2],
    /// Whether replies get lost, the clock may go back, and all promises are asked about after everything that happens.
    is_hostile: bool,
    /// Claims are handed in one a call, as idle workers do.
    is_quiet: bool,
    /// The latest that the clock has been.
    latest: Moment,
    /// Claims that were given, those that are over included.
    claims: Vec<Claim>,
    /// Tasks to which something has happened in this round.
    touched: BTreeSet<usize>,
    /// What has happened, to be read when the two differ.
    log: Vec<String>,
}

impl<'a> Game<'a> {
    pub async fn begin(db: &'a TestDatabase, mut chance: Chance, is_hostile: bool, is_quiet: bool) -> Game<'a> {
        // steps that are due at the same instant go by their tasks' ids: the game's own chance, that it can be repeated
        db.run(&format!(
            "create sequence if not exists tasker_test.ids; alter sequence tasker_test.ids restart;
             create or replace function tasker.uuid_v7() returns uuid language plpgsql as $$
             declare us bigint := (extract(epoch from tasker.clock()) * 1000000)::bigint; bits text := md5('{} ' || nextval('tasker_test.ids'));
             begin
               return (lpad(to_hex(us / 1000), 12, '0') || '7' || lpad(to_hex((us % 1000) * 4096 / 1000), 3, '0')
                 || '8' || left(bits, 9) || '000000')::uuid;
             end $$",
            chance.of(usize::MAX)
        ))
        .await;
        let definition = workflow(&mut chance);
        let mut older = Definition { version: "0.9.0".into(), ..definition.clone() };
        for concurrency in older.steps.iter_mut().filter_map(|step| step.concurrency.as_mut()) {
            concurrency.limit = 1 + chance.of(4) as u32;
        }
        let versions = [db.register(&older).await.unwrap(), db.register(&definition).await.unwrap()];
        let worker = Worker::new(db, definition.steps.iter().map(|step| step.handler.clone())).await;
        let world = World::new(&definition, db.now().await);
        let latest = world.now;
        Game {
            db,
            chance,
            world,
            worker,
            versions,
            is_hostile,
            is_quiet,
            latest,
            claims: Vec::new(),
            touched: BTreeSet::new(),
            log: Vec::new(),
        }
    }

    /// Gives how many cases were compared, or how the two differ.
    pub async fn play(&mut self, seen: &mut Seen) -> Result<usize, String> {
        let mut compared = 0;
        for round in 0..ROUNDS {
            self.move_the_clock().await;
            if round == 0 || self.chance.of(4) == 0 {
                let more = 1 + self.chance.of(5);
                self.submit(if round == 0 { TASKS } else { more }).await;
            }
            let phases = 1 + self.chance.of(4);
            for _ in 0..phases {
                match self.chance.of(10) {
                    0..=4 => self.exchange(seen).await?,
                    5 => self.exchange_of_one(seen).await?,
                    6 | 7 => self.people(seen).await?,
                    8 => self.keep(seen).await?,
                    _ => self.reap().await,
                }
                self.promises().await?;
            }
            compared += self.compare(seen).await?;
            self.explain().await?;
        }
        self.relationships().await?;
        compared += self.end(seen).await?;
        self.sweep().await;
        Ok(compared)
    }

    /// After everything that a hostile game commits.
    async fn promises(&mut self) -> Result<(), String> {
        if self.is_hostile {
            let violations = support::violations(&mut self.db.pool().acquire().await.unwrap()).await;
            self.same(0, "promises that do not hold", &Vec::new(), &violations)?;
        }
        Ok(())
    }

    /// From now on nothing goes wrong, nobody intervenes, and workers serve everything: every task ends.
    async fn end(&mut self, seen: &mut Seen) -> Result<usize, String> {
        self.is_hostile = false;
        let paused: Vec<Uuid> =
            self.world.tasks.iter().filter(|task| task.is_live() && task.paused).map(|task| task.id).collect();
        for id in paused {
            let task = self.task(id);
            self.note(format!("resume_task {id}"));
            self.db.resume_task(id, Default::default()).await.unwrap();
            self.world.task_verb(task, "resume_task").unwrap();
        }
        let all: Vec<usize> = (0..self.world.nodes.len()).collect();
        for _ in 0..1000 {
            if !self.world.tasks.iter().any(|task| task.is_live()) {
                return self.compare(seen).await;
            }
            let held: Vec<Claim> =
                self.claims.iter().filter(|claim| !self.world.ended.contains_key(&claim.claim_id)).cloned().collect();
            let outcomes = vec![Outcome::Complete; held.len()];
            let (before, is_idle) = (self.claims.len(), held.is_empty());
            self.hand_in(held, outcomes, &all, 1000, None, seen).await?;
            if is_idle && self.claims.len() == before {
                // what nobody holds any more expires
                // (and what became due by a clock that has gone back since is in the queue at that instant)
                let next = self.instants().into_iter().min().unwrap_or(self.latest.max(self.world.now));
                self.world.now = next + TimeDelta::microseconds(1);
                self.db.set_clock(self.world.now).await;
                self.reap().await;
            }
            self.compare(seen).await?;
        }
        Err(format!("it does not end: {:?}", self.world.tasks))
    }

    fn note(&mut self, what: String) {
        self.log.push(format!("{} {what}", self.world.now.format("%m-%d %H:%M:%S%.6f")));
    }

    /// The instants ahead for which something waits.
    fn instants(&self) -> Vec<Moment> {
        let mut instants: Vec<Moment> = Vec::new();
        for task in self.world.tasks.iter().filter(|task| task.is_live()) {
            instants.extend(task.deadline.filter(|_| task.is_deadline_ahead));
            instants.extend(task.steps.iter().flat_map(|step| &step.lease).map(|lease| lease.expires_at));
            let due = |step: &Step| if let Due::At(at) = step.due { Some(at) } else { None };
            instants.extend(task.steps.iter().filter_map(due));
        }
        // what has been passed on the way back is still ahead
        instants.retain(|instant| *instant >= self.world.now);
        instants
    }

    /// A little, a lot, or exactly to (or just before) an instant for which something waits; in a hostile game sometimes back.
    async fn move_the_clock(&mut self) {
        let instants = self.instants();
        let chance = &mut self.chance;
        let by = match chance.of(8) {
            0 if self.is_hostile => TimeDelta::seconds(-(chance.of(100) as i64)),
            0 => TimeDelta::zero(),
            1 | 2 => TimeDelta::milliseconds(1 + chance.of(2000) as i64),
            3 => TimeDelta::seconds(chance.of(60) as i64),
            4 => TimeDelta::minutes(chance.of(90) as i64),
            _ if instants.is_empty() => TimeDelta::seconds(1),
            kind => {
                let at = instants[chance.of(instants.len())] - self.world.now;
                if kind == 5 && !at.is_zero() { at - TimeDelta::microseconds(1) } else { at }
            }
        };
        self.world.now += by;
        self.latest = self.latest.max(self.world.now);
        self.db.set_clock(self.world.now).await;
    }

    async fn submit(&mut self, how_many: usize) {
        let now = self.world.now;
        let soon =
            |chance: &mut Chance| (chance.of(5) == 0).then(|| now + TimeDelta::seconds(1 + chance.of(600) as i64));
        let long_ago =
            |chance: &mut Chance| (chance.of(10) == 0).then(|| now - TimeDelta::seconds(1 + chance.of(600) as i64));
        let tasks: Vec<_> = (0..how_many)
            .map(|_| {
                let run_at = soon(&mut self.chance).or_else(|| long_ago(&mut self.chance));
                (self.chance.of(3) as u64, run_at, soon(&mut self.chance))
            })
            .collect();
        let versions: Vec<i32> = tasks.iter().map(|_| self.versions[self.chance.of(2)]).collect();
        let ids: Vec<Uuid> = sqlx::query_scalar(
            "select task_id from tasker.submit_tasks($1, $2,
               array_fill(null::text, array[cardinality($1)]), array_fill(null::text, array[cardinality($1)]), $3,
               array_fill(null::smallint, array[cardinality($1)]), $4, array_fill(null::text, array[cardinality($1)]),
               array_fill(null::text, array[cardinality($1)])) order by ord",
        )
        .bind(versions)
        .bind(tasks.iter().map(|(key, ..)| format!("{{\"k\": {key}}}")).collect::<Vec<_>>())
        .bind(tasks.iter().map(|(_, run_at, _)| *run_at).collect::<Vec<_>>())
        .bind(tasks.iter().map(|(.., deadline)| *deadline).collect::<Vec<_>>())
        .fetch_all(self.db.pool())
        .await
        .unwrap();
        for (id, (key, run_at, deadline)) in ids.into_iter().zip(tasks) {
            self.note(format!("submit {id} key {key} run_at {run_at:?} deadline {deadline:?}"));
            self.world.submit(id, key, run_at.map(|at| at.max(now)), deadline);
        }
    }

    fn task(&self, id: Uuid) -> usize {
        self.world.tasks.iter().position(|task| task.id == id).expect("the task is of another game")
    }

    /// Claims that are held, and now and then one that is over.
    fn some_claims(&mut self, share: usize) -> Vec<Claim> {
        let mut claims = Vec::new();
        for claim in &self.claims {
            let is_over = self.world.ended.contains_key(&claim.claim_id);
            let wanted = if is_over { self.chance.of(12) == 0 } else { self.chance.of(share) == 0 };
            if wanted {
                claims.push(claim.clone());
            }
        }
        claims
    }

    /// A worker's call over all tasks: the ends of some claims, for some handlers, with room for some.
    async fn exchange(&mut self, seen: &mut Seen) -> Result<(), String> {
        let ended = self.some_claims(2);
        self.call(ended, None, seen).await
    }

    /// The same for one task alone.
    async fn exchange_of_one(&mut self, seen: &mut Seen) -> Result<(), String> {
        let task = self.chance.of(self.world.tasks.len());
        let id = self.world.tasks[task].id;
        let mut ended = self.some_claims(2);
        ended.retain(|claim| claim.task_id == id);
        self.call(ended, Some(id), seen).await
    }

    async fn call(&mut self, mut ended: Vec<Claim>, only_task: Option<Uuid>, seen: &mut Seen) -> Result<(), String> {
        if self.is_quiet && !ended.is_empty() {
            ended = vec![ended.swap_remove(self.chance.of(ended.len()))];
        }
        let now = self.world.now;
        let mut handlers: Vec<usize> = (0..self.world.nodes.len()).collect();
        if self.chance.of(3) == 0 {
            handlers.retain(|_| self.chance.of(2) == 0);
        }
        let capacity = [0, 1, 3, 10, 100][self.chance.of(5)];
        let outcomes: Vec<Outcome> = ended
            .iter()
            .map(|_| match self.chance.of(12) {
                0..=5 => Outcome::Complete,
                6 => Outcome::Skip,
                7 => Outcome::Wait(now + TimeDelta::seconds(self.chance.of(100) as i64 - 10)),
                8 => Outcome::Fail { retryable: Some(self.chance.of(2) == 0), delay: None },
                9 => Outcome::Fail { retryable: None, delay: Some([-5.0, 0.0, 20.0, 100_000.0][self.chance.of(4)]) },
                _ => Outcome::Fail { retryable: None, delay: None },
            })
            .collect();
        self.hand_in(ended, outcomes, &handlers, capacity, only_task, seen).await
    }

    async fn hand_in(
        &mut self,
        ended: Vec<Claim>,
        outcomes: Vec<Outcome>,
        handlers: &[usize],
        capacity: i32,
        only_task: Option<Uuid>,
        seen: &mut Seen,
    ) -> Result<(), String> {
        let is_lost = self.is_hostile && self.chance.of(6) == 0;
        let settlements: Vec<(Claim, support::Outcome)> = ended
            .iter()
            .zip(&outcomes)
            .map(|(claim, outcome)| {
                let outcome = match *outcome {
                    Outcome::Complete => support::Outcome::Complete("7".into()),
                    Outcome::Skip => support::Outcome::Skip,
                    Outcome::Wait(at) => support::Outcome::Wait(at),
                    Outcome::Fail { retryable, delay } => support::Outcome::Fail { retryable, delay },
                };
                (claim.clone(), outcome)
            })
            .collect();
        let ids: Vec<i32> = handlers.iter().map(|step| self.worker.handler(&self.world.nodes[*step].handler)).collect();
        let reply = {
            let mut connection = self.db.pool().acquire().await.unwrap();
            self.worker.exchange(&mut connection, &settlements, &ids, capacity, only_task).await.unwrap()
        };
        for ((claim, outcome), answer) in ended.iter().zip(outcomes).zip(&reply.answers) {
            let task = self.task(claim.task_id);
            self.note(format!("settle {} {} {outcome:?}: {answer}", claim.task_id, claim.step_number));
            self.touched.insert(task);
            let expected = self.world.settle(task, claim.step_number as usize, claim.claim_id, outcome);
            seen.count(expected);
            self.same(task, "the answer", &expected, &answer.as_str())?;
        }
        for claim in &reply.claimed {
            let (task, step) = (self.task(claim.task_id), claim.step_number as usize);
            let lost = if is_lost { ", and its reply was lost" } else { "" };
            self.note(format!("claim {} {step}{lost}", claim.task_id));
            self.same(
                task,
                &format!("step {step} was claimed, which is blocked by"),
                &None,
                &self.world.blocking_reason(task, step),
            )?;
            self.touched.insert(task);
            self.world.claim(task, step, claim.claim_id);
            let s = &self.world.tasks[task].steps[step];
            self.same(task, "the claim's attempt and timer", &(s.attempts, s.timer), &(claim.attempt, claim.timer))?;
            if !handlers.contains(&step) {
                return Err(format!("step {step} was claimed, which was not asked for"));
            }
            // whoever loses the reply never hears of what he holds, and hands in again what he has handed in
            if !is_lost {
                self.claims.push(claim.clone());
            }
        }
        // 4.1: who receives less than he has room for has everything that may run
        // (a clock that has gone back finds what became due by the clock before it in the queue at that instant)
        if (reply.claimed.len() as i32) < capacity && self.world.now >= self.latest {
            for task in 0..self.world.tasks.len() {
                for step in handlers.iter().filter(|_| only_task.is_none_or(|only| only == self.world.tasks[task].id)) {
                    self.same(
                        task,
                        &format!("step {step} is ready and was not claimed"),
                        &false,
                        &self.world.is_ready(task, *step),
                    )?;
                }
            }
        }
        Ok(())
    }

    /// Verbs by hand over many tasks and steps.
    async fn people(&mut self, seen: &mut Seen) -> Result<(), String> {
        let mut verbs: Vec<(&str, usize, Option<usize>, i32)> = Vec::new();
        for task in 0..self.world.tasks.len() {
            if self.chance.of(4) > 0 {
                continue;
            }
            let step = self.chance.of(self.world.nodes.len());
            let argument = self.chance.of(6) as i32;
            let is_over = !self.world.tasks[task].is_live();
            verbs.push(match self.chance.of(if is_over { 20 } else { 32 }) {
                0 if self.chance.of(4) == 0 => ("cancel_task", task, None, 0),
                1 if self.chance.of(4) == 0 => ("resolve_task", task, None, 0),
                0..=2 => ("retry_task", task, None, 0),
                3 | 4 => ("pause_task", task, None, 0),
                5 | 6 => ("resume_task", task, None, 0),
                7..=10 => ("retry_step", task, Some(step), 0),
                11..=14 => ("resolve_step", task, Some(step), 0),
                15 | 16 => ("edit_step_input", task, Some(step), 0),
                17..=19 => ("change_retry_limit", task, Some(step), argument),
                20..=22 => ("cancel_step", task, Some(step), 0),
                _ => ("resume_task", task, None, 0),
            });
        }
        let id = |task: usize, step: Option<usize>| {
            let id = self.world.tasks[task].id;
            step.map_or(id, |step| tasker::step_id(id, step as i32))
        };
        let answers: Vec<String> = sqlx::query_scalar(
            "select tasker_test.act(v.verb, v.id, v.argument) from unnest($1::text[], $2::uuid[], $3::int[]) with ordinality v(verb, id, argument, place) order by v.place",
        )
        .bind(verbs.iter().map(|(verb, ..)| *verb).collect::<Vec<_>>())
        .bind(verbs.iter().map(|(_, task, step, _)| id(*task, *step)).collect::<Vec<_>>())
        .bind(verbs.iter().map(|(.., argument)| *argument).collect::<Vec<_>>())
        .fetch_all(self.db.pool())
        .await
        .unwrap();
        for ((verb, task, step, argument), answer) in verbs.into_iter().zip(answers) {
            self.note(format!("{verb} {} {step:?} {argument}: {answer}", self.world.tasks[task].id));
            self.touched.insert(task);
            let expected = match step {
                Some(step) => self.world.step_verb(task, step, verb, argument),
                None => self.world.task_verb(task, verb),
            };
            seen.count(format!("!{}", expected.err().unwrap_or_default()));
            self.same(task, verb, &expected.err().unwrap_or_default(), &answer.as_str())?;
        }
        Ok(())
    }

    /// Heartbeats, or claims that are given back.
    async fn keep(&mut self, seen: &mut Seen) -> Result<(), String> {
        let renews = self.chance.of(2) == 0;
        let claims = self.some_claims(4);
        if claims.is_empty() {
            return Ok(());
        }
        let sql = match renews {
            true => "select tasker.heartbeat($1, $2, $3, $4, interval '30 s')",
            false => "select tasker.release_steps($2, $3, $4) where $1::uuid is not null",
        };
        let answers: Vec<String> = sqlx::query_scalar(sql)
            .bind(self.worker.id)
            .bind(claims.iter().map(|claim| claim.task_id).collect::<Vec<_>>())
            .bind(claims.iter().map(|claim| claim.step_number).collect::<Vec<_>>())
            .bind(claims.iter().map(|claim| claim.claim_id).collect::<Vec<_>>())
            .fetch_one(self.db.pool())
            .await
            .unwrap();
        for (claim, answer) in claims.iter().zip(answers) {
            let (task, step) = (self.task(claim.task_id), claim.step_number as usize);
            let what = if renews { "heartbeat" } else { "release" };
            self.note(format!("{what} {} {step}: {answer}", claim.task_id));
            let expected = match renews {
                true => self.world.heartbeat(task, step, claim.claim_id),
                false => self.world.release(task, step, claim.claim_id),
            };
            seen.count(expected);
            self.same(task, what, &expected, &answer.as_str())?;
        }
        Ok(())
    }

    async fn reap(&mut self) {
        self.note("reap".into());
        support::reap(self.db).await;
        self.world.reap();
    }

    /// Every view, about every task and step.
    async fn compare(&mut self, seen: &mut Seen) -> Result<usize, String> {
        let ids: Vec<Uuid> = self.world.tasks.iter().map(|task| task.id).collect();
        let (said, recorded) = (views::steps(self.db, &ids).await, views::records(self.db, &ids).await);
        for (task, task_id) in ids.iter().enumerate() {
            for step in 0..self.world.nodes.len() {
                let id = tasker::step_id(*task_id, step as i32);
                let row = said.get(&id).ok_or_else(|| format!("the view has no step {id}"))?;
                // what chance chose is read, and must lie where the rule says
                if let Due::Between(from, to) = self.world.tasks[task].steps[step].due {
                    let slack = TimeDelta::microseconds(1);
                    let at = row.next_retry_at.filter(|at| *at >= from - slack && *at <= to + slack);
                    self.same(
                        task,
                        &format!("step {step}: a backoff between {from} and {to} is {:?}", row.next_retry_at),
                        &true,
                        &at.is_some(),
                    )?;
                    self.world.tasks[task].steps[step].due = Due::At(at.unwrap());
                }
                let expected = self.world.step_row(task, step);
                seen.count(expected.blocking_reason.clone().unwrap_or("ready".into()));
                self.same(task, &format!("step {step}"), &expected, row)?;
                self.same(task, &format!("step {step}"), &Some(&self.world.record(task, step)), &recorded.get(&id))?;
            }
        }
        let said = views::tasks(self.db, &ids).await;
        for (task, id) in ids.iter().enumerate() {
            let expected = self.world.task_row(task);
            seen.count(expected.execution_status.clone());
            self.same(task, "the summary", &Some(&expected), &said.get(id))?;
        }
        // a task that is over, and stays as it was, is compared and is no case
        let is_case = |task: &usize| self.world.tasks[*task].is_live() || self.touched.contains(task);
        let cases = (0..ids.len()).filter(is_case).count();
        self.touched.clear();
        Ok(cases)
    }

    /// 2.6: causes are complete (none exactly where a step is ready, and a claim would get it) and sound (by the rules, without them it is ready).
    async fn explain(&mut self) -> Result<(), String> {
        let sample: Vec<(usize, usize)> =
            (0..20).map(|_| (self.chance.of(self.world.tasks.len()), self.chance.of(self.world.nodes.len()))).collect();
        let rows: Vec<(i64, i32, String, bool, Option<Moment>)> = sqlx::query_as(
            "select s.place, x.step_number, x.cause, x.blocks, x.start_at from unnest($1::uuid[]) with ordinality s(id, place) cross join lateral tasker.explain_step(s.id) x",
        )
        .bind(sample.iter().map(|(task, step)| tasker::step_id(self.world.tasks[*task].id, *step as i32)).collect::<Vec<_>>())
        .fetch_all(self.db.pool())
        .await
        .unwrap();
        for (place, (task, step)) in sample.into_iter().enumerate() {
            let causes: Vec<_> = rows.iter().filter(|row| row.0 == place as i64 + 1 && row.3).collect();
            let reason = self.world.blocking_reason(task, step);
            self.same(
                task,
                &format!("whether step {step} has a cause ({causes:?})"),
                &reason.is_some(),
                &!causes.is_empty(),
            )?;
            // (a clock that has gone back finds what became due by the clock before it in the queue at that instant)
            if place == 0 && self.world.now >= self.latest {
                let is_claimed = self.would_be_claimed(task, step).await;
                self.same(
                    task,
                    &format!("whether a claim gets step {step} ({causes:?})"),
                    &causes.is_empty(),
                    &is_claimed,
                )?;
            }
            // time, where it is the only cause
            let waits = matches!(reason, Some("waiting_for_retry" | "scheduled_for_later")) && causes.len() == 1;
            let start_at = causes.iter().find_map(|row| row.4);
            let due = match self.world.tasks[task].steps[step].due {
                Due::At(at) if waits => Some(at),
                _ => None,
            };
            self.same(task, &format!("the earliest start of step {step}"), &due, &start_at)?;
            if self.world.tasks[task].steps[step].state.satisfies() {
                continue;
            }
            // the causes and nothing else are taken away
            let mut mended = self.world.clone();
            for (_, number, cause, ..) in &causes {
                mended.take_away(task, step, *number as usize, cause);
            }
            let rest = mended.blocking_reason(task, step);
            self.same(task, &format!("what blocks step {step} when {causes:?} are taken away"), &None, &rest)?;
            if let Some(start_at) = start_at {
                let mut later = self.world.clone();
                later.now = start_at;
                self.same(task, &format!("step {step} at {start_at}"), &true, &later.is_ready(task, step))?;
            }
        }
        Ok(())
    }

    /// A claim for this step alone, taken back.
    async fn would_be_claimed(&self, task: usize, step: usize) -> bool {
        let mut transaction = self.db.pool().begin().await.unwrap();
        let (id, handler) = (self.world.tasks[task].id, self.worker.handler(&self.world.nodes[step].handler));
        let reply = self.worker.exchange(&mut transaction, &[], &[handler], 1, Some(id)).await.unwrap();
        transaction.rollback().await.unwrap();
        !reply.claimed.is_empty()
    }

    async fn relationships(&mut self) -> Result<(), String> {
        // they follow from the graph and the task's id alone
        for task in [0, self.world.tasks.len() / 2, self.world.tasks.len() - 1] {
            let said = views::relationships(self.db, self.world.tasks[task].id).await;
            let expected: Vec<_> =
                (0..self.world.nodes.len()).map(|step| self.world.relationship(task, step)).collect();
            self.same(task, "the relationships", &expected, &said)?;
        }
        Ok(())
    }

    /// Nothing of this game is left to the next.
    async fn sweep(&mut self) {
        let divergences: Vec<String> = self.db.column("select d::text from tasker.step_readiness_divergences d").await;
        assert!(divergences.is_empty(), "{divergences:?}");
        self.db.run("truncate tasker.tasks, tasker.task_payloads, tasker.task_transitions, tasker.workflow_step_transitions, tasker.step_results, tasker.step_errors, tasker.step_inputs, tasker.join_counts, tasker.ready_steps, tasker.leases, tasker.task_deadlines").await;
    }

    fn same<T: PartialEq + std::fmt::Debug>(
        &self,
        task: usize,
        what: &str,
        expected: &T,
        said: &T,
    ) -> Result<(), String> {
        if expected == said {
            return Ok(());
        }
        let mut report = format!("{what}:\nby the rules  {expected:?}\nthe database  {said:?}\n");
        for (number, node) in self.world.nodes.iter().enumerate() {
            let _ =
                writeln!(report, "  step {number} after {:?}: {:?} {:?}", node.parents, node.retry, node.concurrency);
        }
        let id = self.world.tasks[task].id.to_string();
        let about = |line: &&String| line.contains(&id) || line.ends_with("reap");
        report += &self.log.iter().filter(about).map(|line| format!("  {line}\n")).collect::<String>();
        let _ = writeln!(report, "  now {}\n  {:?}", self.world.now, self.world.tasks[task]);
        Err(report)
    }
}

impl World {
    /// The world without one cause that was given for a step.
    fn take_away(&mut self, task: usize, target: usize, step: usize, cause: &str) {
        let limit = self.limit(task, step);
        let key = self.tasks[task].key;
        let t = &mut self.tasks[task];
        if step != target {
            t.steps[step].state = State::ResolvedManually;
            return;
        }
        let s = &mut t.steps[step];
        match cause {
            "finished" => s.state = State::Pending,
            "in_progress" => {
                s.state = State::Pending;
                s.attempts -= 1;
                s.lease = None;
            }
            "not_retryable" => s.retryable = true,
            "retries_exhausted" => s.retry_limit = Some(limit.max(s.attempts) + 1),
            "task_not_live" => t.state = State::InProgress,
            "task_paused" => t.paused = false,
            "waiting_for_retry" | "scheduled_for_later" => s.due = Due::Now,
            "concurrency_limit_reached" => {
                let is_keyed = self.nodes[step].concurrency.as_ref().is_some_and(|limit| !limit.key.is_empty());
                for other in self.tasks.iter_mut().filter(|other| !is_keyed || other.key == key) {
                    other.steps[step].lease = None;
                }
            }
            "dependencies_not_satisfied" => {} // its parents are named
            _ => panic!("an unknown cause: {cause}"),
        }
        if cause == "finished" {
            // cancelled: what stood behind that is its own
            let s = &mut self.tasks[task].steps[step];
            s.retry_limit = Some(s.attempts + 1);
            s.retryable = true;
            s.due = Due::Now;
        }
    }
}

/// Up to seven steps, of all kinds.
fn workflow(chance: &mut Chance) -> Definition {
    let size = 1 + chance.of(7);
    let density = 1 + chance.of(4);
    let steps: Vec<DraftStep> = (0..size)
        .map(|number| {
            let limit = |chance: &mut Chance| Concurrency {
                limit: 1 + chance.of(3) as u32,
                key: if chance.of(2) == 0 { vec!["k".into()] } else { Vec::new() },
            };
            DraftStep {
                name: format!("s{number}"),
                depends_on: (0..number)
                    .filter(|_| chance.of(density) == 0)
                    .map(|parent| format!("s{parent}"))
                    .collect(),
                retry: retry::Policy {
                    max_attempts: 1 + chance.of(4) as u32,
                    base_delay: std::time::Duration::from_millis([0, 100, 1000, 7000][chance.of(4)]),
                    max_delay: std::time::Duration::from_secs([7, 60][chance.of(2)]),
                    retryable: chance.of(6) > 0,
                },
                concurrency: (chance.of(3) == 0).then(|| limit(chance)),
                priority: [Priority::High, Priority::Normal, Priority::Low][chance.of(3)],
                ..DraftStep::default()
            }
        })
        .collect();
    let draft = Draft {
        namespace: "test".into(),
        name: format!("game_{}", Uuid::new_v4().simple()),
        version: "1.0.0".into(),
        steps,
        ..Draft::default()
    };
    Definition::check(draft, &[]).unwrap_or_else(|problems| panic!("{problems:?}"))
}
