// An image under a corruption, what each network says of it, and how many of all images it gets right there.
// One script, two hosts: `corruptionExplorer` in a page that holds all the data, `render` as an anywidget in
// JupyterLab. Plain DOM, no library.
const MARK = "#d55e00"; // of the chosen image
const STYLE = `
.eplib-corruption form { display: flex; flex-direction: column; gap: .8em; max-width: 52em; font-size: .9em;
  line-height: 1.4; }
.eplib-corruption .controls, .eplib-corruption .images { display: flex; flex-wrap: wrap; gap: .4em 1.2em;
  align-items: center; }
.eplib-corruption .images { gap: .5em; }
.eplib-corruption label { display: inline-flex; gap: .5em; align-items: center; margin: 0; max-width: 100%;
  font-weight: 400; }
.eplib-corruption output { min-width: 1em; }
.eplib-corruption input { accent-color: #2f87c8; margin: 0; }
.eplib-corruption select, .eplib-corruption button, .eplib-corruption input[type=number] { font: inherit;
  color: inherit; background: transparent; border: 1px solid #888; border-radius: 4px; padding: .15em .5em;
  min-width: 0; max-width: 100%; }
.eplib-corruption option, .eplib-corruption optgroup { color: #000; background: #fff; }
.eplib-corruption input[type=number] { width: 5.5em; }
.eplib-corruption button { cursor: pointer; }
.eplib-corruption .images button { display: flex; flex-direction: column; align-items: center; gap: .2em;
  padding: .3em; width: 6em; font-size: .88em; line-height: 1.2; overflow-wrap: anywhere; }
.eplib-corruption .images button[aria-pressed=true] { box-shadow: 0 0 0 3px ${MARK}; font-weight: 700; }
.eplib-corruption .images canvas { width: 3em; }
.eplib-corruption canvas { display: block; image-rendering: pixelated; border: 1px solid #888; }
.eplib-corruption .seen { display: flex; flex-wrap: wrap; gap: 1em 1.6em; align-items: flex-start; }
.eplib-corruption .pictures { flex: 1 1 15em; display: grid; grid-template-columns: 1fr 1fr; gap: .8em;
  max-width: 26em; }
.eplib-corruption .pictures canvas { width: 100%; }
.eplib-corruption .answers { flex: 2 1 20em; min-width: 0; }
.eplib-corruption table { width: 100%; table-layout: fixed !important; margin: 0; border-collapse: collapse;
  font-size: .95em; } /* outputs in the book set the layout */
.eplib-corruption thead th:nth-child(2) { width: 37%; }
.eplib-corruption th, .eplib-corruption td { padding: .3em .5em .3em 0; border: 0; font-weight: 400;
  text-align: left; vertical-align: top; overflow-wrap: anywhere; line-height: 1.25; }
.eplib-corruption thead, .eplib-corruption tr { border: 0 !important; background: transparent !important; }
.eplib-corruption tbody th { font-weight: 600; color: var(--model);
  color: color-mix(in srgb, var(--model) 60%, currentColor); }
.eplib-corruption i { display: block; height: .5em; margin: .15em 0; min-width: 1px;
  background: var(--model); }
.eplib-corruption .wrong span { font-weight: 700; }
.eplib-corruption .wrong i { opacity: .45; }
.eplib-corruption p { margin: 0; min-height: 2.8em; }
.eplib-corruption small { font-size: .88em; overflow-wrap: anywhere; }
`;

// data: see `page_data` in corruption_explorer.py. ask({ image, seed }): how a live host is asked for another
// image or other random numbers; a page has none.
function corruptionExplorer(root, data, ask) {
  const state = {};
  const images = data.images.map(entered);
  const buttons = make("div", { className: "images", role: "group", "aria-label": "image" });
  const type = control("select", { onchange: () => move({ type: +type.value }) });
  for (const family of new Set(data.types.map((t) => t.family))) {
    const options = data.types.map((t, i) => make("option", { value: i, textContent: t.name }));
    const own = options.filter((_, i) => data.types[i].family === family);
    type.append(make("optgroup", { label: family }, ...own));
  }
  const severity = control("input", {
    type: "range", min: 0, max: data.severities, oninput: () => move({ severity: +severity.value }),
  });
  const shown = make("output");
  const reset = control("button", { type: "button", textContent: "reset", onclick: start });
  const [image, seed] = ["image", "seed"].map((key) => control("input", {
    type: "number", min: 0, step: 1, onchange: choose,
    onkeydown: ({ key: pressed }) => { if (pressed === "Enter") choose(); }, // no change in JupyterLab
    ...(key === "image" ? { max: data.last } : {}),
  }));
  const controls = make("div", { className: "controls" },
    make("label", {}, "corruption", type), make("label", {}, "severity", severity, shown), reset,
    ...(ask ? fields() : []));
  const pictures = [0, 1].map(() => { // as it is, and corrupted
    const canvas = make("canvas", { role: "img", width: data.side, height: data.side });
    const words = make("small");
    return { canvas, words, node: make("div", {}, canvas, words) };
  });
  const rows = data.models.map(row);
  const said = make("p", { "aria-live": "polite" });
  root.classList.add("eplib-corruption");
  root.append(make("style", {}, STYLE), make("form", { onsubmit: (event) => event.preventDefault() },
    buttons, controls, ...(data.note ? [make("small", {}, data.note)] : []),
    make("div", { className: "seen" },
      make("div", { className: "pictures" }, ...pictures.map((p) => p.node)),
      make("div", { className: "answers" }, make("table", { "aria-label": "what the networks say" },
        make("thead", {}, make("tr", {}, ...["network", "says", "accuracy"].map(
          (textContent) => make("th", { scope: "col", textContent })))),
        make("tbody", {}, ...rows.map((r) => r.node))))),
    said));
  list();
  start();
  return { controls, update };

  // An image with its frames as a picture to draw from and its button.
  function entered(entry, i) {
    const thumb = make("canvas", { width: data.side, height: data.side, "aria-hidden": "true" });
    const name = `${data.classes[entry.label]}, image ${entry.id}${entry.seed ? `, seed ${entry.seed}` : ""}`;
    const button = control("button", { type: "button", onclick: () => move({ image: i }) });
    button.append(thumb, name);
    const sheet = make("img", { onload: draw });
    sheet.src = entry.sheet;
    return { entry, thumb, button, sheet };
  }

  function fields() {
    return [make("label", {}, `any image, 0…${data.last}`, image), make("label", {}, "random seed", seed)];
  }

  function list() {
    buttons.replaceChildren(...images.map((i) => i.button));
  }

  function start() {
    const [image, frame] = data.open;
    const place = frame - 1;
    move({
      image, type: Math.floor(place / data.severities), severity: place % data.severities + 1,
    });
  }

  function move(changed) {
    Object.assign(state, changed);
    const { entry } = images[state.image];
    if ("image" in changed) [image.value, seed.value] = [entry.id, entry.seed];
    draw();
  }

  // Any image, with any random numbers; what is there already is only shown.
  function choose() {
    const [id, random] = [image, seed].map((field) => (field.value === "" ? null : +field.value));
    const wanted = { image: id, seed: random };
    const there = images.findIndex(({ entry }) => entry.id === wanted.image && entry.seed === wanted.seed);
    if (there < 0) ask(wanted);
    else move({ image: there });
  }

  // A live host's image takes the place after those of the page.
  function update(entry) {
    const place = data.images.length;
    images[place] = entered(entry, place);
    list();
    move({ image: place });
  }

  // A network's line. draw([class, confidence], label, frame): says whether it is right.
  function row(model) {
    const [answer, share] = [make("span"), make("span")];
    const [sure, right] = [make("i"), make("i")];
    const seeds = model.seeds > 1 ? `mean of ${model.seeds} seeds` : "1 seed";
    const cell = make("td", {}, answer, sure);
    const node = make("tr", {}, make("th", { scope: "row", textContent: model.name }), cell,
      make("td", {}, share, right, make("small", {}, `of ${model.count} images, ${seeds}`)));
    node.style.setProperty("--model", model.colour);
    function draw([c, confidence], label, frame) {
      answer.textContent = `${c === label ? "✓" : "✗"}\u00a0${data.classes[c]}, ${percent(confidence)}`;
      sure.style.width = `${100 * confidence}%`;
      share.textContent = percent(model.rates[frame]);
      right.style.width = `${100 * model.rates[frame]}%`;
      cell.className = c === label ? "" : "wrong";
      return c === label;
    }
    return { node, draw };
  }

  function draw() {
    if (state.image === undefined) return; // a picture was there before the rest of the figure
    const { entry, sheet } = images[state.image];
    const frame = state.severity ? 1 + state.type * data.severities + state.severity - 1 : 0;
    const { name } = data.types[state.type];
    const told = state.severity ? `${name}, severity ${state.severity}` : "as it is";
    const truth = data.classes[entry.label];
    type.value = state.type;
    severity.value = state.severity;
    shown.textContent = state.severity;
    severity.setAttribute("aria-valuetext", state.severity ? told : "0, no corruption");
    images.forEach((i, place) => {
      i.button.setAttribute("aria-pressed", place === state.image);
      paint(i.thumb, i.sheet, 0);
    });
    pictures.forEach((p, k) => {
      p.words.textContent = k ? told : `${truth}, as it is`;
      p.canvas.setAttribute("aria-label", `image ${entry.id}, ${truth}, ${k ? told : "as it is"}`);
      paint(p.canvas, sheet, k ? frame : 0);
    });
    const right = rows.map((r, m) => r.draw(entry.answers[m][frame], entry.label, frame));
    const names = data.models.filter((_, m) => right[m]).map((model) => model.name);
    const share = (m) => `${data.models[m].name} ${percent(data.models[m].rates[frame])}`;
    const random = entry.seed ? `, random seed ${entry.seed}` : "";
    said.textContent = `${truth}, image ${entry.id}, ${told}${random}: `
      + `${names.length} of ${rows.length} networks right${names.length ? ` (${names.join("; ")})` : ""}.`
      + ` Of all images right: ${share(0)}, ${share(1)}.`;
  }

  function paint(canvas, sheet, frame) {
    if (!sheet.complete || !sheet.naturalWidth) return;
    const { side, columns } = data;
    const [x, y] = [(frame % columns) * side, Math.floor(frame / columns) * side];
    canvas.getContext("2d").drawImage(sheet, x, y, side, side, 0, 0, side, side);
  }
}

function percent(p) {
  return `${Math.round(100 * p)}\u00a0%`;
}

// The live host: the figure, and any other image.
function render({ model, el }) {
  const root = make("div");
  const figure = make("figure", { className: "eplib-explorer" }, root,
    make("figcaption", {}, model.get("caption")));
  figure.dataset.explorer = "corruption";
  figure.style.margin = "1rem 0";
  el.append(figure);
  const explorer = corruptionExplorer(root, model.get("data"), ask);
  const note = make("strong", { role: "status" });
  explorer.controls.append(note);
  explorer.controls.oninput = () => { if (!model.get("busy")) note.textContent = ""; }; // read by now
  const events = ["message", "busy"].map((name) => [`change:${name}`, show]);
  events.push(["change:cell", () => explorer.update(model.get("cell"))]);
  events.forEach((event) => model.on(...event));
  show();
  return () => events.forEach((event) => model.off(...event));

  function ask(wanted) {
    const { image, seed } = model.get("wanted");
    if (wanted.image === image && wanted.seed === seed) return; // being computed, or refused
    model.set("wanted", wanted);
    model.set("busy", true);
    model.save_changes();
  }

  function show() {
    note.textContent = model.get("busy") ? "computing…" : model.get("message");
  }
}

export default { render };
