//! A worker's calls, one at a time, as the engine makes them: by the same functions of the database.

use std::collections::{BTreeMap, HashMap};

use sqlx::{PgConnection, PgPool, Row};
use uuid::Uuid;

use super::{Moment, TestDatabase};

/// A worker without a loop: it does what a test says, when the test says it.
pub struct Worker {
    /// Its id, as the leases show it.
    pub id: Uuid,
    handlers: HashMap<String, i32>,
}

/// A step that a worker holds.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Claim {
    /// The task.
    pub task_id: Uuid,
    /// The step's number in it.
    pub step_number: i32,
    /// The attempt's number.
    pub attempt: i32,
    /// The fence.
    pub claim_id: Uuid,
    /// The instant for which it asked to wait.
    pub timer: Option<Moment>,
}

/// What a handler says at an attempt's end.
#[derive(Clone, Debug)]
pub enum Outcome {
    /// Done, with this JSON.
    Complete(String),
    /// Nothing to do.
    Skip,
    /// Not before this instant.
    Wait(Moment),
    /// Failed: whether it may be tried again (`None`: as the node says), and the delay in seconds that was asked for.
    Fail {
        /// `None`: as the node says.
        retryable: Option<bool>,
        /// In seconds.
        delay: Option<f64>,
    },
}

/// What a call gave.
#[derive(Debug, Default)]
pub struct Reply {
    /// One for each settlement.
    pub answers: Vec<String>,
    /// What the worker holds now.
    pub claimed: Vec<Claim>,
    /// What came with each, as SQL writes a row.
    pub delivered: Vec<String>,
    /// Microseconds until something more is due.
    pub next_in: Option<i64>,
}

/// Where a worker's search goes on: in its (handler, lane) pairs, and for the limit keys that it knows.
#[derive(Debug)]
pub struct Search {
    handlers: Vec<i32>,
    lanes: Vec<i16>,
    positions: Vec<Moment>,
    keys: Vec<String>,
    /// By the pair's number, from 1 on, and the key.
    pub known: BTreeMap<(i32, String), Moment>,
}

/// How long a claim is held.
pub const LEASE: &str = "30s";

impl Worker {
    /// Registers a worker for these handlers.
    pub async fn new(db: &TestDatabase, handlers: impl IntoIterator<Item = String>) -> Worker {
        let id = Uuid::new_v4();
        let names: Vec<String> = handlers.into_iter().collect();
        let ids = db.register_worker(id, &names, "a test").await.unwrap();
        Worker { id, handlers: names.into_iter().zip(ids).collect() }
    }

    /// The ids of all its handlers.
    pub fn serves(&self) -> Vec<i32> {
        self.handlers.values().copied().collect()
    }

    /// The id of one of its handlers.
    pub fn handler(&self, name: &str) -> i32 {
        *self.handlers.get(name).unwrap_or_else(|| panic!("the worker does not serve `{name}`"))
    }

    /// The engine's one call: hands in, and receives up to `capacity` steps of these handlers.
    pub async fn exchange(
        &self,
        connection: &mut PgConnection,
        ended: &[(Claim, Outcome)],
        handlers: &[i32],
        capacity: i32,
        only_task: Option<Uuid>,
    ) -> Result<Reply, sqlx::Error> {
        let pairs: Vec<(i32, i16)> =
            handlers.iter().flat_map(|handler| [(*handler, 0), (*handler, 1), (*handler, 2)]).collect();
        let column =
            |value: fn(&Outcome) -> Option<String>| ended.iter().map(|(_, outcome)| value(outcome)).collect::<Vec<_>>();
        let rows = sqlx::query(
            "select x.*, row(x.context, x.input, x.results, x.retry_limit, x.generation, x.timer, x.attempt)::text as delivered from tasker.exchange(
               by_worker => $1, s_tasks => $2, s_steps => $3, s_claims => $4, outcomes => $5, payloads => $6, error_kinds => $7,
               retryables => $8, delays => $9, instants => $10, handlers => $11, lanes => $12,
               positions => array_fill('-infinity'::timestamptz, array[cardinality($11::int[])]),
               keys => array_fill(''::text, array[cardinality($11::int[])]),
               capacity => $13, lease => interval '30 seconds', only_task => $14) x",
        )
        .bind(self.id)
        .bind(ended.iter().map(|(claim, _)| claim.task_id).collect::<Vec<_>>())
        .bind(ended.iter().map(|(claim, _)| claim.step_number).collect::<Vec<_>>())
        .bind(ended.iter().map(|(claim, _)| claim.claim_id).collect::<Vec<_>>())
        .bind(column(|outcome| {
            Some(match outcome {
                Outcome::Complete(_) => "complete".into(),
                Outcome::Skip => "skip".into(),
                Outcome::Wait(_) => "wait".into(),
                Outcome::Fail { .. } => "fail".into(),
            })
        }))
        .bind(column(|outcome| match outcome {
            Outcome::Complete(result) => Some(result.clone()),
            Outcome::Skip => Some("null".into()),
            Outcome::Wait(_) => None,
            Outcome::Fail { .. } => Some("it does not work".into()),
        }))
        .bind(column(|outcome| matches!(outcome, Outcome::Fail { .. }).then(|| "test_error".into())))
        .bind(ended.iter().map(|(_, o)| if let Outcome::Fail { retryable, .. } = o { *retryable } else { None }).collect::<Vec<_>>())
        .bind(ended.iter().map(|(_, o)| if let Outcome::Fail { delay, .. } = o { *delay } else { None }).collect::<Vec<_>>())
        .bind(ended.iter().map(|(_, o)| if let Outcome::Wait(at) = o { Some(*at) } else { None }).collect::<Vec<_>>())
        .bind(pairs.iter().map(|(handler, _)| *handler).collect::<Vec<_>>())
        .bind(pairs.iter().map(|(_, lane)| *lane).collect::<Vec<_>>())
        .bind(capacity)
        .bind(only_task)
        .fetch_all(connection)
        .await?;
        let mut reply = Reply::default();
        for row in rows {
            match row.try_get::<Option<Uuid>, _>("claim_id")? {
                None => {
                    reply.answers = row.try_get::<Option<Vec<String>>, _>("answers")?.unwrap_or_default();
                    let next_in: Option<sqlx::postgres::types::PgInterval> = row.try_get("next_in")?;
                    reply.next_in = next_in.map(|next| next.microseconds + i64::from(next.days) * 86_400_000_000);
                }
                Some(claim_id) => {
                    reply.delivered.push(row.try_get("delivered")?);
                    reply.claimed.push(Claim {
                        task_id: row.try_get("task_id")?,
                        step_number: row.try_get("step_number")?,
                        attempt: row.try_get("attempt")?,
                        claim_id,
                        timer: row.try_get("timer")?,
                    });
                }
            }
        }
        assert!(reply.claimed.len() <= usize::try_from(capacity).unwrap(), "claimed more than {capacity}");
        Ok(reply)
    }

    /// Receives up to `capacity` steps of any of its handlers.
    pub async fn claim(&self, db: &TestDatabase, capacity: i32) -> Vec<Claim> {
        let mut connection = db.pool().acquire().await.unwrap();
        self.exchange(&mut connection, &[], &self.serves(), capacity, None).await.unwrap().claimed
    }

    /// A search from the beginning, in all lanes of its handlers.
    pub fn search(&self) -> Search {
        let handlers: Vec<i32> = self.serves().into_iter().flat_map(|handler| [handler; 3]).collect();
        Search {
            lanes: [0, 1, 2].repeat(handlers.len() / 3),
            positions: vec![Moment::UNIX_EPOCH; handlers.len()],
            keys: vec![String::new(); handlers.len()],
            handlers,
            known: BTreeMap::new(),
        }
    }

    /// Claims up to so many steps by a search that goes on where it stopped, as a busy worker does. Gives how many it has got.
    pub async fn look(&self, pool: &PgPool, search: &mut Search, wanted: i32) -> usize {
        let row = sqlx::query("select * from tasker.claim(by_worker => $1, handlers => $2, lanes => $3, positions => $4, keys => $5, wanted => $6, lease => interval '30 seconds', known_pairs => $7, known_keys => $8, known_from => $9)")
            .bind(self.id)
            .bind(&search.handlers)
            .bind(&search.lanes)
            .bind(&search.positions)
            .bind(&search.keys)
            .bind(wanted)
            .bind(search.known.keys().map(|(pair, _)| *pair).collect::<Vec<_>>())
            .bind(search.known.keys().map(|(_, key)| key.clone()).collect::<Vec<_>>())
            .bind(search.known.values().copied().collect::<Vec<_>>())
            .fetch_one(pool)
            .await
            .unwrap();
        search.positions = row.get("next_positions");
        search.keys = row.get("next_keys");
        let seen: Vec<String> = row.get::<Option<_>, _>("seen_keys").unwrap_or_default();
        let pairs: Vec<i32> = row.get::<Option<_>, _>("seen_pairs").unwrap_or_default();
        let from: Vec<Moment> = row.get::<Option<_>, _>("seen_from").unwrap_or_default();
        search.known.extend(pairs.into_iter().zip(seen).zip(from));
        row.get::<Option<Vec<i32>>, _>("l_steps").unwrap_or_default().len()
    }

    /// Hands in, and receives nothing.
    pub async fn settle(&self, db: &TestDatabase, ended: &[(Claim, Outcome)]) -> Vec<String> {
        let mut connection = db.pool().acquire().await.unwrap();
        self.exchange(&mut connection, ended, &[], 0, None).await.unwrap().answers
    }
}

/// Turns expired leases into failures and acts on passed deadlines. Gives how many of each.
pub async fn reap(db: &TestDatabase) -> (i32, i32) {
    let row = sqlx::query("select reaped, overdue from tasker.reap(at_most => 1000, from_position => '-infinity')")
        .fetch_one(db.pool())
        .await
        .unwrap();
    (row.get("reaped"), row.get("overdue"))
}
