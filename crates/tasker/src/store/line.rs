//! A worker's own connection: its session keeps its plans warm, and no pool stands between two calls. The embedded database
//! has one connection only, and shares it call by call.

use std::ops::{Deref, DerefMut};

use sqlx::{ConnectOptions, PgConnection, Postgres, pool::PoolConnection};

use super::Store;
use crate::Error;

/// A connection that is made when it is needed, and anew after it was [broken](Line::broken).
pub(crate) struct Line {
    store: Store,
    own: Option<PgConnection>,
}

/// A connection for one call.
pub(crate) enum Held<'a> {
    Own(&'a mut PgConnection),
    Shared(PoolConnection<Postgres>),
}

impl Line {
    pub(crate) fn new(store: Store) -> Line {
        Line { store, own: None }
    }

    pub(crate) async fn get(&mut self) -> Result<Held<'_>, Error> {
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
