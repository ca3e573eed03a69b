// A small plot of shares between 0 and 1 over some stops, one of which is chosen.
const LINES_STYLE = `
.eplib-explorer .lines { min-width: 0; touch-action: pan-y; cursor: pointer; }
.eplib-explorer .lines svg { display: block; width: 100%; height: auto; overflow: visible; font-size: 11px;
  fill: currentColor; }
`;

// choose(place): called with the stop that is pointed at. draw({ title, axis, stops, at, lines }): stops in
// words; lines: [{ name, colour, values, right }], right: which marks are filled.
function linePlot(choose) {
  const [wide, left, right, top, bottom] = [360, 38, 262, 22, 112];
  const node = make("div", {
    className: "lines", onpointerdown: point, onpointermove: (event) => event.buttons && point(event),
  });
  let places = [];

  function point(event) {
    const box = node.getBoundingClientRect();
    const x = (wide * (event.clientX - box.left)) / box.width;
    choose(largest(places.map((place) => -Math.abs(place - x))));
  }

  function draw({ title, axis, stops, at, lines }) {
    const step = (right - left) / Math.max(1, stops.length - 1);
    places = stops.map((_, i) => left + i * step);
    const up = (share) => bottom - (bottom - top) * share;
    const ends = lines.map(({ name, values }) =>
      `${name} ${percent(values[0])} at first, ${percent(values.at(-1))} at last`);
    const svg = shape("svg", {
      viewBox: `0 0 ${wide} 144`, role: "img", "aria-label": `${title}: ${ends.join("; ")}`,
    });
    const text = (x, y, anchor, words) => shape("text", { x, y, "text-anchor": anchor }, words);
    const rule = (d, more) => shape("path", { d, stroke: "currentColor", ...more });
    svg.append(text(left, 11, "start", title), text((left + right) / 2, 142, "middle", axis),
      ...[0, 0.5, 1].flatMap((v) => [rule(`M${left} ${up(v)}H${right}`, { opacity: 0.2 }),
        text(left - 5, up(v) + 4, "end", percent(v))]),
      rule(`M${places[at]} ${top}V${bottom}`, { "stroke-dasharray": "2 2" }));
    labelled(stops, places, at).forEach((i) => svg.append(text(places[i], bottom + 14, "middle", stops[i])));
    lines.forEach((line) => svg.append(lineOf(line, places, up, at)));
    svg.append(...names(lines, up, right));
    node.replaceChildren(svg);
  }
  return { node, draw };
}

function lineOf({ colour, values, right }, places, up, at) {
  const stroke = `color-mix(in srgb, ${colour} 80%, currentColor)`;
  const group = shape("g", { style: `stroke:${stroke}; fill:none; stroke-width:2` });
  group.append(shape("polyline", { points: values.map((v, i) => `${places[i]},${up(v)}`).join(" ") }),
    ...values.map((v, i) => shape("circle", {
      cx: places[i], cy: up(v), r: i === at ? 5 : 3, style: right[i] ? `fill:${stroke}` : "",
    })));
  return group;
}

// The stops that have room for their words, the chosen one first, then the ends.
function labelled(stops, places, at) {
  const kept = [];
  for (const i of [at, 0, stops.length - 1, ...stops.keys()]) {
    const room = (j) => Math.abs(places[i] - places[j]) - 3.2 * (stops[i].length + stops[j].length);
    if (!kept.includes(i) && kept.every((j) => room(j) > 5)) kept.push(i);
  }
  return kept;
}

// The names of lines, moved apart, each joined to its end.
function names(lines, up, right) {
  const cut = (name) => (name.length > 16 ? `${name.slice(0, 15)}…` : name);
  const sorted = lines.map((l) => ({ ...l, end: up(l.values.at(-1)) })).sort((a, b) => a.end - b.end);
  const places = sorted.map((l) => l.end);
  for (let i = places.length - 2; i >= 0; i--) places[i] = Math.min(places[i], places[i + 1] - 13);
  return sorted.flatMap(({ name, colour, end }, i) => [
    shape("path", { d: `M${right + 6} ${end}L${right + 16} ${places[i]}`, stroke: colour, "stroke-width": 1.5 }),
    shape("text", { x: right + 19, y: places[i] + 4 }, cut(name)),
  ]);
}
