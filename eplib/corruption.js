// An image under a corruption, what each network says of it, and how many of all images it gets right there.
// One script, two hosts: a page that holds all the data, and JupyterLab. Plain DOM, no library.
const MARK = "#d55e00"; // of the chosen image
const STYLE = `
.eplib-corruption .images { display: flex; flex-wrap: wrap; gap: .5em; align-items: center; }
.eplib-corruption .images button { display: flex; flex-direction: column; align-items: center; gap: .2em;
  padding: .3em; width: 6em; font-size: .88em; line-height: 1.2; overflow-wrap: anywhere; }
.eplib-corruption .images button[aria-pressed=true] { box-shadow: 0 0 0 3px ${MARK}; font-weight: 700; }
.eplib-corruption .images canvas { width: 3em; }
.eplib-corruption .seen { display: flex; flex-wrap: wrap; gap: 1em 1.6em; align-items: flex-start; }
.eplib-corruption .pictures { flex: 1 1 15em; display: grid; grid-template-columns: 1fr 1fr; gap: .8em;
  max-width: 26em; }
.eplib-corruption .pictures canvas { width: 100%; }
.eplib-corruption .pictures .lines { grid-column: 1 / 3; }
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
.eplib-corruption .hidden i { visibility: hidden; }
.eplib-corruption .said { min-height: 2.8em; }
${LINES_STYLE}`;

// data: see `page_data` in corruption_explorer.py. ask({ image, seed }): how a live host is asked for another
// image or other random numbers; a page has none.
function corruptionExplorer(root, data, ask) {
  const images = data.images.map(entered);
  const stops = Array.from({ length: data.severities + 1 }, (_, k) => String(k));
  const buttons = make("div", { className: "images", role: "group", "aria-label": "image" });
  const type = families();
  const severity = slider("severity", data.severities, (value) => move({ severity: value }));
  const image = typed(`any image, 0…${data.last}`, wish, { step: 1, max: data.last });
  const seed = typed("random seed", wish, { step: 1 });
  const pictures = [0, 1].map(() => { // as it is, and corrupted
    const canvas = make("canvas", { role: "img", width: data.side, height: data.side });
    const words = make("small");
    return { canvas, words, node: make("div", {}, canvas, words) };
  });
  const plot = linePlot((value) => move({ severity: value }));
  const guess = guessing(questions, (on) => move({ guess: on }), draw);
  const rows = data.models.map(row);
  const said = make("p", { className: "said", "aria-live": "polite" });
  const [first, frame] = data.open; // where the two main networks differ most: `opening` in Python
  const kept = stateOf(root, {
    image: first, type: Math.floor((frame - 1) / data.severities),
    severity: (frame - 1) % data.severities + 1, guess: false,
  }, {
    image: placeIn(data.images.map(({ id }) => id)), type: placeIn(data.types.map((t) => t.key)),
    severity: upTo(data.severities), guess: onOrOff(),
  }, draw, ask);
  const { state, move } = kept;
  const controls = make("div", { className: "controls" },
    make("label", {}, "corruption", type), severity.node,
    ...(ask ? [image.node, seed.node] : []), ...kept.nodes);
  fill(root, "corruption", STYLE, buttons, controls, ...(data.note ? [make("small", {}, data.note)] : []),
    guess.node,
    make("div", { className: "seen" },
      make("div", { className: "pictures" }, ...pictures.map((p) => p.node), plot.node),
      make("div", { className: "answers" }, tableOf(rows))),
    said);
  list();
  kept.begin();
  return { controls, update, restore };

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

  function families() {
    const field = control("select", { onchange: () => move({ type: +field.value }) });
    for (const family of new Set(data.types.map((t) => t.family))) {
      const options = data.types.map((t, i) => make("option", { value: i, textContent: t.name }));
      const own = options.filter((_, i) => data.types[i].family === family);
      field.append(make("optgroup", { label: family }, ...own));
    }
    return field;
  }

  function list() {
    buttons.replaceChildren(...images.map((i) => i.button));
  }

  // Any image, with any random numbers; what is there already is only shown.
  function wish() {
    const wanted = { image: numberIn(image), seed: numberIn(seed) };
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

  function restore() {
    const { entry } = images[state.image];
    [image.field.value, seed.field.value] = [entry.id, entry.seed];
  }

  function frameOf(type, severity) {
    return severity ? 1 + type * data.severities + severity - 1 : 0;
  }

  function questions() {
    const rates = data.models.map((m) => m.rates[frameOf(state.type, state.severity)]);
    const words = "most of all images right here has";
    return [{ words, options: data.models.map((m) => m.name), right: largest(rates) }];
  }

  // A network's line. show([class, confidence], label, frame, hidden): says whether it is right.
  function row(model) {
    const [answer, share] = [make("span"), make("span")];
    const [sure, right] = [make("i"), make("i")];
    const seeds = model.seeds > 1 ? `mean of ${model.seeds} seeds` : "1 seed";
    const cell = make("td", {}, answer, sure);
    const node = make("tr", {}, make("th", { scope: "row", textContent: model.name }), cell,
      make("td", {}, share, right, make("small", {}, `of ${model.count} images, ${seeds}`)));
    node.style.setProperty("--model", model.colour);
    function show([c, confidence], label, frame, hidden) {
      const told = `${c === label ? "✓" : "✗"}\u00a0${data.classes[c]}, ${percent(confidence)}`;
      answer.textContent = hidden ? "?" : told;
      sure.style.width = `${100 * confidence}%`;
      share.textContent = hidden ? "?" : percent(model.rates[frame]);
      right.style.width = `${100 * model.rates[frame]}%`;
      cell.className = c === label || hidden ? "" : "wrong";
      node.className = hidden ? "hidden" : "";
      return c === label;
    }
    return { node, show };
  }

  function draw() {
    if (state.image === undefined) return; // a picture was there before the rest of the figure
    const { entry, sheet } = images[state.image];
    const frame = frameOf(state.type, state.severity);
    const { name } = data.types[state.type];
    const told = state.severity ? `${name}, severity ${state.severity}` : "as it is";
    const truth = data.classes[entry.label];
    const hidden = guess.hides(state.guess, String(frame));
    type.value = state.type;
    severity.show(state.severity, stops[state.severity], state.severity ? told : "0, no corruption");
    image.show(entry.id);
    seed.show(entry.seed);
    images.forEach((i, place) => {
      i.button.setAttribute("aria-pressed", place === state.image);
      paint({ canvas: i.thumb, sheet: i.sheet, frame: 0, columns: data.columns });
    });
    pictures.forEach((p, k) => {
      p.words.textContent = k ? told : `${truth}, as it is`;
      p.canvas.setAttribute("aria-label", `image ${entry.id}, ${truth}, ${k ? told : "as it is"}`);
      paint({ canvas: p.canvas, sheet, frame: k ? frame : 0, columns: data.columns });
    });
    const right = rows.map((r, m) => r.show(entry.answers[m][frame], entry.label, frame, hidden));
    plot.node.style.visibility = hidden ? "hidden" : "";
    plot.draw(lines(entry, name));
    const random = entry.seed ? `, random seed ${entry.seed}` : "";
    said.textContent = `${truth}, image ${entry.id}, ${told}${random}: ${hidden
      ? "hidden until you have guessed." : outcome(right, frame)}`;
  }

  function outcome(right, frame) {
    const names = data.models.filter((_, m) => right[m]).map((model) => model.name);
    const share = (m) => `${data.models[m].name} ${percent(data.models[m].rates[frame])}`;
    return `${names.length} of ${right.length} networks right${names.length ? ` (${names.join("; ")})` : ""}.`
      + ` Of all images right: ${share(0)}, ${share(1)}.`;
  }

  // The accuracy at every severity; marks are filled where the image that is shown is right.
  function lines({ answers, label }, name) {
    const frames = stops.map((_, k) => frameOf(state.type, k));
    return {
      title: `accuracy under ${name}`, axis: "severity; filled where this image is right", stops,
      at: state.severity,
      lines: data.models.map(({ name: model, colour, rates }, m) => ({
        name: model, colour, values: frames.map((f) => rates[f]),
        right: frames.map((f) => answers[m][f][0] === label),
      })),
    };
  }
}

function tableOf(rows) {
  return make("table", { "aria-label": "what the networks say" },
    make("thead", {}, make("tr", {}, ...["network", "says", "accuracy"].map(
      (textContent) => make("th", { scope: "col", textContent })))),
    make("tbody", {}, ...rows.map((r) => r.node)));
}
