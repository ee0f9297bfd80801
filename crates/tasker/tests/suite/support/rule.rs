//! Rules as data: a workflow, a history, and the picture that the views must give. Each is a test on the server, and all of
//! them together are one on the embedded database.

use expect_test::Expect;

use super::{Play, TestDatabase};

/// A rule.
pub struct Rule {
    /// The sentence that you would tell a colleague.
    pub name: &'static str,
    /// A [`sketch`](super::sketch).
    pub graph: &'static str,
    /// What happens, in the words of a [`Play`].
    pub history: &'static str,
    /// What the views then say.
    pub picture: Expect,
}

impl Rule {
    /// Lives through the history and compares the pictures.
    pub async fn check(&self, db: &TestDatabase) {
        // shown where it fails
        println!("{}: `{}`, `{}`", self.name, self.graph, self.history);
        let play = Play::through(db, self.graph, self.history).await;
        self.picture.assert_eq(&play.picture().await);
    }
}

/// Rules, one in a paragraph: `name: "graph", "history" => expect![..];`
macro_rules! rules {
    ($($(#[$doc:meta])* $name:ident: $graph:literal, $history:literal => $picture:expr;)*) => {
        $(
            #[test]
            $(#[$doc])*
            fn $name() {
                let rule = Rule { name: stringify!($name), graph: $graph, history: $history, picture: $picture };
                crate::support::with_database(async |db| rule.check(db).await);
            }
        )*

        /// All of them, for another database.
        #[cfg(feature = "embedded")]
        pub const RULES: &[Rule] =
            &[$(Rule { name: stringify!($name), graph: $graph, history: $history, picture: $picture }),*];
    };
}

pub(crate) use rules;
