//! `tasker key ..`: keys for those who come over HTTP.

use std::time::Duration;

use serde_json::json;
use tasker::{
    access::{ApiKey, Role, Secret},
    duration,
    store::Store,
};
use uuid::Uuid;

use crate::{
    Session,
    ending::{Ending, Failure},
    output::{Paint, columns, instant, print, print_json, tell},
};

/// Make and revoke the keys of those who come over HTTP
#[derive(clap::Args)]
pub struct Args {
    #[command(subcommand)]
    command: Command,
}

#[derive(clap::Subcommand)]
enum Command {
    /// Make a key; it is told now, and never again
    Create {
        /// Whose it is: what stands in histories and in the audit
        name: String,
        /// What its bearer may do: viewer, submitter, worker, operator or admin
        #[arg(long)]
        role: Role,
        /// Only in this namespace; may be given several times [default: all]
        #[arg(long, value_name = "NAME")]
        namespace: Vec<String>,
        /// It is good for so long: 90d [default: until it is revoked]
        #[arg(long, value_name = "DURATION", value_parser = duration::parse)]
        expires_in: Option<Duration>,
    },
    /// List all keys, those that are good for nothing too
    List,
    /// Make a key in another's place; the old one is good for a while longer
    Rotate {
        /// Its id
        #[arg(value_name = "KEY_ID")]
        id: Uuid,
        /// For how long the old one is still good
        #[arg(long, value_name = "DURATION", value_parser = duration::parse, default_value = "1d")]
        grace: Duration,
    },
    /// Make a key good for nothing; servers learn it within five seconds
    Revoke {
        /// Its id
        #[arg(value_name = "KEY_ID")]
        id: Uuid,
    },
}

/// Does what is asked.
pub async fn run(args: Args, session: &Session) -> Result<Ending, Failure> {
    session.database.on(async |tasker| perform(args.command, session, tasker.store()).await).await?;
    Ok(Ending::Done)
}

async fn perform(command: Command, session: &Session, store: &Store) -> Result<(), Failure> {
    match command {
        Command::Create { name, role, namespace, expires_in } => {
            let expires_at = expires_in.map(|time| chrono::Utc::now() + time);
            let namespaces = (!namespace.is_empty()).then_some(namespace);
            let is_first = !store.has_keys().await?;
            let (key, secret) = store.create_key(&name, role, namespaces.as_deref(), expires_at).await?;
            told(session, &key, &secret)?;
            if is_first {
                tell("this is the first key: servers that run without keys ask for none until they are started again");
            }
            Ok(())
        }
        Command::Rotate { id, grace } => {
            let (key, secret) = store.rotate_key(id, grace).await?;
            told(session, &key, &secret)
        }
        Command::Revoke { id } => {
            let key = store.revoke_key(id).await?;
            match session.json {
                true => print_json(&key),
                false => print(&format!("{} of {} is revoked\n", key.api_key_id, key.name)),
            }
        }
        Command::List => {
            let keys = store.keys().await?;
            match session.json {
                true => print_json(&keys),
                false => print(&lines(&keys)),
            }
        }
    }
}

/// The key itself stands alone on stdout.
fn told(session: &Session, key: &ApiKey, secret: &Secret) -> Result<(), Failure> {
    if session.json {
        let mut told = json!(key);
        told["key"] = json!(secret.reveal());
        return print_json(&told);
    }
    tell(format_args!("{} {} for {}; this is told once:", key.role, key.api_key_id, key.name));
    print(&format!("{}\n", secret.reveal()))
}

fn lines(keys: &[ApiKey]) -> String {
    let paint = Paint::stdout();
    let line = |key: &ApiKey| {
        let state = match (key.revoked_at, key.expires_at) {
            (Some(at), _) => format!("revoked {}", instant(at)),
            (None, Some(at)) => format!("until {}", instant(at)),
            (None, None) => String::new(),
        };
        let namespaces = key.namespaces.as_ref().map_or("all".into(), |names| names.join(", "));
        vec![key.api_key_id.to_string(), key.name.clone(), key.role.to_string(), namespaces, paint.dim(&state)]
    };
    columns(&keys.iter().map(line).collect::<Vec<_>>())
}
