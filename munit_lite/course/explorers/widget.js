// The view of every explorer: controls, one picture, one sentence that describes it, and one table.
function element(tag, properties = {}, ...children) {
  const node = document.createElement(tag);
  for (const [name, value] of Object.entries(properties)) {
    if (name.includes("-") || name === "role" || name === "for") node.setAttribute(name, value);
    else node[name] = value;
  }
  node.append(...children);
  return node;
}

function density(heights) {
  const points = heights.map((height, k) => `${(100 * k) / (heights.length - 1)},${100 - 100 * height}`);
  const holder = element("span", { className: "munit-density", "aria-hidden": "true" });
  holder.innerHTML = `<svg viewBox="0 0 100 100" preserveAspectRatio="none">
    <polygon points="0,100 ${points.join(" ")} 100,100"></polygon></svg>`;
  return holder;
}

function slider(spec, id, change) {
  const valueText = element("span", { "aria-hidden": "true" }); // screen readers get aria-valuetext
  const input = element("input", {
    type: "range", id, min: spec.low, max: spec.high, step: spec.step, "aria-describedby": `${id}-description`,
  });
  const show = (value) => {
    if (Number(input.value) !== value) input.value = value;
    valueText.textContent = spec.step === 1 ? String(value) : value.toFixed(spec.step < 0.01 ? 3 : 2);
    input.setAttribute("aria-valuetext", valueText.textContent);
  };
  const onMove = () => {
    show(Number(input.value));
    change(Number(input.value));
  };
  input.addEventListener("input", onMove);
  input.addEventListener("keydown", (event) => {
    const steps = { ArrowRight: 1, ArrowUp: 1, ArrowLeft: -1, ArrowDown: -1, PageUp: 10, PageDown: -10 }[event.key];
    const ends = { Home: spec.low, End: spec.high }[event.key];
    if (steps === undefined && ends === undefined) return;
    event.preventDefault(); // JupyterLab would prevent the browser's own handling
    event.stopPropagation();
    if (ends !== undefined) input.value = ends;
    else if (steps > 0) input.stepUp(steps);
    else input.stepDown(-steps);
    onMove();
  });
  const track = element("span", { className: "munit-track" });
  if (spec.density.length) track.append(density(spec.density));
  track.append(input);
  const line = element("div", { className: "munit-line" }, element("label", { "for": id }, spec.label), valueText);
  const description = element("small", { id: `${id}-description` }, spec.description);
  return [element("div", { className: "munit-control" }, line, track, description), show];
}

function choice(spec, id, change) {
  const select = element("select", { id });
  for (const option of spec.options) select.append(element("option", { value: option }, option));
  select.addEventListener("change", () => change(select.value));
  const description = element("small", { id: `${id}-description` }, spec.description);
  if (spec.description) select.setAttribute("aria-describedby", description.id);
  const parts = [element("label", { "for": id }, spec.label), select, description];
  return [element("div", { className: "munit-control" }, ...parts), (value) => { select.value = value; }];
}

async function copy(text, status) {
  try {
    await navigator.clipboard.writeText(text);
    status.textContent = "Copied.";
  } catch {
    status.textContent = "This browser does not allow copying: select the code below.";
  }
}

function render({ model, el }) {
  const view = `munit-${Math.random().toString(36).slice(2)}`; // each explorer loads its own module, so no counter is shared
  const setters = {}; // control -> a function that shows its value
  // JupyterLab's shortcuts would take the arrow keys away from the sliders.
  const root = element("div", {
    className: "munit-explorer", role: "group", "aria-label": model.get("title"), "data-lm-suppress-shortcuts": "true",
  });
  const form = element("div", { className: "munit-controls" });
  for (const spec of model.get("controls")) {
    const change = (value) => {
      model.set("state", { ...model.get("state"), [spec.key]: value });
      model.save_changes();
    };
    const [control, show] = (spec.kind === "slider" ? slider : choice)(spec, `${view}-${spec.key}`, change);
    setters[spec.key] = show;
    form.append(control);
  }

  const status = element("span", { role: "status" });
  const code = element("code");
  const buttons = element("div", { className: "munit-buttons" });
  for (const [action, name] of Object.entries(model.get("actions"))) {
    const button = element("button", { type: "button" }, name);
    button.addEventListener("click", () => model.send({ action }));
    buttons.append(button);
  }
  if (model.get("controls").length) {
    const button = element("button", { type: "button" }, "Copy this state as code");
    button.addEventListener("click", () => copy(code.textContent, status));
    buttons.append(button, status);
  }
  for (const [upload, name] of Object.entries(model.get("uploads"))) {
    const input = element("input", { type: "file", accept: "image/*", id: `${view}-file-${upload}` });
    input.addEventListener("change", async () => {
      const [file] = input.files;
      if (file) model.send({ upload, file: file.name }, undefined, [await file.arrayBuffer()]);
      input.value = ""; // so that the same file can be chosen again
    });
    buttons.append(element("div", { className: "munit-upload" }, element("label", { "for": input.id }, name), input));
  }
  form.append(buttons);

  const problem = element("p", { className: "munit-problem", role: "alert" });
  const image = element("img");
  const sentence = element("p", { "aria-live": "polite" });
  const table = element("table");
  const codeDetails = element("details", {}, element("summary", {}, "This state as code"), element("pre", {}, code));
  root.append(form, element("div", { className: "munit-output" }, problem, image, sentence, table, codeDetails));
  el.append(root);

  const update = {
    state: () => {
      const state = model.get("state");
      for (const [key, show] of Object.entries(setters)) if (key in state) show(state[key]);
    },
    picture: () => {
      const bytes = model.get("picture");
      image.hidden = !bytes.byteLength;
      if (image.hidden) return;
      URL.revokeObjectURL(image.src);
      image.src = URL.createObjectURL(new Blob([bytes], { type: "image/png" }));
    },
    sentence: () => { sentence.textContent = image.alt = model.get("sentence"); },
    problem: () => {
      problem.textContent = model.get("problem");
      problem.hidden = !problem.textContent;
    },
    rows: () => {
      const [header, ...body] = model.get("rows");
      table.replaceChildren();
      table.hidden = !header;
      if (!header) return;
      table.append(element("tr", {}, ...header.map((text) => element("th", { scope: "col" }, text))));
      for (const [name, ...cells] of body) {
        const line = element("tr", {}, element("th", { scope: "row" }, name));
        line.append(...cells.map((text) => element("td", {}, text)));
        table.append(line);
      }
    },
    code: () => {
      code.textContent = model.get("code");
      codeDetails.hidden = !code.textContent;
      status.textContent = "";
    },
  };
  for (const [name, show] of Object.entries(update)) {
    show();
    model.on(`change:${name}`, show);
  }
  return () => {
    for (const [name, show] of Object.entries(update)) model.off(`change:${name}`, show);
    URL.revokeObjectURL(image.src);
  };
}

export default { render };
