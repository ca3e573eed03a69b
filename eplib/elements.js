// What every explorer is made of: elements of a page and their look. This stands before its script.
const BASE = `
.eplib-explorer form { display: flex; flex-direction: column; gap: .7em; max-width: 52em; font-size: .9em;
  line-height: 1.4; }
.eplib-explorer .controls { display: flex; flex-wrap: wrap; gap: .4em 1.2em; align-items: center; }
.eplib-explorer label { display: inline-flex; gap: .5em; align-items: center; margin: 0; max-width: 100%;
  min-height: 24px; font-weight: 400; }
.eplib-explorer input { accent-color: #2f87c8; margin: 0; flex: none; }
.eplib-explorer input[type=range] { flex: 0 1 auto; min-width: 0; height: 24px; }
.eplib-explorer input:is([type=checkbox], [type=radio]) { width: 1.1em; height: 1.1em; }
.eplib-explorer :is(select, button, input[type=number]) { font: inherit; color: inherit;
  background: transparent; border: 1px solid #888; border-radius: 4px; padding: .15em .5em; min-width: 0;
  max-width: 100%; min-height: 26px; }
.eplib-explorer input[type=number] { width: 6em; }
.eplib-explorer :is(option, optgroup) { color: #000; background: #fff; }
.eplib-explorer :is(button, summary, select) { cursor: pointer; }
.eplib-explorer summary { min-height: 24px; }
.eplib-explorer :focus-visible { outline: 2px dashed currentColor; outline-offset: 2px; }
.eplib-explorer :is(p, fieldset) { margin: 0; }
.eplib-explorer small { font-size: .88em; overflow-wrap: anywhere; }
.eplib-explorer canvas { display: block; image-rendering: pixelated; border: 1px solid #888; }
`;

function make(tag, properties = {}, ...children) {
  const node = document.createElement(tag);
  for (const [key, value] of Object.entries(properties)) {
    if (key === "role" || key.includes("-")) node.setAttribute(key, value);
    else node[key] = value;
  }
  node.append(...children);
  return node;
}

// Something to operate. JupyterLab would take its arrow keys without the attribute.
function control(tag, properties) {
  return make(tag, { ...properties, "data-lm-suppress-shortcuts": "true" });
}

// Puts an explorer's parts into its place.
function fill(root, kind, style, ...children) {
  root.classList.add(`eplib-${kind}`);
  root.append(make("style", {}, BASE + style),
    make("form", { onsubmit: (event) => event.preventDefault() }, ...children));
}

// One of some names: { field, node }. chosen(place) is called with that of the name.
function chooser(words, names, chosen) {
  const field = control("select", { "aria-label": words, onchange: () => chosen(+field.value) });
  field.append(...names.map((textContent, value) => make("option", { value, textContent })));
  return { field, node: make("label", {}, words, field) };
}

// A slider with what it stands at: { field, node, show(value, words, spoken) }.
function slider(words, last, moved) {
  const field = control("input", {
    type: "range", min: 0, max: last, "aria-label": words, oninput: () => moved(+field.value),
  });
  const shown = make("output");
  function show(value, told, spoken = told) {
    field.value = value;
    shown.textContent = told;
    field.setAttribute("aria-valuetext", spoken);
  }
  return { field, node: make("label", {}, words, field, shown), show };
}

// A number that is typed: { field, node, show(value) }; who types is not disturbed.
function typed(words, given, limits) {
  const field = control("input", {
    type: "number", min: 0, ...limits, onchange: given,
    onkeydown: ({ key }) => { if (key === "Enter") given(); }, // no change in JupyterLab
  });
  const show = (value) => { if (field !== document.activeElement) field.value = value ?? ""; };
  return { field, node: make("label", {}, words, field), show };
}

// A number that was typed, or null.
function numberIn({ field }) {
  return field.value === "" ? null : +field.value;
}

// A frame of a sheet of them onto a canvas of its size: whether the sheet is there by now.
function paint({ canvas, sheet, frame, columns }) {
  if (!sheet.complete || !sheet.naturalWidth) return false;
  const { width, height } = canvas;
  const [x, y] = [(frame % columns) * width, Math.floor(frame / columns) * height];
  canvas.getContext("2d").drawImage(sheet, x, y, width, height, 0, 0, width, height);
  return true;
}

function shape(tag, attributes, text) {
  const node = document.createElementNS("http://www.w3.org/2000/svg", tag);
  for (const [key, value] of Object.entries(attributes)) node.setAttribute(key, value);
  if (text !== undefined) node.textContent = text;
  return node;
}

function percent(share) {
  return `${Math.round(100 * share)}\u00a0%`;
}

function within(value, low, high) {
  return Math.max(low, Math.min(high, value));
}

// The place of the largest of some values, the first of several.
function largest(values) {
  return values.indexOf(Math.max(...values));
}
