//! REST, under `/v1`.

mod diagrams;
mod events;
mod named_tasks;
mod tasks;
mod workflow_steps;

pub(crate) use events::HEARTBEAT;
use utoipa::{
    OpenApi,
    openapi::security::{HttpAuthScheme, HttpBuilder, SecurityScheme},
};
use utoipa_axum::{router::OpenApiRouter, routes};

use crate::{App, access::SCHEME, graphql, problem::Problem};

/// The document's head.
#[derive(OpenApi)]
#[openapi(
    info(
        title = "Tasker",
        description = "Workflows on PostgreSQL: submit tasks, follow them, act on them, and ask at any moment which steps may run now, and why not the others."
    ),
    components(schemas(Problem)),
    tags(
        (name = "named tasks", description = "Workflows' versions"),
        (name = "tasks", description = "Submissions of workflows"),
        (name = "workflow steps", description = "The steps of tasks"),
        (name = "events", description = "What happens, as it happens"),
        (name = "graphql", description = "All of it in one query")
    )
)]
struct Head;

/// All routes.
pub(crate) fn routes() -> OpenApiRouter<App> {
    let mut head = Head::openapi();
    let key = HttpBuilder::new().scheme(HttpAuthScheme::Bearer).description(Some("A key: `tasker key create`")).build();
    head.components.get_or_insert_default().add_security_scheme(SCHEME, SecurityScheme::Http(key));
    OpenApiRouter::with_openapi(head)
        .routes(routes!(named_tasks::list, named_tasks::register))
        .routes(routes!(named_tasks::latest))
        .routes(routes!(named_tasks::version))
        .routes(routes!(tasks::list, tasks::submit))
        .routes(routes!(tasks::preview))
        .routes(routes!(tasks::bulk))
        .routes(routes!(tasks::show))
        .routes(routes!(tasks::act))
        .routes(routes!(tasks::transitions))
        .routes(routes!(tasks::contexts))
        .routes(routes!(tasks::readiness))
        .routes(routes!(workflow_steps::list))
        .routes(routes!(workflow_steps::show))
        .routes(routes!(workflow_steps::retry))
        .routes(routes!(workflow_steps::cancel))
        .routes(routes!(workflow_steps::resolve))
        .routes(routes!(workflow_steps::edit_input))
        .routes(routes!(workflow_steps::change_limit))
        .routes(routes!(workflow_steps::transitions))
        .routes(routes!(workflow_steps::attempts))
        .routes(routes!(workflow_steps::explain))
        .routes(routes!(diagrams::of_task))
        .routes(routes!(diagrams::of_workflow))
        .routes(routes!(events::stream))
        .routes(routes!(graphql::answer))
}
