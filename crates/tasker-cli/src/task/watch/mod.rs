//! `tasker task watch`: a task's graph, and what happens in it until it ends. On a terminal the picture is drawn anew in place; elsewhere each change
//! is a line, with `--json` each event an object on its line, and last how the task stands. Where the door is gone for a while it is knocked at again,
//! and nothing is missed.

mod picture;

use std::{
    io::IsTerminal,
    time::{Duration, Instant},
};

use tokio::time::{MissedTickBehavior, interval, sleep, timeout};
use uuid::Uuid;

use self::picture::Picture;
use crate::{
    Session,
    board::{Board, lines},
    door::{Door, Following, Happened, Task},
    ending::{Ending, Failure},
    output::{Paint, instant, one_line, print_to_reader, tell, time},
    report,
    subject::unknown_task,
};

/// Draw a task and follow it until it ends; elsewhere than on a terminal, a line for each change
#[derive(clap::Args)]
pub struct Args {
    /// Its id
    #[arg(value_name = "TASK")]
    task_id: Uuid,
}

/// How often a screen is drawn.
const FRAME: Duration = Duration::from_millis(100);
/// How long the server or the database may be gone.
const PATIENCE: Duration = Duration::from_secs(60);
/// How often it is knocked at meanwhile.
const PAUSE: Duration = Duration::from_secs(1);
/// What ended with the task is told within this time.
const REST: Duration = Duration::from_millis(500);
/// Of so many failures a second the messages are asked for.
const MESSAGES: u32 = 5;
/// What no patience helps against.
const FOR_GOOD: [&str; 3] = ["unauthorized", "forbidden", "not_local"];

/// Watches. The exit code says how the task ended, as that of `run` does.
pub async fn run(Args { task_id }: Args, session: &Session, door: &Door) -> Result<Ending, Failure> {
    let mut watch = Watch::new(task_id, session, door);
    loop {
        let failure = match watch.follow().await {
            Ok(Left::Ended(task)) => return watch.end(&task).await,
            Ok(Left::Stopped) => return watch.stopped(),
            Err(failure) => failure,
        };
        if failure.is("cursor_gone") {
            tell(
                "the history of events has ended, by a restored database or a failover: what happened meanwhile may be missing",
            );
            watch.place = None;
            continue;
        }
        // that it is gone is news only where it was there
        if watch.title.is_empty() || failure.ending == Ending::Misused || FOR_GOOD.iter().any(|code| failure.is(code)) {
            return Err(failure);
        }
        if watch.gone.is_none() {
            watch.screen_off();
            tell(format_args!("{failure}\nit is knocked at again, for {} s", PATIENCE.as_secs()));
        }
        if watch.gone.get_or_insert_with(Instant::now).elapsed() > PATIENCE {
            let again = session.command(&["task", "watch", &task_id.to_string()]);
            return Err(Failure { message: format!("{}\nto go on:\n    {again}", failure.message), ..failure });
        }
        tokio::select! {
            () = sleep(PAUSE) => {}
            () = session.stop.cancelled() => return watch.stopped(),
        }
    }
}

/// Why following has come to its end.
enum Left {
    /// The task has ended, or goes on only when a person acts.
    Ended(Box<Task>),
    /// A signal came, or nobody reads any more.
    Stopped,
}

/// A task that is watched.
struct Watch<'a> {
    task_id: Uuid,
    session: &'a Session,
    door: &'a Door,
    board: Board,
    picture: Picture,
    title: String,
    /// Where to go on in the events; `None`: nothing was heard yet.
    place: Option<String>,
    /// Since when nobody answers.
    gone: Option<Instant>,
    /// Whether it was heard that the task has ended.
    is_over: bool,
    /// Whether it is drawn, and not told line by line.
    is_drawn: bool,
    /// Whether somebody reads what is told.
    is_read: bool,
    /// How many messages of failures were asked for since when.
    asked: (Instant, u32),
}

impl<'a> Watch<'a> {
    fn new(task_id: Uuid, session: &'a Session, door: &'a Door) -> Watch<'a> {
        Watch {
            task_id,
            session,
            door,
            board: Board::new([]),
            picture: Picture::default(),
            title: String::new(),
            place: None,
            gone: None,
            is_over: false,
            is_drawn: !session.json && session.screen.is_terminal() && std::io::stdout().is_terminal(),
            is_read: true,
            asked: (Instant::now(), 0),
        }
    }

    /// Follows until the task ends, or the door is gone.
    async fn follow(&mut self) -> Result<Left, Failure> {
        let (is_first, stop) = (self.place.is_none(), &self.session.stop);
        let (mut following, task) = tokio::select! {
            begun = self.begin(is_first) => begun?,
            () = stop.cancelled() => return Ok(Left::Stopped),
        };
        self.place = following.place.clone();
        if !self.is_read {
            return Ok(Left::Stopped);
        }
        if (is_first || self.is_over) && !task.context.status.is_live() {
            return Ok(Left::Ended(task.into()));
        }
        let mut frames = interval(FRAME);
        frames.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            let patience = if self.is_over { REST } else { Duration::MAX };
            let happened = {
                // asked for once, however often it is drawn meanwhile: a question that is dropped half-way costs its connection
                let next = timeout(patience, following.next());
                tokio::pin!(next);
                loop {
                    tokio::select! {
                        happened = &mut next => break happened,
                        () = self.session.stop.cancelled() => return Ok(Left::Stopped),
                        _ = frames.tick() => self.draw(),
                    }
                }
            };
            let Ok(happened) = happened else {
                let task = self.task().await?;
                match task.context.status.is_live() {
                    // somebody has acted
                    true => self.is_over = false,
                    false => return Ok(Left::Ended(task.into())),
                }
                continue;
            };
            for happened in happened? {
                self.hear(&happened).await?;
            }
            self.place = following.place.clone();
            if !self.is_read {
                return Ok(Left::Stopped);
            }
        }
    }

    async fn task(&self) -> Result<Task, Failure> {
        self.door.task(self.task_id).await?.ok_or_else(|| unknown_task(self.task_id))
    }

    /// First where the events are, then how everything stands: nothing lies between.
    async fn begin(&mut self, is_first: bool) -> Result<(Following, Task), Failure> {
        let following = self.door.follow(self.task_id, self.place.as_deref()).await;
        // in the words of this door
        let following =
            following.map_err(|why| if why.is("unknown_task") { unknown_task(self.task_id) } else { why })?;
        let task = self.task().await?;
        self.see(&task).await?;
        if self.gone.take().is_some() {
            tell("it is back");
        }
        if is_first && !self.is_drawn && !self.session.json {
            self.say(&report::headline(&task.context, Paint::stdout()))?;
        }
        Ok((following, task))
    }

    /// Takes in how everything stands.
    async fn see(&mut self, task: &Task) -> Result<(), Failure> {
        let steps = self.door.all_steps(self.task_id).await?;
        self.picture = Picture::of(&steps);
        self.board = Board::of(&steps);
        let age = (chrono::Utc::now() - task.item.created_at).to_std().unwrap_or_default();
        self.board.started = Instant::now().checked_sub(age).unwrap_or(self.board.started);
        self.title = format!("{} {}", task.item.workflow, task.item.version);
        Ok(())
    }

    /// Takes in what happened, and tells it where it is not drawn.
    async fn hear(&mut self, happened: &Happened) -> Result<(), Failure> {
        let Happened { transition, task, step, text } = happened;
        self.is_over |= transition.step_number.is_none() && !task.status.is_live();
        if self.session.json {
            return self.say(&format!("{text}\n"));
        }
        let mut error = None;
        if let (Some(id), "step.failed") = (transition.workflow_step_id, transition.kind.as_str())
            && self.may_ask()
        {
            let attempts = self.door.attempts(id).await?;
            let failed =
                attempts.into_iter().rev().find(|one| Some(one.attempt) == transition.attempt && one.error.is_some());
            error = failed.and_then(|attempt| attempt.error);
        }
        if let Some(step) = step {
            self.board.see(vec![step.clone()], Instant::now());
            self.board.take_news();
            if transition.kind == "step.failed" {
                self.board.blame(step.step_number, error.as_deref().or(transition.error_kind.as_deref()));
            }
        }
        if !self.is_drawn {
            self.say(&line(happened, error.as_deref()))?;
        }
        Ok(())
    }

    /// Whether another message may be asked for: thousands of failures are told of without.
    fn may_ask(&mut self) -> bool {
        let (since, number) = self.asked;
        self.asked = if since.elapsed() > Duration::from_secs(1) { (Instant::now(), 1) } else { (since, number + 1) };
        self.asked.1 <= MESSAGES
    }

    fn say(&mut self, text: &str) -> Result<(), Failure> {
        self.is_read &= print_to_reader(text)?;
        Ok(())
    }

    fn lines(&self, room: usize, paint: Paint) -> Vec<String> {
        let now = Instant::now();
        let mut drawn = vec![format!("{}  {}", paint.bold(&self.title), paint.dim(self.task_id))];
        drawn.extend(self.picture.lines(&self.board, room.saturating_sub(2), self.session.screen.width(), paint, now));
        drawn
    }

    fn draw(&self) {
        if self.is_drawn && !self.title.is_empty() {
            let (screen, paint) = (&self.session.screen, Paint::stderr());
            let mut drawn = self.lines(screen.room(), paint);
            drawn.push(lines::summary(&self.board, paint, Instant::now()));
            screen.draw(&drawn);
        }
    }

    /// Leaves the screen, with the picture as it stands.
    fn screen_off(&self) {
        if self.is_drawn && !self.title.is_empty() {
            let screen = &self.session.screen;
            screen.draw(&[]);
            self.lines(screen.room(), Paint::stderr()).iter().for_each(tell);
        }
    }

    async fn end(&mut self, task: &Task) -> Result<Ending, Failure> {
        if self.is_drawn {
            self.see(task).await?;
        }
        self.screen_off();
        if self.session.json {
            // also where it had ended before: whoever reads learns how it stands
            let last = serde_json::json!({ "transition": null, "task": task.context, "step": null });
            self.say(&format!("{last}\n"))?;
        }
        let end = task.item.finished_at.unwrap_or_else(chrono::Utc::now);
        let took = (end - task.item.created_at).to_std().unwrap_or_default();
        report::tell_end(self.session, self.door, &task.context, took, None).await
    }

    fn stopped(&self) -> Result<Ending, Failure> {
        if !self.is_read {
            return Ok(Ending::Done);
        }
        self.screen_off();
        let again = self.session.command(&["task", "watch", &self.task_id.to_string()]);
        tell(format_args!("the task goes on; to watch it again:\n    {again}"));
        Ok(Ending::Interrupted)
    }
}

/// What happened, on a line.
fn line(Happened { transition, step, .. }: &Happened, error: Option<&str>) -> String {
    let name = step.as_ref().map_or("task", |step| &step.name);
    let word = transition.kind.split_once('.').map_or(transition.kind.as_str(), |(_, word)| word);
    let mut text = format!("{} {name}: {word}", instant(transition.at));
    let tried = step.as_ref().zip(transition.attempt).map(|(step, attempt)| (attempt, step.retry_limit));
    if let Some((attempt, limit)) = tried.filter(|(attempt, _)| *attempt > 1 || word == "failed") {
        text += &format!(", attempt {attempt} of {limit}");
    }
    let began =
        step.as_ref().filter(|_| matches!(word, "complete" | "skipped")).and_then(|step| step.last_attempted_at);
    if let Some(took) = began.and_then(|began| (transition.at - began).to_std().ok()) {
        text += &format!(" in {}", time(took));
    }
    for said in [transition.error_kind.as_deref(), error].into_iter().flatten() {
        text += &format!(": {}", one_line(said, 200));
    }
    if let Some(at) = transition.next_retry_at {
        text += &format!("; not before {}", instant(at));
    }
    if let Some(actor) = &transition.actor {
        text += &format!(", by {actor}");
    }
    if let Some(reason) = &transition.reason {
        text += &format!(": {}", one_line(reason, 200));
    }
    text + "\n"
}
