// Attack horizons against prediction horizons: the matrix, and the images behind each of its cells. One
// script, two hosts: a page that holds all the data, and JupyterLab. Plain DOM, no library.
const MARK = "#d55e00"; // of the chosen cell
const BLUES = ["f7fbff", "deebf7", "c6dbef", "9ecae1", "6baed6", "4292c6", "2171b5", "08519c", "08306b"].map(
  (hex) => [0, 2, 4].map((i) => parseInt(hex.slice(i, i + 2), 16)));
const STYLE = `
.eplib-horizons output { min-width: 2.8em; }
.eplib-horizons table { width: 100%; max-width: 42em; table-layout: fixed !important; margin: 0;
  border-collapse: separate; border-spacing: 2px; font-size: .95em; } /* outputs in the book set the layout */
.eplib-horizons th, .eplib-horizons td { padding: .3em 0; border: 0; font-weight: 400; text-align: center;
  overflow-wrap: anywhere; }
.eplib-horizons thead th { font-size: .9em; }
.eplib-horizons tr > :first-child { width: 6.4em; padding-right: .4em; text-align: right; line-height: 1.15; }
.eplib-horizons td { cursor: pointer; border-radius: 3px; }
.eplib-horizons td[aria-selected=true] { box-shadow: 0 0 0 3px ${MARK}; font-weight: 700; }
.eplib-horizons td:focus-visible { outline: 2px dashed ${MARK}; outline-offset: 4px; }
.eplib-horizons .said { min-height: 2.8em; }
.eplib-horizons .images { display: grid; gap: .8em .6em;
  grid-template-columns: repeat(auto-fill, minmax(5.2em, 1fr)); }
.eplib-horizons .images > div { display: flex; flex-direction: column; min-width: 0; max-width: 7em; }
.eplib-horizons .images canvas { width: 100%; }
.eplib-horizons .wrong { font-weight: 700; }
`;

// data: see `page_data` in horizon_explorer.py. ask({ epsilon, attack }): how a live host is asked for images
// at another ε; a page has none.
function horizonsExplorer(root, data, ask) {
  const originals = bytes(data.originals, Uint8Array);
  const stored = bytes(data.changes, Int8Array);
  const size = data.channels * data.side * data.side;
  const last = data.attacks.length + 1; // the row of the worst case; row 0 is without attack
  let cell = null; // what a live host computed last
  const epsilon = slider(`${data.norm} ε`, data.epsilons.length - 1, (e) => move({ epsilon: e, own: null }));
  const own = typed("another", () => move({ own: numberIn(own) }), { step: "any" });
  const rows = [
    { short: "no attack", long: "no attack" }, ...data.attacks, { short: "worst case", long: "worst case" },
  ];
  const cells = rows.map((_, row) => data.predictions.map((_, column) => control("td", {
    role: "gridcell", onclick: () => { move({ row, column }); focus(); },
  })));
  const name = "accuracy by attack and prediction";
  const grid = make("table", { role: "grid", "aria-label": name, onkeydown: step },
    make("thead", {}, make("tr", {}, make("td", { role: "presentation" }),
      ...data.predictions.map((p) => make("th", { scope: "col", title: p.long, textContent: p.short })))),
    make("tbody", {}, ...rows.map((r, i) => make("tr", {},
      make("th", { scope: "row", title: r.long, textContent: r.short }), ...cells[i]))));
  const said = make("p", { className: "said", "aria-live": "polite" });
  const cards = data.labels.map(card);
  const [e, attack, column] = data.open; // the cell furthest above the worst case of its column
  const kept = stateOf(root, { epsilon: e, row: attack + 1, column, own: null }, {
    epsilon: placeIn(data.epsilons), row: placeIn(rows.map((r) => r.short)),
    column: placeIn(data.predictions.map((p) => p.short)),
  }, show, ask);
  const { state, move } = kept;
  const controls = make("div", { className: "controls" }, epsilon.node,
    ...(ask ? [own.node] : []), ...kept.nodes);
  fill(root, "horizons", STYLE, controls,
    make("small", {}, "Lines: gradient of the attack. Columns: free-phase steps before the prediction (own:"
      + ` the network's own; rest: converged). Cells: per cent right of ${data.count} images.`),
    grid, said,
    make("small", {}, "Below, an image a column: its class; as it is, and the answer; as attacked, and the"
      + " answer; the change and its largest value (grey: no change, all on one scale)."),
    make("div", { className: "images" }, ...cards.map((c) => c.node)));
  kept.begin();
  return { controls, update, restore };

  function show() {
    if (state.own !== null && !live() && state.row > 0 && state.row < last) {
      ask({ epsilon: state.own, attack: state.row - 1 });
    }
    draw();
  }

  // Back to what was computed last, or to what the page holds.
  function restore() {
    if (live()) return;
    state.own = cell && cell.attack === state.row - 1 ? cell.epsilon : null;
    own.field.value = state.own ?? "";
    draw();
  }

  function update(computed) {
    cell = { ...computed, codes: bytes(computed.changes, Int8Array) };
    draw();
  }

  // The live cell, where it is the one that is looked at.
  function live() {
    const fits = cell && cell.epsilon === state.own && cell.attack === state.row - 1;
    return fits ? cell : null;
  }

  function step(event) {
    const moves = {
      ArrowUp: [-1, 0], ArrowDown: [1, 0], ArrowLeft: [0, -1], ArrowRight: [0, 1],
      Home: [0, -Infinity], End: [0, Infinity],
    };
    if (!(event.key in moves)) return;
    event.preventDefault();
    const [down, right] = moves[event.key];
    move({
      row: within(state.row + down, 0, last),
      column: within(state.column + right, 0, data.predictions.length - 1),
    });
    focus();
  }

  function focus() {
    cells[state.row][state.column].focus();
  }

  function right(row, column) {
    if (row === 0) return data.clean[column];
    return row === last ? data.worst[state.epsilon][column] : data.right[state.epsilon][row - 1][column];
  }

  // What is behind the chosen cell for an image: {change, peak, predicted, by}. In the worst case the first
  // attack that leaves the image wrong, if any.
  function behind(i) {
    const [e, p] = [state.epsilon, state.column];
    if (state.row === 0) return { peak: 0, predicted: data.predicted_clean[p][i] };
    if (live()) {
      const change = cell.codes.subarray(i * size, (i + 1) * size);
      return { change, peak: cell.peaks[i], predicted: cell.predicted[p][i] };
    }
    const breaks = data.attacks.findIndex((_, a) => data.predicted[e][a][p][i] !== data.labels[i]);
    const a = state.row === last ? Math.max(0, breaks) : state.row - 1;
    const from = ((e * data.attacks.length + a) * data.labels.length + i) * size;
    const change = stored.subarray(from, from + size);
    const by = state.row === last ? data.attacks[a].short : "";
    return { change, peak: data.peaks[e][a][i], predicted: data.predicted[e][a][p][i], by };
  }

  function draw() {
    const value = data.epsilons[state.epsilon];
    epsilon.show(state.epsilon, value);
    own.show(state.own);
    cells.forEach((line, row) => line.forEach((node, column) => {
      const share = right(row, column) / data.count;
      const chosen = row === state.row && column === state.column;
      node.textContent = Math.round(100 * share);
      node.tabIndex = chosen ? 0 : -1;
      node.setAttribute("aria-selected", chosen);
      node.setAttribute("aria-label", `${words(row, column)}: ${number(right(row, column))}`);
      const colour = blue(share);
      node.style.background = `rgb(${colour})`;
      node.style.color = luminance(colour) > 0.18 ? "#000" : "#fff";
    }));
    const seen = cards.map((c, i) => c.draw(behind(i)));
    const among = `${seen.filter(Boolean).length} of the ${cards.length} below`;
    const at = (row) => right(row, state.column);
    said.textContent = live()
      ? `Computed now, ε = ${state.own}, ${words(state.row, state.column)}: ${among} right.`
      : `ε = ${value}, ${words(state.row, state.column)}: ${number(at(state.row))} right, ${among}.`
        + ` Under the worst of all attacks ${number(at(last))}, without attack ${number(at(0))}.`;
  }

  function words(row, column) {
    return `${rows[row].long}, predicted after ${data.predictions[column].long}`;
  }

  function number(count) {
    return `${count} of ${data.count} (${percent(count / data.count)})`;
  }

  // An image as it is, attacked, and the change, grey where there is none. draw(behind): says whether it is
  // right without the attack and under it.
  function card(label, i) {
    const pictures = ["original", "attacked", "change"].map((name) => {
      const canvas = make("canvas", { role: "img", width: data.side, height: data.side });
      return { name, canvas, words: make("small") };
    });
    const title = make("small", {}, data.classes[label]);
    const node = make("div", {}, title, ...pictures.flatMap((p) => [p.canvas, p.words]));
    const original = originals.subarray(i * size, (i + 1) * size);
    function draw({ change, peak, predicted, by }) {
      const scale = Math.max(...(live() ? cell.peaks : data.peaks[state.epsilon].flat())) || 1;
      const clean = data.predicted_clean[state.column][i];
      const delta = (j) => (change ? (change[j] * peak) / 127 : 0);
      paint(pictures[0].canvas, (j) => original[j]);
      paint(pictures[1].canvas, (j) => original[j] + 255 * delta(j));
      paint(pictures[2].canvas, (j) => 127.5 * (1 + delta(j) / scale));
      const answer = (c) => `${c === label ? "✓" : "✗"} ${data.classes[c]}`;
      const told = [answer(clean), answer(predicted), `±${peak.toPrecision(2)}${by ? ` by ${by}` : ""}`];
      pictures.forEach((p, k) => {
        p.words.textContent = told[k];
        p.words.className = k < 2 && told[k][0] === "✗" ? "wrong" : "";
        p.canvas.setAttribute("aria-label", `image ${i + 1}, ${data.classes[label]}, ${p.name}: ${told[k]}`);
      });
      return clean === label && predicted === label;
    }
    return { node, draw };
  }

  // value(j): of entry j of an image [C, H, W], in 0…255.
  function paint(canvas, value) {
    const pen = canvas.getContext("2d");
    const pixels = pen.createImageData(data.side, data.side);
    const plane = data.side * data.side;
    for (let j = 0; j < plane; j++) {
      for (let c = 0; c < 3; c++) pixels.data[4 * j + c] = Math.round(value((c % data.channels) * plane + j));
      pixels.data[4 * j + 3] = 255;
    }
    pen.putImageData(pixels, 0, 0);
  }
}

function bytes(text, Kind) {
  return new Kind(Uint8Array.from(atob(text), (c) => c.charCodeAt(0)).buffer);
}

// The colour of a share, dark where much is right.
function blue(share) {
  const place = Math.min(share * (BLUES.length - 1), BLUES.length - 1.001);
  const low = Math.floor(place);
  return BLUES[low].map((v, i) => Math.round(v + (BLUES[low + 1][i] - v) * (place - low)));
}

function luminance(colour) {
  const linear = colour.map((v) => (v / 255 > 0.04 ? ((v / 255 + 0.055) / 1.055) ** 2.4 : v / 255 / 12.92));
  return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2];
}
