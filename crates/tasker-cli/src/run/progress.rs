//! Live progress on stderr: a few lines redrawn in place on a terminal, plain lines elsewhere.
//!
//! The engine's events tell what starts and ends. Why the rest does not run is the readiness view's to say; it is asked as
//! often as costs at most a twentieth of the time, so that watching does not slow the run.

use std::time::{Duration, Instant};

use tasker::{Error, Event, readiness::StepReadinessStatus, store::Store};
use tokio::sync::{mpsc::UnboundedReceiver, oneshot};
use tokio_util::sync::CancellationToken;
use uuid::Uuid;

use crate::{
    board::{Board, News, Now, lines},
    output::{Paint, instant, tell, time},
    screen::Screen,
};

/// How often a screen is drawn.
const FRAME: Duration = Duration::from_millis(100);
/// How many steps a screen has lines for at most.
const ROOM: usize = 16;
/// Plain lines tell of each step up to so many; of larger workflows only failures and counts.
const STEPS_IN_LINES: usize = 200;
/// How long plain lines may be silent.
const SILENCE: Duration = Duration::from_secs(10);
/// The view is asked again after so many times as long as its last answer took.
const PATIENCE: u32 = 20;

/// Where progress is shown.
pub enum Show {
    /// On a terminal.
    Screen(Screen),
    /// Line by line.
    Plain { said_at: Instant },
}

impl Show {
    /// A screen where stderr is a terminal.
    pub fn new(screen: &Screen) -> Show {
        match screen.is_terminal() {
            true => Show::Screen(screen.clone()),
            false => Show::Plain { said_at: Instant::now() },
        }
    }

    fn draw(&mut self, board: &mut Board) {
        let (paint, now) = (Paint::stderr(), Instant::now());
        match self {
            Show::Screen(screen) => {
                let room = ROOM.min(screen.room().saturating_sub(1));
                let mut lines = lines::steps(board, room, paint, now);
                lines.push(lines::summary(board, paint, now));
                screen.draw(&lines);
                board.take_news();
            }
            Show::Plain { said_at } => {
                let lines = plain(board);
                if !lines.is_empty() {
                    *said_at = now;
                    lines.into_iter().for_each(tell);
                } else if *said_at + SILENCE <= now {
                    *said_at = now;
                    tell(lines::summary(board, paint, now));
                }
            }
        }
    }

    /// Says that a signal was heard, which a screen's summary does anyway.
    fn stopping(&self) {
        if let Show::Plain { .. } = self {
            tell(lines::STOPPING);
        }
    }

    /// Leaves the screen, with the steps as they stand at the end where they are few.
    fn end(self, board: &mut Board) {
        match self {
            Show::Screen(screen) => {
                screen.draw(&[]);
                if board.steps.len() <= ROOM {
                    lines::steps(board, ROOM, Paint::stderr(), Instant::now()).into_iter().for_each(tell);
                }
            }
            Show::Plain { .. } => plain(board).into_iter().for_each(tell),
        }
    }
}

/// A line for each thing that has happened.
fn plain(board: &mut Board) -> Vec<String> {
    let news = board.take_news();
    let tells_all = board.steps.len() <= STEPS_IN_LINES;
    let line = |news| match news {
        News::Failed { step, attempt, kind } => {
            let step = &board.steps[step];
            let error = step.error.as_deref().unwrap_or_default();
            Some(format!("{}: attempt {attempt} of {} failed ({kind}): {error}", step.name, step.retry_limit))
        }
        News::Changed { step, now } => {
            let step = &board.steps[step];
            match &now {
                Now::Waits(reason) if matches!(reason.word.as_str(), "dependencies_not_satisfied" | "ready") => None,
                Now::Waits(reason) => {
                    let until = reason.until.map(|until| format!(" until {}", instant(until))).unwrap_or_default();
                    Some(format!("{}: {}{until}", step.name, reason.word))
                }
                Now::Ended(state) if tells_all => {
                    let took = step.took.map(|took| format!(" in {}", time(took))).unwrap_or_default();
                    Some(format!("{}: {state}{took}{}", step.name, lines::attempt(step)))
                }
                _ => None,
            }
        }
    };
    news.into_iter().filter_map(line).collect()
}

/// Shows a task's progress until the engine stops speaking of it. `stop`: cancelled when it is told to stop.
pub async fn follow(
    store: Store,
    task_id: Uuid,
    names: Vec<String>,
    mut events: UnboundedReceiver<Event>,
    mut show: Show,
    stop: CancellationToken,
) {
    let mut board = Board::new(names);
    let mut view = View::default();
    let mut frames = tokio::time::interval(FRAME);
    frames.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    let mut heard = Vec::new();
    loop {
        tokio::select! {
            number = events.recv_many(&mut heard, 1_000) => {
                if number == 0 {
                    break;
                }
                let now = Instant::now();
                heard.drain(..).for_each(|event| board.hear(event, now));
            }
            () = stop.cancelled(), if !board.is_stopping => {
                board.is_stopping = true;
                show.stopping();
            }
            (rows, asked_at) = view.answer() => {
                // what the engine said before this answer comes first
                while let Ok(event) = events.try_recv() {
                    board.hear(event, Instant::now());
                }
                board.see(rows, asked_at);
            }
            _ = frames.tick() => {
                view.ask_if_due(&store, task_id);
                show.draw(&mut board);
            }
        }
    }
    if board.steps.len() <= STEPS_IN_LINES {
        let asked_at = Instant::now();
        board.see(StepReadinessStatus::for_task(task_id).all(&store).await.unwrap_or_default(), asked_at);
    }
    show.end(&mut board);
}

/// What the readiness view says of a task.
type Answer = Result<Vec<StepReadinessStatus>, Error>;

/// The readiness view, asked now and then.
struct View {
    asked: Option<(Instant, oneshot::Receiver<Answer>)>,
    ask_at: Instant,
}

impl Default for View {
    fn default() -> View {
        View { asked: None, ask_at: Instant::now() }
    }
}

impl View {
    fn ask_if_due(&mut self, store: &Store, task_id: Uuid) {
        if self.asked.is_some() || Instant::now() < self.ask_at {
            return;
        }
        let (answer, asked) = oneshot::channel();
        let store = store.clone();
        // run to its end in a task of its own: a query that is dropped half-way costs its connection
        tokio::spawn(async move { answer.send(StepReadinessStatus::for_task(task_id).all(&store).await) });
        self.asked = Some((Instant::now(), asked));
    }

    /// The next answer, with the instant of its question; never, while none is asked.
    async fn answer(&mut self) -> (Vec<StepReadinessStatus>, Instant) {
        loop {
            let Some((asked_at, asked)) = &mut self.asked else { std::future::pending().await };
            let (asked_at, answer) = (*asked_at, asked.await);
            self.asked = None;
            self.ask_at = Instant::now() + (asked_at.elapsed() * PATIENCE).max(FRAME);
            match answer {
                Ok(Ok(rows)) => return (rows, asked_at),
                Ok(Err(error)) => tracing::debug!("the readiness view did not answer: {error}"),
                Err(_) => {}
            }
        }
    }
}
