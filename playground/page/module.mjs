// Runs the command line of scopegate, compiled to WebAssembly, wherever there is JavaScript: in a browser or in
// Node. Every call has an instance with memory of its own, so nothing is kept from one call to the next.

// WASI's error for a function that does not exist: ENOSYS.
const NOT_THERE = 52;

// The functions that the compiled standard library calls. The module gets randomness, but no clock, file or
// variable: those come with each call.
function host(memory) {
  return {
    random_get(pointer, length) {
      const bytes = new Uint8Array(memory().buffer, pointer, length);
      // One call gives at most this many bytes.
      for (let at = 0; at < length; at += 65536) {
        crypto.getRandomValues(bytes.subarray(at, at + 65536));
      }
      return 0;
    },
    environ_sizes_get(count, size) {
      const view = new DataView(memory().buffer);
      view.setUint32(count, 0, true);
      view.setUint32(size, 0, true);
      return 0;
    },
    environ_get: () => 0,
    proc_exit(status) {
      throw new Error(`the module ended with ${status}`);
    },
  };
}

function instantiate(module) {
  let instance;
  const known = host(() => instance.exports.memory);
  const imports = {};
  for (const { module: from, name } of WebAssembly.Module.imports(module)) {
    (imports[from] ??= {})[name] = known[name] ?? (() => NOT_THERE);
  }
  instance = new WebAssembly.Instance(module, imports);
  instance.exports._initialize?.();
  return instance.exports;
}

function answer(exports, length) {
  const bytes = new Uint8Array(exports.memory.buffer, exports.answer(), length);
  return JSON.parse(new TextDecoder().decode(bytes));
}

// Runs one command: takes {arguments, files, variables, now}, and returns {exit, output, errors}.
export function run(module, call) {
  const exports = instantiate(module);
  const question = new TextEncoder().encode(JSON.stringify(call));
  const pointer = exports.reserve(question.length);
  new Uint8Array(exports.memory.buffer, pointer, question.length).set(question);
  return answer(exports, exports.call());
}

// The examples in the module: requests, each with its configuration.
export function examples(module) {
  const exports = instantiate(module);
  return answer(exports, exports.examples());
}
