// One image on its way to an equilibrium, step by step. One script, two hosts: `settlingExplorer` in a page
// that holds all the data, `render` as an anywidget in JupyterLab. Plain DOM, no library.
const BLUE = "#2f87c8";
const FRAME = "#6fa8d0"; // around maps: no grey, and seen on light and dark pages
const STYLE = `
.eplib-settling form { display: flex; flex-direction: column; gap: .7em; max-width: 52em; font-size: .9em;
  line-height: 1.4; }
.eplib-settling .head, .eplib-settling .time { display: flex; gap: 1em; align-items: center; }
.eplib-settling .head canvas { flex: none; width: min(7.5em, 24%); image-rendering: pixelated; }
.eplib-settling .choices { display: flex; flex-direction: column; gap: .25em; min-width: 0; }
.eplib-settling .time input { flex: 1 1 auto; min-width: 0; }
.eplib-settling .time output { min-width: 7.2em; text-align: right; white-space: nowrap; }
.eplib-settling fieldset { display: flex; flex-wrap: wrap; gap: 0 .7em; border: 0; margin: 0; padding: 0; }
.eplib-settling legend { float: left; width: auto; margin: 0; padding: 0; font-size: 1em;
  line-height: inherit; }
.eplib-settling label { display: inline-flex; gap: .4em; align-items: center; margin: 0; max-width: 100%;
  font-weight: 400; }
.eplib-settling input { accent-color: ${BLUE}; margin: 0; }
.eplib-settling select, .eplib-settling button, .eplib-settling input[type=number] {
  font: inherit; color: inherit; background: transparent; border: 1px solid #888; border-radius: 4px;
  padding: .15em .5em; min-width: 0; max-width: 100%; }
.eplib-settling input[type=number] { width: 5.5em; }
.eplib-settling option { color: #000; background: #fff; }
.eplib-settling button { flex: none; width: 5.8em; cursor: pointer; }
.eplib-settling p { min-height: 2.8em; margin: 0; }
.eplib-settling .seen { display: flex; flex-wrap: wrap; gap: .8em 1.6em; align-items: center; }
.eplib-settling .seen .bars { flex: 1 1 16em; display: grid; gap: .1em .4em; align-items: center;
  grid-template-columns: 1em max-content 3em minmax(3em, 1fr); margin: 0; padding: 0; list-style: none;
  font-size: .92em; }
.eplib-settling li { display: contents; }
.eplib-settling li > :nth-child(3) { text-align: right; }
.eplib-settling i { display: block; height: .75em; background: ${BLUE}; opacity: .55; }
.eplib-settling .says { font-weight: 700; }
.eplib-settling .says i { opacity: 1; }
.eplib-settling .curves { flex: 1 1 18em; min-width: 0; }
.eplib-settling svg { display: block; width: 100%; overflow: visible; font-size: 10px; fill: currentColor;
  cursor: pointer; }
.eplib-settling .layers { display: grid; gap: .8em;
  grid-template-columns: repeat(auto-fit, minmax(8.5em, 1fr)); }
.eplib-settling .layers canvas { display: block; width: 100%; max-width: 16em; }
.eplib-settling small { font-size: .88em; }
`;

// data: see `settling_data` in explorers.py. ask(name, value): how a live host is asked for the rest.
function settlingExplorer(root, data, ask) {
  const state = { image: data.image, order: data.orders.length - 1, phase: 0, frame: Infinity };
  let timer = null;
  const image = control("select", { onchange: () => choose(+image.value) });
  const hint = make("small");
  const order = radios("order", data.orders.map(([free]) => free), (i) => { state.order = i; draw(); });
  const phase = radios("phase", data.phases.map((p) => p.short), enter);
  const button = control("button", { type: "button", onclick: () => (timer ? stop() : play()) });
  const slider = control("input", {
    type: "range", min: 0, "aria-label": "step", oninput: () => jump(+slider.value),
  });
  const shown = make("output");
  const status = make("p");
  const choices = make("div", { className: "choices" }, make("label", {}, "image", image), hint, order.node,
    phase.node);
  const picture = make("canvas", { role: "img" });
  const bars = make("ul", { className: "bars" });
  const plots = ["residual", "energy"].map((key) => plot(key, jump));
  const layers = data.shapes.map(layer);
  const curves = make("div", { className: "curves" }, ...plots.map((p) => p.node));
  root.classList.add("eplib-settling");
  const form = make("form", { onsubmit: (event) => event.preventDefault() },
    make("div", { className: "head" }, picture, choices),
    make("div", { className: "time" }, button, slider, shown), status,
    make("div", { className: "seen" }, bars, curves),
    make("div", { className: "layers" }, ...layers.map((l) => l.node)));
  root.append(make("style", {}, STYLE), form);
  stop();
  list();
  draw();
  return { choices, stop, update };

  function update(changed) {
    if (state.frame === last()) state.frame = Infinity; // who watches the end goes on watching it
    data = changed;
    state.image = data.image;
    list();
    draw();
  }

  function last() {
    return data.phases[state.phase].steps.length - 1;
  }

  function choose(i) {
    if (!data.images[i].runs) return ask("image", i);
    state.image = i;
    draw();
  }

  function enter(i) {
    if (!i || !state.phase) state.frame = i ? 0 : Infinity; // where a nudged phase starts, the free one ended
    state.phase = i;
    draw();
  }

  function jump(frame) {
    stop();
    state.frame = frame;
    draw();
  }

  function play() {
    const next = () => {
      state.frame += 1;
      if (state.frame >= last()) stop();
      draw();
    };
    if (state.frame >= last()) state.frame = -1;
    button.textContent = "❚❚ pause";
    status.setAttribute("aria-live", "off"); // three sentences a second are too many to be read out
    timer = setInterval(next, 350);
    next();
  }

  function stop() {
    clearInterval(timer);
    timer = null;
    button.textContent = "▶ play";
    status.setAttribute("aria-live", "polite");
  }

  // The classes that an image's free phases end with, one an order.
  function ends(entry) {
    return entry.runs.map(([free]) => data.classes[largest(free.probabilities.at(-1))]);
  }

  function list() {
    image.replaceChildren(...data.images.map((entry, i) => {
      const differs = entry.runs && new Set(ends(entry)).size > 1 ? ", settles differently" : "";
      return make("option", { value: i, textContent: `${i + 1}. ${data.classes[entry.truth]}${differs}` });
    }));
  }

  function draw() {
    const entry = data.images[state.image];
    const { name, steps } = data.phases[state.phase];
    const orders = [state.order, 1 - state.order];
    const [run, other] = orders.map((o) => entry.runs[o][state.phase]);
    const [orderName, otherName] = orders.map((o) => data.orders[o][state.phase ? 1 : 0]);
    state.frame = Math.min(state.frame, last());
    const step = steps[state.frame];
    const words = `step ${step} of ${steps.at(-1)}`;
    const at = run.probabilities[state.frame];
    const [one, two] = ends(entry);
    const truth = data.classes[entry.truth];

    image.value = state.image;
    hint.textContent = one === two ? `ends as ${one} in both orders`
      : `settles differently: ${one} in ${data.orders[0][0]} order, ${two} in ${data.orders[1][0]}`;
    order.check(state.order);
    phase.check(state.phase);
    Object.assign(slider, { max: last(), value: state.frame });
    slider.setAttribute("aria-valuetext", words);
    shown.textContent = words;
    status.textContent = `${words}, ${orderName} order, ${name}: says ${data.classes[largest(at)]}`
      + ` (${percent(Math.max(...at))}), truth ${truth}, residual ${short(run.residual[step])},`
      + ` energy ${minus(run.energy[step].toFixed(1))}`;
    drawBars(bars, data.classes, run.probabilities, at, entry.truth);
    plots.forEach((p) => p.draw(run, other, otherName, steps, step));
    entry.pixels ??= [entry.picture, ...entry.layers].map((uri) => make("img", { src: uri, onload: draw }));
    const [shot, ...sheets] = entry.pixels;
    picture.setAttribute("aria-label", `the image: ${truth}`);
    if (shot.complete) {
      Object.assign(picture, { width: shot.width, height: shot.height });
      picture.getContext("2d").drawImage(shot, 0, 0);
    }
    layers.forEach((l, i) => l.draw(sheets[i], run.first + state.frame, words));
  }
}

// The true class and those that are ever likely in a phase, ten at most, always in the same order.
function drawBars(node, classes, every, at, truth) {
  const peaks = at.map((_, c) => (c === truth ? 2 : Math.max(...every.map((p) => p[c]))));
  const rows = [...peaks.keys()].sort((a, b) => peaks[b] - peaks[a]).slice(0, 10).sort((a, b) => a - b);
  node.replaceChildren(...rows.map((c) => {
    const bar = make("i");
    bar.style.width = `${100 * at[c]}%`;
    const cells = [c === truth ? "✓" : "", classes[c], percent(at[c]), bar];
    const className = c === largest(at) ? "says" : "";
    return make("li", { className }, ...cells.map((cell) => make("span", {}, cell)));
  }));
}

// A layer's maps in a square of about 320 pixels. draw(sheet, row, words): a row of the sheet is a frame.
function layer([channels, height, width], index) {
  const columns = Math.ceil(Math.sqrt(channels));
  const scale = Math.max(1, Math.floor(320 / (columns * width)));
  const place = (i, size) => 2 + i * (size * scale + 4); // a frame of two pixels around every map
  const canvas = make("canvas", {
    role: "img", width: place(columns, width) - 2, height: place(Math.ceil(channels / columns), height) - 2,
  });
  const title = `layer ${index + 1}: ${channels} × ${height} × ${width}`;
  function draw(sheet, row, words) {
    canvas.setAttribute("aria-label", `states of ${title}, ${words}`);
    if (!sheet.complete) return;
    const pen = canvas.getContext("2d");
    pen.imageSmoothingEnabled = false;
    pen.fillStyle = FRAME;
    for (let c = 0; c < channels; c++) {
      const [x, y] = [place(c % columns, width), place(Math.floor(c / columns), height)];
      pen.fillRect(x - 2, y - 2, width * scale + 4, height * scale + 4);
      pen.drawImage(sheet, c * width, row * height, width, height, x, y, width * scale, height * scale);
    }
  }
  return { node: make("div", {}, make("small", {}, title), canvas), draw };
}

// A curve over the steps of a phase, the other order's behind it, and where we are. A click goes to a frame.
function plot(key, jump) {
  const [left, right, top, bottom] = [36, 308, 16, 88];
  const node = make("div");
  const place = (step, last) => left + ((right - left) * Math.log1p(step)) / Math.log1p(last);
  let recorded = [];
  node.onclick = (event) => {
    const box = node.getBoundingClientRect();
    const x = 320 * (event.clientX - box.left) / box.width;
    jump(largest(recorded.map((step) => -Math.abs(place(step, recorded.at(-1)) - x))));
  };
  function draw(run, other, otherName, steps, step) {
    recorded = steps;
    const values = run[key];
    const say = key === "residual" ? short : (v) => minus(v.toFixed(1));
    const last = steps.at(-1);
    const axis = (key === "residual" ? decades : linear)([...values, ...other[key]]);
    const across = (s) => place(s, last).toFixed(1);
    const up = (v) => (bottom - (bottom - top) * axis.place(v)).toFixed(1);
    const line = (of, look) =>
      `<polyline fill="none" ${look} points="${of.map((v, s) => `${across(s)},${up(v)}`).join(" ")}"/>`;
    const marks = [0, 1, 2, 5, 10, 20, 50, 100, 250, 500, 1000].filter((s) => s <= last);
    const text = (x, y, anchor, words) => `<text x="${x}" y="${y}" text-anchor="${anchor}">${words}</text>`;
    const path = (d, look) => `<path d="${d}" stroke="currentColor" ${look}/>`;
    const summary = `${key} of ${last} steps: ${say(values[0])} at first, ${say(values.at(-1))} at last`;
    node.innerHTML = `<svg viewBox="0 0 320 104" role="img" aria-label="${summary}">${
      text(left, 10, "start", key)}${text(right, 10, "end", `faint: ${otherName} order`)}${
      axis.ticks.map((v) => path(`M${left} ${up(v)}H${right}`, 'opacity=".2"')
        + text(left - 5, +up(v) + 3.5, "end", axis.label(v))).join("")}${
      text(left - 8, 101, "end", "step")}${
      marks.map((s) => text(across(s), 101, "middle", s)).join("")}${
      line(other[key], 'stroke="currentColor" opacity=".4"')}${
      line(values, `stroke="${BLUE}" stroke-width="2"`)}${
      path(`M${across(step)} ${top}V${bottom}`, 'stroke-dasharray="2 2"')
    }<circle cx="${across(step)}" cy="${up(values[step])}" r="4" stroke="${BLUE}" stroke-width="1.5"/></svg>`;
  }
  return { node, draw };
}

// Axes: place(v) in 0…1, at most five ticks, label(v).
function decades(values) {
  const log = (v) => Math.log10(Math.max(v, 1e-8)); // a settled state has residual 0
  const low = Math.floor(Math.min(...values.map(log)));
  const high = Math.max(low + 1, Math.ceil(Math.max(...values.map(log))));
  const every = Math.ceil((high - low) / 4);
  const ticks = [];
  for (let d = high; d >= low; d -= every) ticks.push(10 ** d);
  const label = (v) => (v === 1 ? "1" : power(log(v)));
  return { place: (v) => (log(v) - low) / (high - low), ticks, label };
}

function linear(values) {
  const [low, high] = [Math.min(...values), Math.max(...values)];
  const rough = (high - low || 1) / 4;
  const unit = 10 ** Math.floor(Math.log10(rough));
  const every = unit * [1, 2, 5, 10].find((m) => m * unit >= rough);
  const ticks = [];
  for (let k = Math.ceil(low / every); k * every <= high; k++) ticks.push(k * every);
  const digits = Math.max(0, -Math.floor(Math.log10(every)));
  const label = (v) => minus(v.toFixed(digits));
  return { place: (v) => (v - low) / (high - low || 1), ticks, label };
}

// One of several names; inside a form of its own, so that the same names elsewhere are other groups.
function radios(name, labels, chosen) {
  const inputs = labels.map((_, i) => control("input", { type: "radio", name, onchange: () => chosen(i) }));
  const node = make("fieldset", {}, make("legend", {}, name),
    ...labels.map((label, i) => make("label", {}, inputs[i], label)));
  return { node, check: (i) => { inputs[i].checked = true; } };
}

function largest(values) {
  return values.indexOf(Math.max(...values));
}

function percent(p) {
  return `${Math.round(100 * p)} %`;
}

function minus(text) {
  return text.replace("-", "−");
}

// 0.031, or 1.2 × 10⁻⁵ for what is smaller than a thousandth.
function short(v) {
  if (v === 0 || v >= 1e-3) return String(+v.toPrecision(2));
  const [digits, exponent] = v.toExponential(1).split("e");
  return `${digits === "1.0" ? "" : `${digits} × `}${power(exponent)}`;
}

function power(exponent) {
  return `10${[...String(Math.round(exponent))].map((d) => (d === "-" ? "⁻" : "⁰¹²³⁴⁵⁶⁷⁸⁹"[+d])).join("")}`;
}

// The live host: the figure, and what only a network can answer.
function render({ model, el }) {
  const root = make("div");
  const caption = make("figcaption", {}, model.get("caption"));
  const figure = make("figure", { className: "eplib-explorer" }, root, caption);
  figure.dataset.explorer = "settling";
  figure.style.margin = "1rem 0";
  el.append(figure);
  const explorer = settlingExplorer(root, model.get("data"), ask);
  const strength = make("output");
  const beta = control("input", {
    type: "range", min: 0.05, max: 2, step: 0.05,
    oninput: () => { strength.textContent = beta.value; }, onchange: () => ask("beta", +beta.value),
  });
  const askSteps = () => ask("steps", +steps.value);
  const steps = control("input", {
    type: "number", min: 1, max: 1000, onchange: askSteps,
    onkeydown: ({ key }) => { if (key === "Enter") askSteps(); }, // no change in JupyterLab
  });
  const note = make("strong", { role: "status" });
  const beside = [["β", beta, strength], ["free steps T", steps]].map((parts) => make("label", {}, ...parts));
  explorer.choices.append(...beside, note);
  const shows = ["beta", "steps", "message", "busy"].map((name) => [`change:${name}`, show]);
  const events = [["change:data", () => explorer.update(model.get("data"))], ...shows];
  events.forEach((event) => model.on(...event));
  show();
  return () => {
    explorer.stop();
    events.forEach((event) => model.off(...event));
  };

  function ask(name, value) {
    if (value === model.get(name)) return;
    model.set(name, value);
    model.set("busy", true);
    model.save_changes();
  }

  function show() {
    beta.value = model.get("beta");
    strength.textContent = model.get("beta");
    steps.value = model.get("steps");
    note.textContent = model.get("busy") ? "computing…" : model.get("message");
  }
}

export default { render };
