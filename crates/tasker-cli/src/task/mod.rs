//! `tasker task ..`: submitting tasks, looking at them, and the verbs by hand.

mod by_hand;
mod list;
mod show;
mod submit;
mod watch;

pub use submit::named;

use clap::Subcommand;

use crate::{
    Session,
    ending::{Ending, Failure},
};

/// Submit tasks, look at them, follow them, and act on them by hand
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
    Watch(watch::Args),
    #[command(flatten)]
    ByHand(by_hand::Verb),
}

impl Args {
    /// Whether it goes on until something ends it.
    pub fn follows(&self) -> bool {
        matches!(self.command, Command::Watch(_))
    }
}

/// Does what is asked.
pub async fn run(args: Args, session: &Session) -> Result<Ending, Failure> {
    let done = session.ask(async |door| {
        match args.command {
            Command::Submit(args) => submit::run(args, session, door).await,
            Command::List(args) => list::run(args, session, door).await,
            Command::Show(args) => show::run(args, session, door).await,
            Command::Watch(args) => return watch::run(args, session, door).await,
            Command::ByHand(verb) => by_hand::run(verb, session, door).await,
        }
        .map(|()| Ending::Done)
    });
    done.await
}
