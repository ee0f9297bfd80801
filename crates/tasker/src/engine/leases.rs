//! What a worker holds: its leases, shared by the loop, the attempts and the heart that renews them.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::{Duration, Instant},
};

use sqlx::PgConnection;
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;
use tracing::{debug, warn};
use uuid::Uuid;

use crate::store::{Beat, Line, Store};

/// Task, step number, claim id.
pub(super) type Claim = (Uuid, i32, Uuid);

/// The leases of one worker, by claim id.
#[derive(Clone, Default)]
pub(super) struct Leases(Arc<Mutex<HashMap<Uuid, Lease>>>);

/// The right to run one attempt, and to say how it ended.
pub(super) struct Lease {
    pub task_id: Uuid,
    pub step_number: i32,
    /// Tells the attempt to stop.
    pub cancellation: CancellationToken,
    /// Counted on the monotonic clock from before the call that granted it.
    pub ends_at: Instant,
    /// Whether an attempt runs under it; else its end waits to be handed in.
    pub runs: bool,
}

impl Leases {
    fn lock(&self) -> MutexGuard<'_, HashMap<Uuid, Lease>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn insert(&self, claim_id: Uuid, lease: Lease) {
        self.lock().insert(claim_id, lease);
    }

    pub(super) fn remove(&self, claim_id: Uuid) {
        self.lock().remove(&claim_id);
    }

    /// Its attempt is over; the lease is needed until its end is handed in.
    pub(super) fn has_ended(&self, claim_id: Uuid) {
        if let Some(lease) = self.lock().get_mut(&claim_id) {
            lease.runs = false;
        }
    }

    /// How many attempts run.
    pub(super) fn running_count(&self) -> usize {
        self.lock().values().filter(|lease| lease.runs).count()
    }

    /// Those under which an attempt runs.
    pub(super) fn running(&self) -> Vec<Claim> {
        let leases = self.lock();
        leases.iter().filter(|(_, lease)| lease.runs).map(|(id, l)| (l.task_id, l.step_number, *id)).collect()
    }

    fn all(&self) -> Vec<Claim> {
        self.lock().iter().map(|(id, lease)| (lease.task_id, lease.step_number, *id)).collect()
    }

    /// Their claim ids.
    pub(super) fn ids(&self) -> Vec<Uuid> {
        self.lock().keys().copied().collect()
    }

    fn stop(&self, claim_ids: &[Uuid]) {
        let leases = self.lock();
        claim_ids.iter().filter_map(|id| leases.get(id)).for_each(|lease| lease.cancellation.cancel());
    }

    /// Tells every attempt to stop.
    pub(super) fn stop_all(&self) {
        self.lock().values().for_each(|lease| lease.cancellation.cancel());
    }

    /// How long until it ends.
    pub(super) fn time_left(&self, claim_id: Uuid) -> Duration {
        let ends_at = self.lock().get(&claim_id).map(|lease| lease.ends_at);
        ends_at.map(|at| at.saturating_duration_since(Instant::now())).unwrap_or_default()
    }

    fn renew(&self, claims: &[Claim], beats: Vec<Beat>, ends_at: Instant) {
        let mut leases = self.lock();
        for ((_, _, claim_id), beat) in claims.iter().zip(beats) {
            let Some(lease) = leases.get_mut(claim_id) else { continue };
            match beat {
                Beat::Renewed => lease.ends_at = ends_at,
                Beat::Unknown => {}
                Beat::LeaseLost | Beat::Cancelled => lease.cancellation.cancel(),
            }
        }
    }

    /// Tells the attempts whose lease ends so soon to stop.
    fn stop_before_the_end(&self, margin: Duration) {
        let now = Instant::now();
        for lease in self.lock().values().filter(|lease| lease.runs && !lease.cancellation.is_cancelled()) {
            if lease.ends_at.saturating_duration_since(now) <= margin {
                warn!(task.id = %lease.task_id, step.number = lease.step_number, "its lease could not be renewed: the handler is told to stop");
                lease.cancellation.cancel();
            }
        }
    }
}

/// Beats until it is dropped.
pub(super) struct Heart(tokio::task::JoinHandle<()>);

impl Heart {
    /// Renews the leases every third of their length, over a connection of its own; attempts whose lease could not be
    /// renewed are told to stop in its last quarter. When somebody sent a wake-up it asks, at most once a second, which of them
    /// are lost: a step may have been cancelled.
    pub(super) fn start(
        store: Store,
        worker_id: Uuid,
        leases: Leases,
        length: Duration,
        told: watch::Receiver<()>,
    ) -> Heart {
        Heart(tokio::spawn(async move {
            tokio::join!(beat(store, worker_id, &leases, length, told), stop_in_time(&leases, length));
        }))
    }
}

impl Drop for Heart {
    fn drop(&mut self) {
        self.0.abort();
    }
}

/// The least time between two questions.
const LEAST_PAUSE: Duration = Duration::from_secs(1);

async fn beat(store: Store, worker_id: Uuid, leases: &Leases, length: Duration, mut told: watch::Receiver<()>) {
    let mut line = Line::new(store);
    let mut pause = length / 3;
    loop {
        let next_beat = tokio::time::sleep(pause);
        tokio::pin!(next_beat);
        loop {
            let told = async {
                tokio::time::sleep(LEAST_PAUSE).await;
                if told.changed().await.is_err() {
                    std::future::pending().await
                }
            };
            tokio::select! {
                () = &mut next_beat => break,
                () = told => look(&mut line, leases, length).await,
            }
        }
        pause = length / 3;
        let claims = leases.all();
        if claims.is_empty() {
            continue;
        }
        let sent_at = Instant::now();
        let beats =
            async |connection: &mut PgConnection| Store::heartbeat(connection, worker_id, &claims, length).await;
        match line.call(length / 6, beats).await {
            Ok(beats) => leases.renew(&claims, beats, sent_at + length),
            Err(error) => {
                warn!("the heartbeat failed: {error}");
                line.broken();
                pause = length / 12;
            }
        }
    }
}

/// Stops attempts whose lease is lost.
async fn look(line: &mut Line, leases: &Leases, length: Duration) {
    let claims = leases.running();
    if claims.is_empty() {
        return;
    }
    let ask = async |connection: &mut PgConnection| Store::lost_claims(connection, &claims).await;
    match line.call(length / 6, ask).await {
        Ok(lost) => leases.stop(&lost),
        Err(error) => {
            debug!("asking for lost leases failed: {error}");
            line.broken();
        }
    }
}

async fn stop_in_time(leases: &Leases, length: Duration) {
    loop {
        tokio::time::sleep(length / 12).await;
        leases.stop_before_the_end(length / 4);
    }
}
