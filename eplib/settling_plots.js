// What settling.js draws: the bars of classes, the maps of layers, and curves over the steps of a phase.
const BLUE = "#2f87c8";
const FRAME = "#6fa8d0"; // around maps: no grey, and seen on light and dark pages

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
  node.onpointerdown = (event) => {
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

