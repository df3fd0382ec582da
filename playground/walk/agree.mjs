// Answers calls of the module line by line, so that a test can compare them: agree.mjs PAGE/module.mjs MODULE
//
// Each line of standard input is a call as JSON, and each line of standard output is its answer. The line "examples"
// asks for the examples in the module.

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
