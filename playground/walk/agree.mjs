// Answers calls of the module by lines, for whoever compares them: agree.mjs PAGE/module.mjs MODULE
//
// A line of standard input is one call as JSON, and a line of standard output the answer to it. The line "examples"
// asks for those that the module brings.

import { readFileSync } from "node:fs";
import { resolve } from "node:path";
import { createInterface } from "node:readline";
import { pathToFileURL } from "node:url";

const [script, file] = process.argv.slice(2);
const { examples, run } = await import(pathToFileURL(resolve(script)).href);
const module = new WebAssembly.Module(readFileSync(file));
for await (const line of createInterface({ input: process.stdin })) {
  const answer = line === "examples" ? examples(module) : run(module, JSON.parse(line));
  process.stdout.write(`${JSON.stringify(answer)}\n`);
}
