//! One reader a process, and as many followers as wanted: what it reads is fanned out. A follower that is elsewhere (it came just now, or was too slow)
//! reads by itself up to where the others are; nobody waits for it.

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use serde_json::value::RawValue;
use tokio::sync::broadcast::{self, error::RecvError};
use tracing::warn;
use uuid::Uuid;

use super::{Cursor, Event, Payload, Window};
use crate::{Error, engine::Waker, store::Store};

/// How often the reader looks while nothing happens.
const POLL: Duration = Duration::from_millis(200);
/// How often it looks at most: what happens meanwhile is read at once.
const LEAST: Duration = Duration::from_millis(20);
/// After a failure of the database.
const PAUSE: Duration = Duration::from_secs(1);
/// How many events are read at once.
const PAGE: i32 = 1000;
/// And by a follower who reads by himself: he may take his time over them, and as many as follow may do so.
const OWN_PAGE: i32 = 200;
/// How many readings a follower may be behind before it has to read by itself.
const BEHIND: usize = 32;

/// Events that were read at once, and what the views said of their tasks and steps then.
#[derive(Clone, Debug)]
pub struct Batch {
    /// What happened.
    pub events: Vec<Event>,
    /// What the views say now of the tasks and steps to which it happened, each once, by what they are about.
    pub payloads: Vec<Payload>,
    /// Where to go on.
    pub next: Cursor,
}

/// Something that happened, and what the views said of it then.
#[derive(Clone, Copy, Debug)]
pub struct Told<'a> {
    /// What happened.
    pub event: &'a Event,
    /// The task's execution context, with its workflow's names and its tags.
    pub task: &'a RawValue,
    /// The step's readiness, with its parents' names; `None`: it happened to the task itself.
    pub step: Option<&'a RawValue>,
}

impl Batch {
    /// Events, and what the views say of what they are about.
    fn new(events: Vec<Event>, mut payloads: Vec<Payload>, next: Cursor) -> Batch {
        payloads.sort_unstable_by_key(Payload::about);
        Batch { events, payloads, next }
    }

    /// What the views said of an event's task and its step.
    pub fn told<'a>(&'a self, event: &'a Event) -> Option<Told<'a>> {
        let of = |step| {
            let found = self.payloads.binary_search_by_key(&(event.task_id, step), Payload::about);
            found.ok().map(|place| &*self.payloads[place].json)
        };
        Some(Told { event, task: of(None)?, step: event.step_number.and_then(|step| of(Some(step))) })
    }
}

/// A batch of the reader's, and where it began; without events it says only that the reader is somewhere else now.
struct Page {
    from: Cursor,
    batch: Arc<Batch>,
}

impl Page {
    fn empty(from: Cursor, next: Cursor) -> Page {
        Page { from, batch: Arc::new(Batch::new(Vec::new(), Vec::new(), next)) }
    }

    /// Up to where its window goes.
    fn until(&self) -> Cursor {
        self.batch.next.until()
    }
}

/// A reader that ends by a panic gives its place free.
struct Reading(Arc<AtomicBool>);

impl Drop for Reading {
    fn drop(&mut self) {
        if std::thread::panicking() {
            self.0.store(false, Ordering::SeqCst);
        }
    }
}

/// Where the followers of a process get what its reader reads.
#[derive(Clone)]
pub(crate) struct Hub {
    pages: broadcast::Sender<Arc<Page>>,
    is_reading: Arc<AtomicBool>,
}

impl Default for Hub {
    fn default() -> Self {
        Hub { pages: broadcast::Sender::new(BEHIND), is_reading: Arc::default() }
    }
}

impl Hub {
    /// Follows what happens after a cursor, to everything or to one task.
    pub(crate) fn follow(
        &self,
        store: &Store,
        wake: &Waker,
        after: Option<Cursor>,
        task_id: Option<Uuid>,
    ) -> Subscription {
        let pages = self.pages.subscribe();
        if !self.is_reading.swap(true, Ordering::SeqCst) {
            tokio::spawn(self.clone().read(store.clone(), wake.clone()));
        }
        Subscription { store: store.clone(), pages, place: after, until: None, is_behind: true, task_id }
    }

    /// Reads until nobody follows.
    async fn read(self, store: Store, wake: Waker) {
        let _reading = Reading(self.is_reading.clone());
        let (mut place, mut told) = (None, wake.told());
        loop {
            if self.pages.receiver_count() == 0 {
                self.is_reading.store(false, Ordering::SeqCst);
                // somebody may have come just now, and found that it was read
                if self.pages.receiver_count() == 0 || self.is_reading.swap(true, Ordering::SeqCst) {
                    return;
                }
            }
            match self.turn(&store, &mut place).await {
                Ok(true) => tokio::time::sleep(LEAST).await,
                Ok(false) => {
                    let _ = tokio::time::timeout(POLL, told.changed()).await;
                    tokio::time::sleep(LEAST).await;
                }
                Err(error) => {
                    warn!("events cannot be read: {error}");
                    if error.code() == "cursor_gone" {
                        place = None;
                    }
                    tokio::time::sleep(PAUSE).await;
                }
            }
        }
    }

    /// Reads a window, if anything is in it.
    async fn turn(&self, store: &Store, place: &mut Option<Cursor>) -> Result<bool, Error> {
        let begin = match place {
            Some(place) => place.clone(),
            None => {
                // who follows already has read up to some time before this: he reads what lies between
                let now = store.events_now().await?;
                let _ = self.pages.send(Arc::new(Page::empty(now.clone(), now.clone())));
                place.insert(now).clone()
            }
        };
        let mut from = begin.clone();
        loop {
            let window = store.read_events(Some(&from), None, PAGE).await?;
            let (is_whole, next) = (window.is_whole, window.next.clone());
            let has_moved = !window.events.is_empty() || *place != Some(begin.clone()) || !begin.is_whole();
            // where nothing happened the place stays: it is the followers' too
            if has_moved {
                let page = match window.events.is_empty() {
                    true => Page::empty(from, next.clone()),
                    false => Page { from, batch: Arc::new(batch(store, window).await?) },
                };
                let _ = self.pages.send(Arc::new(page));
                *place = Some(next.clone());
            }
            if is_whole {
                return Ok(has_moved);
            }
            from = next;
        }
    }
}

async fn batch(store: &Store, window: Window) -> Result<Batch, Error> {
    let payloads = match window.events.is_empty() {
        true => Vec::new(),
        false => store.event_payloads(&window.events).await?,
    };
    Ok(Batch::new(window.events, payloads, window.next))
}

/// What happens, batch by batch, from a place on.
pub struct Subscription {
    store: Store,
    pages: broadcast::Receiver<Arc<Page>>,
    place: Option<Cursor>,
    /// Up to where it reads by itself; `None`: up to the present.
    until: Option<Cursor>,
    is_behind: bool,
    task_id: Option<Uuid>,
}

impl Subscription {
    /// Where it is: everything before has been given. `None`: at the beginning.
    pub fn place(&self) -> Option<&Cursor> {
        self.place.as_ref()
    }

    /// The next batch in which something happened. Dropping the future loses nothing.
    ///
    /// # Errors
    /// [`Error::Refused`]: `cursor_gone`, `not_the_primary`; [`Error::Database`]: it may be called again.
    pub async fn next(&mut self) -> Result<Arc<Batch>, Error> {
        loop {
            if self.is_behind {
                let batch = self.read().await?;
                if !batch.events.is_empty() {
                    return Ok(batch);
                }
                continue;
            }
            let page = match self.pages.recv().await {
                Ok(page) => page,
                // the pages that it missed it reads by itself, up to the next
                Err(RecvError::Lagged(_)) => continue,
                Err(RecvError::Closed) => return Err(Error::lost("nobody reads events any more")),
            };
            let place = self.place.as_ref();
            if place == Some(&page.from) {
                self.place = Some(page.batch.next.clone());
                if let Some(batch) = self.of_task(&page.batch) {
                    return Ok(batch);
                }
            } else if !place.is_some_and(|place| place.covers(&page.until())) {
                self.until = Some(page.until());
                self.is_behind = true;
            }
        }
    }

    /// Reads by itself, a page more.
    async fn read(&mut self) -> Result<Arc<Batch>, Error> {
        let from = match (&self.place, &self.until) {
            (Some(place), Some(until)) if place.is_whole() => Some(place.up_to(until)),
            (place, _) => place.clone(),
        };
        let window = self.store.read_events(from.as_ref(), self.task_id, OWN_PAGE).await?;
        // a window that somebody else began ends where it ended then, and not at the present
        let is_to_the_end = window.is_whole && from.is_none_or(|from| from.is_whole());
        let is_whole = window.is_whole;
        let batch = Arc::new(batch(&self.store, window).await?);
        self.is_behind = !match &self.until {
            Some(until) => is_whole && batch.next.covers(until),
            None => is_to_the_end,
        };
        self.place = Some(batch.next.clone());
        if !self.is_behind {
            self.until = None;
        }
        Ok(batch)
    }

    /// A batch as it concerns this follower; `None`: not at all.
    fn of_task(&self, batch: &Arc<Batch>) -> Option<Arc<Batch>> {
        let Some(task_id) = self.task_id else { return (!batch.events.is_empty()).then(|| batch.clone()) };
        let events: Vec<Event> = batch.events.iter().filter(|event| event.task_id == task_id).cloned().collect();
        let payloads = || batch.payloads.iter().filter(|payload| payload.task_id == task_id).cloned().collect();
        (!events.is_empty()).then(|| Arc::new(Batch::new(events, payloads(), batch.next.clone())))
    }
}
