//! The examples' database: the server that `DATABASE_URL` names, else one inside the process, in a temporary folder.

use std::{error::Error, time::Duration};

use tasker::{Tasker, context::TaskExecutionContext};

/// An open, migrated database.
pub struct Database {
    pub tasker: Tasker,
    _folder: tempfile::TempDir,
}

/// Opens it.
pub async fn open() -> Result<Database, Box<dyn Error>> {
    let folder = tempfile::tempdir()?;
    let tasker = match std::env::var("DATABASE_URL") {
        Ok(url) => Tasker::connect(&url).await?,
        Err(_) => embedded(folder.path()).await?,
    };
    tasker.migrate().await?;
    Ok(Database { tasker, _folder: folder })
}

#[cfg(feature = "embedded")]
async fn embedded(folder: &std::path::Path) -> Result<Tasker, tasker::Error> {
    Tasker::embedded(folder).await
}

#[cfg(not(feature = "embedded"))]
async fn embedded(_: &std::path::Path) -> Result<Tasker, tasker::Error> {
    Err(tasker::Error::Embedded("set DATABASE_URL, or build with --features embedded".into()))
}

impl Database {
    /// Closes it.
    pub async fn close(self) {
        self.tasker.close().await;
    }
}

/// Waits until nothing more can be done for a task without a person, and gives its state.
pub async fn end_of(tasker: &Tasker, task: uuid::Uuid) -> Result<String, tasker::Error> {
    loop {
        if let Some(context) = TaskExecutionContext::find(tasker.store(), task).await?
            && ["none", "handle_failures"].contains(&context.recommended_action.as_str())
        {
            return Ok(context.status.as_str().into());
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}
