//! A worker's own connection: its session keeps its plans warm, and no pool stands between two calls. The embedded database
//! has one connection only, and shares it call by call.

use std::{
    ops::{Deref, DerefMut},
    time::Duration,
};

use sqlx::{ConnectOptions, PgConnection, Postgres, pool::PoolConnection};

use super::Store;
use crate::Error;

/// A connection that is made when it is needed, and anew after it was [broken](Line::broken).
pub(crate) struct Line {
    store: Store,
    own: Option<PgConnection>,
}

/// A connection for one call.
enum Held<'a> {
    Own(&'a mut PgConnection),
    Shared(PoolConnection<Postgres>),
}

impl Line {
    pub(crate) fn new(store: Store) -> Line {
        Line { store, own: None }
    }

    /// Makes one call. A server that says nothing for `patience` is given up, as a network that is gone says nothing; the
    /// embedded database is never silent, only slow.
    pub(crate) async fn call<T>(
        &mut self,
        patience: Duration,
        call: impl AsyncFnOnce(&mut PgConnection) -> Result<T, Error>,
    ) -> Result<T, Error> {
        let is_server = self.store.server.is_some();
        let answer = async { call(&mut *self.get().await?).await };
        if !is_server {
            return answer.await;
        }
        match tokio::time::timeout(patience, answer).await {
            Ok(answer) => answer,
            Err(_) => {
                self.broken();
                Err(Error::no_answer(patience))
            }
        }
    }

    async fn get(&mut self) -> Result<Held<'_>, Error> {
        let Some(options) = &self.store.server else { return Ok(Held::Shared(self.store.pool.acquire().await?)) };
        let own = match self.own.take() {
            Some(own) => own,
            None => options.connect().await?,
        };
        Ok(Held::Own(self.own.insert(own)))
    }

    /// A call failed: the session may be gone, or in the middle of something.
    pub(crate) fn broken(&mut self) {
        self.own = None;
    }
}

impl Deref for Held<'_> {
    type Target = PgConnection;

    fn deref(&self) -> &PgConnection {
        match self {
            Held::Own(connection) => connection,
            Held::Shared(connection) => connection,
        }
    }
}

impl DerefMut for Held<'_> {
    fn deref_mut(&mut self) -> &mut PgConnection {
        match self {
            Held::Own(connection) => connection,
            Held::Shared(connection) => connection,
        }
    }
}
