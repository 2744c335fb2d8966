"use strict";
// The explorers of munit_lite/course/explorers in the page: their view is the one of JupyterLab (widget.js), and the
// functions below take the place of the Python kernel. Each explorer has a function `show(state)`, which returns the
// pictures as rows of images, one sentence and the rows of a table, and may have a function `handle(message, model)`.

const NUM_IMAGES = 8; // held-out images of each domain
const MAX_COORDINATE = 2.5; // "each coordinate alone" goes from -MAX_COORDINATE to MAX_COORDINATE
const tensors = unpackTensors(HELD_OUT);
const explorerWorkers = startWorkers({ ...unpackTensors(WEIGHTS), ...unpackTensors(PREDICTORS) });
const run = (calls) => callAll(explorerWorkers, calls);

const nameOf = (factor) => factor.replace("_", " ");
const fixed = (value) => value.toFixed(2);
const row = (name, k) => {
  const { shape, data } = tensors[name];
  const size = data.length / shape[0];
  return Array.from(data.subarray(k * size, (k + 1) * size));
};

/** Convert what a predictor returns to the class and the values of the factors in their units. */
function toAttributes(outputs, domain) {
  const logits = Array.from(outputs.subarray(0, WORLD.shapes.length));
  const factors = [...WORLD.contentFactors, ...WORLD.styleFactors[domain]];
  const values = factors.map(({ low, high }, k) => low + (high - low) * outputs[logits.length + k]);
  return { shape: logits.indexOf(Math.max(...logits)), content: values.slice(0, 4), style: values.slice(4) };
}

async function predict(images, domain) {
  const outputs = await run(images.map((image) => ["predict", image, domain]));
  return outputs.map((values) => toAttributes(values, domain));
}

const heldOut = () => [0, 1].map((k) => repeat(NUM_IMAGES, (n) => makeImage(row(`images.${k}`, n))));

// ------------------------------------------------------------------------------------------------- the three explorers

const sourceOf = ({ direction }) => (direction.startsWith("sketch") ? 1 : 2);
const namesOf = (source) => [DOMAIN_NAMES[source - 1], DOMAIN_NAMES[2 - source]];

function makeStyleExplorer() {
  let images = heldOut(), sampled = 0;
  const codeOf = (state) => [state.style_1, state.style_2, state.style_3];

  async function show(state) {
    const source = sourceOf(state), target = 3 - source, chosen = state.image - 1;
    const code = codeOf(state), [sourceName, targetName] = namesOf(source);
    const contents = await run(images[source - 1].map((image) => ["encodeContent", image, source]));
    const decode = (pairs) => run(pairs.map(([content, style]) => ["decode", content, style, target]));
    const steps = repeat(NUM_IMAGES, (k) => k / (NUM_IMAGES - 1));
    const end = row("styles", state.second_style_seed);
    let rows = [], below = "";
    const [translation] = await decode([[contents[chosen], code]]);
    if (state.view === "this style on eight images") {
      rows = [images[source - 1], await decode(contents.map((content) => [content, code]))];
      below = `eight images of domain ${source}, each above its translation with this style`;
    } else if (state.view === "each coordinate alone") {
      const varied = code.map((_, k) => steps.map((step) => code.with(k, MAX_COORDINATE * (2 * step - 1))));
      rows = await Promise.all(varied.map((codes) => decode(codes.map((style) => [contents[chosen], style]))));
      below = `a row for each coordinate, which varies from −${MAX_COORDINATE} to ${MAX_COORDINATE}`;
    } else {
      const codes = steps.map((step) => code.map((value, k) => value + step * (end[k] - value)));
      const subjects = [0, 1, 2].map((k) => contents[(chosen + k) % NUM_IMAGES]);
      rows = await Promise.all(subjects.map((content) => decode(codes.map((style) => [content, style]))));
      below = `three contents with styles interpolated from this one to (${end.map(fixed).join(", ")})`;
    }
    const [predicted] = await predict([translation], target);
    const factors = WORLD.styleFactors[target].map(({ name }, k) => [nameOf(name), fixed(predicted.style[k])]);
    return {
      picture: await toPng([[images[source - 1][chosen], translation], ...rows], 1),
      sentence: `A held-out ${sourceName} and its translation into a ${targetName} with the style ` +
        `(${code.map(fixed).join(", ")}). Below: ${below}.`,
      rows: [["predicted", "translation"], ["shape", WORLD.shapes[predicted.shape].name], ...factors],
    };
  }

  async function handle({ action, upload, file }, state, bytes) {
    if (action === "reset") images = heldOut();
    if (action === "sample") {
      const style = row("styles", ++sampled % tensors.styles.shape[0]);
      return Object.fromEntries(style.map((value, k) => [`style_${k + 1}`, Math.round(100 * value) / 100]));
    }
    if (upload) images[sourceOf(state) - 1][state.image - 1] = await readUpload(file, bytes, sourceOf(state));
    return {};
  }
  return { show, handle };
}

function makeExampleExplorer() {
  const NUM_CONTENTS = 4, NUM_STYLES = 7; // rows and columns
  let images = heldOut();

  async function show(state) {
    const source = sourceOf(state), target = 3 - source, [sourceName, targetName] = namesOf(source);
    const contents = repeat(NUM_CONTENTS, (k) => images[source - 1][(state.first_content - 1 + k) % NUM_IMAGES]);
    const examples = repeat(NUM_STYLES, (k) => images[target - 1][(state.first_example - 1 + k) % NUM_IMAGES]);
    const codes = await run(contents.map((image) => ["encodeContent", image, source]));
    const styles = await run(examples.map((image) => ["encodeStyle", image, target]));
    const translations = await run(codes.flatMap((code) => styles.map((style) => ["decode", code, style, target])));
    const shapes = (await predict(contents, source)).map(({ shape }) => shape);
    const wanted = (await predict(examples, target)).map(({ style }) => style);
    const outputs = await predict(translations, target);
    const mean = (measure) => outputs.reduce((sum, output, k) => sum + measure(output, k), 0) / outputs.length;
    const percent = (value) => `${Math.round(100 * value)}%`;
    const accuracy = mean(({ shape }, k) => Number(shape === shapes[Math.floor(k / NUM_STYLES)]));
    const errors = WORLD.styleFactors[target].map(({ name, low, high }, n) => {
      const error = mean(({ style }, k) => Math.abs(style[n] - wanted[k % NUM_STYLES][n])) / (high - low);
      return [`${nameOf(name)}: mean absolute error`, `${percent(error)} of its range`];
    });
    const grid = contents.map((image, k) => [image, ...translations.slice(k * NUM_STYLES, (k + 1) * NUM_STYLES)]);
    return {
      picture: await toPng([[null, ...examples], ...grid]),
      sentence: `First column: ${NUM_CONTENTS} images of domain ${source} (${sourceName}). First row: ${NUM_STYLES} ` +
        `images of domain ${target} (${targetName}). Each cell combines the content of its row with the style of its ` +
        "column.",
      rows: [["of these translations", "predicted"], ["same shape as the content", percent(accuracy)], ...errors],
    };
  }

  async function handle({ action, upload, file }, state, bytes) {
    if (action === "reset") images = heldOut();
    if (upload) {
      const domain = upload === "content" ? sourceOf(state) : 3 - sourceOf(state);
      images[domain - 1][state[`first_${upload}`] - 1] = await readUpload(file, bytes, domain);
    }
    return {};
  }
  return { show, handle };
}

/** The standard normal quantile, interpolated in a table of the levels 0.001, 0.002, …, 0.999. */
function normalQuantile(level) {
  const { data } = tensors.normal_quantiles;
  const at = Math.min(Math.max(1000 * level - 1, 0), data.length - 1);
  const below = Math.min(Math.floor(at), data.length - 2);
  return data[below] + (at - below) * (data[below + 1] - data[below]);
}

function makeWorldExplorer() {
  async function show(state) {
    const shape = WORLD.shapes.find(({ name }) => name === state.shape);
    const placed = { ...state, name: state.shape, angle: state.rotation * shape.period };
    const images = [renderSketch(outlineShape(placed), 32, state), renderPainting(placed, 32, state)];
    const predicted = [(await predict([images[0]], 1))[0], (await predict([images[1]], 2))[0]];
    const rows = [
      ["factor", "truth", "predicted from the sketch", "predicted from the painting", "true code"],
      ["shape", state.shape, ...predicted.map((attributes) => WORLD.shapes[attributes.shape].name), ""],
    ];
    WORLD.contentFactors.forEach(({ name }, k) => {
      const values = [state[name], ...predicted.map(({ content }) => content[k])].map(fixed);
      rows.push([name, ...(name === "rotation" && !shape.symmetry ? ["none", "none", "none"] : values), ""]);
    });
    for (const [domain, factors] of Object.entries(WORLD.styleFactors)) {
      factors.forEach(({ name, low, high }, k) => {
        const cells = ["", ""].with(domain - 1, fixed(predicted[domain - 1].style[k]));
        const code = fixed(normalQuantile((state[name] - low) / (high - low)));
        rows.push([nameOf(name), fixed(state[name]), ...cells, code]);
      });
    }
    const codes = await run(images.map((image, k) => ["encodeStyle", image, k + 1]));
    const [code1, code2] = codes.map((code) => `(${Array.from(code, fixed).join(", ")})`);
    return {
      picture: await toPng([images], 1),
      sentence: `A ${state.shape} as a sketch and as a painting. The model encodes the styles as ${code1} and ` +
        `${code2}; its coordinates need not be the true ones.`,
      rows,
    };
  }
  return { show, handle: () => ({}) };
}

// ------------------------------------------------------------------------------------------------ the view's model

/** Write a state as the Python code that restores it in JupyterLab. */
function toCode(name, state, controls) {
  const items = controls.map(({ key, step }) => {
    const value = state[key];
    if (typeof value === "string") return `'${key}': '${value}'`;
    return `'${key}': ${Number.isInteger(value) && step !== 1 ? value.toFixed(1) : value}`;
  });
  return `${name}('world32', state={${items.join(", ")}})`;
}

/** Show an explorer before a figure, and hide the figure. */
function startExplorer(name, { show, handle }, figure) {
  const values = { ...EXPLORERS[name], picture: new ArrayBuffer(0), sentence: "", problem: "", rows: [], code: "" };
  const listeners = {};
  const set = (key, value) => {
    values[key] = value;
    listeners[`change:${key}`]?.();
  };
  const redraw = runLatest(async () => {
    const { state } = values;
    const shown = { ...(await show(state)), code: toCode(name, state, values.controls), problem: "" };
    for (const [key, value] of Object.entries(shown)) set(key, value);
  });
  const send = async (message, _, buffers = []) => {
    try {
      const change = await handle(message, values.state, buffers[0]);
      set("state", message.action === "reset" ? EXPLORERS[name].state : { ...values.state, ...change });
      redraw();
    } catch (error) {
      set("problem", error.message);
    }
  };
  const model = {
    get: (key) => values[key], set, send, save_changes: redraw,
    on: (event, listener) => { listeners[event] = listener; },
    off: (event) => { delete listeners[event]; },
  };
  const holder = document.createElement("div");
  explorerView.render({ model, el: holder });
  figure.before(holder);
  figure.hidden = true;
  redraw();
}

const MAKERS = {
  StyleExplorer: makeStyleExplorer, ExampleExplorer: makeExampleExplorer, WorldExplorer: makeWorldExplorer,
};
for (const [name, make] of Object.entries(MAKERS)) {
  const images = document.querySelectorAll(`img.${name.toLowerCase()}`); // Sphinx writes classes in lower case
  for (const image of images) startExplorer(name, make(), image.closest("figure"));
}
