//! The door to an idle worker of this process. A task that is handed in there is submitted by the worker's own next call, which
//! claims its first steps as well: one commit and one round trip instead of two.

use std::sync::{
    Arc, Mutex, PoisonError,
    atomic::{AtomicBool, Ordering},
};

use tokio::sync::oneshot;

use crate::{
    Error,
    store::{NewTask, Submitted},
};

/// A task on its way to a worker. Dropped before it was [sent](Parcel::send), nothing has happened.
pub(super) struct Parcel {
    task: Arc<NewTask>,
    is_sent: Arc<AtomicBool>,
    answer: oneshot::Sender<Result<Submitted, Error>>,
}

/// Where idle workers wait for tasks.
#[derive(Clone, Default)]
pub(crate) struct Door(Arc<Mutex<Vec<oneshot::Sender<Parcel>>>>);

impl Door {
    /// A worker is idle, until the receiver is dropped.
    pub(super) fn open(&self) -> oneshot::Receiver<Parcel> {
        let (sender, receiver) = oneshot::channel();
        let mut idle = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        idle.retain(|sender| !sender.is_closed());
        idle.push(sender);
        receiver
    }

    /// Hands a task to an idle worker. `None`: there is none, and nothing has happened.
    pub(crate) async fn hand_in(&self, task: &Arc<NewTask>) -> Option<Result<Submitted, Error>> {
        // what waits for somebody else's key must not hold a worker up
        if task.submission.idempotency_key.is_some() || task.submission.unique_while_live.is_some() {
            return None;
        }
        let (answer, answered) = oneshot::channel();
        let is_sent = Arc::new(AtomicBool::new(false));
        let mut parcel = Parcel { task: task.clone(), is_sent: is_sent.clone(), answer };
        loop {
            let worker = self.0.lock().unwrap_or_else(PoisonError::into_inner).pop()?;
            match worker.send(parcel) {
                Ok(()) => break,
                Err(back) => parcel = back,
            }
        }
        match answered.await {
            Ok(answer) => Some(answer),
            Err(_) if is_sent.load(Ordering::SeqCst) => {
                Some(Err(Error::lost("the worker that was to submit it ended")))
            }
            Err(_) => None,
        }
    }
}

impl Parcel {
    /// The task, which from now on may have been submitted.
    pub(super) fn send(&self) -> &NewTask {
        self.is_sent.store(true, Ordering::SeqCst);
        &self.task
    }

    /// Nothing has happened.
    pub(super) fn give_back(self) {
        self.is_sent.store(false, Ordering::SeqCst);
    }

    /// What became of it.
    pub(super) fn answer(self, answer: Result<Submitted, Error>) {
        let _ = self.answer.send(answer);
    }
}

#[cfg(test)]
mod tests {
    use uuid::Uuid;

    use super::*;
    use crate::store::Submission;

    fn task(submission: Submission) -> Arc<NewTask> {
        Arc::new(NewTask { named_task_id: 1, context: "{}".into(), asked: "[]".into(), submission })
    }

    #[tokio::test]
    async fn a_worker_that_left_has_taken_nothing() {
        let (door, task) = (Door::default(), task(Submission::default()));
        assert!(door.hand_in(&task).await.is_none());
        drop(door.open());
        assert!(door.hand_in(&task).await.is_none());
        let idle = door.open();
        let handed = tokio::spawn({
            let (door, task) = (door.clone(), task.clone());
            async move { door.hand_in(&task).await }
        });
        tokio::task::yield_now().await;
        drop(idle);
        assert!(handed.await.unwrap().is_none());
    }

    #[tokio::test]
    async fn what_was_sent_is_answered_or_unknown() {
        let (door, task) = (Door::default(), task(Submission::default()));
        let submitted = Submitted { task_id: Uuid::nil(), existing: false };
        for ends in [false, true] {
            let idle = door.open();
            let worker = async {
                let parcel = idle.await.unwrap();
                parcel.send();
                match ends {
                    true => drop(parcel),
                    false => parcel.answer(Ok(submitted)),
                }
            };
            let (answer, ()) = tokio::join!(door.hand_in(&task), worker);
            assert_eq!(answer.unwrap().ok(), (!ends).then_some(submitted));
        }
    }

    #[tokio::test]
    async fn what_may_wait_for_a_key_goes_another_way() {
        let door = Door::default();
        let _idle = door.open();
        let keyed = Submission { unique_while_live: Some("k".into()), ..Submission::default() };
        assert!(door.hand_in(&task(keyed)).await.is_none());
    }
}
