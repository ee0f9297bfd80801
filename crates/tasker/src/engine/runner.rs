//! The loop: exchange, start what was received, wait for a handler to finish, a wake-up, the next known instant, or the end.

use std::{
    collections::BTreeMap,
    sync::Arc,
    time::{Duration, Instant},
};

use futures_util::future::OptionFuture;
use sqlx::PgConnection;
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;
use tracing::{debug, info, warn};
use uuid::Uuid;

use super::{
    Event, Observer, Settings, attempt,
    batch::{self, SetAside, Trouble, backoff},
    definitions::Definitions,
    door::Parcel,
    leases::{Heart, Lease, Leases},
    reaping::{self, Reaping},
    search::{self, Search},
    waker::Waker,
};
use crate::{
    Error,
    handlers::Handler,
    store::{Answer, Claimed, Exchanged, Line, Settlement, Store, Verdict},
};

/// A shorter lease could not be kept.
const LEAST_LEASE: Duration = Duration::from_secs(1);
/// For so long after a reply was lost, what the call leased is asked for: a server may do it long after its caller has gone.
const ADOPT_FOR: Duration = Duration::from_secs(5);
/// How often.
const ADOPT_INTERVAL: Duration = Duration::from_millis(200);

/// One worker's loop and what it holds.
pub(super) struct Runner {
    store: Store,
    line: Line,
    worker_id: Uuid,
    definitions: Arc<Definitions>,
    settings: Settings,
    only_task: Option<Uuid>,
    observer: Option<Observer>,
    wake: Waker,
    search: Search,
    handler_ids: Vec<i32>,
    leases: Leases,
    ended: (mpsc::UnboundedSender<Ended>, mpsc::UnboundedReceiver<Ended>),
    settlements: Vec<Settlement>,
    /// A task to submit in the next call.
    parcel: Option<Parcel>,
    set_aside: SetAside,
    /// When a reply was last lost, and when its leases are asked for next.
    lost_a_reply: Option<(Instant, Instant)>,
    failures: u32,
    reaping: Reaping,
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
    /// Registers a worker, when the database answers. `None`: `stop` was cancelled before that.
    pub(super) async fn begin(
        store: Store,
        handlers: BTreeMap<String, Arc<dyn Handler>>,
        mut settings: Settings,
        wake: Waker,
        only_task: Option<Uuid>,
        observer: Option<Observer>,
        stop: &CancellationToken,
    ) -> Result<Option<Runner>, Error> {
        settings.lease = settings.lease.max(LEAST_LEASE);
        let worker_id = Uuid::new_v4();
        let names: Vec<String> = handlers.keys().cloned().collect();
        let mut failures = 0;
        let ids = loop {
            let registered = async {
                store.require_schema().await?;
                store.register_worker(worker_id, &names, &settings.description).await
            };
            match registered.await.map_err(batch::trouble) {
                Ok(ids) => break ids,
                Err(Trouble::Again(error)) if only_task.is_none() || failures < GIVE_UP_AFTER => {
                    failures += 1;
                    let delay = backoff(failures);
                    warn!("the database does not answer, trying again in {delay:?}: {error}");
                    tokio::select! {
                        () = tokio::time::sleep(delay) => {}
                        () = stop.cancelled() => return Ok(None),
                    }
                }
                Err(Trouble::Again(error) | Trouble::Fatal(error)) => return Err(error),
            }
        };
        Ok(Some(Runner {
            line: Line::new(store.clone()),
            definitions: Arc::new(Definitions::new(store.clone(), handlers, settings.secrets.clone())),
            store,
            worker_id,
            settings,
            only_task,
            observer,
            wake,
            search: Search::new(&ids),
            handler_ids: ids,
            leases: Leases::default(),
            ended: mpsc::unbounded_channel(),
            settlements: Vec::new(),
            parcel: None,
            set_aside: SetAside::new(),
            lost_a_reply: None,
            failures: 0,
            reaping: Reaping::new(),
        }))
    }

    /// Renews the leases and stops handlers whose lease cannot be renewed, until the handle is dropped.
    pub(super) fn start_heart(&self) -> Heart {
        Heart::start(self.store.clone(), self.worker_id, self.leases.clone(), self.settings.lease, self.wake.told())
    }

    /// The next turn searches and reaps, whenever the last one did.
    pub(super) fn look_at_everything(&mut self) {
        self.search.begin_anew();
        self.reaping.again_at_once();
    }

    /// How many attempts run.
    pub(super) fn running_count(&self) -> usize {
        self.leases.running_count()
    }

    /// One exchange, and what follows from it.
    pub(super) async fn turn(&mut self, claims: bool) -> Result<Turn, Error> {
        self.collect();
        let parcel = self.parcel.take();
        if claims && self.lost_a_reply.is_some_and(|(_, next)| next <= Instant::now()) {
            self.adopt().await;
        }
        if let Err(error) = self.set_aside.look(&mut self.settlements, &mut self.line, self.settings.lease).await {
            return self.trouble(batch::trouble(error));
        }
        let capacity = if claims { self.settings.concurrency.saturating_sub(self.running_count()) } else { 0 };
        let mut batch = batch::take(&mut self.settlements);
        // an idle worker reaps in its poll: one query a second; who settles does so first, so that it does not reap its own
        let reaps = self.reaping.is_due();
        let reaps_in_the_call = reaps && batch.is_empty();
        // dropped, it goes another way
        let parcel = parcel.filter(|_| batch.is_empty() && capacity > 0);
        if batch.is_empty() && capacity == 0 {
            if reaps {
                self.reap().await;
            }
            return Ok(Turn { idle: false, next_in: self.until_next(None) });
        }
        let sent_at = Instant::now();
        let searches = batch.is_empty() || self.search.is_due();
        let is_full_search = searches && self.search.begins();
        if reaps_in_the_call {
            self.reaping.begins();
        }
        let mut call = batch::Call {
            line: &mut self.line,
            worker_id: self.worker_id,
            handlers: &self.handler_ids,
            positions: searches.then_some(&mut self.search.positions),
            capacity,
            lease: self.settings.lease,
            only_task: self.only_task,
            reap_from: reaps_in_the_call.then_some(&mut self.reaping.from),
            submission: parcel.as_ref().map(Parcel::send),
        };
        let mut answered = Vec::new();
        let exchanged = batch::exchange(&mut call, &mut batch, &mut answered).await;
        let settled = !answered.is_empty();
        if settled {
            self.failures = 0;
        }
        self.tell_who_waits(&answered, &exchanged);
        for (settlement, answer) in answered {
            self.answered(settlement, answer);
        }
        if let Some(parcel) = parcel {
            match &exchanged {
                Ok(Exchanged { submitted: Some(submitted), .. }) => parcel.answer(Ok(*submitted)),
                Err(Trouble::Again(error) | Trouble::Fatal(error)) if batch::changed_nothing(error) => {
                    // it goes another way, and has its error there; ours comes again
                    parcel.give_back();
                    return Ok(Turn { idle: false, next_in: Duration::ZERO });
                }
                _ => parcel.answer(Err(Error::lost("the connection broke, and it may have been submitted or not"))),
            }
        }
        let reply = match exchanged {
            Ok(reply) => reply,
            Err(trouble) => {
                self.settlements.append(&mut batch);
                return self.trouble(trouble);
            }
        };
        self.failures = 0;
        if reaps_in_the_call {
            self.reaping.ended();
        }
        self.set_aside.add(&mut batch);
        let received = !reply.claimed.is_empty();
        let full = reply.claimed.len() >= capacity;
        self.start_all(reply.claimed, sent_at);
        if reply.left_over {
            self.wake.others_than_me();
            if reaps_in_the_call {
                // there are more of them: at once
                self.reaping.again_at_once();
            }
        }
        if searches {
            if !received {
                self.search.begin_anew();
            }
            self.search.ended(sent_at, is_full_search, settled, !full && capacity > 0);
        }
        if reaps && !reaps_in_the_call {
            self.reap().await;
        }
        let more = (full && capacity > 0) || !self.settlements.is_empty() || (reply.left_over && capacity > 0);
        let rests = !received && self.running_count() == 0 && !self.has_settlements();
        Ok(Turn {
            // what was settled last may have been the end: there is no instant to wait for then
            idle: rests && (!settled || (searches && reply.next_in.is_none())),
            next_in: match more {
                true => Duration::ZERO,
                // when the next step is due is known to a search that found nothing
                false if !searches || received => search::INTERVAL,
                false => {
                    let due_in = self.search.due_in(reply.next_in);
                    self.until_next(due_in)
                }
            },
        })
    }

    /// A task of which something was settled, and nothing received, may have ended.
    fn tell_who_waits(&self, answered: &[(Settlement, Answer)], exchanged: &Result<Exchanged, Trouble>) {
        if !self.wake.waiters.is_empty() {
            let received = exchanged.as_ref().map(|reply| &reply.claimed[..]).unwrap_or_default();
            let rests = |task_id: &Uuid| received.iter().all(|claimed| claimed.task_id != *task_id);
            self.wake.waiters.tell(answered.iter().map(|(settlement, _)| settlement.task_id).filter(rests));
        }
    }

    /// How long until there may be something to do, by what is known.
    fn until_next(&self, due_in: Option<Duration>) -> Duration {
        let adopts = self.lost_a_reply.map(|(_, next)| next.saturating_duration_since(Instant::now()));
        [due_in, self.set_aside.next_in(), adopts]
            .into_iter()
            .flatten()
            .fold(self.settings.poll_interval, Duration::min)
    }

    /// A call failed: says when to try again, or that there is no use in it.
    pub(super) fn trouble(&mut self, trouble: Trouble) -> Result<Turn, Error> {
        let error = match trouble {
            Trouble::Again(error) => error,
            Trouble::Fatal(error) => return Err(error),
        };
        self.line.broken();
        let now = Instant::now();
        self.lost_a_reply = Some((now, now));
        self.failures += 1;
        let delay = backoff(self.failures);
        warn!("the database does not answer, trying again in {delay:?}: {error}");
        match self.failures {
            GIVE_UP_AFTER.. if self.only_task.is_some() => Err(error),
            _ => Ok(Turn { idle: false, next_in: delay }),
        }
    }

    /// Waits until there may be something to do: an attempt's end, a wake-up, an instant, or the end of `stop`.
    pub(super) async fn wait(&mut self, at_most: Duration, stop: &CancellationToken) {
        if at_most.is_zero() && self.failures == 0 {
            tokio::task::yield_now().await;
            self.let_the_batch_grow().await;
            return;
        }
        let trouble = self.failures > 0;
        let is_idle = !trouble
            && self.only_task.is_none()
            && !self.has_settlements()
            && self.running_count() < self.settings.concurrency;
        let door = is_idle.then(|| self.wake.door.open());
        tokio::select! {
            Some(ended) = self.ended.1.recv(), if !trouble => {
                self.end(ended);
                self.let_the_batch_grow().await;
            }
            Some(Ok(parcel)) = OptionFuture::from(door) => self.parcel = Some(parcel),
            () = self.wake.woken(), if !trouble => self.search.begin_anew(),
            () = tokio::time::sleep(at_most) => {}
            () = stop.cancelled() => {}
        }
    }

    /// Whether something is left to hand in.
    pub(super) fn has_settlements(&self) -> bool {
        !self.settlements.is_empty() || !self.set_aside.is_empty()
    }

    /// Tells everything that runs to stop, waits for it, gives the steps back, and hands in what has ended.
    pub(super) async fn release_all(&mut self) -> Result<(), Error> {
        let claims = self.leases.running();
        self.leases.stop_all();
        // a step is given back only when nothing runs it any more; one that does not stop keeps its lease until it expires
        let deadline = tokio::time::sleep(Duration::from_secs(10));
        tokio::pin!(deadline);
        while self.running_count() > 0 {
            tokio::select! {
                Some(ended) = self.ended.1.recv() => self.end(ended),
                () = &mut deadline => break,
            }
        }
        let held = self.leases.ids();
        let stopped: Vec<_> = claims.into_iter().filter(|(_, _, id)| !held.contains(id)).collect();
        match self.store.release(&stopped).await {
            Ok(_) if stopped.is_empty() => {}
            Ok(_) => {
                info!("gave back {} unfinished steps", stopped.len());
                self.wake.others().await;
            }
            Err(error) => warn!("unfinished steps could not be given back; their leases will expire: {error}"),
        }
        self.settlements.extend(self.set_aside.take());
        while !self.settlements.is_empty() {
            self.turn(false).await?;
            if self.failures > 0 {
                break;
            }
        }
        let left = self.settlements.len() + self.set_aside.len();
        if left > 0 {
            warn!("{left} ends could not be handed in; their leases will expire");
        }
        Ok(())
    }

    /// Takes in attempts as long as they end one after the other: a call costs more than a step in it.
    async fn let_the_batch_grow(&mut self) {
        while self.collect() > 0 {
            tokio::task::yield_now().await;
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
        let Ended { claim_id, task_id, step_number, verdict } = ended;
        match verdict {
            Some(verdict) => {
                self.leases.has_ended(claim_id);
                self.settlements.push(Settlement { task_id, step_number, claim_id, verdict });
            }
            None => self.leases.remove(claim_id),
        }
    }

    fn answered(&mut self, settlement: Settlement, answer: Answer) {
        self.leases.remove(settlement.claim_id);
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

    fn start_all(&self, claimed: Vec<Claimed>, sent_at: Instant) {
        for claimed in claimed {
            let cancellation = self.hold(&claimed, sent_at);
            self.start(claimed, cancellation);
        }
    }

    fn hold(&self, claimed: &Claimed, sent_at: Instant) -> CancellationToken {
        let cancellation = CancellationToken::new();
        let lease = Lease {
            task_id: claimed.task_id,
            step_number: claimed.step_number,
            cancellation: cancellation.clone(),
            ends_at: sent_at + self.settings.lease,
            runs: true,
        };
        self.leases.insert(claimed.claim_id, lease);
        cancellation
    }

    fn start(&self, claimed: Claimed, cancellation: CancellationToken) {
        if let Some(observer) = &self.observer {
            let _ = observer.send(Event::Started(Box::new(claimed.clone())));
        }
        let (claim_id, task_id, step_number) = (claimed.claim_id, claimed.task_id, claimed.step_number);
        let ended = move |verdict| Ended { claim_id, task_id, step_number, verdict };
        let (store, definitions) = (self.store.clone(), self.definitions.clone());
        let (sender, leases) = (self.ended.0.clone(), self.leases.clone());
        // a handler that does not stop when it is told to is dropped well before its lease ends
        let margin = self.settings.lease / 12;
        tokio::spawn(async move {
            let time_left = || leases.time_left(claim_id).saturating_sub(margin);
            let verdict = attempt::run(store, &definitions, claimed, cancellation, time_left).await;
            let _ = sender.send(ended(verdict));
        });
    }

    async fn reap(&mut self) {
        self.reaping.begins();
        let (worker_id, from) = (self.worker_id, &mut self.reaping.from);
        let reap = async |connection: &mut PgConnection| {
            Store::reap(connection, reaping::AT_MOST, from, Some(worker_id)).await
        };
        let reaped = self.line.call(batch::patience(self.settings.lease), reap).await;
        self.reaping.ended();
        match reaped {
            Ok((0, 0)) => {}
            Ok((reaped, overdue)) => {
                info!("reaped {reaped} expired leases and {overdue} passed deadlines");
                self.wake.here();
                if reaped.max(overdue) >= reaping::AT_MOST {
                    // with the next turn
                    self.reaping.again_at_once();
                }
            }
            Err(error) => {
                warn!("expired leases were not reaped: {error}");
                self.line.broken();
            }
        }
    }

    /// A reply was lost: what it leased is ours, and is started now. No exchange is in flight here.
    async fn adopt(&mut self) {
        let known = self.leases.ids();
        let sent_at = Instant::now();
        let (worker_id, lease) = (self.worker_id, self.settings.lease);
        self.lost_a_reply = self
            .lost_a_reply
            .filter(|(lost_at, _)| lost_at.elapsed() < ADOPT_FOR)
            .map(|(lost_at, _)| (lost_at, sent_at + ADOPT_INTERVAL));
        let adopt = async |connection: &mut PgConnection| Store::adopt(connection, worker_id, &known, lease).await;
        match self.line.call(batch::patience(lease), adopt).await {
            Ok(orphans) => self.start_all(orphans, sent_at),
            Err(error) => {
                debug!("asking for orphaned leases failed: {error}");
                self.line.broken();
            }
        }
    }
}

impl Drop for Runner {
    /// Whoever drops a worker's future ends its attempts, too: nobody would renew their leases.
    fn drop(&mut self) {
        self.leases.stop_all();
    }
}

/// A runner of a single task gives up after so many failures in a row (about half a minute).
const GIVE_UP_AFTER: u32 = 12;
