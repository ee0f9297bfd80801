//! The loop: exchange, start what was received, wait for a handler to finish, a wake-up, the next known instant, or the end.

use std::{
    collections::{BTreeMap, HashMap},
    sync::{Arc, Mutex, PoisonError},
    time::{Duration, Instant},
};

use chrono::{DateTime, Utc};
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;
use tracing::{debug, info, warn};
use uuid::Uuid;

use super::{
    Event, Observer, Settings, attempt,
    batch::{self, Trouble},
    waker::Waker,
};
use crate::{
    Error,
    handlers::{Handler, StepError},
    store::{Answer, Beat, Claimed, Line, LoadedWorkflow, Position, Settlement, Store, Verdict},
};

/// A busy worker searches from the beginning of its queues at least this often: commits that came late lie behind its positions.
const FULL_SEARCH_INTERVAL: Duration = Duration::from_secs(10);
/// A call that settles does not search again so soon after a search that found everything, unless a wake-up came: its
/// children come without one.
const SEARCH_INTERVAL: Duration = Duration::from_millis(10);
/// How often expired leases and passed deadlines are looked for.
const REAP_INTERVAL: Duration = Duration::from_secs(1);
/// How many of each are acted on in one call.
const REAP_AT_MOST: i32 = 100;

/// One worker's loop and what it holds.
pub(super) struct Runner {
    store: Store,
    line: Line,
    worker_id: Uuid,
    handlers: BTreeMap<String, Arc<dyn Handler>>,
    settings: Settings,
    only_task: Option<Uuid>,
    observer: Option<Observer>,
    wake: Waker,
    positions: Vec<Position>,
    workflows: HashMap<i32, Arc<LoadedWorkflow>>,
    running: Running,
    ended: (mpsc::UnboundedSender<Ended>, mpsc::UnboundedReceiver<Ended>),
    settlements: Vec<Settlement>,
    lost_a_reply: bool,
    failures: u32,
    last_full_search: Instant,
    /// When a search last saw the end of the queue.
    saw_the_end: Option<Instant>,
    last_reap: Instant,
    reap_from: DateTime<Utc>,
}

/// What is being run, by claim id; shared with the heart.
type Running = Arc<Mutex<HashMap<Uuid, Lease>>>;

struct Lease {
    task_id: Uuid,
    step_number: i32,
    cancellation: CancellationToken,
    /// Counted on the monotonic clock from before the call that granted it.
    ends_at: Instant,
}

/// An attempt that is over; without a verdict it was told to stop.
struct Ended {
    claim_id: Uuid,
    task_id: Uuid,
    step_number: i32,
    verdict: Option<Verdict>,
}

/// What an exchange came to.
pub(super) struct Turn {
    /// Nothing was received, and nothing runs; after a settlement only where no instant is known for which to wait.
    pub idle: bool,
    /// How long until there may be something to do.
    pub next_in: Duration,
}

impl Runner {
    pub(super) async fn new(
        store: Store,
        handlers: BTreeMap<String, Arc<dyn Handler>>,
        settings: Settings,
        wake: Waker,
        only_task: Option<Uuid>,
        observer: Option<Observer>,
    ) -> Result<Runner, Error> {
        let worker_id = Uuid::new_v4();
        let names: Vec<String> = handlers.keys().cloned().collect();
        let ids = store.register_worker(worker_id, &names, &settings.description).await?;
        let positions = ids
            .into_iter()
            .flat_map(|handler_id| {
                [0, 1, 2].map(|lane| Position { handler_id, lane, from: None, after_key: String::new() })
            })
            .collect();
        Ok(Runner {
            line: Line::new(store.clone()),
            store,
            worker_id,
            handlers,
            settings,
            only_task,
            observer,
            wake,
            positions,
            workflows: HashMap::new(),
            running: Running::default(),
            ended: mpsc::unbounded_channel(),
            settlements: Vec::new(),
            lost_a_reply: false,
            failures: 0,
            last_full_search: Instant::now(),
            saw_the_end: None,
            last_reap: Instant::now() - REAP_INTERVAL,
            reap_from: DateTime::UNIX_EPOCH,
        })
    }

    /// Renews the leases and stops handlers whose lease cannot be renewed, until the handle is dropped.
    pub(super) fn start_heart(&self) -> Heart {
        let heart = beat_for_ever(self.store.clone(), self.worker_id, self.running.clone(), self.settings.lease);
        Heart(tokio::spawn(heart))
    }

    /// How many attempts run.
    pub(super) fn running_count(&self) -> usize {
        lock(&self.running).len()
    }

    /// One exchange, and what follows from it.
    pub(super) async fn turn(&mut self, claims: bool) -> Result<Turn, Error> {
        self.collect();
        // an idle worker reaps in its poll: one query a second
        let reaps = self.last_reap.elapsed() >= REAP_INTERVAL;
        let reaps_in_the_call = reaps && self.settlements.is_empty();
        if reaps && !reaps_in_the_call {
            self.reap().await;
        }
        if self.lost_a_reply {
            self.adopt().await;
        }
        let capacity = if claims { self.settings.concurrency.saturating_sub(self.running_count()) } else { 0 };
        if self.settlements.is_empty() && capacity == 0 {
            if reaps {
                self.reap().await;
            }
            return Ok(Turn { idle: false, next_in: self.settings.poll_interval });
        }
        if self.last_full_search.elapsed() >= FULL_SEARCH_INTERVAL {
            self.search_from_the_beginning();
        }
        let sent_at = Instant::now();
        let mut batch = batch::take(&mut self.settlements);
        let since_the_end = self.saw_the_end.map(|at| at.elapsed());
        let searches = batch.is_empty() || since_the_end.is_none_or(|since| since >= SEARCH_INTERVAL);
        let mut call = batch::Call {
            line: &mut self.line,
            worker_id: self.worker_id,
            positions: &mut self.positions,
            capacity,
            lease: self.settings.lease,
            only_task: self.only_task,
            searches,
            reap_from: reaps_in_the_call.then_some(&mut self.reap_from),
        };
        if reaps {
            self.last_reap = sent_at;
        }
        match batch::exchange(&mut call, &mut batch).await {
            Ok((reply, answered)) => {
                self.failures = 0;
                let settled = !answered.is_empty();
                self.settlements.append(&mut batch);
                for (settlement, answer) in answered {
                    self.answered(settlement, answer);
                }
                let received = !reply.claimed.is_empty();
                let full = reply.claimed.len() >= capacity;
                for claimed in reply.claimed {
                    self.start(claimed, sent_at).await?;
                }
                if reply.left_over {
                    self.wake.wake();
                }
                if searches {
                    if !received {
                        self.search_from_the_beginning();
                    }
                    self.saw_the_end = (!full && capacity > 0).then_some(sent_at);
                }
                let more = (full && capacity > 0) || !self.settlements.is_empty() || (reply.left_over && capacity > 0);
                let rests = !received && self.running_count() == 0 && self.settlements.is_empty();
                Ok(Turn {
                    // what was settled last may have been the end: there is no instant to wait for then
                    idle: rests && (!settled || (searches && reply.next_in.is_none())),
                    next_in: match more {
                        true => Duration::ZERO,
                        false if !searches => SEARCH_INTERVAL,
                        false => reply.next_in.unwrap_or(self.settings.poll_interval).min(self.settings.poll_interval),
                    },
                })
            }
            Err(Trouble::Fatal(error)) => Err(error),
            Err(Trouble::Again(error)) => {
                self.line.broken();
                self.settlements.append(&mut batch);
                self.lost_a_reply = true;
                self.failures += 1;
                let delay = backoff(self.failures);
                warn!("the database does not answer, trying again in {delay:?}: {error}");
                match self.failures {
                    GIVE_UP_AFTER.. if self.only_task.is_some() => Err(error),
                    _ => Ok(Turn { idle: false, next_in: delay }),
                }
            }
        }
    }

    /// Waits until there may be something to do: an attempt's end, a wake-up, an instant, or the end of `stop`.
    pub(super) async fn wait(&mut self, at_most: Duration, stop: &CancellationToken) {
        if at_most.is_zero() && self.failures == 0 {
            tokio::task::yield_now().await;
            return;
        }
        let trouble = self.failures > 0;
        tokio::select! {
            Some(ended) = self.ended.1.recv(), if !trouble => {
                self.end(ended);
                // a busy worker lets its batch grow while attempts end one after the other; a lone one goes at once
                while self.collect() > 0 {
                    tokio::task::yield_now().await;
                }
            }
            () = self.wake.woken(), if !trouble => self.search_from_the_beginning(),
            () = tokio::time::sleep(at_most) => {}
            () = stop.cancelled() => {}
        }
    }

    /// Whether something is left to hand in.
    pub(super) fn has_settlements(&self) -> bool {
        !self.settlements.is_empty()
    }

    /// Tells everything that runs to stop, waits for it, and gives the steps back.
    pub(super) async fn release_all(&mut self) {
        let claims: Vec<(Uuid, i32, Uuid)> = {
            let running = lock(&self.running);
            running.values().for_each(|lease| lease.cancellation.cancel());
            running.iter().map(|(claim_id, lease)| (lease.task_id, lease.step_number, *claim_id)).collect()
        };
        // a step is given back only when nothing runs it any more; one that does not stop keeps its lease until it expires
        let deadline = tokio::time::sleep(Duration::from_secs(10));
        tokio::pin!(deadline);
        while self.running_count() > 0 {
            tokio::select! {
                Some(ended) = self.ended.1.recv() => self.end(ended),
                () = &mut deadline => break,
            }
        }
        let still: Vec<Uuid> = lock(&self.running).keys().copied().collect();
        let settled: Vec<Uuid> = self.settlements.iter().map(|s| s.claim_id).collect();
        let stopped: Vec<_> =
            claims.into_iter().filter(|(_, _, id)| !still.contains(id) && !settled.contains(id)).collect();
        match self.store.release(&stopped).await {
            Ok(_) if stopped.is_empty() => {}
            Ok(_) => info!("gave back {} unfinished steps", stopped.len()),
            Err(error) => warn!("unfinished steps could not be given back; their leases will expire: {error}"),
        }
    }

    fn search_from_the_beginning(&mut self) {
        self.saw_the_end = None;
        self.last_full_search = Instant::now();
        for position in &mut self.positions {
            position.from = None;
        }
    }

    /// Takes in what has ended, without waiting. Gives how many.
    fn collect(&mut self) -> usize {
        let mut count = 0;
        while let Ok(ended) = self.ended.1.try_recv() {
            self.end(ended);
            count += 1;
        }
        count
    }

    fn end(&mut self, ended: Ended) {
        lock(&self.running).remove(&ended.claim_id);
        if let Some(verdict) = ended.verdict {
            self.settlements.push(Settlement {
                task_id: ended.task_id,
                step_number: ended.step_number,
                claim_id: ended.claim_id,
                verdict,
            });
        }
    }

    fn answered(&mut self, settlement: Settlement, answer: Answer) {
        match answer {
            Answer::Settled => {
                if let Some(observer) = &self.observer {
                    let Settlement { task_id, step_number, verdict, .. } = settlement;
                    let _ = observer.send(Event::Settled { task_id, step_number, verdict });
                }
            }
            Answer::LeaseLost => {
                warn!(task.id = %settlement.task_id, step.number = settlement.step_number, "the answer came after its lease was lost, and is not kept")
            }
            Answer::Cancelled => {
                info!(task.id = %settlement.task_id, step.number = settlement.step_number, "the step was cancelled meanwhile, and its answer is not kept")
            }
        }
    }

    async fn start(&mut self, claimed: Claimed, sent_at: Instant) -> Result<(), Error> {
        let cancellation = CancellationToken::new();
        let lease = Lease {
            task_id: claimed.task_id,
            step_number: claimed.step_number,
            cancellation: cancellation.clone(),
            ends_at: sent_at + self.settings.lease,
        };
        lock(&self.running).insert(claimed.claim_id, lease);
        if let Some(observer) = &self.observer {
            let _ = observer.send(Event::Started(Box::new(claimed.clone())));
        }
        let (claim_id, task_id, step_number) = (claimed.claim_id, claimed.task_id, claimed.step_number);
        let ended = move |verdict| Ended { claim_id, task_id, step_number, verdict };
        let workflow = match self.workflow(claimed.named_task_id).await {
            Ok(workflow) => workflow,
            Err(error) => {
                let error =
                    StepError::new(format!("the workflow's definition could not be read: {error}")).kind("database");
                let _ = self.ended.0.send(ended(Some(attempt::failure(error))));
                return Ok(());
            }
        };
        let name = workflow.nodes.get(claimed.step_number as usize).map(|n| n.handler.as_str()).unwrap_or_default();
        let Some(handler) = self.handlers.get(name).cloned() else {
            let error = StepError::fatal(format!("this worker has no handler `{name}`")).kind("unknown_handler");
            let _ = self.ended.0.send(ended(Some(attempt::failure(error))));
            return Ok(());
        };
        let (store, sender) = (self.store.clone(), self.ended.0.clone());
        tokio::spawn(async move {
            let verdict = attempt::run(store, workflow, handler, claimed, cancellation).await;
            let _ = sender.send(ended(verdict));
        });
        Ok(())
    }

    async fn workflow(&mut self, named_task_id: i32) -> Result<Arc<LoadedWorkflow>, Error> {
        if let Some(workflow) = self.workflows.get(&named_task_id) {
            return Ok(workflow.clone());
        }
        let workflow = Arc::new(self.store.load_workflow(named_task_id).await?);
        self.workflows.insert(named_task_id, workflow.clone());
        Ok(workflow)
    }

    async fn reap(&mut self) {
        self.last_reap = Instant::now();
        let reaped = async {
            let mut connection = self.line.get().await?;
            Store::reap(&mut connection, REAP_AT_MOST, &mut self.reap_from, Some(self.worker_id)).await
        };
        match reaped.await {
            Ok((0, 0)) => {}
            Ok((reaped, overdue)) => {
                info!("reaped {reaped} expired leases and {overdue} passed deadlines");
                self.wake.here();
            }
            Err(error) => {
                warn!("expired leases were not reaped: {error}");
                self.line.broken();
            }
        }
    }

    /// A reply was lost: what it leased is ours, and is started now. No exchange is in flight here.
    async fn adopt(&mut self) {
        let mut known: Vec<Uuid> = lock(&self.running).keys().copied().collect();
        known.extend(self.settlements.iter().map(|s| s.claim_id));
        let sent_at = Instant::now();
        let adopted = async {
            let mut connection = self.line.get().await?;
            Store::adopt(&mut connection, self.worker_id, &known).await
        };
        match adopted.await {
            Ok(orphans) => {
                self.lost_a_reply = false;
                for claimed in orphans {
                    if let Err(error) = self.start(claimed, sent_at).await {
                        warn!("an orphaned lease could not be started: {error}");
                    }
                }
            }
            Err(error) => {
                debug!("asking for orphaned leases failed: {error}");
                self.line.broken();
            }
        }
    }
}

/// A runner of a single task gives up after so many failures in a row (about half a minute).
const GIVE_UP_AFTER: u32 = 12;

/// Full jitter: uniform up to 50 ms * 2^failures, at most 5 s.
fn backoff(failures: u32) -> Duration {
    let most = Duration::from_millis(50 << failures.min(7)).min(Duration::from_secs(5));
    let random = u32::from_ne_bytes(*Uuid::new_v4().as_bytes().first_chunk().unwrap_or(&[128; 4]));
    most.mul_f64(0.5 + f64::from(random) / f64::from(u32::MAX) / 2.0)
}

fn lock(running: &Running) -> std::sync::MutexGuard<'_, HashMap<Uuid, Lease>> {
    running.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Stops beating when it is dropped.
pub(super) struct Heart(tokio::task::JoinHandle<()>);

impl Drop for Heart {
    fn drop(&mut self) {
        self.0.abort();
    }
}

/// Beats every third of a lease, and looks six times a lease for handlers that must stop before theirs ends.
async fn beat_for_ever(store: Store, worker_id: Uuid, running: Running, lease: Duration) {
    let mut last_beat = Instant::now();
    loop {
        tokio::time::sleep(lease / 6).await;
        if last_beat.elapsed() >= lease / 3 {
            let claims: Vec<(Uuid, i32, Uuid)> =
                lock(&running).iter().map(|(id, l)| (l.task_id, l.step_number, *id)).collect();
            let sent_at = Instant::now();
            if !claims.is_empty() {
                match tokio::time::timeout(lease / 3, store.heartbeat(worker_id, &claims, lease)).await {
                    Ok(Ok(answers)) => {
                        last_beat = sent_at;
                        let mut running = lock(&running);
                        for ((_, _, claim_id), answer) in claims.iter().zip(answers) {
                            let Some(held) = running.get_mut(claim_id) else { continue };
                            match answer {
                                Beat::Renewed => held.ends_at = sent_at + lease,
                                Beat::Unknown => {}
                                Beat::LeaseLost | Beat::Cancelled => held.cancellation.cancel(),
                            }
                        }
                    }
                    Ok(Err(error)) => warn!("the heartbeat failed: {error}"),
                    Err(_) => warn!("the heartbeat had no answer within {:?}", lease / 3),
                }
            }
        }
        let now = Instant::now();
        for held in lock(&running).values() {
            if held.ends_at.saturating_duration_since(now) <= lease / 6 && !held.cancellation.is_cancelled() {
                warn!(task.id = %held.task_id, step.number = held.step_number, "its lease could not be renewed: the handler is told to stop");
                held.cancellation.cancel();
            }
        }
    }
}
