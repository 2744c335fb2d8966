"use strict";

/** Answer calls of the model's methods in a worker; the first message holds the weights. */
function serveModel(define) {
  let model = null;
  self.onmessage = ({ data: { id, method, args } }) => {
    if (method === "start") model = new (define().Munit)(...args);
    else self.postMessage({ id, result: model[method](...args) });
  };
}

/**
 * Start workers that each hold the model. A worker's script comes from a Blob, because a page from file:// may not load
 * one. Each worker has a function `call(method, ...args)`, which returns a promise.
 */
function startWorkers(count) {
  const source = `"use strict"; (${serveModel})(${defineModel});`;
  const address = URL.createObjectURL(new Blob([source], { type: "text/javascript" }));
  const bytes = Uint8Array.from(atob(WEIGHTS.base64), (character) => character.charCodeAt(0)).buffer;
  return Array.from({ length: count }, () => {
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
    worker.postMessage({ method: "start", args: [{ shapes: WEIGHTS.shapes, bytes }] });
    const call = (method, ...args) => new Promise((resolve, reject) => {
      const id = calls++;
      pending.set(id, { resolve, reject });
      worker.postMessage({ id, method, args });
    });
    return { call };
  });
}
