//! Whether the database answers: asked all the time, so that a request does not have to find out.

use std::time::Duration;

use axum::{
    extract::{Request, State},
    http::Method,
    middleware::Next,
    response::{IntoResponse, Response},
};
use tasker::Tasker;
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

use crate::{App, PATIENCE, problem::Problem};

/// How often it is asked.
const INTERVAL: Duration = Duration::from_millis(250);
/// Within what time it has to answer.
const ANSWER: Duration = Duration::from_millis(750);

/// Whether the database answers.
#[derive(Clone)]
pub(crate) struct Watch(watch::Receiver<bool>);

impl Watch {
    /// Asks from now on, until `stop`.
    pub fn start(tasker: Tasker, stop: CancellationToken) -> Watch {
        let (told, watch) = watch::channel(true);
        // the embedded one is never gone, and its only connection has more to do
        if tasker.store().is_single() {
            return Watch(watch);
        }
        let mut pulse = tasker.store().pulse();
        tokio::spawn(async move {
            loop {
                // one silence may be a busy moment
                let answers = pulse.answers(ANSWER).await || pulse.answers(ANSWER).await;
                told.send_if_modified(|known| std::mem::replace(known, answers) != answers);
                tokio::select! {
                    () = tokio::time::sleep(INTERVAL) => {}
                    () = told.closed() => return,
                    () = stop.cancelled() => return,
                }
            }
        });
        Watch(watch)
    }

    /// Whether it answers now.
    pub fn answers(&self) -> bool {
        *self.0.borrow()
    }

    /// Until it does not.
    async fn is_gone(&mut self) {
        if self.0.wait_for(|answers| !answers).await.is_err() {
            std::future::pending().await
        }
    }
}

/// No request waits for a database that is gone, and none for ever.
pub(crate) async fn guard(State(app): State<App>, request: Request, next: Next) -> Response {
    let mut database = app.database.clone();
    let gone = match *request.method() {
        Method::GET | Method::HEAD => "the database does not answer",
        _ => "the database does not answer, and what was asked may have been done or not",
    };
    tokio::select! {
        biased;
        () = database.is_gone() => Problem::unavailable(gone).into_response(),
        response = next.run(request) => response,
        // a stream has begun long before that
        () = tokio::time::sleep(PATIENCE) => Problem::unavailable("the answer took too long").into_response(),
    }
}
