"use strict";

/** Answer calls of the model's methods in a worker; the first message holds the weights. */
function serveModel(define) {
  let model = null;
  self.onmessage = ({ data: { id, method, args } }) => {
    if (method === "start") model = new (define().Munit)(...args);
    else self.postMessage({ id, result: model[method](...args) });
  };
}

/** Return the tensors { shape, data } that tools/page_model.py packs: float32 or float16 numbers in base64. */
function unpackTensors({ shapes, type, base64 }) {
  const bytes = Uint8Array.from(atob(base64), (character) => character.charCodeAt(0)).buffer;
  const values = type === "float16" ? Float32Array.from(new Uint16Array(bytes), halfToNumber) : new Float32Array(bytes);
  let from = 0;
  return Object.fromEntries(Object.entries(shapes).map(([name, shape]) => {
    const count = shape.reduce((product, size) => product * size);
    return [name, { shape, data: values.subarray(from, (from += count)) }];
  }));
}

function halfToNumber(bits) {
  const exponent = (bits >> 10) & 31, fraction = (bits & 1023) / 1024;
  const size = exponent ? 2 ** (exponent - 15) * (1 + fraction) : 2 ** -14 * fraction;
  return bits >> 15 ? -size : size;
}

/**
 * Start up to four workers, one for each processor, that each hold the model of these tensors. A worker's script comes
 * from a Blob, because a page from file:// may not load one. Each worker has a function `call(method, ...args)`, which
 * returns a promise.
 */
function startWorkers(tensors) {
  const source = `"use strict"; (${serveModel})(${defineModel});`;
  const address = URL.createObjectURL(new Blob([source], { type: "text/javascript" }));
  return Array.from({ length: Math.min(navigator.hardwareConcurrency ?? 2, 4) }, () => {
    const worker = new Worker(address);
    const pending = new Map(); // id of a call -> its promise
    let calls = 0;
    worker.onmessage = ({ data: { id, result } }) => {
      pending.get(id).resolve(result);
      pending.delete(id);
    };
    worker.onerror = (event) => {
      for (const { reject } of pending.values()) reject(new Error(event.message));
      pending.clear();
    };
    worker.postMessage({ method: "start", args: [tensors] });
    const call = (method, ...args) => new Promise((resolve, reject) => {
      const id = calls++;
      pending.set(id, { resolve, reject });
      worker.postMessage({ id, method, args });
    });
    return { call };
  });
}

/** Make calls [method, ...args] on whichever worker is free; returns their results in order. */
async function callAll(workers, calls) {
  const results = [];
  const next = calls.entries(); // the workers share it
  await Promise.all(workers.map(async (worker) => {
    for (const [k, call] of next) results[k] = await worker.call(...call);
  }));
  return results;
}

/** Return a function that runs an action, and once more after it if it was called meanwhile. */
function runLatest(action) {
  let outdated = false, busy = false;
  return async () => {
    outdated = true;
    if (busy) return;
    busy = true;
    try {
      while (outdated) {
        outdated = false;
        await action(() => outdated);
      }
    } finally {
      busy = false;
    }
  };
}
