// Reads one question a line from stdin and answers each with one line, in order:
//
//   {"language":"promql"|"logql"|"traceql","query":"…"}
//   → {"selectors":["…",…]}   the text of every selector, in order of their beginnings
//   → {"error":true}          the grammar does not accept the query
//
//   {"language":"logql","as":"printed","query":"…"}    a query as Loki prints it
//   → {"selectors":[[{"name":"…","op":"…","value":"…"},…],…]}   the matchers of every selector
//   → {"fault":"…"}           which selectors there are is not certain
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
  const { language, as, query } = JSON.parse(line);
  if (!Object.hasOwn(languages, language) || typeof query !== "string") {
    throw new TypeError("no language or no query");
  }
  if (as === "printed" && language === "logql") {
    return printed(query);
  }
  if (as !== undefined) {
    throw new TypeError(`${language} is not read as ${as}`);
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

// Loki prints no comments, and every string in quotes of its own, so that its selectors can be told without a grammar,
// too: from a brace to the next one, outside strings. The two must agree. What the grammar does not know whole
// (`variants`, an offset of 1h0m0s, a label that is called like a function) it reads selector by selector.
const PIECES = /"(?:[^"\\]|\\.)*"|`[^`]*`|\{(?:[^{}"`]|"(?:[^"\\]|\\.)*")*\}|[{}"`]/gs;

function printed(query) {
  const pieces = Array.from(query.matchAll(PIECES), ([text]) => text).filter((text) => !/^["`]./s.test(text));
  const whole = read(query);
  const found = whole.error ? pieces.flatMap((piece) => read(piece).found) : whole.found;
  if (found.length !== pieces.length || found.some(({ text }, at) => text !== pieces[at])) {
    return { fault: `the selectors are ${JSON.stringify(pieces)}, but the grammar finds ${JSON.stringify(found)}` };
  }
  return { selectors: found.map(({ matchers }) => matchers) };
}

// The text and the matchers of each selector.
function read(query) {
  const found = [];
  let error = false;
  let inside = false;
  logql.parse(query).iterate({
    enter(node) {
      error ||= node.type.isError;
      if (node.name === "Selector") {
        inside = true;
        found.push({ text: query.slice(node.from, node.to), matchers: [] });
      } else if (inside && node.name === "Matcher") {
        found.at(-1).matchers.push(...matcher(query, node.node));
      }
    },
    leave(node) {
      inside &&= node.name !== "Selector";
    },
  });
  return { error, found };
}

// Nothing if it is not read in full: whoever looks for this matcher misses it then, and takes no other for it.
function matcher(query, node) {
  const parts = [];
  for (let child = node.firstChild; child; child = child.nextSibling) {
    if (child.type.isError) {
      return [];
    }
    parts.push(query.slice(child.from, child.to));
  }
  const [name, op, quoted] = parts;
  return parts.length === 3 ? [{ name, op, value: unquoted(quoted) }] : [];
}

// Go quotes as JSON does, but for characters that no scope here has: those stay as they are printed.
function unquoted(text) {
  try {
    return JSON.parse(text);
  } catch {
    return text;
  }
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
