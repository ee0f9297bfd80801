//! Wake-ups: hints that there may be work. In this process at once; to others by NOTIFY, after the commit, in a transaction of
//! its own, and at most one every 50 ms, since it takes a lock that all of the cluster's commits wait for.

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicUsize, Ordering},
    },
    time::Duration,
};

use tokio::sync::{Notify, futures::Notified, watch};
use tracing::debug;

use super::{door::Door, waiters::Waiters};
use crate::store::Store;

/// How long a process that works itself waits before it tells others: its own worker comes first, and a burst is told once.
const WORKERS_FIRST: Duration = Duration::from_millis(5);
/// The least time between two notifications of a process.
const INTERVAL: Duration = Duration::from_millis(50);

/// Wakes the workers of a database.
#[derive(Clone)]
pub(crate) struct Waker {
    store: Store,
    here: Arc<Notify>,
    /// Changes at each wake-up: for hearts.
    told: watch::Sender<()>,
    /// Whether a notification is on its way, or one was sent just now.
    sending: Arc<AtomicBool>,
    /// Whether somebody asked meanwhile.
    again: Arc<AtomicBool>,
    /// Workers of this process that serve every task.
    workers: Arc<AtomicUsize>,
    /// Where those of them that are idle take tasks.
    pub(crate) door: Door,
    /// Who waits for a task's end.
    pub(crate) waiters: Waiters,
}

/// A worker of this process, until it is dropped.
pub(crate) struct Working(Arc<AtomicUsize>);

impl Drop for Working {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::SeqCst);
    }
}

impl Waker {
    pub(crate) fn new(store: Store) -> Waker {
        Waker {
            store,
            here: Arc::default(),
            told: watch::Sender::default(),
            sending: Arc::default(),
            again: Arc::default(),
            workers: Arc::default(),
            door: Door::default(),
            waiters: Waiters::default(),
        }
    }

    /// Counts a worker of this process.
    pub(crate) fn working(&self) -> Working {
        self.workers.fetch_add(1, Ordering::SeqCst);
        Working(self.workers.clone())
    }

    /// Wakes a worker of this process.
    pub(crate) fn here(&self) {
        self.told.send_replace(());
        self.here.notify_one();
    }

    /// Hears of every wake-up from now on.
    pub(crate) fn told(&self) -> watch::Receiver<()> {
        self.told.subscribe()
    }

    /// Waits for a wake-up.
    pub(crate) fn woken(&self) -> Notified<'_> {
        self.here.notified()
    }

    /// Wakes the workers of other processes before this one ends, and one of this process.
    pub(crate) async fn others(&self) {
        self.here();
        if self.store.is_single() {
            return;
        }
        if let Err(error) = self.store.wake().await {
            debug!("the wake-up was not sent: {error}");
        }
    }

    /// Wakes a worker of this process at once, and those of others without waiting for it.
    pub(crate) fn wake(&self) {
        self.here();
        self.elsewhere();
    }

    /// Wakes whoever may have to help a worker of this process that has just looked itself.
    pub(crate) fn wake_besides(&self) {
        match self.workers.load(Ordering::SeqCst) {
            0 | 1 => self.elsewhere(),
            _ => self.wake(),
        }
    }

    /// Wakes whoever waits, here and elsewhere: to be called by a worker that left something over.
    pub(crate) fn others_than_me(&self) {
        // remembered for nobody: whoever works will look anyway
        self.here.notify_waiters();
        self.elsewhere();
    }

    fn elsewhere(&self) {
        if self.store.is_single() {
            return;
        }
        self.again.store(true, Ordering::SeqCst);
        if self.sending.swap(true, Ordering::SeqCst) {
            return;
        }
        let waker = self.clone();
        tokio::spawn(async move {
            if waker.workers.load(Ordering::SeqCst) > 0 {
                tokio::time::sleep(WORKERS_FIRST).await;
            }
            while waker.again.swap(false, Ordering::SeqCst) {
                if let Err(error) = waker.store.wake().await {
                    debug!("the wake-up was not sent: {error}");
                }
                tokio::time::sleep(INTERVAL).await;
            }
            waker.sending.store(false, Ordering::SeqCst);
            // asked between the last look and the line above
            if waker.again.load(Ordering::SeqCst) {
                waker.elsewhere();
            }
        });
    }
}
