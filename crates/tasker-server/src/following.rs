//! Who follows what happens, through whichever door: from where on, what of it concerns him, and until when: his key ends what it began.

use std::{collections::HashMap, sync::Arc, time::Duration};

use axum::http::StatusCode;
use serde::Deserialize;
use tasker::{
    Error,
    events::{Batch, Cursor, Event, KINDS, Subscription, Told},
};
use tokio::{sync::OwnedSemaphorePermit, time::Instant};
use uuid::Uuid;

use crate::{
    App,
    access::{ASKED, Caller, KNOWN},
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

/// How often the key is asked for: what was asked for another a moment ago counts, and all in all it is not known for longer than others are.
const CHECK: Duration = KNOWN.saturating_sub(ASKED);
/// How long who hears of nothing that concerns him is not told where he is.
const QUIET: Duration = Duration::from_secs(15);

/// Who follows.
pub(crate) struct Following {
    events: Subscription,
    namespace: Option<String>,
    caller: Caller,
    kinds: Option<Vec<String>>,
    app: App,
    /// When the key was asked for, and where he was told that he is.
    checked: Instant,
    told: Instant,
    /// What is being told, and up to where.
    batch: Option<(Arc<Batch>, usize)>,
    /// Whose tasks its events are of.
    names: HashMap<Uuid, Option<Names>>,
    _place: OwnedSemaphorePermit,
}

/// What comes next.
pub(crate) enum Next<T> {
    /// Something that happened and concerns him, as it is written down.
    Happened(T),
    /// Nothing that concerns him has happened for a while: he is here now.
    Place(Cursor),
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
            && store.tasks_of(&[task], caller.namespaces()).await?.is_empty()
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
        Ok(Following {
            events: app.tasker.follow(after, task_id),
            namespace,
            caller,
            kinds,
            app,
            checked: Instant::now(),
            told: Instant::now(),
            batch: None,
            names: HashMap::new(),
            _place: place,
        })
    }

    /// Where it is.
    pub fn place(&self) -> Option<&Cursor> {
        self.events.place()
    }

    /// What comes next, one thing at a time: who does not take what he is told has no more of it written down. `None`: the server ends, the database is gone,
    /// or the key is good for nothing any more; who still may comes back with the last place.
    pub async fn next<T>(&mut self, write: impl Fn(Happened<'_>) -> Option<T>) -> Option<Next<T>> {
        loop {
            let (batch, at) = match self.batch.take() {
                Some(begun) => begun,
                None => {
                    self.names.clear();
                    (self.batch().await?, 0)
                }
            };
            let Some(event) = batch.events.get(at) else {
                // within a window the place names a task, which may be another's
                if self.told.elapsed() >= QUIET && batch.next.is_whole() {
                    self.told = Instant::now();
                    return Some(Next::Place(batch.next.clone()));
                }
                // a page of nothing of his own is not all that there is to do here
                tokio::task::yield_now().await;
                continue;
            };
            if self.app.stop.is_cancelled() || !self.may_go_on().await {
                return None;
            }
            let written = batch.told(event).and_then(|told| {
                let read = || serde_json::from_str(told.task.get()).ok();
                self.names.entry(event.task_id).or_insert_with(read);
                let names = self.names.get(&event.task_id)?.as_ref()?;
                self.concerns(event, names).then_some(Happened { told, names }).and_then(&write)
            });
            self.batch = Some((batch, at + 1));
            if let Some(written) = written {
                self.told = Instant::now();
                return Some(Next::Happened(written));
            }
        }
    }

    /// The next batch of events.
    async fn batch(&mut self) -> Option<Arc<Batch>> {
        loop {
            let batch = tokio::select! {
                biased;
                () = self.app.stop.cancelled() => return None,
                () = tokio::time::sleep_until(self.checked + CHECK) => None,
                batch = self.events.next() => Some(batch),
            };
            match batch {
                None if self.may_go_on().await => {}
                None => return None,
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

    /// Whether his key is still good, which is asked now and then, however much happens.
    async fn may_go_on(&mut self) -> bool {
        if self.checked.elapsed() < CHECK {
            return true;
        }
        self.checked = Instant::now();
        self.caller.is_still_good(&self.app).await
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
