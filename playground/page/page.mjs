// The page: turns its fields into the arguments and files of `scopegate explain`, and shows what that prints.
// Everything is shown as text, so nothing that somebody enters can become a part of the page.

import { examples as shipped, run } from "./module.mjs";

const CONFIGURATION = "scopegate.yaml";

const at = (id) => document.getElementById(id);
// Half a surrogate pair is replaced, because it is not text.
const value = (id) => at(id).value.toWellFormed();
// A token that somebody has put into another field than the one for tokens.
const TOKEN = /\beyJ[\w-]+\.[\w-]+\.[\w-]*/g;
const masked = (text) => text.replaceAll(TOKEN, "<token>");

const chosen = (name) => document.querySelector(`input[name=${name}]:checked`).value;

// The lines of a field that are not blank.
const lines = (id) => value(id).split("\n").filter((line) => line.trim() !== "");

function element(name, text, ...classes) {
  const made = document.createElement(name);
  if (text !== undefined) made.textContent = text;
  made.classList.add(...classes);
  return made;
}

// The fields as a call of the command line.
function question() {
  const files = { [CONFIGURATION]: value("configuration") };
  const words = ["explain", CONFIGURATION, "--offline"];
  const file = (option, name, content) => {
    files[name] = content;
    words.push(option, name);
  };
  const caller = chosen("caller");
  if (caller === "claims") {
    file("--claims", "claims.json", value("claims"));
    if (value("provider") !== "") words.push("--provider", value("provider"));
  }
  if (caller === "token") {
    file("--token-file", "token", value("token").trim());
    if (value("jwks").trim() !== "") file("--jwks", "keys.json", value("jwks"));
  }
  if (caller !== "nobody" && chosen("way") !== "bearer") words.push("--as", chosen("way"));
  // With "=", a text that begins with a dash is not taken for an option.
  const put = (option, text) => words.push(`${option}=${text}`);
  if (value("tenant") !== "") put("--tenant", value("tenant"));
  put("--method", value("method"));
  put("--path", value("path"));
  const option = at("form").checked ? "--form" : "--param";
  if (value("query") !== "") put(option, `${value("parameter")}=${value("query")}`);
  for (const line of lines("params")) put(option, line);
  for (const line of lines("headers")) put("--header", line);
  if (value("number").trim() !== "") put("--number", value("number").trim());
  if (value("body") !== "" && !at("form").checked) file("--body-file", "body", value("body"));
  if (at("grpc").checked) words.push("--grpc");
  if (value("at").trim() !== "") put("--at", value("at").trim());
  if (value("organizations").trim() !== "") file("--organizations", "organizations.json", value("organizations"));
  if (value("directory") !== "") put("--directory", value("directory"));
  const variables = {};
  for (const line of lines("variables")) {
    const [name, ...rest] = line.split("=");
    variables[name.trim()] = rest.join("=");
  }
  const now = String(BigInt(Date.now()) * 1_000_000n);
  return { arguments: words, files, variables, now };
}

// A list of headers, with the status line or request line above it and the body below.
function message(title, first, headers, body) {
  const box = [element("h3", title)];
  const rows = headers.map(([name, value]) => `${name}: ${shown(value)}`);
  let text = [first, ...rows].join("\n");
  if (body !== null && body !== undefined && shown(body) !== "") text += `\n\n${shown(body)}`;
  box.push(element("pre", text));
  return box;
}

// Bytes that are not UTF-8 come as base64.
const shown = (bytes) => (typeof bytes === "string" ? bytes : `(base64) ${bytes.base64}`);

function query(parameter, when) {
  const box = [element("h3", `The parameter ${parameter.parameter}${when}`)];
  const part = (caption, content) => {
    const figure = element("figure");
    figure.append(element("figcaption", caption), content);
    box.push(figure);
  };
  part("as sent", element("pre", parameter.before ?? "nothing", "before"));
  const after = element("pre", undefined, "after");
  // If nothing was sent, the whole text was inserted.
  const whole = { text: parameter.after ?? "nothing", inserted: parameter.before === null };
  for (const { text, inserted } of parameter.pieces ?? [whole]) {
    after.append(inserted ? element("ins", text) : text);
  }
  part("as the backend gets it", after);
  return box;
}

const MARKS = { passed: "✓", answered: "✓", refused: "✗", "not reached": "·" };

function verdict(said) {
  switch (said.decision) {
    case "allow":
      return ["good", `Allowed, to ${said.forwarded?.backend ?? "no backend"}`];
    case "deny":
      return ["bad", `Refused: ${said.status} ${said.code}`];
    case "report":
      return ["bad", `Would be refused: ${said.status} ${said.code}; passes, because of mode: report`];
    default:
      return ["good", `Answered by the gate: ${said.code}`];
  }
}

function show(said) {
  const [kind, text] = verdict(said);
  at("verdict").className = kind;
  at("verdict").textContent = text;
  at("message").textContent = said.message ?? "";
  for (const { step, result, found } of said.steps) {
    const row = element("li", undefined, result.replace(" ", "-"));
    row.append(element("i", MARKS[result] ?? ""), element("b", step), element("span", found.join("\n")));
    at("steps").append(row);
  }
  for (const parameter of said.parameters) at("queries").append(...query(parameter, ""));
  for (const parameter of said.enforced_parameters) {
    at("queries").append(...query(parameter, ", in mode: enforce"));
  }
  if (said.reply !== null) {
    const { status, grpc_status: grpc, headers, body } = said.reply;
    const first = grpc === null ? `HTTP ${status}` : `HTTP 200, grpc-status ${grpc}`;
    at("client").append(...message("The client gets", first, headers, body));
    at("backend").append(element("h3", "The backend sees"), element("p", "nothing"));
  } else if (said.forwarded?.backend) {
    const { backend, method, path, headers, body, response } = said.forwarded;
    at("backend").append(...message(`The backend (${backend}) sees`, `${method} ${shown(path)}`, headers, body));
    const changes = response.map(([name, value]) => (value === null ? `without ${name}` : `${name}: ${value}`));
    const rest = changes.length === 0 ? "" : ", changed:";
    at("client").append(element("h3", "The client gets"), element("p", `the backend's answer${rest}`));
    if (changes.length > 0) at("client").append(element("pre", changes.join("\n")));
  }
  if (said.record !== null) {
    at("record").hidden = false;
    at("record").querySelector("pre").textContent = JSON.stringify(said.record, null, 2);
  }
  if (said.notes.length > 0) {
    const list = element("ul");
    list.append(...said.notes.map((note) => element("li", note)));
    at("notes").append(element("h3", "Notes"), list);
  }
}

// A word, quoted for a POSIX shell.
const quoted = (word) => (/^[\w@%+=:,./-]+$/.test(word) ? word : `'${word.replaceAll("'", "'\\''")}'`);

function clear() {
  for (const id of ["steps", "queries", "client", "backend", "notes"]) at(id).replaceChildren();
  for (const id of ["problems", "record", "shell"]) at(id).hidden = true;
  at("verdict").className = "";
  at("verdict").textContent = "";
  at("message").textContent = "";
}

function trouble(title, text) {
  at("verdict").className = "bad";
  at("verdict").textContent = title;
  at("problems").hidden = false;
  // The command's advice about its own options means nothing on this page.
  at("problems").textContent = masked(text.split(/\n\n(?:Usage:|For more information)/)[0].trim());
}

function explain(module) {
  clear();
  const call = question();
  let said;
  try {
    said = run(module, { ...call, plain: true, arguments: [...call.arguments, "--output", "json"] });
  } catch (error) {
    trouble("This is a fault of scopegate's: please report it", String(error));
    return;
  }
  try {
    show(JSON.parse(said.output));
  } catch {
    const wrong = said.output.trim() !== "";
    trouble(wrong ? "The configuration has problems" : "This cannot be explained", said.output || said.errors);
    return;
  }
  at("shell").hidden = false;
  const variables = Object.entries(call.variables).map(([name, value]) => `${name}=${quoted(value)}`);
  const line = [...variables, "scopegate", ...call.arguments.map(quoted)].join(" ");
  at("shell").querySelector("pre").textContent = masked(line);
}

// The names of the configuration's providers, found at a glance and only suggested: the command itself knows better.
function providers() {
  const names = new Set();
  let inside = false;
  for (const line of value("configuration").split("\n")) {
    if (/^\S/.test(line)) inside = line.startsWith("providers:");
    const name = inside && /^\s*(?:-\s*)?(?:\{\s*)?name:\s*["']?([a-z0-9-]+)/.exec(line);
    if (name) names.add(name[1]);
  }
  at("providers").replaceChildren(...[...names].map((name) => new Option(name, name)));
}

// The name of the parameter in which the backend expects the query.
function parameter(path) {
  if (path.startsWith("/tempo/")) return "q";
  const metrics = path.startsWith("/prometheus/") && /\/(series|labels|values)\b/.test(path);
  return metrics || /^\/loki\/api\/v1\/series\b/.test(path) ? "match[]" : "query";
}

function choose(name, wanted) {
  document.querySelector(`input[name=${name}][value="${wanted}"]`).checked = true;
}

function parts() {
  for (const part of document.querySelectorAll("[data-for]")) part.hidden = part.dataset.for !== chosen("caller");
  at("way").hidden = chosen("caller") === "nobody";
  // A form takes the place of the body.
  at("body").disabled = at("form").checked;
}

function load(example) {
  at("question").reset();
  at("configuration").value = example.configuration;
  providers();
  at("claims").value = JSON.stringify(example.claims ?? {}, null, 2);
  choose("way", example.as ?? "bearer");
  at("tenant").value = example.tenant ?? "";
  at("method").value = example.method ?? "GET";
  at("path").value = example.path;
  const { query, q, ...others } = example.param ?? {};
  at("query").value = query ?? q ?? "";
  at("parameter").value = q === undefined ? parameter(example.path) : "q";
  at("params").value = Object.entries(others).map(([name, value]) => `${name}=${value}`).join("\n");
  at("body").value = example.body ?? "";
  at("more").open = at("params").value !== "" || at("body").value !== "";
  parts();
}

// The bytes of a data block, which holds gzip in base64.
async function unpacked(id) {
  const packed = Uint8Array.from(atob(at(id).textContent.trim()), (c) => c.charCodeAt(0));
  const stream = new Blob([packed]).stream().pipeThrough(new DecompressionStream("gzip"));
  return new Response(stream).arrayBuffer();
}

async function start() {
  const module = await WebAssembly.compile(await unpacked("module"));
  const examples = shipped(module);
  const groups = new Map();
  examples.forEach((example, number) => {
    if (!groups.has(example.example)) {
      const group = document.createElement("optgroup");
      group.label = example.example;
      groups.set(example.example, group);
      at("example").append(group);
    }
    groups.get(example.example).append(new Option(example.title, number));
  });
  // Explain a moment later, so that the page first shows the entered text and a sign of work: making an RSA key
  // takes a second.
  let waiting;
  const again = () => {
    clear();
    at("verdict").textContent = "…";
    at("answer").classList.remove("stale");
    at("stale").hidden = true;
    clearTimeout(waiting);
    waiting = setTimeout(() => explain(module), 0);
  };
  at("example").addEventListener("change", () => {
    load(examples[Number(value("example"))]);
    again();
  });
  at("question").addEventListener("submit", (event) => {
    event.preventDefault();
    again();
  });
  at("question").addEventListener("keydown", (event) => {
    if (event.key === "Enter" && (event.ctrlKey || event.metaKey)) again();
  });
  at("question").addEventListener("input", () => {
    at("answer").classList.add("stale");
    at("stale").hidden = false;
  });
  at("path").addEventListener("input", () => (at("parameter").value = parameter(value("path"))));
  at("configuration").addEventListener("change", providers);
  for (const id of ["caller", "form"]) at(id).addEventListener("change", parts);
  // Begin with the first example whose query is rewritten, because it shows the most.
  const first = examples.findIndex((example) => example.becomes?.query !== undefined);
  at("example").value = String(Math.max(first, 0));
  load(examples[Math.max(first, 0)]);
  again();
}

start().catch((error) => trouble("The gate could not be started in this browser", String(error)));
