//! Batched loading. A resolver that needs a thing asks for it and waits; only when every resolver of the query waits, and nothing is on its way, are all the
//! things of one kind loaded in one statement. So no clock decides what belongs together: a kind that leads on to other things (steps, their tasks) takes one
//! statement a level of the query at most, and a kind that leads nowhere (attempts, results) is asked for last, once.

use std::{
    collections::HashMap,
    future::{Future, poll_fn},
    hash::Hash,
    pin::{Pin, pin},
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicBool, AtomicUsize, Ordering},
    },
    task::{Context, Poll, Wake, Waker},
};

use tokio::sync::oneshot;

use crate::{App, access::Caller, problem::Problem};

/// For whom things are loaded.
pub(super) struct Scope {
    pub app: App,
    pub caller: Caller,
}

/// A kind of thing that is loaded for many at once.
pub(super) trait Kind: Send + Sync + 'static {
    /// What names a thing.
    type Key: Clone + Eq + Hash + Send + Sync;
    /// The thing.
    type Thing: Clone + Send + Sync;

    /// Loads things: as many statements whatever their number. What is not there is left out.
    fn load(
        scope: &Scope,
        keys: Vec<Self::Key>,
    ) -> impl Future<Output = Result<HashMap<Self::Key, Self::Thing>, Problem>> + Send;
}

type Told<K> = Result<Option<<K as Kind>::Thing>, Problem>;

/// What is known of a kind, and who waits for what.
pub(super) struct Queue<K: Kind>(Mutex<State<K>>);

struct State<K: Kind> {
    known: HashMap<K::Key, Told<K>>,
    waiting: HashMap<K::Key, Vec<oneshot::Sender<Told<K>>>>,
}

impl<K: Kind> Default for Queue<K> {
    fn default() -> Self {
        Queue(Mutex::new(State { known: HashMap::new(), waiting: HashMap::new() }))
    }
}

impl<K: Kind> Queue<K> {
    fn state(&self) -> MutexGuard<'_, State<K>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A thing; `None`: it is not there.
    pub async fn one(&self, key: K::Key) -> Result<Option<K::Thing>, Problem> {
        let told = {
            let mut state = self.state();
            if let Some(known) = state.known.get(&key) {
                return known.clone();
            }
            let (tell, told) = oneshot::channel();
            state.waiting.entry(key).or_default().push(tell);
            told
        };
        // whoever loads ends with the request, and so does this
        told.await.unwrap_or_else(|_| Err(Problem::unavailable("the answer was given up")))
    }

    /// Things in the order of their names; those that are not there are left out.
    pub async fn some(&self, keys: &[K::Key]) -> Result<Vec<K::Thing>, Problem> {
        let asked: Vec<_> = keys.iter().map(|key| self.one(key.clone())).collect();
        let mut things = Vec::with_capacity(keys.len());
        // each is asked for before the first is waited for
        for told in futures_util::future::join_all(asked).await {
            things.extend(told?);
        }
        Ok(things)
    }

    /// Keeps a thing that came by another way.
    pub fn know(&self, key: K::Key, thing: K::Thing) {
        self.state().known.entry(key).or_insert(Ok(Some(thing)));
    }
}

/// A queue, whatever its kind.
pub(super) trait Flush: Send + Sync {
    /// Loads what is waited for; `None`: nothing is.
    fn flush<'a>(&'a self, scope: &'a Scope) -> Option<Pin<Box<dyn Future<Output = ()> + Send + 'a>>>;
    /// Forgets what is known: something was changed.
    fn forget(&self);
}

impl<K: Kind> Flush for Queue<K> {
    fn flush<'a>(&'a self, scope: &'a Scope) -> Option<Pin<Box<dyn Future<Output = ()> + Send + 'a>>> {
        let keys: Vec<K::Key> = self.state().waiting.keys().cloned().collect();
        if keys.is_empty() {
            return None;
        }
        Some(Box::pin(async move {
            let loaded = K::load(scope, keys.clone()).await;
            let mut state = self.state();
            for key in keys {
                let told = loaded.as_ref().map(|things| things.get(&key).cloned()).map_err(Problem::clone);
                for waiter in state.waiting.remove(&key).unwrap_or_default() {
                    let _ = waiter.send(told.clone());
                }
                state.known.insert(key, told);
            }
        }))
    }

    fn forget(&self) {
        self.state().known.clear();
    }
}

/// How many questions of their own are on their way.
#[derive(Default)]
pub(super) struct Alone(AtomicUsize);

impl Alone {
    /// Does what is not loaded in batches; nothing is loaded meanwhile, since what comes of it may need more of the same kinds.
    pub async fn wait<F: Future>(&self, question: F) -> F::Output {
        struct Done<'a>(&'a AtomicUsize);
        impl Drop for Done<'_> {
            fn drop(&mut self) {
                self.0.fetch_sub(1, Ordering::SeqCst);
            }
        }
        self.0.fetch_add(1, Ordering::SeqCst);
        let _done = Done(&self.0);
        question.await
    }
}

/// Tells whether anybody was woken.
struct Bell {
    rung: AtomicBool,
    outer: Mutex<Waker>,
}

impl Wake for Bell {
    fn wake(self: Arc<Self>) {
        self.rung.store(true, Ordering::SeqCst);
        self.outer.lock().unwrap_or_else(PoisonError::into_inner).wake_by_ref();
    }
}

/// Runs a query to its end, and loads what it waits for: the first of the queues in which anybody waits, whole, and then the query goes on.
pub(super) async fn drive<F: Future>(query: F, scope: &Scope, queues: &[&dyn Flush], alone: &Alone) -> F::Output {
    let mut query = pin!(query);
    let mut load: Option<Pin<Box<dyn Future<Output = ()> + Send + '_>>> = None;
    let bell = Arc::new(Bell { rung: AtomicBool::new(false), outer: Mutex::new(Waker::noop().clone()) });
    let waker = Waker::from(bell.clone());
    poll_fn(move |cx| {
        bell.outer.lock().unwrap_or_else(PoisonError::into_inner).clone_from(cx.waker());
        loop {
            if let Some(loading) = &mut load
                && loading.as_mut().poll(cx).is_ready()
            {
                load = None;
            }
            bell.rung.store(false, Ordering::SeqCst);
            if let Poll::Ready(answer) = query.as_mut().poll(&mut Context::from_waker(&waker)) {
                return Poll::Ready(answer);
            }
            // whoever was woken meanwhile may ask for more: this is polled again
            let waits = bell.rung.load(Ordering::SeqCst) || load.is_some() || alone.0.load(Ordering::SeqCst) > 0;
            if !waits {
                load = queues.iter().find_map(|queue| queue.flush(scope));
            }
            if waits || load.is_none() {
                return Poll::Pending;
            }
        }
    })
    .await
}
