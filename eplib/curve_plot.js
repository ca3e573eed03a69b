// The plot of curves.js: curves with bands, marks, an axis of ε and the names beside them, and the colours.
const SHAPES = [ // marks of attacks, around 0, 0
  "M-3.5 0A3.5 3.5 0 1 1 3.5 0A3.5 3.5 0 1 1 -3.5 0Z", "M-3 -3H3V3H-3Z", "M0 -4.2L4 3H-4Z",
  "M0 -4.6L4.6 0L0 4.6L-4.6 0Z", "M0 4.2L4 -3H-4Z", "M-4.4 -1.5H4.4V1.5H-4.4Z", "M-1.5 -4.4H1.5V4.4H-1.5Z",
  "M-3.4 -3.4L3.4 -3.4L0 0L3.4 3.4H-3.4L0 0Z",
];
const LABELS = { room: 200, most: 16, letters: 32 }; // of curves: pixels beside the plot, curves, letters

// The plot: { node, points: [{ curve, place, x, y }] }.
function picture(curves, state, data, width, dark, current) {
  const unit = data.units[state.norm];
  const beside = width >= 620 && curves.length <= LABELS.most;
  const [left, right, top] = [44, width - (beside ? LABELS.room : 12), 10];
  const height = Math.max(300, Math.min(430, 0.6 * (right - left)));
  const bottom = top + height;
  const text = (x, y, anchor, words) => shape("text", { x, y, "text-anchor": anchor }, words);
  const rule = (d, opacity) => shape("path", { d, stroke: "currentColor", opacity });
  const up = (v) => bottom - height * v;
  const values = curves.flatMap((c) => c.x.map((x) => unit * x));
  const axis = across(values, state.axis, data.ticks[state.norm], left, right);
  const node = shape("svg", { width, height: bottom + 40, role: "img", "aria-label": summary(curves) });
  for (const v of [0, 0.2, 0.4, 0.6, 0.8, 1]) {
    node.append(rule(`M${left} ${up(v)}H${right}`, v ? 0.2 : 0.7),
      text(left - 6, up(v) + 4, "end", `${100 * v}%`));
  }
  for (const tick of axis.ticks) {
    node.append(rule(`M${axis.place(tick)} ${top}V${bottom}`, 0.15),
      text(axis.place(tick), bottom + 15, "middle", digits(tick)));
  }
  node.append(text((left + right) / 2, bottom + 34, "middle", data.axes[state.norm]));
  const points = [];
  curves.forEach((c, curve) => {
    const places = [...c.x.keys()].filter((i) => state.axis === "linear" || c.x[i] > 0);
    const x = places.map((i) => axis.place(unit * c.x[i]));
    const line = (values) => places.map((i, k) => [x[k].toFixed(1), up(values[i]).toFixed(1)]);
    const chosen = current && current.curve === curve;
    node.append(curveOf(c, line(c.y), line(c.low), line(c.high), dark, chosen, current && !chosen));
    places.forEach((place, k) => points.push({ curve, place, x: x[k], y: up(c.y[place]) }));
  });
  if (beside) node.append(...labels(curves, points, right, top, bottom, dark));
  const at = current && points.find((p) => p.curve === current.curve && p.place === current.place);
  const ring = { r: 8, fill: "none", stroke: "currentColor", "stroke-width": 2 };
  if (at) node.append(shape("circle", { cx: at.x, cy: at.y, ...ring }));
  const empty = "nothing of what is chosen is there";
  if (!curves.length) node.append(text((left + right) / 2, up(0.5), "middle", empty));
  return { node, points };
}

// A curve with its band and its marks; its points and those of its bounds are [x, y].
function curveOf(c, points, low, high, dark, chosen, faint) {
  const colour = readable(c.model.shade, dark);
  const group = shape("g", { opacity: faint ? 0.4 : 1 });
  group.append(
    shape("polygon", { points: [...low, ...high.reverse()].join(" "), fill: colour, opacity: 0.13 }),
    shape("polyline", {
      points: points.join(" "), fill: "none", stroke: colour, "stroke-width": chosen ? 3 : 1.8,
      "stroke-dasharray": c.dashed ? "6 3" : "none",
    }),
    ...points.map(([x, y]) => shape("path", {
      d: c.mark, transform: `translate(${x} ${y})`, stroke: colour, fill: c.ours ? colour : "none",
      "stroke-width": 1.4,
    })));
  return group;
}

function summary(curves) {
  const ends = curves.slice(0, 12).map((c) => `${c.model.name}, ${c.attack.short}: ${tenths(c.y[0])} at`
    + ` ${amount(c, 0)}, ${tenths(c.y.at(-1))} at ${amount(c, c.x.length - 1)}`);
  return `Accuracy under attack. ${ends.join("; ") || "Nothing is drawn"}.`;
}

// Names beside the ends of curves, moved apart, each joined to its end.
function labels(curves, points, right, top, bottom, dark) {
  const ends = curves.map((_, curve) => points.findLast((p) => p.curve === curve)).filter(Boolean);
  const several = new Set(curves.map((c) => c.attack.key)).size > 1;
  const sorted = ends.toSorted((a, b) => a.y - b.y);
  const places = sorted.map((p) => p.y);
  const gap = Math.min(14, (bottom - top) / Math.max(1, places.length));
  for (let i = 1; i < places.length; i++) places[i] = Math.max(places[i], places[i - 1] + gap);
  const last = places.length - 1;
  for (let i = last; i >= 0; i--) places[i] = Math.min(places[i], bottom - (last - i) * gap);
  return sorted.flatMap((end, i) => {
    const c = curves[end.curve];
    const full = c.model.short;
    const tail = `${several ? ` · ${c.attack.short}` : ""}${c.ours ? "" : " · publ."}`;
    const kept = LABELS.letters - tail.length;
    const name = full.length > kept ? `${full.slice(0, kept - 1)}…` : full;
    const d = `M${end.x + 5} ${end.y}L${right + 6} ${places[i]}H${right + 14}`;
    const stroke = readable(c.model.shade, dark);
    return [
      shape("path", { d, fill: "none", stroke, opacity: 0.8 }),
      shape("text", { x: right + 18, y: places[i] + 4 }, name + tail),
    ];
  });
}

// An axis of ε: place(value) in pixels, and the ticks that have room, the more important first.
function across(values, kind, important, left, right) {
  const positive = kind === "log" ? values.filter((v) => v > 0) : values;
  const [least, most] = positive.length ? [Math.min(...positive), Math.max(...positive)] : [0.1, 1];
  const [low, high] = kind === "log" ? [0.88 * least, most / 0.88] : [0, 1.04 * most];
  const scaled = kind === "log" ? Math.log : (v) => v;
  const place = (v) => left + ((right - left) * (scaled(v) - scaled(low))) / (scaled(high) - scaled(low));
  const unit = 10 ** Math.floor(Math.log10(most / 4));
  const every = unit * [1, 2, 5, 10].find((m) => m * unit >= most / 6);
  const wanted = kind === "log" ? important : Array.from({ length: 20 }, (_, k) => k * every);
  const ticks = [];
  for (const v of wanted) {
    const room = (t) => Math.abs(place(v) - place(t)) - 3.5 * (digits(v).length + digits(t).length);
    if (v >= low && v <= high && ticks.every((t) => room(t) > 8)) ticks.push(v);
  }
  return { place, ticks };
}

// The mark of an attack, in a label.
function markOf(place) {
  const node = shape("svg", { width: 12, height: 12, viewBox: "-6 -6 12 12", "aria-hidden": true });
  node.append(shape("path", { d: SHAPES[place], stroke: "currentColor", fill: "currentColor" }));
  return node;
}

// The colour of the model at a place, in a label.
function swatchOf(place) {
  const node = shape("svg", { width: 16, height: 8, viewBox: "0 0 16 8", "aria-hidden": true });
  node.append(shape("path", { d: "M0 4H16", stroke: "currentColor", "stroke-width": 3 }));
  node.dataset.model = place;
  return node;
}

// Gives every model its colour, and of those drawn together with another of the same colour all but the first
// one that is free: there are more models than colours that can be told apart.
function shade(models, drawn) {
  const used = new Set();
  const alike = [];
  for (const model of models) {
    model.shade = model.colour;
    if (drawn.has(model) && used.has(model.colour)) alike.push(model);
    else if (drawn.has(model)) used.add(model.colour);
  }
  for (const model of alike) {
    model.shade = models.find((m) => !used.has(m.colour))?.colour ?? model.colour;
    used.add(model.shade);
  }
}

function lightText(root) {
  const [r, g, b] = getComputedStyle(root).color.match(/[\d.]+/g).map(Number);
  return 0.2126 * r + 0.7152 * g + 0.0722 * b > 128;
}

// A colour, made lighter or darker until a line in it is seen: 3 to 1 against the page.
function readable(hex, dark) {
  let colour = [1, 3, 5].map((i) => parseInt(hex.slice(i, i + 2), 16));
  const page = dark ? 0.012 : 1; // luminance of the page
  const contrast = (l) => (Math.max(l, page) + 0.05) / (Math.min(l, page) + 0.05);
  while (contrast(luminance(colour)) < 3) colour = colour.map((v) => v + (dark ? 0.1 * (255 - v) : -0.1 * v));
  return `rgb(${colour.map(Math.round)})`;
}

function luminance(colour) {
  const linear = colour.map((v) => (v / 255 > 0.04 ? ((v / 255 + 0.055) / 1.055) ** 2.4 : v / 255 / 12.92));
  return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2];
}

function digits(value) {
  return String(+value.toPrecision(3));
}

function tenths(share) {
  return `${(100 * share).toFixed(1)} %`;
}

function count(number, word) {
  return `${number} ${word}${number === 1 ? "" : "s"}`;
}
