// One attack, many strengths: choose an image and an ε, and see what each network gets and what it says,
// there and at every other ε. Plain DOM, no library.
const STYLE = `
.eplib-attack .panels { display: flex; flex-wrap: wrap; gap: 1em 1.6em; align-items: flex-start; }
.eplib-attack .panels canvas { width: 9em; height: 9em; }
.eplib-attack .panels strong::before { content: ""; display: inline-block; width: 1.1em; height: .6em;
  margin-right: .4em; background: var(--model); }
.eplib-attack .panels .wrong { font-weight: 700; }
.eplib-attack .lines { flex: 1 1 19em; max-width: 30em; }
.eplib-attack .said { min-height: 2.8em; }
${LINES_STYLE}`;

// data: see `page_data` in attack_explorer.py. ask({ image, norm, epsilon }): how a live host is asked for
// another image, norm or ε; a page has none.
function attackExplorer(root, data, ask) {
  const entries = data.images.map(entered);
  const stops = entries[0].points.map((point) => point.epsilon);
  const image = chooser("image", [], (place) => move({ image: place }));
  const epsilon = slider("", 0, (place) => move({ epsilon: place }));
  const strength = make("span");
  epsilon.node.prepend(strength);
  const fields = {
    id: typed(`any image, 0…${data.last}`, wish, { step: 1, max: data.last }),
    norm: chooser("norm", Object.values(data.norms), wish), own: typed("any ε, of pixels in [0, 1]", wish, { step: "any" }),
  };
  const panels = data.models.map(panel);
  const plot = linePlot((place) => move({ epsilon: place }));
  const unseen = make("p");
  const guess = guessing(questions, (on) => move({ guess: on }), draw);
  const said = make("p", { className: "said", "aria-live": "polite" });
  const kept = stateOf(root, { ...data.open, guess: false }, {
    image: placeIn(data.images.map((entry) => entry.id)), epsilon: placeIn(stops), guess: onOrOff(),
  }, draw, ask);
  const { state, move } = kept;
  const controls = make("div", { className: "controls" }, image.node, epsilon.node,
    ...(ask ? Object.values(fields).map((f) => f.node) : []), ...kept.nodes);
  fill(root, "attack", STYLE, controls, guess.node,
    make("div", { className: "panels" }, ...panels.map((p) => p.node), plot.node, unseen), said);
  kept.begin();
  return { controls, update, restore };

  // An image under one norm, with what is known of it at every ε.
  function entered(entry) {
    const sheet = make("img", { onload: () => draw() });
    sheet.src = entry.sheet;
    const points = entry.epsilons.map((value, place) => ({
      epsilon: value, words: entry.words[place], sheet, first: place * data.models.length,
      answers: entry.answers.map((of) => of[place]), truth: entry.truth.map((of) => of[place]),
    }));
    return { id: entry.id, label: entry.label, norm: entry.norm, points };
  }

  function wish() {
    const wanted = {
      image: numberIn(fields.id), norm: Object.keys(data.norms)[+fields.norm.field.value],
      epsilon: numberIn(fields.own),
    };
    if (!go(wanted)) ask(wanted);
  }

  // Goes there if it is known: whether it is.
  function go(wanted) {
    const there = entries.findIndex((e) => e.id === wanted.image && e.norm === wanted.norm);
    const place = there < 0 ? -1 : entries[there].points.findIndex((p) => p.epsilon === wanted.epsilon);
    if (place >= 0) move({ image: there, epsilon: place });
    return place >= 0;
  }

  // What a live host computed joins what is known of its image.
  function update(cell) {
    const found = entered(cell);
    const place = entries.findIndex((e) => e.id === cell.id && e.norm === cell.norm);
    if (place < 0) entries.push(found);
    else {
      const known = entries[place].points;
      const news = found.points.filter((p) => known.every((k) => k.epsilon !== p.epsilon));
      known.push(...news);
      known.sort((a, b) => a.epsilon - b.epsilon);
    }
    go({ image: cell.id, norm: cell.norm, epsilon: cell.epsilons.at(-1) });
  }

  function restore() {
    const { id, points } = entries[state.image];
    [fields.id.field.value, fields.own.field.value] = [id, points[state.epsilon].epsilon];
    draw();
  }

  function questions() {
    const { points, label } = entries[state.image];
    return data.models.map(({ name }, m) => {
      const first = points.findIndex((p) => p.answers[m][0] !== label);
      const options = [...points.map((p) => p.words), "none of these"];
      return { words: `${name} first goes wrong at ε`, options, right: first < 0 ? points.length : first };
    });
  }

  function panel({ name, colour }, m) {
    const canvas = make("canvas", { width: data.side, height: data.side, role: "img" });
    const words = make("div");
    const node = make("div", {}, make("strong", {}, name), canvas, words);
    node.style.setProperty("--model", colour);
    function show(point, label, hidden) {
      const [answer, confidence] = point.answers[m];
      const right = answer === label;
      const told = hidden ? "?" : `${right ? "✓" : "✗"} ${data.classes[answer]}, ${percent(confidence)}`;
      paint({ canvas, sheet: point.sheet, frame: point.first + m, columns: data.columns });
      words.textContent = told;
      words.className = right || hidden ? "" : "wrong";
      canvas.setAttribute("aria-label", `${data.classes[label]} attacked on ${name}: ${told}`);
      return `${name} ${told}`;
    }
    return { node, show };
  }

  function draw() {
    if (state.image === undefined) return; // a picture was there before the rest of the figure
    const entry = entries[state.image];
    const { points, label } = entry;
    const point = points[state.epsilon];
    const norm = data.norms[entry.norm];
    const hidden = guess.hides(state.guess, `${entry.id} ${entry.norm} ${points.length}`);
    list();
    strength.textContent = `${norm} ε`;
    epsilon.field.setAttribute("aria-label", `${norm} ε`);
    epsilon.field.max = points.length - 1;
    epsilon.show(state.epsilon, point.words);
    fields.id.show(entry.id);
    fields.norm.field.value = Object.keys(data.norms).indexOf(entry.norm);
    fields.own.show(point.epsilon);
    const told = panels.map((p) => p.show(point, label, hidden));
    plot.node.style.display = hidden ? "none" : "";
    unseen.textContent = hidden ? "Every network’s answer is hidden until you have guessed." : "";
    if (!hidden) plot.draw(lines(entry, norm));
    said.textContent = `${data.classes[label]}, image ${entry.id}, ${norm} ε = ${point.words}:`
      + ` ${told.join("; ")}.`;
  }

  // The images, with their norm where there are several.
  function list() {
    const several = new Set(entries.map((e) => e.norm)).size > 1;
    if (image.field.length !== entries.length) {
      image.field.replaceChildren(...entries.map(({ label, id, norm }, value) => make("option", {
        value, textContent: `${data.classes[label]}, image ${id}${several ? `, ${data.norms[norm]}` : ""}`,
      })));
    }
    image.field.value = state.image;
  }

  function lines({ points, label }, norm) {
    return {
      title: `probability of ${data.classes[label]}`, axis: `${norm} ε; filled where the answer is right`,
      stops: points.map((p) => p.words), at: state.epsilon,
      lines: data.models.map(({ name, colour }, m) => ({
        name, colour, values: points.map((p) => p.truth[m]),
        right: points.map((p) => p.answers[m][0] === label),
      })),
    };
  }
}
