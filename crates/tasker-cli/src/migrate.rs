//! `tasker migrate`: brings the database to this program's schema.

use serde_json::json;
use tasker::store::SCHEMA_VERSION;

use crate::{
    Session,
    ending::{Ending, Failure},
    output::{print, print_json},
};

/// Bring the database to this program's schema
#[derive(clap::Args)]
pub struct Args {
    /// Create the roles tasker_viewer, tasker_submitter, tasker_worker and tasker_operator, too, and give them their rights
    #[arg(long)]
    roles: bool,
}

/// Migrates. Opening the embedded database has done so already.
pub async fn run(args: Args, session: &Session) -> Result<Ending, Failure> {
    let tasker = session.database.open_or_make().await?;
    let migrated = async {
        let report = tasker.migrate().await?;
        if args.roles {
            tasker.store().create_roles().await?;
        }
        Ok::<_, tasker::Error>(report)
    };
    let migrated = migrated.await;
    tasker.close().await;
    let report = migrated?;
    if session.json {
        let answer = json!({ "schema_version": SCHEMA_VERSION, "migrations": report.migrations, "replaced": report.replaced, "roles": args.roles });
        print_json(&answer)?;
    } else {
        let tables = match report.migrations.as_slice() {
            [] => "its tables are as before".into(),
            numbers => format!("migrations {} ran", numbers.iter().map(i32::to_string).collect::<Vec<_>>().join(", ")),
        };
        let objects =
            if report.replaced { "views and functions were replaced" } else { "views and functions are as before" };
        let roles = if args.roles { ", the roles have their rights" } else { "" };
        print(&format!("the schema has version {SCHEMA_VERSION}: {tables}, {objects}{roles}\n"))?;
    }
    Ok(Ending::Done)
}
