// Starts GraphiQL against this server. Subscriptions come as server-sent events, which its own fetcher does not know.
"use strict";

const FIRST = `# Tasks that need somebody, and why. Ctrl-Enter asks.
{
  tasks(filter: {executionStatus: "blocked_by_failures"}, first: 10) {
    nodes {
      taskId
      workflow
      executionContext { executionStatus recommendedAction completionPercentage }
      workflowSteps { nodes { name currentState blockingReason error parents { name } } }
    }
  }
}
`;

async function ask(params, headers, accept) {
  return fetch("/graphql", {
    method: "POST",
    headers: { ...headers, "Content-Type": "application/json", Accept: accept },
    body: JSON.stringify(params),
  });
}

async function* follow(params, headers) {
  const response = await ask(params, headers, "text/event-stream");
  if (!(response.headers.get("Content-Type") || "").startsWith("text/event-stream")) {
    yield await response.json();
    return;
  }
  const reader = response.body.pipeThrough(new TextDecoderStream()).getReader();
  let text = "";
  try {
    for (;;) {
      const { value, done } = await reader.read();
      if (done) return;
      text += value;
      const messages = text.split("\n\n");
      text = messages.pop();
      for (const message of messages) {
        const lines = message.split("\n");
        const data = lines.filter((line) => line.startsWith("data:")).map((line) => line.slice(5).trim()).join("\n");
        if (lines.includes("event: complete")) return;
        if (lines.includes("event: next")) yield JSON.parse(data);
      }
    }
  } finally {
    reader.cancel();
  }
}

function fetcher(params, { headers, documentAST } = {}) {
  const meant = (definition) =>
    definition.kind === "OperationDefinition" &&
    (!params.operationName || (definition.name && definition.name.value === params.operationName));
  const operation = documentAST && documentAST.definitions.find(meant);
  if (operation && operation.operation === "subscription") return follow(params, headers);
  return ask(params, headers, "application/json").then((response) => response.json());
}

ReactDOM.createRoot(document.getElementById("graphiql")).render(
  React.createElement(GraphiQL, { fetcher, defaultQuery: FIRST, isHeadersEditorEnabled: true }),
);
