//! Who waits for a task in this process: told when a worker of this process has handed in what may have been its end.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use tokio::sync::watch;
use uuid::Uuid;

/// By task.
#[derive(Clone, Default)]
pub(crate) struct Waiters(Arc<Mutex<HashMap<Uuid, watch::Sender<()>>>>);

/// One who waits, until it is dropped.
pub(crate) struct Waiting {
    waiters: Waiters,
    task_id: Uuid,
    told: watch::Receiver<()>,
}

impl Waiters {
    fn lock(&self) -> MutexGuard<'_, HashMap<Uuid, watch::Sender<()>>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// From now on, nothing is missed.
    pub(crate) fn enter(&self, task_id: Uuid) -> Waiting {
        let told = self.lock().entry(task_id).or_default().subscribe();
        Waiting { waiters: self.clone(), task_id, told }
    }

    pub(super) fn is_empty(&self) -> bool {
        self.lock().is_empty()
    }

    /// These tasks may have ended.
    pub(super) fn tell(&self, tasks: impl Iterator<Item = Uuid>) {
        let waiters = self.lock();
        tasks.filter_map(|task_id| waiters.get(&task_id)).for_each(|waiter| waiter.send_replace(()));
    }
}

impl Waiting {
    /// Comes back when the task may have ended since the last time.
    pub(crate) async fn told(&mut self) {
        // its sender is in the map for as long as this one is
        let _ = self.told.changed().await;
    }
}

impl Drop for Waiting {
    fn drop(&mut self) {
        let mut waiters = self.waiters.lock();
        if waiters.get(&self.task_id).is_some_and(|waiter| waiter.receiver_count() == 1) {
            waiters.remove(&self.task_id);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    async fn is_told(waiting: &mut Waiting) -> bool {
        tokio::select! {
            biased;
            () = waiting.told() => true,
            () = async {} => false,
        }
    }

    #[tokio::test]
    async fn everyone_who_waits_for_a_task_is_told_once_and_leaves_nothing_behind() {
        let (waiters, [one, other]) = (Waiters::default(), [1, 2].map(Uuid::from_u128));
        let (mut first, mut second, mut third) = (waiters.enter(one), waiters.enter(one), waiters.enter(other));
        waiters.tell([one].into_iter());
        assert!(is_told(&mut first).await && is_told(&mut second).await);
        assert!(!is_told(&mut first).await && !is_told(&mut third).await);
        drop(first);
        waiters.tell([one, other, Uuid::nil()].into_iter());
        assert!(is_told(&mut second).await && is_told(&mut third).await);
        drop((second, third));
        assert!(waiters.is_empty());
    }
}
