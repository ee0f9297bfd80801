//! What every command is given: where to ask, how to answer, and when to stop.

use tokio_util::sync::CancellationToken;

use crate::{
    database::{Database, DatabaseArgs},
    door::{Door, Server, ServerArgs},
    ending::Failure,
    output::quoted,
    screen::Screen,
};

/// What every command is given.
pub struct Session {
    /// The database, where a command works on one.
    pub database: Database,
    /// The server that is asked in its place.
    pub server: Option<Server>,
    /// Options that a command line to paste has to repeat.
    pub place: Option<String>,
    /// Whether answers are JSON.
    pub json: bool,
    /// Cancelled by the first signal.
    pub stop: CancellationToken,
    /// Where a progress view may draw.
    pub screen: Screen,
}

/// Whether a command asks a database only, a server where one is named, or neither.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Asks {
    Database,
    EitherDoor,
    Nobody,
}

/// The options that choose a door.
#[derive(Clone, Debug, clap::Args)]
pub struct DoorArgs {
    #[command(flatten)]
    database: DatabaseArgs,
    #[command(flatten)]
    server: ServerArgs,
}

impl Session {
    /// With the door that was chosen: what the command line says stands before what the environment says, and a server before a database.
    pub fn new(
        args: DoorArgs,
        asks: Asks,
        json: bool,
        stop: CancellationToken,
        screen: Screen,
    ) -> Result<Session, Failure> {
        let DoorArgs { database, server } = args;
        let named = std::env::var("TASKER_SERVER").ok().filter(|url| !url.is_empty());
        let (given, named) = match (server.server, asks) {
            (Some(_), Asks::Database) => {
                return Err(Failure::misused(
                    "--server is for task, workflow, explain and diagram: this command works on a database, which --database or --folder chooses",
                ));
            }
            (given, Asks::EitherDoor) => (given, named.filter(|_| !database.is_given())),
            (_, Asks::Database) => (None, named),
            (_, Asks::Nobody) => (None, None),
        };
        let server = match (&given, &named) {
            (Some(url), _) => Some(Server::new(url, server.key_file.as_ref())?),
            (None, Some(url)) if asks == Asks::EitherDoor => Some(Server::new(url, server.key_file.as_ref())?),
            _ => None,
        };
        let database = database.chosen();
        let place = match &server {
            Some(server) => given.map(|_| server.options()),
            // a command line without it would go to the server
            None => database.option(named.is_some()),
        };
        Ok(Session { database, server, place, json, stop, screen })
    }

    /// Asks at the door that was chosen, which is closed afterwards.
    pub async fn ask<T>(&self, what: impl AsyncFnOnce(&Door) -> Result<T, Failure>) -> Result<T, Failure> {
        match &self.server {
            Some(server) => what(&Door::Http(server.clone())).await,
            None => self.database.on(async |tasker| what(&Door::Database(Box::new(tasker.clone()))).await).await,
        }
    }

    /// A command line to paste, of this program at the same door.
    pub fn command(&self, words: &[&str]) -> String {
        let program = std::env::args().next().unwrap_or_else(|| "tasker".into());
        let words = std::iter::once(program.as_str()).chain(words.iter().copied()).map(quoted);
        words.chain(self.place.clone()).collect::<Vec<_>>().join(" ")
    }
}
