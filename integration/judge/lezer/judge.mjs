// Reads one question a line from stdin and answers each with one line, in order:
//
//   {"language":"promql"|"logql"|"traceql","query":"…"}
//   → {"selectors":["…",…]}   the text of every selector, in order of their beginnings
//   → {"error":true}          the grammar does not accept the query
//
// A line that is no such question is answered with {"error":true,"reason":"…"}: whoever
// asks counts on one answer a line.
import { parser as logql } from "@grafana/lezer-logql";
import { parser as traceql } from "@grafana/lezer-traceql";
import { parser as promql } from "@prometheus-io/lezer-promql";

// Nodes that name what is read from the store.
const languages = {
  logql: { parser: logql, selector: "Selector" },
  promql: { parser: promql, selector: "VectorSelector" },
  traceql: { parser: traceql, selector: "SpansetFilter" },
};

// A grammar that renames its nodes would find no selectors, and all would seem well.
for (const [name, { parser, selector }] of Object.entries(languages)) {
  if (!parser.nodeSet.types.some((type) => type.name === selector)) {
    throw new Error(`the grammar of ${name} knows no ${selector}`);
  }
}

function answer(line) {
  const { language, query } = JSON.parse(line);
  if (!Object.hasOwn(languages, language) || typeof query !== "string") {
    throw new TypeError("no language or no query");
  }
  const { parser, selector } = languages[language];
  const selectors = [];
  let error = false;
  parser.parse(query).iterate({
    enter(node) {
      error ||= node.type.isError;
      if (node.type.name === selector) {
        selectors.push(query.slice(node.from, node.to));
      }
      return !error;
    },
  });
  return error ? { error: true } : { selectors };
}

// The other end may stop reading first.
process.stdout.on("error", () => process.exit(0));

// Not readline's lines: those end at U+2028 and U+2029 too, which JSON leaves in its strings.
async function* lines(stream) {
  let rest = "";
  for await (const chunk of stream.setEncoding("utf8")) {
    const parts = (rest + chunk).split("\n");
    rest = parts.pop();
    yield* parts;
  }
  if (rest !== "") {
    yield rest;
  }
}

for await (const line of lines(process.stdin)) {
  let reply;
  try {
    reply = answer(line);
  } catch (failure) {
    reply = { error: true, reason: String(failure) };
  }
  process.stdout.write(`${JSON.stringify(reply)}\n`);
}
