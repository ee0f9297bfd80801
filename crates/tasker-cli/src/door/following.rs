//! A task followed as it goes on: by the database's own events, or by a server's.

use std::time::Duration;

use reqwest::{Response, header::HeaderValue};
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;
use tasker::{
    Tasker,
    context::TaskExecutionContext,
    events::{Subscription, Told, Transition},
    readiness::StepReadinessStatus,
    store::Pulse,
};
use tokio::time::sleep;
use uuid::Uuid;

use super::{Server, http::Ask};
use crate::ending::Failure;

/// How long nothing may happen before the database is asked whether it is there: a server says so itself.
const SILENCE: Duration = Duration::from_secs(2);

/// What happened, and what the views say since.
#[derive(Deserialize)]
pub struct Happened {
    /// What happened.
    pub transition: Transition,
    /// What the task is doing.
    pub task: TaskExecutionContext,
    /// How the step stands; `None`: it happened to the task itself.
    pub step: Option<StepReadinessStatus>,
    /// All of that as it came: JSON on one line.
    #[serde(skip)]
    pub text: String,
}

impl Happened {
    fn read(text: &str) -> Result<Happened, Failure> {
        let happened: Result<Happened, _> = serde_json::from_str(text);
        happened
            .map(|happened| Happened { text: text.to_owned(), ..happened })
            .map_err(|why| Failure::unable(format!("an event cannot be read: {why}")))
    }
}

/// A task that is followed.
pub struct Following {
    events: Events,
    /// Where to go on after what has come so far.
    pub place: Option<String>,
}

enum Events {
    Database(Pulse, Box<Subscription>),
    Http(Server, Response, Vec<u8>),
}

impl Following {
    /// In the database, after an event's place or from now on.
    pub(super) async fn in_database(tasker: &Tasker, task_id: Uuid, after: Option<&str>) -> Result<Following, Failure> {
        let after = match after {
            Some(place) => place.parse()?,
            None => tasker.store().events_now().await?,
        };
        let place = Some(after.as_str().to_owned());
        let subscription = Box::new(tasker.follow(Some(after), Some(task_id)));
        Ok(Following { events: Events::Database(tasker.store().pulse(), subscription), place })
    }

    /// Over HTTP, after an event's id or from now on: the server says first where that is.
    pub(super) async fn over_http(server: &Server, task_id: Uuid, after: Option<&str>) -> Result<Following, Failure> {
        let mut ask = Ask::get(&["events"]).with("task_id", Some(task_id)).of_type("text/event-stream");
        if let Some(place) = after {
            let place = HeaderValue::from_str(place).map_err(|_| Failure::unable("the last event has no id"))?;
            ask = ask.header("Last-Event-ID", place);
        }
        let events = Events::Http(server.clone(), server.stream(&ask).await?, Vec::new());
        let mut following = Following { events, place: after.map(str::to_owned) };
        if following.place.is_none() {
            following.next().await?;
        }
        Ok(following)
    }

    /// What happens next; perhaps nothing, and then it is known where to go on.
    ///
    /// # Errors
    /// The stream has ended: the place says where to begin another.
    pub async fn next(&mut self) -> Result<Vec<Happened>, Failure> {
        match &mut self.events {
            Events::Database(pulse, subscription) => {
                let batch = loop {
                    tokio::select! {
                        batch = subscription.next() => break batch?,
                        // who only waits is not told that the database is gone
                        () = sleep(SILENCE) => {
                            if !pulse.answers(SILENCE).await {
                                return Err(Failure::unable("the database does not answer"));
                            }
                        }
                    }
                };
                self.place = subscription.place().map(|place| place.as_str().to_owned());
                batch
                    .events
                    .iter()
                    .filter_map(|event| batch.told(event))
                    .filter_map(data)
                    .map(|text| Happened::read(&text))
                    .collect()
            }
            Events::Http(server, response, heard) => {
                let message = loop {
                    if let Some(message) = Message::take(heard) {
                        break message;
                    }
                    match response.chunk().await.map_err(|error| server.lost(&error))? {
                        Some(bytes) => heard.extend_from_slice(&bytes),
                        None => return Err(Failure::unable(format!("{} ended the stream of events", server.url()))),
                    }
                };
                let happened = message.happened()?;
                self.place = message.id.or(self.place.take());
                Ok(happened.into_iter().collect())
            }
        }
    }
}

/// An event as a server tells it.
fn data(Told { event, task, step }: Told<'_>) -> Option<String> {
    #[derive(Serialize)]
    struct Data<'a> {
        transition: &'a Transition,
        task: &'a RawValue,
        step: Option<&'a RawValue>,
    }
    serde_json::to_string(&Data { transition: event, task, step }).ok()
}

/// A server-sent event.
#[derive(Debug, Default, PartialEq)]
struct Message {
    id: Option<String>,
    data: String,
}

impl Message {
    /// The first message that is there whole. Comments, and fields that mean nothing here, are passed over.
    fn take(heard: &mut Vec<u8>) -> Option<Message> {
        let mut message = Message::default();
        let (mut at, mut is_something) = (0, false);
        while let Some(length) = heard[at..].iter().position(|byte| *byte == b'\n') {
            let line = String::from_utf8_lossy(&heard[at..at + length]).into_owned();
            at += length + 1;
            let line = line.trim_end_matches('\r');
            let (field, value) = line.split_once(':').unwrap_or((line, ""));
            let value = value.strip_prefix(' ').unwrap_or(value);
            match field {
                "" if line.is_empty() && is_something => {
                    heard.drain(..at);
                    return Some(message);
                }
                "" if line.is_empty() => {
                    heard.drain(..at);
                    at = 0;
                }
                "id" => (message.id, is_something) = (Some(value.to_owned()), true),
                "data" => {
                    let between = if message.data.is_empty() { "" } else { "\n" };
                    message.data += &format!("{between}{value}");
                    is_something = true;
                }
                _ => {}
            }
        }
        None
    }

    fn happened(&self) -> Result<Option<Happened>, Failure> {
        #[derive(Deserialize)]
        struct CloudEvent {
            data: Box<RawValue>,
        }
        if self.data.is_empty() {
            return Ok(None);
        }
        let event: CloudEvent = serde_json::from_str(&self.data)
            .map_err(|why| Failure::unable(format!("what the server sends is no event of Tasker's: {why}")))?;
        Happened::read(event.data.get()).map(Some)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn messages_are_taken_whole_whatever_pieces_they_come_in() {
        let text = ": alive\n\nid: 7/8\n\nevent: step.complete\r\nid:9\r\ndata: {\"a\":\r\ndata: 1}\r\n\r\nid: half";
        let message = |id: &str, data: &str| Message { id: Some(id.into()), data: data.into() };
        for size in [1, 3, text.len()] {
            let (mut heard, mut messages) = (Vec::new(), Vec::new());
            for piece in text.as_bytes().chunks(size) {
                heard.extend_from_slice(piece);
                messages.extend(std::iter::from_fn(|| Message::take(&mut heard)));
            }
            assert_eq!(messages, [message("7/8", ""), message("9", "{\"a\":\n1}")], "{size}");
        }
    }
}
