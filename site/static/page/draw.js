"use strict";
// The page "Draw": a drawing area, eight paintings of the drawing, and sliders for the style of one of them.

const PAINTINGS = 8;
const { element, slider } = explorerView;
const LABELS = {
  sketch: "What the model sees: your drawing as a sketch of 32 × 32 pixels", chosen: "The chosen painting",
};
const [MOVE, GROW, TURN] = [0.02, 0.01, Math.PI / 36]; // of one key press: image widths, image widths, radians

const sampleNormal = () => Math.sqrt(-2 * Math.log(1 - Math.random())) * Math.cos(2 * Math.PI * Math.random());
const sampleStyle = () => Array.from(WORLD.styleSliders, ({ low, high }) =>
  Math.round(100 * Math.min(Math.max(sampleNormal(), low), high)) / 100);

function makeButton(text, action) {
  const button = element("button", { type: "button" }, text);
  button.addEventListener("click", action);
  return button;
}

const makeCanvas = (label) => element("canvas", { width: 32, height: 32, role: "img", "aria-label": label });

function startDraw(root) {
  const workers = startWorkers(unpackTensors(WEIGHTS));
  let strokes = []; // drawn by hand
  let placed = { name: "star", x: 0.5, y: 0.5, size: 0.27, angle: -Math.PI / 10 }; // or null once a hand draws
  let styles = Array.from({ length: PAINTINGS }, sampleStyle);
  let chosen = 0;

  // ------------------------------------------------------------------------------------------------ the elements
  const area = element("canvas", {
    width: 512, height: 512, tabIndex: 0, className: "draw-area", role: "application", "aria-label": "Drawing area",
    "aria-describedby": "draw-keys",
  });
  const sketch = makeCanvas(LABELS.sketch), large = makeCanvas(LABELS.chosen);
  const status = element("p", { role: "status" });
  const paintings = Array.from({ length: PAINTINGS }, (_, k) => {
    const canvas = makeCanvas("");
    canvas.setAttribute("aria-hidden", "true"); // the button has the name
    const button = makeButton(canvas, () => choose(k));
    return { canvas, button };
  });
  const sliders = WORLD.styleSliders.map((spec, k) => slider(spec, `draw-${spec.key}`, (value) => {
    styles[chosen] = styles[chosen].with(k, value);
    nameButtons();
    repaint();
  }));

  function nameButtons() {
    paintings.forEach(({ button }, k) => {
      const style = styles[k].map((value) => value.toFixed(2)).join(", ");
      button.setAttribute("aria-label", `Painting ${k + 1}, style (${style})`);
      button.setAttribute("aria-pressed", k === chosen);
    });
  }

  function choose(k) {
    chosen = k;
    sliders.forEach(([, show], n) => show(styles[k][n]));
    nameButtons();
    large.getContext("2d").drawImage(paintings[k].canvas, 0, 0);
  }

  // ------------------------------------------------------------------------------------------------ the paintings
  let changed = 0; // the time of the last change, in ms
  const paintLatest = runLatest(paintAll);
  const repaint = () => {
    changed = performance.now();
    return paintLatest();
  };

  /** Paint the drawing in all styles; `isOutdated` says whether it has changed meanwhile. */
  async function paintAll(isOutdated) {
    const drawing = placed ? outlineShape(placed) : strokes;
    showDrawing(drawing);
    const image = renderSketch(drawing.length ? fitStrokes(drawing) : []);
    showImage(sketch, image);
    if (!drawing.length) {
      for (const { canvas } of [...paintings, { canvas: large }]) canvas.getContext("2d").clearRect(0, 0, 32, 32);
      status.textContent = "The drawing area is empty.";
      return;
    }
    status.textContent = "Painting …";
    const content = await workers[0].call("encodeContent", image, 1);
    const next = styles.keys(); // the workers share it: each takes the next style when it is free
    await Promise.all(workers.map(async (worker) => {
      for (const k of next) {
        if (isOutdated()) return;
        const painting = await worker.call("decode", content, styles[k], 2);
        showImage(paintings[k].canvas, painting);
        if (k === chosen) showImage(large, painting);
      }
    }));
    if (!isOutdated()) status.textContent = `Eight paintings in ${Math.round(performance.now() - changed)} ms.`;
  }

  function showDrawing(drawing) {
    const context = area.getContext("2d");
    const gray = (value) => `rgb(${Array(3).fill(Math.round(255 * value))})`;
    context.fillStyle = gray(SKETCH_STYLE.paper);
    context.fillRect(0, 0, area.width, area.height);
    context.strokeStyle = gray(SKETCH_STYLE.ink);
    context.lineWidth = SKETCH_STYLE.line_width * area.width;
    context.lineCap = context.lineJoin = "round";
    for (const stroke of drawing) {
      context.beginPath();
      for (const [x, y] of [stroke[0], ...stroke]) context.lineTo(x * area.width, y * area.height);
      context.stroke();
    }
  }

  // ------------------------------------------------------------------------------------- mouse, finger and keyboard
  const pointOf = (event) => {
    const box = area.getBoundingClientRect();
    return [(event.clientX - box.left) / box.width, (event.clientY - box.top) / box.height];
  };
  area.addEventListener("pointerdown", (event) => {
    if (!event.isPrimary) return; // a second finger
    area.setPointerCapture(event.pointerId);
    if (placed) strokes = [];
    placed = null;
    strokes.push([pointOf(event)]);
    repaint();
  });
  area.addEventListener("pointermove", (event) => {
    if (!area.hasPointerCapture(event.pointerId)) return;
    const events = event.getCoalescedEvents?.() ?? []; // empty in browsers without it
    strokes.at(-1).push(...(events.length ? events : [event]).map(pointOf));
    repaint();
  });

  function place(name) {
    placed = { ...(placed ?? { x: 0.5, y: 0.5, size: 0.27, angle: 0 }), name };
    strokes = [];
    repaint();
  }

  area.addEventListener("keydown", (event) => {
    const shape = WORLD.shapes[Number(event.key) - 1];
    const change = {
      ArrowLeft: { x: -MOVE }, ArrowRight: { x: MOVE }, ArrowUp: { y: -MOVE }, ArrowDown: { y: MOVE },
      "+": { size: GROW }, "-": { size: -GROW }, "[": { angle: -TURN }, "]": { angle: TURN },
    }[event.key];
    if (!shape && !(change && placed)) return;
    event.preventDefault();
    event.stopPropagation(); // the theme turns the page with the arrow keys
    if (shape) return place(shape.name);
    for (const [key, step] of Object.entries(change)) placed[key] += step;
    placed.size = Math.min(Math.max(placed.size, 0.1), 0.5);
    for (const key of ["x", "y"]) placed[key] = Math.min(Math.max(placed[key], 0), 1);
    repaint();
  });

  // -------------------------------------------------------------------------------------------------- the layout
  const undo = () => {
    if (placed) placed = null;
    else strokes.pop();
    repaint();
  };
  const clear = () => {
    [strokes, placed] = [[], null];
    repaint();
  };
  const newStyles = () => {
    styles = styles.map(sampleStyle);
    choose(chosen);
    repaint();
  };
  const buttons = (label, ...children) =>
    element("div", { className: "munit-buttons", role: "group", "aria-label": label }, ...children);
  root.replaceChildren(
    element("div", { className: "draw-input" },
      area,
      buttons("Drawing", makeButton("Undo", undo), makeButton("Clear", clear)),
      buttons("Place a shape", ...WORLD.shapes.map(({ name }) => makeButton(name, () => place(name)))),
      element("figure", {}, sketch, element("figcaption", {}, LABELS.sketch)),
    ),
    element("div", { className: "draw-output" },
      element("div", { className: "draw-paintings", role: "group", "aria-label": "Paintings" },
        ...paintings.map(({ button }) => button)),
      buttons("Styles", makeButton("New styles", newStyles)),
      status,
      element("div", { className: "draw-chosen" },
        element("figure", {}, large, element("figcaption", {}, LABELS.chosen)),
        element("div", {}, ...sliders.map(([control]) => control))),
    ),
  );
  choose(0);
  repaint();
}

startDraw(document.getElementById("draw-page"));
