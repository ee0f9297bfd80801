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
        let play = Play::through(db, self.graph, self.history).await;
        self.picture.assert_eq(&play.picture().await);
        every_filter_commutes(db).await;
    }
}

/// Asking for one step or task gives the row that asking for all gives.
async fn every_filter_commutes(db: &TestDatabase) {
    for (view, key) in [
        ("step_readiness_statuses", "task_id, step_number"),
        ("step_dag_relationships", "task_id, step_number"),
        ("workflow_steps", "task_id, step_number"),
        ("task_execution_contexts", "task_id"),
        ("task_workflow_summaries", "task_id"),
    ] {
        let differences: i64 = db
            .value(&format!(
                "with everything as materialized (select v::text as line, {key} from tasker.{view} v)
                 select count(*) from everything e
                 left join lateral (select v::text as line from tasker.{view} v where ({key}) = ({mine})) one on true
                 where one.line is distinct from e.line",
                key = key.split(", ").map(|column| format!("v.{column}")).collect::<Vec<_>>().join(", "),
                mine = key.split(", ").map(|column| format!("e.{column}")).collect::<Vec<_>>().join(", "),
            ))
            .await;
        assert_eq!(differences, 0, "asked for one row, {view} says something else than asked for all");
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
        pub const RULES: &[Rule] =
            &[$(Rule { name: stringify!($name), graph: $graph, history: $history, picture: $picture }),*];
    };
}

pub(crate) use rules;
