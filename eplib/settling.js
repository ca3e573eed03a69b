// One image on its way to an equilibrium, step by step. One script, two hosts: a page that holds all the
// data, and JupyterLab. Plain DOM, no library.
const STYLE = `
.eplib-settling :is(.head, .time) { display: flex; gap: 1em; align-items: center; }
.eplib-settling .head canvas { flex: none; width: min(7.5em, 24%); border: 0; }
.eplib-settling .choices { display: flex; flex-direction: column; gap: .25em; min-width: 0; }
.eplib-settling .time label { flex: 1 1 auto; }
.eplib-settling .time input { flex: 1 1 auto; }
.eplib-settling .time output { min-width: 7.2em; text-align: right; white-space: nowrap; }
.eplib-settling fieldset { display: flex; flex-wrap: wrap; gap: 0 .7em; border: 0; padding: 0; }
.eplib-settling legend { float: left; width: auto; margin: 0; padding: 0; font-size: 1em;
  line-height: 24px; }
.eplib-settling .time button { flex: none; width: 5.8em; }
.eplib-settling .said { min-height: 2.8em; }
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
.eplib-settling .layers canvas { width: 100%; max-width: 16em; border: 0; image-rendering: auto; }
`;
const STEPS = 1000; // of a free phase at most

// data: see `settling_data` in explorers.py. ask({ image, beta, steps }): how a live host is asked for the
// rest; a page has none. It opens at the end of the free phase of its first image, which was chosen because
// that end differs between the two orders (`examples` in settling.py).
function settlingExplorer(root, data, ask) {
  let timer = null;
  const image = chooser("image", [], choose);
  const hint = make("small");
  const order = radios("order", data.orders.map(([free]) => free), (i) => move({ order: i }));
  const phase = radios("phase", data.phases.map((p) => p.short), enter);
  const button = control("button", { type: "button", onclick: () => (timer ? stop() : play()) });
  const time = slider("", 0, (frame) => jump(frame));
  time.field.setAttribute("aria-label", "step");
  const status = make("p", { className: "said" });
  const strength = slider("β", 2, (value) => strength.show(value, String(value)));
  Object.assign(strength.field, { min: 0.05, step: 0.05, onchange: wish });
  const free = typed("free steps T", wish, { min: 1, max: STEPS });
  const kept = stateOf(root, {
    ...computed(), order: data.orders.length - 1, phase: 0, step: Infinity,
  }, {
    image: placeIn(data.images.map((_, i) => i + 1)), order: placeIn(data.orders.map(([name]) => name)),
    phase: placeIn(["free", "plus", "minus"]),
    step: { write: (step) => upTo(STEPS).write(at(step)), read: upTo(STEPS).read },
  }, show, ask);
  const { state, move } = kept;
  const choices = make("div", { className: "choices" }, image.node, hint, order.node, phase.node,
    ...(ask ? [strength.node, free.node] : []), make("div", { className: "controls" }, ...kept.nodes));
  const picture = make("canvas", { role: "img" });
  const bars = make("ul", { className: "bars" });
  const plots = ["residual", "energy"].map((key) => plot(key, jump));
  const layers = data.shapes.map(layer);
  const curves = make("div", { className: "curves" }, ...plots.map((p) => p.node));
  fill(root, "settling", STYLE, make("div", { className: "head" }, picture, choices),
    make("div", { className: "time" }, button, time.node), status,
    make("div", { className: "seen" }, bars, curves),
    make("div", { className: "layers" }, ...layers.map((l) => l.node)));
  stop();
  list();
  kept.begin();
  return { controls: choices, stop, update, restore };

  // What a live host computed; who watches the end goes on watching it.
  function update(changed) {
    const end = state.step >= steps().at(-1);
    data = changed;
    list();
    move({ ...computed(), step: end ? Infinity : state.step });
  }

  function restore() {
    free.field.value = data.steps;
    draw();
  }

  function computed() {
    return { image: data.image, beta: data.beta, steps: data.steps };
  }

  function steps() {
    return data.phases[state.phase].steps;
  }

  // The frame of a step: the last one that is kept at or before it.
  function frameOf(step) {
    return steps().findLastIndex((there) => there <= step);
  }

  // The step that is shown in the place of one.
  function at(step) {
    return steps()[frameOf(step)];
  }

  function choose(i) {
    if (data.images[i].runs) move({ image: i });
    else ask({ ...computed(), image: i });
  }

  function wish() {
    ask({ image: state.image, beta: +strength.field.value, steps: numberIn(free) });
  }

  function enter(i) {
    const start = !i || !state.phase; // where a nudged phase starts, the free one ended
    move({ phase: i, ...(start ? { step: i ? 0 : Infinity } : {}) });
  }

  function jump(frame) {
    stop();
    move({ step: steps()[frame] });
  }

  function play() {
    let frame = frameOf(state.step);
    if (frame >= steps().length - 1) frame = -1;
    const next = () => {
      frame += 1;
      if (frame >= steps().length - 1) stop();
      move({ step: steps()[frame] });
    };
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
    image.field.replaceChildren(...data.images.map((entry, i) => {
      const differs = entry.runs && new Set(ends(entry)).size > 1 ? ", settles differently" : "";
      return make("option", { value: i, textContent: `${i + 1}. ${data.classes[entry.truth]}${differs}` });
    }));
  }

  // A live host back at its start has to compute that again.
  function show() {
    const { image, beta, steps } = state;
    const there = computed();
    if (ask && (image !== there.image || beta !== there.beta || steps !== there.steps)) {
      Object.assign(state, there);
      ask({ image, beta, steps });
    }
    if (timer && state.step === Infinity) stop(); // so does a page that plays
    draw();
  }

  function draw() {
    const entry = data.images[state.image];
    const { name } = data.phases[state.phase];
    const orders = [state.order, 1 - state.order];
    const [run, other] = orders.map((o) => entry.runs[o][state.phase]);
    const [orderName, otherName] = orders.map((o) => data.orders[o][state.phase ? 1 : 0]);
    const frame = frameOf(state.step);
    const step = steps()[frame];
    const words = `step ${step} of ${steps().at(-1)}`;
    const chances = run.probabilities[frame];
    const [one, two] = ends(entry);
    const truth = data.classes[entry.truth];

    image.field.value = state.image;
    hint.textContent = one === two ? `ends as ${one} in both orders`
      : `settles differently: ${one} in ${data.orders[0][0]} order, ${two} in ${data.orders[1][0]}`;
    order.check(state.order);
    phase.check(state.phase);
    time.field.max = steps().length - 1;
    time.show(frame, words);
    strength.show(data.beta, String(data.beta));
    free.show(data.steps);
    status.textContent = `${words}, ${orderName} order, ${name}: says ${data.classes[largest(chances)]}`
      + ` (${percent(Math.max(...chances))}), truth ${truth}, residual ${short(run.residual[step])},`
      + ` energy ${minus(run.energy[step].toFixed(1))}`;
    drawBars(bars, data.classes, run.probabilities, chances, entry.truth);
    plots.forEach((p) => p.draw(run, other, otherName, steps(), step));
    entry.pixels ??= [entry.picture, ...entry.layers].map((uri) => make("img", { src: uri, onload: draw }));
    const [shot, ...sheets] = entry.pixels;
    picture.setAttribute("aria-label", `the image: ${truth}`);
    if (shot.complete) {
      Object.assign(picture, { width: shot.width, height: shot.height });
      picture.getContext("2d").drawImage(shot, 0, 0);
    }
    layers.forEach((l, i) => l.draw(sheets[i], run.first + frame, words));
  }
}
