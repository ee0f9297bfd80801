//! `tasker task ..`: submitting tasks, looking at them, and the verbs by hand.

mod by_hand;
mod list;
mod show;
mod submit;

pub use submit::named;

use clap::Subcommand;

use crate::{
    Session,
    ending::{Ending, Failure},
};

/// Submit tasks, look at them, and act on them by hand
#[derive(clap::Args)]
pub struct Args {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    Submit(submit::Args),
    List(list::Args),
    Show(show::Args),
    #[command(flatten)]
    ByHand(by_hand::Verb),
}

/// Does what is asked.
pub async fn run(args: Args, session: &Session) -> Result<Ending, Failure> {
    let tasker = session.database.open().await?;
    let done = match args.command {
        Command::Submit(args) => submit::run(args, session, &tasker).await,
        Command::List(args) => list::run(args, session, tasker.store()).await,
        Command::Show(args) => show::run(args, session, tasker.store()).await,
        Command::ByHand(verb) => by_hand::run(verb, session, &tasker).await,
    };
    tasker.close().await;
    done.map(|()| Ending::Done)
}
