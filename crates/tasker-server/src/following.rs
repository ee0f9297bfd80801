//! Who follows what happens, through whichever door: from where on, what of it concerns him, and until when: his key ends what it began.

use std::{collections::HashMap, sync::Arc};

use axum::http::StatusCode;
use serde::Deserialize;
use tasker::{
    Error,
    events::{Batch, Cursor, Event, KINDS, Subscription, Told},
};
use tokio::{
    sync::OwnedSemaphorePermit,
    time::{Instant, Interval, MissedTickBehavior},
};
use uuid::Uuid;

use crate::{
    App,
    access::{Caller, KNOWN},
    problem::Problem,
};

/// How many may follow at once, at all doors of this process.
pub(crate) const MAX_FOLLOWERS: usize = 1000;

/// What is wanted.
#[derive(Default)]
pub(crate) struct Wanted {
    /// Only of this task.
    pub task_id: Option<Uuid>,
    /// Only of tasks of this namespace.
    pub namespace: Option<String>,
    /// Only of these kinds.
    pub kinds: Option<Vec<String>>,
    /// What follows this event's cursor, or `beginning`; from now on where it is left out.
    pub after: Option<String>,
}

/// Who follows.
pub(crate) struct Following {
    events: Subscription,
    namespace: Option<String>,
    caller: Caller,
    kinds: Option<Vec<String>>,
    app: App,
    /// When the key is asked for again, however much happens.
    checks: Interval,
    _place: OwnedSemaphorePermit,
}

/// Something that happened and concerns him, with what the views say since.
pub(crate) struct Happened<'a> {
    /// What happened.
    pub told: Told<'a>,
    /// Whose workflow it is.
    pub names: &'a Names,
}

/// What is asked of a task's payload here.
#[derive(Deserialize)]
pub(crate) struct Names {
    pub namespace: String,
    pub workflow: String,
    pub version: String,
}

impl Following {
    /// Follows from now on.
    ///
    /// # Errors
    /// `too_many_followers`, `unknown_task`, `bad_query`, `bad_cursor`, `cursor_gone`, the database's.
    pub async fn begin(app: App, caller: Caller, wanted: Wanted) -> Result<Following, Problem> {
        let place = app.followers.clone().try_acquire_owned().map_err(|_| {
            let detail = format!("{MAX_FOLLOWERS} follow already, and no more may: follow at another server, or later");
            Problem::new(StatusCode::SERVICE_UNAVAILABLE, "too_many_followers", detail)
        })?;
        let store = app.tasker.store();
        let Wanted { task_id, namespace, kinds, after } = wanted;
        if let Some(task) = task_id
            && caller.there(&app, vec![task]).await?.is_empty()
        {
            return Err(Problem::unknown_task(task));
        }
        let after: Option<Cursor> = match after.as_deref() {
            None | Some("") => Some(store.events_now().await?),
            Some("beginning") => None,
            Some(id) => {
                let cursor = id.parse()?;
                // refused now rather than in the middle of the answer (of no task: nothing is read)
                store.read_events(Some(&cursor), Some(Uuid::nil()), 1).await?;
                Some(cursor)
            }
        };
        let is_known = |kind: &String| matches!(kind.as_str(), "task" | "step") || KINDS.contains(&kind.as_str());
        if kinds.as_ref().is_some_and(|kinds| !kinds.iter().all(is_known)) {
            return Err(Problem::bad(
                "bad_query",
                format!("kind is task, step, or some of these, with commas between them: {}", KINDS.join(", ")),
            ));
        }
        let mut checks = tokio::time::interval_at(Instant::now() + KNOWN, KNOWN);
        checks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        Ok(Following {
            events: app.tasker.follow(after, task_id),
            namespace,
            caller,
            kinds,
            app,
            checks,
            _place: place,
        })
    }

    /// Where it is.
    pub fn place(&self) -> Option<&Cursor> {
        self.events.place()
    }

    /// What happened next. `None`: the server ends, the database is gone, or the key is good for nothing any more; who still may comes back with the last
    /// place.
    pub async fn next(&mut self) -> Option<Arc<Batch>> {
        loop {
            let batch = tokio::select! {
                biased;
                () = self.app.stop.cancelled() => return None,
                _ = self.checks.tick() => None,
                batch = self.events.next() => Some(batch),
            };
            match batch {
                None => {
                    if !self.caller.is_still_good(&self.app).await {
                        return None;
                    }
                }
                Some(Ok(batch)) => return Some(batch),
                Some(Err(error)) => {
                    if !matches!(error, Error::Database(_)) {
                        tracing::warn!("events cannot be followed: {error}");
                    }
                    return None;
                }
            }
        }
    }

    /// What of it concerns him, each as it is written down.
    pub fn of<T>(&self, batch: &Batch, write: impl Fn(Happened<'_>) -> Option<T>) -> Vec<T> {
        let mut known: HashMap<Uuid, Option<Names>> = HashMap::new();
        let mut written = Vec::new();
        for told in batch.told() {
            let names = known.entry(told.event.task_id).or_insert_with(|| serde_json::from_str(told.task.get()).ok());
            if let Some(names) = names.as_ref().filter(|names| self.concerns(told.event, names)) {
                written.extend(write(Happened { told, names }));
            }
        }
        written
    }

    fn concerns(&self, event: &Event, names: &Names) -> bool {
        let is_wanted = |kinds: &Vec<String>| {
            kinds
                .iter()
                .any(|kind| event.kind == *kind || event.kind.split_once('.').is_some_and(|(whose, _)| whose == kind))
        };
        self.kinds.as_ref().is_none_or(is_wanted)
            && self.namespace.as_ref().is_none_or(|name| *name == names.namespace)
            && self.caller.is_within(&names.namespace)
    }
}
