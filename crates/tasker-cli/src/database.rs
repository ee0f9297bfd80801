//! Which database a command speaks to: a server, or the embedded one in a folder.

use std::{path::PathBuf, time::Duration};

use tasker::Tasker;

use crate::{ending::Failure, output::quoted};

/// The options that choose a database.
#[derive(Clone, Debug, clap::Args)]
pub struct DatabaseArgs {
    /// A PostgreSQL server's URL [default: TASKER_DIRECT_URL, else DATABASE_URL; without it, the embedded database]
    #[arg(long, global = true, value_name = "URL", conflicts_with = "folder")]
    database: Option<String>,
    /// The embedded database's folder [default: TASKER_FOLDER, else .tasker]
    #[arg(long, global = true, value_name = "FOLDER")]
    folder: Option<PathBuf>,
}

/// The embedded database's folder, unless the command line says another.
fn folder() -> PathBuf {
    variable("TASKER_FOLDER").unwrap_or_else(|| ".tasker".into()).into()
}

fn variable(name: &str) -> Option<String> {
    std::env::var(name).ok().filter(|value| !value.is_empty())
}

/// A database, not opened yet.
#[derive(Clone, Debug)]
pub struct Database {
    place: Place,
    /// Whether the command line chose it, not the environment.
    is_given: bool,
}

#[derive(Clone, Debug)]
enum Place {
    Server(String),
    Folder(PathBuf),
}

impl DatabaseArgs {
    /// Whether the command line says which.
    pub fn is_given(&self) -> bool {
        self.database.is_some() || self.folder.is_some()
    }

    /// The chosen one: what the command line says stands before what the environment says.
    pub fn chosen(self) -> Database {
        let is_given = self.is_given();
        let place = match (self.database, self.folder) {
            (Some(url), _) => Place::Server(url),
            (None, Some(folder)) => Place::Folder(folder),
            // past the pooler that DATABASE_URL may lead to
            (None, None) => match variable("TASKER_DIRECT_URL").or(variable("DATABASE_URL")) {
                Some(url) => Place::Server(url),
                None => Place::Folder(folder()),
            },
        };
        Database { place, is_given }
    }
}

impl Database {
    /// For trying things out: the embedded one, whatever server the environment names; the command line may say another.
    pub fn of_one_s_own(&self) -> Database {
        match &self.place {
            Place::Server(_) if !self.is_given && cfg!(feature = "embedded") => {
                Database { place: Place::Folder(folder()), is_given: false }
            }
            _ => self.clone(),
        }
    }

    /// What it is, for people.
    pub fn shown(&self) -> String {
        match &self.place {
            Place::Folder(folder) => format!("the embedded database in {}", folder.display()),
            Place::Server(url) if has_password(url) => "the server that --database names".into(),
            Place::Server(url) => url.clone(),
        }
    }

    /// Opens it as it is: an embedded folder that is not there yet is not made, a schema that is not this program's is
    /// refused.
    pub async fn open(&self) -> Result<Tasker, Failure> {
        self.refuse_absent()?;
        let tasker = self.open_or_make().await?;
        tasker.store().require_schema().await?;
        Ok(tasker)
    }

    /// Opens it as it is, and closes it afterwards.
    pub async fn on<T>(&self, what: impl AsyncFnOnce(&Tasker) -> Result<T, Failure>) -> Result<T, Failure> {
        let tasker = self.open().await?;
        let done = what(&tasker).await;
        tasker.close().await;
        done
    }

    /// Opens it as it is, to answer others' questions: none of them keeps the database for longer than so long.
    pub async fn open_to_serve(&self, of_a_statement: Duration) -> Result<Tasker, Failure> {
        let Place::Server(url) = &self.place else { return self.open().await };
        let tasker = Tasker::connect_with_timeout(url, of_a_statement).await?;
        tasker.store().require_schema().await?;
        Ok(tasker)
    }

    /// Opens it, making an embedded folder where there is none. A server's schema may be any, or none.
    pub async fn open_or_make(&self) -> Result<Tasker, Failure> {
        match &self.place {
            Place::Server(url) => Ok(Tasker::connect(url).await?),
            #[cfg(feature = "embedded")]
            Place::Folder(folder) => Ok(Tasker::embedded(folder).await?),
            #[cfg(not(feature = "embedded"))]
            Place::Folder(_) => Err(Failure::misused(
                "this program was built without the embedded database: give --database, or set DATABASE_URL",
            )),
        }
    }

    /// Refuses an embedded folder that is not there: it would be made, and have nothing in it.
    pub fn refuse_absent(&self) -> Result<(), Failure> {
        match &self.place {
            Place::Folder(folder) if !Tasker::is_embedded(folder) => Err(Failure::unable(format!(
                "there is no embedded database in {}: run a workflow first, give its --folder, or a server's --database (DATABASE_URL)",
                folder.display()
            ))),
            _ => Ok(()),
        }
    }

    /// The server's URL, where it is one.
    pub fn server(&self) -> Option<&str> {
        match &self.place {
            Place::Server(url) => Some(url),
            Place::Folder(_) => None,
        }
    }

    /// The option that chooses it, where the environment alone does not: on a command line to paste.
    pub fn option(&self, is_needed: bool) -> Option<String> {
        (self.is_given || is_needed).then(|| match &self.place {
            Place::Folder(folder) => format!("--folder {}", quoted(&folder.to_string_lossy())),
            Place::Server(url) if has_password(url) => "--database \"$DATABASE_URL\"".into(),
            Place::Server(url) => format!("--database {}", quoted(url)),
        })
    }
}

/// Whether a password stands in a URL: it does not belong on the screen.
fn has_password(url: &str) -> bool {
    let authority = url.split("://").nth(1).unwrap_or_default().split(['/', '?']).next().unwrap_or_default();
    authority.rsplit_once('@').is_some_and(|(user, _)| user.contains(':')) || url.contains("password=")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_password_is_not_printed() {
        let printed = |url: &str| {
            let args = DatabaseArgs { database: Some(url.into()), folder: None };
            args.chosen().option(false).unwrap()
        };
        assert_eq!(printed("postgres://ann@host:5432/tasker"), "--database postgres://ann@host:5432/tasker");
        assert_eq!(printed("postgres://host:5432/a@b:c"), "--database postgres://host:5432/a@b:c");
        for url in ["postgres://ann:secret@host/tasker", "postgres://ann@host/tasker?password=secret"] {
            assert_eq!(printed(url), "--database \"$DATABASE_URL\"");
        }
    }
}
