//! `tasker dev`: everything in one process: the doors over HTTP, a worker with the built-in handlers, and example workflows to begin with.

use tasker::{
    Tasker, WorkerOptions,
    handlers::{self, Options},
    workflow::Definition,
};

use crate::{
    Session,
    ending::{Ending, Failure},
    output::tell,
    serve::{Listen, addresses},
};

/// Run everything in one process, for development: HTTP, a worker that may do anything, example workflows
///
/// On the embedded database, unless --database names a server: what DATABASE_URL names is left alone.
#[derive(clap::Args)]
pub struct Args {
    #[command(flatten)]
    listen: Listen,
    /// How many steps may run at once
    #[arg(long, value_name = "N", default_value_t = 100, value_parser = crate::concurrency())]
    concurrency: usize,
    /// Register no example workflows
    #[arg(long)]
    without_examples: bool,
}

/// What there is to begin with.
const EXAMPLES: [(&str, &str); 2] = [
    ("examples/psql/parcel.yaml", include_str!("../../../examples/psql/parcel.yaml")),
    ("examples/etl/history.yaml", include_str!("../../../examples/etl/history.yaml")),
];

/// Runs until a signal: the first lets requests and running steps end, the second leaves at once.
pub async fn run(args: Args, session: &Session) -> Result<Ending, Failure> {
    let database = session.database.of_one_s_own();
    let tasker = tokio::select! {
        opened = database.open_or_make() => opened?,
        () = session.stop.cancelled() => return Ok(Ending::Interrupted),
    };
    tasker.migrate().await?;
    let (listener, access) = args.listen.open(&tasker).await?;
    if !args.without_examples {
        register(&tasker).await?;
    }
    let base_dir =
        std::env::current_dir().map_err(|why| Failure::unable(format!("the working folder is not there: {why}")))?;
    for (name, handler) in handlers::built_in(&Options { allow_command: true, allow_private_hosts: true, base_dir }) {
        tasker.handle(name, handler);
    }
    let address = listener.local_addr().map_err(|why| Failure::unable(format!("it cannot be listened on: {why}")))?;
    tell(format_args!(
        "on {}\nserving {}\nto look around: http://{address}/graphiql\nfor example: tasker task submit shop.parcel --server http://{address} --input '{{\"item\": \"anvil\", \"grams\": 9000}}'\nor: curl -sX POST http://{address}/v1/tasks -H 'Content-Type: application/json' \\\n  -d '{{\"namespace\": \"shop\", \"name\": \"parcel\", \"input\": {{\"item\": \"anvil\", \"grams\": 9000}}}}'",
        database.shown(),
        addresses(&listener)?
    ));
    let worker = tasker.worker(WorkerOptions { concurrency: args.concurrency, ..WorkerOptions::default() });
    // neither goes on without the other
    let stop = &session.stop;
    let (served, worked) = tokio::join!(
        async { (tasker_server::serve_dev(listener, tasker.clone(), access, stop.clone()).await, stop.cancel()).0 },
        async { (worker.run(stop.clone()).await, stop.cancel()).0 }
    );
    tasker.close().await;
    served.map_err(|why| Failure::unable(format!("it cannot be served: {why}")))?;
    worked?;
    Ok(Ending::Done)
}

async fn register(tasker: &Tasker) -> Result<(), Failure> {
    for (file, text) in EXAMPLES {
        let definition = Definition::from_yaml(file, text.as_bytes(), None, &[])
            .map_err(|refused| Failure::unable(format!("{file}: {refused}")))?;
        let Definition { namespace, name, version, .. } = &definition;
        match tasker.register_definition(&definition).await {
            Ok(_) => tell(format_args!("registered {namespace}.{name} {version}")),
            // of another Tasker, or one's own
            Err(error) if error.code() == "version_taken" => {
                tell(format_args!("{namespace}.{name} {version} is another one here, and stays"));
            }
            Err(error) => return Err(error.into()),
        }
    }
    Ok(())
}
