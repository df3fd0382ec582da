// Walks a Chromium through the playground: walk.mjs PAGE CHROMIUM [PICTURES]
//
// Standard input is JSON: the `configuration`, `token` and `jwks` of a caller who may read, the `path` and `tenant`
// of the request, and the `expected` code of each example, in order. If PICTURES names a folder, pictures are left
// there. The walk ends with an error if something is not as it should be; otherwise it prints what it saw.

import assert from "node:assert/strict";
import { readFileSync } from "node:fs";
import { createServer } from "node:net";
import { join, resolve } from "node:path";
import { pathToFileURL } from "node:url";
import { chromium } from "playwright-core";

const [file, browserPath, pictures] = process.argv.slice(2);
const given = JSON.parse(readFileSync(0, "utf8"));
const address = pathToFileURL(resolve(file)).href;

// Every connection that the browser makes ends here, whichever host it is for.
const connections = [];
const trap = createServer((socket) => {
  socket.once("data", (bytes) => {
    connections.push(bytes.toString("latin1").split("\r\n")[0]);
    socket.destroy();
  });
  socket.on("error", () => {});
});
await new Promise((listening) => trap.listen(0, "127.0.0.1", listening));
const { port } = trap.address();

const browser = await chromium.launch({
  executablePath: browserPath,
  chromiumSandbox: process.getuid?.() !== 0,
  proxy: { server: `http://127.0.0.1:${port}`, bypass: "<-loopback>" },
  args: ["--disable-background-networking", "--disable-component-update", "--disable-sync", "--no-first-run"],
});
const requests = [];
const faults = [];
try {
  const context = await browser.newContext({ viewport: { width: 1280, height: 920 }, colorScheme: "light" });
  const page = await context.newPage();
  page.on("request", (request) => requests.push(request.url()));
  page.on("pageerror", (error) => faults.push(String(error)));
  page.on("console", (message) => {
    if (["error", "warning"].includes(message.type())) faults.push(message.text());
  });
  page.on("dialog", (dialog) => {
    faults.push(`a dialog: ${dialog.message()}`);
    dialog.dismiss();
  });
  await page.goto(address);
  const verdict = page.locator("#verdict");
  const text = (selector) => page.locator(selector).innerText();
  const code = async () => {
    const said = await verdict.innerText();
    return said.startsWith("Allowed") ? "allowed" : said.split(" ").at(-1);
  };
  const told = () =>
    page.waitForFunction(() => !["", "…"].includes(document.getElementById("verdict").textContent));
  const explain = async () => {
    await page.locator("#explain").click();
    await told();
  };
  await told();

  // Each example shows what it is meant to show.
  const options = page.locator("#example option");
  assert.equal(await options.count(), given.expected.length);
  for (const [number, expected] of given.expected.entries()) {
    await page.locator("#example").selectOption(String(number));
    await told();
    assert.equal(await code(), expected.code, `example ${number}: ${await text("#answer")}`);
    const rewritten = page.locator("#queries .after");
    if (expected.query !== undefined) {
      assert.equal(await rewritten.innerText(), expected.query);
      const marked = (await page.locator("#queries ins").allInnerTexts()).join("");
      assert.equal(marked.length, expected.query.length - expected.sent.length, marked);
    } else {
      assert.equal(await rewritten.count(), 0);
    }
    const refused = await page.locator("#steps li.refused").count();
    assert.equal(refused, expected.code === "allowed" ? 0 : 1);
  }

  if (pictures) {
    const shown = given.expected.findIndex((expected) => expected.query !== undefined);
    await page.locator("#example").selectOption(String(shown));
    await told();
    await page.screenshot({ path: join(pictures, "playground-scoped.png") });
    const refused = given.expected.findIndex((expected) => expected.code === "tenant_not_granted");
    await page.locator("#example").selectOption(String(refused));
    await told();
    await page.screenshot({ path: join(pictures, "playground-refused.png") });
  }

  // The text of a field reaches the gate unchanged: not even a blank that the query may not have is removed.
  const scoped = given.expected.findIndex((expected) => expected.query !== undefined);
  await page.locator("#example").selectOption(String(scoped));
  await told();
  for (const query of ['{a="b"}\u00a0', '\ufeff{a="b"}', '{a="b"}\u000b']) {
    await page.locator("#query").fill(query);
    assert.ok(await page.locator("#stale").isVisible(), "an old answer stands beside a new question");
    await explain();
    assert.ok(await page.locator("#stale").isHidden());
    assert.match(await code(), /^(query_refused|parameters_malformed)$/, JSON.stringify(query));
  }
  // Characters that are hidden, or that would begin a new line, are escaped.
  await page.locator("#query").fill('sum(a{x="\u202e"})');
  await page.locator("#claims").fill(JSON.stringify({ groups: ["nobody\nfull (claim groups)", "\u202egroups"] }));
  await explain();
  const answered = await text("#answer");
  assert.ok(answered.includes("nobody\\nfull") && answered.includes("\\u{202e}groups"), answered);
  assert.ok(!answered.includes("\u202e"));
  // The parameter is the one that the path's backend reads, and can be changed.
  for (const [path, name] of [
    ["/api/v1/projects/p/resources/r/logs", "query"],
    ["/tempo/api/search", "q"],
    ["/prometheus/api/v1/label/tempo/values", "match[]"],
    ["/loki/api/v1/label/tempo/values", "query"],
    ["/loki/api/v1/series", "match[]"],
  ]) {
    await page.locator("#path").fill(path);
    assert.equal(await page.locator("#parameter").inputValue(), name, path);
  }
  // The command for a terminal has everything but tokens that somebody has put into another field.
  await page.locator("#example").selectOption(String(given.expected.length - 1));
  await page.locator("#example").selectOption(String(scoped));
  await told();
  await page.locator("#more").evaluate((more) => (more.open = true));
  await page.locator("#variables").fill("SCOPEGATE_LOKI_ENABLED=false");
  await explain();
  assert.equal(await code(), "backend_not_configured", await text("#answer"));
  const elsewhere = "eyJhbGciOiJub25lIn0.eyJzdWIiOiJ4In0.c2ln";
  await page.locator("#params").fill(`note=${elsewhere}`);
  await explain();
  const line = await page.locator("#shell pre").textContent();
  assert.ok(line.startsWith("SCOPEGATE_LOKI_ENABLED=false scopegate explain "), line);
  assert.ok(line.includes("note=<token>") && !line.includes("eyJ"), line);
  await page.locator("#headers").fill(`x-other: ${elsewhere}`);
  await explain();
  assert.match(await text("#problems"), /a credential does not belong/);

  // A token that the visitor brings, with the provider's keys and without them.
  await page.locator("#configuration").fill(given.configuration);
  await page.locator('input[name="caller"][value="token"]').check();
  await page.locator('input[name="way"][value="bearer"]').check();
  await page.locator("#token").fill(given.token);
  await page.locator("#tenant").fill(given.tenant);
  await page.locator("#method").selectOption("GET");
  await page.locator("#path").fill(given.path);
  await page.locator("#query").fill("");
  await page.locator("#more").evaluate((more) => (more.open = true));
  for (const field of ["body", "params", "headers", "variables"]) await page.locator(`#${field}`).fill("");
  await explain();
  assert.equal(await code(), "keys_unavailable", await text("#answer"));
  await page.locator("#jwks").fill(given.jwks);
  await explain();
  assert.equal(await code(), "allowed", await text("#answer"));
  await page.locator("#token").fill(`${given.token.slice(0, -8)}AAAAAAAA`);
  await page.locator("#token").press("Control+Enter");
  await told();
  assert.equal(await code(), "signature_invalid", await text("#answer"));
  await page.locator("#token").fill(given.token);

  // A token stays in the field that it was put into, and is nowhere else.
  await explain();
  assert.equal(page.url(), address);
  const secret = given.token.split(".")[2];
  const kept = await page.evaluate(async () => ({
    storage: [localStorage.length, sessionStorage.length],
    cookies: document.cookie,
    databases: (await indexedDB.databases()).length,
    history: history.length,
    name: window.name,
    html: document.documentElement.outerHTML,
  }));
  assert.deepEqual(kept.storage, [0, 0]);
  assert.equal(kept.cookies, "");
  assert.equal(kept.databases, 0);
  assert.ok(!kept.html.includes(secret), "the signature stands in the page");
  assert.equal(kept.name, "");
  assert.deepEqual((await context.cookies()).length, 0);

  // A problem of the configuration is shown with its place.
  await page.locator("#configuration").fill(given.configuration.replace("audiences", "audience"));
  await explain();
  assert.match(await text("#problems"), /audience/);
  await page.locator("#configuration").fill(given.configuration);

  // Markup stays text, in every field.
  const markup = `<img src="http://127.0.0.1:${port}/" onerror="alert(1)"><script>alert(2)</script>`;
  const tried = new Set();
  for (const caller of ["token", "claims"]) {
    await page.locator(`input[name="caller"][value="${caller}"]`).check();
    for (const field of await page.locator("textarea:visible, input:visible:not([type=radio], [type=checkbox])").all()) {
      const before = await field.inputValue();
      await field.fill(before + markup);
      await explain();
      await field.fill(before);
      tried.add(await field.getAttribute("id"));
    }
  }
  assert.equal(tried.size, await page.locator("textarea, input:not([type=radio], [type=checkbox])").count());
  await page.locator('input[name="caller"][value="claims"]').check();
  await page.locator("#claims").fill(JSON.stringify({ sub: markup, groups: [markup] }));
  await explain();
  assert.equal(await page.locator("img").count(), 0);
  assert.ok((await text("#answer")).includes("<img src="));
  const clean = faults.splice(0);
  assert.deepEqual(clean, []);

  // Even a script in the page cannot connect to anything, nor leave the page by sending a form.
  const ways = await page.evaluate(async (url) => {
    const failed = (promise) => promise.then(() => "went", () => "failed");
    const image = new Promise((done, wrong) => {
      const image = new Image();
      [image.onload, image.onerror] = [done, wrong];
      image.src = url;
    });
    const socket = new Promise((done, wrong) => {
      const socket = new WebSocket(url.replace("http", "ws"));
      [socket.onopen, socket.onerror] = [done, wrong];
    });
    const form = document.createElement("form");
    form.action = url;
    document.body.append(form);
    form.submit();
    const script = document.createElement("script");
    script.textContent = "window.ran = true";
    document.body.append(script);
    return [await failed(fetch(url)), await failed(image), await failed(socket), window.ran ?? false];
  }, `http://127.0.0.1:${port}/`);
  assert.deepEqual(ways, ["failed", "failed", "failed", false]);
  assert.equal(page.url(), address);
  const blocked = faults.filter((fault) => fault.includes("Content Security Policy"));
  assert.ok(blocked.length >= 4, faults.join("\n"));

  const others = requests.filter((url) => url !== address);
  assert.deepEqual(others.filter((url) => !url.startsWith(`http://127.0.0.1:${port}/`)), []);
  // Chromium itself asks its maker for updates and accounts; the page names none of these hosts.
  const makers = /^\w+ (http:\/\/)?[\w.-]*\b(google|googleapis|gvt1)\.com[:/]/;
  assert.ok(!/google|gvt1\.com/.test(readFileSync(file, "utf8").replace(/<script type="application[^]*?<\/script>/, "")));
  assert.deepEqual(connections.filter((connection) => !makers.test(connection)), []);
  console.log(JSON.stringify({ examples: given.expected.length, connections: 0, blocked: blocked.length }));
} finally {
  await browser.close();
  trap.close();
}
