//! What is done to the workers, the server, the roads between them and the tasks, and what is submitted meanwhile.

use std::{
    collections::{BTreeMap, HashMap},
    path::PathBuf,
    process::Stdio,
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, AtomicI32, Ordering},
    },
    time::{Duration, Instant},
};

use rustix::process::{Pid, Signal, kill_process};
use sqlx::{ConnectOptions, postgres::PgConnectOptions};
use tasker::{Submission, Tasker, store::ByHand};
use tokio::{process::Command, task::JoinSet, time::sleep};
use uuid::Uuid;

use super::{
    growth::Growth,
    server::{Pooler, Server},
    worker,
};
use crate::support::{Chance, Fate, Proxy};

/// How often the tables of what is under way are vacuumed.
const VACUUM_INTERVAL: Duration = Duration::from_secs(60);
const WORKERS: usize = 4;
const ZOMBIES: usize = 8;
const SUBMITTERS: usize = 3;
/// What is live at most: so much that there is always work, and never a heap that hides a standstill.
const LIVE: i64 = 120;

pub struct Torture {
    pub options: PgConnectOptions,
    pub tasker: Tasker,
    server: Server,
    /// The first worker's road leads through it.
    pub pooler: Option<Pooler>,
    folder: tempfile::TempDir,
    chance: Mutex<Chance>,
    counts: Mutex<BTreeMap<&'static str, u64>>,
    /// The task of each idempotency key, as its submitter was told in the end.
    pub accepted: Mutex<HashMap<String, Uuid>>,
    roads: Vec<Proxy>,
    submitting: Proxy,
    /// The present process in each place: workers, then zombies.
    pids: Vec<AtomicI32>,
    is_over: AtomicBool,
    is_healed: AtomicBool,
    keepers: Mutex<JoinSet<()>>,
    pub growth: Growth,
}

impl Torture {
    pub fn new(options: PgConnectOptions, tasker: Tasker, server: Server, chance: Chance) -> Torture {
        let pooler = Pooler::before(&options);
        let way = |place| pooler.as_ref().filter(|_| place == 0).map_or(&options, |pooler| &pooler.options);
        Torture {
            roads: (0..WORKERS).map(|place| Proxy::to(way(place))).collect(),
            pooler,
            submitting: Proxy::to(&options),
            options,
            tasker,
            server,
            folder: tempfile::tempdir().unwrap(),
            chance: Mutex::new(chance),
            counts: Mutex::default(),
            accepted: Mutex::default(),
            pids: (0..WORKERS + ZOMBIES).map(|_| AtomicI32::new(0)).collect(),
            is_over: AtomicBool::new(false),
            is_healed: AtomicBool::new(false),
            keepers: Mutex::default(),
            growth: Growth::default(),
        }
    }

    pub fn count(&self, what: &'static str) {
        *self.counts.lock().unwrap().entry(what).or_default() += 1;
    }

    pub fn set(&self, what: &'static str, count: u64) {
        self.counts.lock().unwrap().insert(what, count);
    }

    pub fn counted(&self, what: &str) -> u64 {
        self.counts.lock().unwrap().get(what).copied().unwrap_or_default()
    }

    pub fn told(&self) -> String {
        let counts = self.counts.lock().unwrap();
        counts.iter().map(|(what, count)| format!("{count} {what}")).collect::<Vec<_>>().join(", ")
    }

    pub fn log(&self) -> PathBuf {
        self.folder.path().join("effects")
    }

    /// What the processes have said on their way.
    pub fn said(&self) -> String {
        std::fs::read_to_string(self.folder.path().join("said")).unwrap_or_default()
    }

    fn of(&self, n: usize) -> usize {
        self.chance.lock().unwrap().of(n)
    }

    fn goes_on(&self) -> bool {
        !self.is_over.load(Ordering::Relaxed)
    }

    /// All faults, for so long.
    pub async fn run(self: Arc<Torture>, time: Duration) {
        for place in 0..WORKERS + ZOMBIES {
            let torture = self.clone();
            self.keepers.lock().unwrap().spawn(async move { torture.keep(place).await });
        }
        self.fates();
        let mut faults = JoinSet::new();
        for number in 0..SUBMITTERS {
            let torture = self.clone();
            faults.spawn(async move { torture.submit(number).await });
        }
        let (a, b, c, d, e, f) = (self.clone(), self.clone(), self.clone(), self.clone(), self.clone(), self.clone());
        faults.spawn(async move { a.kill().await });
        faults.spawn(async move { b.pause().await });
        faults.spawn(async move { c.stop_the_server().await });
        faults.spawn(async move { d.disturb().await });
        faults.spawn(async move { e.people().await });
        faults.spawn(async move { f.silence().await });
        let begun = Instant::now();
        let mut vacuums = tokio::time::interval(VACUUM_INTERVAL);
        while begun.elapsed() < time {
            tokio::select! {
                _ = vacuums.tick() => self.growth.vacuum(self.tasker.store().pool()).await,
                () = sleep(Duration::from_millis(500)) => {
                    self.pids.iter().map(|pid| pid.load(Ordering::Relaxed)).filter(|pid| *pid > 0).for_each(|pid| self.growth.look_at(pid));
                    if begun.elapsed() > time / 2 {
                        self.growth.is_half_time(self.tasker.store().pool()).await;
                    }
                }
                Some(ended) = faults.join_next() => panic!("a part of the torture has ended: {ended:?}"),
            }
        }
        self.is_over.store(true, Ordering::Relaxed);
        while let Some(ended) = faults.join_next().await {
            ended.unwrap();
        }
    }

    /// A process in each place, for ever: who dies is followed by another.
    async fn keep(&self, place: usize) {
        let said = self.folder.path().join("said");
        while !self.keepers_are_gone() {
            let is_healed = self.is_healed.load(Ordering::Relaxed);
            let is_worker = place < WORKERS;
            let url = if is_worker { self.roads[place].url() } else { self.options.to_url_lossy().to_string() };
            let said = std::fs::OpenOptions::new().create(true).append(true).open(&said).unwrap();
            let mut child = Command::new(std::env::current_exe().unwrap())
                .args(["--exact", "torture::worker::a_process", "--nocapture", "--test-threads=1"])
                .env(worker::ROLE, if is_worker { "worker" } else { "zombie" })
                .env(worker::URL, url)
                .env(worker::LOG, self.log())
                .env(worker::DEADLY, if is_healed { "0" } else { "10" })
                .env(worker::FATE, self.of(usize::MAX).to_string())
                .env("TASKER_SECRET_CANARY", worker::CANARY)
                .env("RUST_BACKTRACE", "0")
                .stdin(Stdio::null())
                .stdout(Stdio::null())
                .stderr(said)
                .kill_on_drop(true)
                .spawn()
                .unwrap();
            self.pids[place].store(child.id().unwrap() as i32, Ordering::Relaxed);
            let status = child.wait().await.unwrap();
            self.pids[place].store(0, Ordering::Relaxed);
            if is_worker && !status.success() {
                self.count("workers killed");
                if place == 0 && self.pooler.is_some() {
                    self.count("workers killed behind a pooler");
                }
            }
            // its connection was refused, the server being away
            if status.success() {
                sleep(Duration::from_millis(50)).await;
            }
        }
    }

    fn keepers_are_gone(&self) -> bool {
        self.is_healed.load(Ordering::Relaxed) && self.counted("stopping") > 0
    }

    fn signal(&self, place: usize, signal: Signal) -> bool {
        signal_to(self.pids[place].load(Ordering::Relaxed), signal)
    }

    /// What becomes of exchanges and submissions on their way.
    fn fates(self: &Arc<Torture>) {
        for (place, road) in self.roads.iter().enumerate() {
            let torture = Arc::downgrade(self);
            road.decide(move |_| {
                let Some(torture) = torture.upgrade().filter(|torture| torture.goes_on()) else { return Fate::Arrives };
                let pid = torture.pids[place].load(Ordering::Relaxed);
                match torture.of(400) {
                    0 => {
                        // it does not live to see the reply
                        signal_to(pid, Signal::STOP);
                        torture.count("killed before the reply to their exchange");
                        tokio::spawn(async move {
                            sleep(Duration::from_millis(100)).await;
                            signal_to(pid, Signal::KILL);
                        });
                        Fate::LosesItsReply
                    }
                    1 => {
                        torture.count("killed after the reply to their exchange");
                        let wait = Duration::from_micros(500 + torture.of(3000) as u64);
                        tokio::spawn(async move {
                            sleep(wait).await;
                            signal_to(pid, Signal::KILL);
                        });
                        Fate::Arrives
                    }
                    2..=4 => {
                        torture.count("exchanges cut");
                        [Fate::IsLost, Fate::LosesItsReply, Fate::IsAbandoned][torture.of(3)]
                    }
                    _ => Fate::Arrives,
                }
            });
        }
        let torture = Arc::downgrade(self);
        self.submitting.and_submissions();
        self.submitting.decide(move |_| match torture.upgrade().filter(|torture| torture.goes_on()) {
            Some(torture) if torture.of(8) == 0 => {
                torture.count("submissions whose outcome nobody knew");
                [Fate::IsLost, Fate::LosesItsReply, Fate::IsAbandoned][torture.of(3)]
            }
            _ => Fate::Arrives,
        });
    }

    /// Submits under a key, until it is told what became of it.
    async fn submit(&self, number: usize) {
        const NAMES: &str = "chain chain diamond diamond narrow secretive undead undead undead undead undead poison";
        let names: Vec<&str> = NAMES.split(' ').collect();
        let mut tasker = None;
        for n in 0.. {
            if !self.goes_on() {
                return;
            }
            if self.live().await.unwrap_or(LIVE) >= LIVE {
                sleep(Duration::from_millis(50)).await;
                continue;
            }
            let (name, key) = (names[self.of(names.len())], format!("{number}-{n}"));
            let by_sql = self.of(3) == 0;
            loop {
                let told = if by_sql {
                    // without a word to the workers: they find it by themselves
                    let sql = "select tasker.submit_task('torture', $1, idempotency_key => $2)";
                    let told =
                        sqlx::query_scalar(sql).bind(name).bind(&key).fetch_one(self.tasker.store().pool()).await;
                    told.map_err(tasker::Error::from)
                } else {
                    if tasker.is_none() {
                        tasker = Tasker::connect(&self.submitting.url()).await.ok();
                    }
                    let Some(tasker) = &tasker else { continue };
                    let submission = Submission { idempotency_key: Some(key.clone()), ..Submission::default() };
                    tasker
                        .submit("torture", name, &serde_json::json!({}), submission)
                        .await
                        .map(|submitted| submitted.task_id)
                };
                match told {
                    Ok(task) => {
                        self.accepted.lock().unwrap().insert(key, task);
                        break;
                    }
                    Err(tasker::Error::Refused { code, message }) => panic!("{code}: {message}"),
                    // nobody knows; or the server is away
                    Err(_) => {}
                }
                sleep(Duration::from_millis(20)).await;
            }
        }
    }

    async fn kill(&self) {
        while self.goes_on() {
            sleep(Duration::from_millis(200 + self.of(600) as u64)).await;
            self.signal(self.of(WORKERS), Signal::KILL);
        }
    }

    /// Stops processes for longer than their leases.
    async fn pause(&self) {
        while self.goes_on() {
            let mut paused = Vec::new();
            for place in WORKERS..WORKERS + ZOMBIES {
                if self.of(4) > 0 && self.signal(place, Signal::STOP) {
                    paused.push((place, self.pids[place].load(Ordering::Relaxed)));
                }
            }
            let worker = self.of(WORKERS);
            let pid = self.pids[worker].load(Ordering::Relaxed);
            if self.of(3) == 0 && signal_to(pid, Signal::STOP) {
                self.count("workers paused");
                paused.push((worker, pid));
            }
            sleep(worker::LEASE * 2 + Duration::from_millis(self.of(800) as u64)).await;
            for (_, pid) in paused {
                signal_to(pid, Signal::CONT);
            }
            sleep(Duration::from_millis(400)).await;
        }
    }

    async fn stop_the_server(&self) {
        while self.goes_on() {
            sleep(Duration::from_millis(2500 + self.of(3000) as u64)).await;
            self.server.crash().await;
            self.count("server stops");
        }
    }

    /// Sessions that are terminated, roads that are cut or fall silent.
    async fn disturb(&self) {
        while self.goes_on() {
            sleep(Duration::from_millis(300 + self.of(700) as u64)).await;
            let road = &self.roads[self.of(WORKERS)];
            match self.of(6) {
                0..=2 => {
                    let sql = format!(
                        "select pg_terminate_backend(pid) from pg_stat_activity where datname = current_database() and pid <> pg_backend_pid()
                         order by md5(pid || '{}') limit 2",
                        self.of(1000)
                    );
                    if sqlx::query(sqlx::AssertSqlSafe(sql)).fetch_all(self.tasker.store().pool()).await.is_ok() {
                        self.count("sessions terminated");
                    }
                }
                3 | 4 => road.cut(),
                _ => {
                    self.count("roads that fell silent");
                    road.fall_silent();
                    sleep(Duration::from_millis(1500)).await;
                    road.cut();
                }
            }
        }
    }

    /// Notifications are off for a while: every listener is connected, and hears nothing.
    async fn silence(&self) {
        const OFF: &str = "create or replace function tasker.wake(sender text default '') returns void language sql as 'select null::void where false'";
        let on =
            include_str!("../../../sql/functions/wake.sql").replace("create function", "create or replace function");
        let run = async |sql: &str| {
            sqlx::raw_sql(sqlx::AssertSqlSafe(sql.to_string())).execute(self.tasker.store().pool()).await
        };
        while self.goes_on() {
            sleep(Duration::from_millis(2000 + self.of(4000) as u64)).await;
            if run(OFF).await.is_ok() {
                self.count("times without notifications");
                sleep(Duration::from_millis(1000 + self.of(3000) as u64)).await;
            }
            // the server may be away
            while run(&on).await.is_err() {
                sleep(Duration::from_millis(100)).await;
            }
        }
    }

    /// People cancel, pause, resume and retry tasks.
    async fn people(&self) {
        let mut paused: Vec<Uuid> = Vec::new();
        while self.goes_on() {
            sleep(Duration::from_millis(100 + self.of(300) as u64)).await;
            let tasks: Vec<Uuid> = {
                let accepted = self.accepted.lock().unwrap();
                accepted.values().copied().collect()
            };
            let Some(latest) = tasks.iter().max() else { continue };
            let task = if self.of(2) == 0 { *latest } else { tasks[self.of(tasks.len())] };
            let (store, by) = (self.tasker.store(), ByHand { actor: Some("torturer"), reason: Some("because") });
            let done = match self.of(8) {
                0 => store.cancel_task(task, by).await,
                1 | 2 => {
                    paused.push(task);
                    store.pause_task(task, by).await
                }
                3 | 4 => store.retry_task(task, by).await,
                _ => match paused.pop() {
                    Some(task) => {
                        let done = store.resume_task(task, by).await;
                        if done.is_err() {
                            paused.push(task);
                            self.of(2);
                        }
                        done
                    }
                    None => continue,
                },
            };
            match done {
                Ok(_) => self.count("tasks cancelled, paused or retried by hand"),
                // the task has ended meanwhile; or the database is away
                Err(tasker::Error::Refused { .. }) => {
                    paused.retain(|paused| *paused != task);
                }
                Err(_) => {}
            }
        }
    }

    /// No more faults: what is paused goes on, and workers that kill themselves are followed by such that do not.
    pub async fn heal(&self) {
        self.is_healed.store(true, Ordering::Relaxed);
        for road in &self.roads {
            road.cut();
        }
        for place in 0..WORKERS + ZOMBIES {
            self.signal(place, Signal::CONT);
            self.signal(place, Signal::KILL);
        }
        let sql = "select count(tasker.resume_task(k.task_id)) from tasker.tasks k where k.state in ('pending', 'in_progress') and k.paused";
        sqlx::query(sql).execute(self.tasker.store().pool()).await.unwrap();
    }

    async fn live(&self) -> Result<i64, sqlx::Error> {
        let sql = "select count(*) from tasker.tasks where state in ('pending', 'in_progress')";
        sqlx::query_scalar(sql).fetch_one(self.tasker.store().pool()).await
    }

    pub async fn is_anything_live(&self) -> bool {
        self.live().await.unwrap() > 0
    }

    pub async fn what_is_live(&self) -> String {
        let sql = "select c::text from tasker.task_execution_contexts c where c.status in ('pending', 'in_progress') limit 10";
        let rows: Vec<String> = sqlx::query_scalar(sql).fetch_all(self.tasker.store().pool()).await.unwrap();
        rows.join("\n")
    }

    pub async fn stop_workers(&self) {
        self.count("stopping");
        for place in 0..WORKERS + ZOMBIES {
            self.signal(place, Signal::KILL);
        }
        let mut keepers = std::mem::take(&mut *self.keepers.lock().unwrap());
        while let Some(ended) = keepers.join_next().await {
            ended.unwrap();
        }
    }
}

fn signal_to(pid: i32, signal: Signal) -> bool {
    Pid::from_raw(pid).is_some_and(|pid| kill_process(pid, signal).is_ok())
}
