// Two pictures, one question: which looks more like a class? What made them is said after the choice. Plain
// DOM, no library; the page holds everything and keeps nothing.
const STYLE = `
.eplib-game form { max-width: 32em; }
.eplib-game .top { display: flex; flex-wrap: wrap; justify-content: space-between; align-items: center;
  gap: .3em 1em; }
.eplib-game .question { font-size: 1.15em; font-weight: 600; }
.eplib-game button:disabled { cursor: default; }
.eplib-game .pair { display: grid; grid-template-columns: repeat(2, minmax(0, 1fr)); gap: .8em; }
.eplib-game .pair button { padding: .3em; border: 3px solid #888; touch-action: manipulation; }
.eplib-game .pair canvas { width: 100%; border: 0; }
.eplib-game .told { display: flex; gap: .8em; align-items: center; min-height: 6em; }
.eplib-game .told canvas { width: 6em; flex: none; visibility: hidden; }
.eplib-game .told.open canvas { visibility: visible; }
.eplib-game ul { margin: 0; padding-left: 1.2em; }
`;
const KEYS = { ArrowLeft: 0, ArrowRight: 1 };

// data: see `page_data` in semantics_game.py.
function gameExplorer(root, data) {
  const { side, columns, classes, models, pairs } = data;
  const rivals = models.slice(1);
  const sheet = make("img", { onload: draw });
  const progress = make("span");
  const question = make("p", { className: "question" });
  const pictures = ["left", "right"].map((words, i) => {
    const canvas = make("canvas", { width: side, height: side, "aria-hidden": "true" });
    const label = make("small");
    const button = control("button", { type: "button", onclick: () => choose(i) });
    button.append(canvas, label);
    return { words, canvas, label, button };
  });
  const pair = control("div", { role: "group", tabIndex: -1, className: "pair" });
  const original = make("canvas", { role: "img", width: side, height: side });
  const said = make("p");
  const told = make("div", { className: "told" }, original, said);
  const score = make("ul");
  const next = control("button", { type: "button", textContent: "next pair", onclick: go });
  // It opens before the first choice: what teaches here is to choose blind.
  const kept = stateOf(root, { choices: [null] }, { choices: { write: written, read: choicesOf } }, show);
  const { state, move } = kept;
  const again = kept.nodes[0]; // back to the start
  again.addEventListener("click", () => pair.focus({ preventScroll: true }));
  pair.append(...pictures.map((p) => p.button));
  fill(root, "game", STYLE, make("div", { className: "top" }, progress, ...kept.nodes), question, pair,
    make("div", {}, next), make("div", { "aria-live": "polite" }, told, score));
  root.querySelector("form").addEventListener("keydown", onkeydown);
  kept.begin();
  sheet.src = data.sheet;

  // "lr_": left, right, and the third pair is asked now; without the line the last choice is looked at.
  function written(choices) {
    return choices.map((choice) => (choice === null ? "_" : "lr"[choice])).join("");
  }

  function choicesOf(text) {
    const valid = /^[lr]*[lr_]$/.test(text) && text.length <= pairs.length;
    return valid ? [...text].map((letter) => ({ l: 0, r: 1 })[letter] ?? null) : undefined;
  }

  function go() {
    move({ choices: [...state.choices, null] });
    pair.focus({ preventScroll: true }); // not a picture, or Enter twice would choose it
  }

  function choose(choice) {
    if (state.choices.at(-1) !== null) return;
    move({ choices: [...state.choices.slice(0, -1), choice] });
    const last = state.choices.length === pairs.length;
    (last ? again : next).focus({ preventScroll: true });
    pictures.forEach(({ button }) => { button.disabled = true; }); // now that none has the focus
  }

  function show() {
    const place = state.choices.length - 1;
    ask(place);
    const choice = state.choices[place];
    if (choice !== null) {
      tell(place, choice);
      pictures.forEach(({ button }) => { button.disabled = button !== document.activeElement; });
    }
    score.replaceChildren(...counted().flatMap(({ chosen, played }, i) =>
      played ? [make("li", {}, scored(rivals[i].name, chosen, played))] : []));
    draw();
  }

  // A pair before the choice: nothing here may differ with what made its pictures.
  function ask(place) {
    const wanted = classes[pairs[place].target];
    progress.textContent = `pair ${place + 1} of ${pairs.length}`;
    question.textContent = `Which looks more like ${/^[aeiou]/i.test(wanted) ? "an" : "a"} ${wanted}?`;
    pair.setAttribute("aria-label", `${progress.textContent}: ${question.textContent}`);
    pictures.forEach(({ words, label, button }, i) => {
      label.textContent = i ? `${words} →` : `← ${words}`;
      button.setAttribute("aria-label", `${words} picture`);
      button.style.borderColor = "";
      button.disabled = false;
    });
    said.textContent = "";
    told.classList.remove("open");
    original.removeAttribute("aria-label");
    next.style.visibility = "hidden";
  }

  function onkeydown(event) {
    const choice = KEYS[event.key];
    const held = event.repeat || event.altKey || event.ctrlKey || event.metaKey || event.shiftKey;
    if (choice === undefined || held || state.choices.at(-1) !== null) return;
    event.preventDefault();
    choose(choice);
  }

  // What made the pictures of a pair, after the choice.
  function tell(place, choice) {
    const { id, label, rival, side: own } = pairs[place];
    const last = place + 1 === pairs.length;
    pictures.forEach(({ words, label: under, button }, i) => {
      const model = i === own ? models[0] : rivals[rival];
      under.textContent = `${model.name}${i === choice ? " (chosen)" : ""}`;
      button.setAttribute("aria-label", `${words} picture, ${under.textContent}`);
      button.style.borderColor = model.colour;
    });
    const [taken, other] = choice === own ? [models[0], rivals[rival]] : [rivals[rival], models[0]];
    const truth = classes[label];
    said.textContent = `You chose the picture made by attacking: ${taken.name}. The other one was made by`
      + ` attacking: ${other.name}. Both began as this image, ${truth} (test image ${id}).`
      + (last ? " That was the last pair." : "");
    original.setAttribute("aria-label", `the image as it is, ${truth}`);
    told.classList.add("open");
    next.style.visibility = last ? "hidden" : "visible";
  }

  // By rival, how many pairs were played and how often the EP-CNN's picture was chosen.
  function counted() {
    const counts = rivals.map(() => ({ chosen: 0, played: 0 }));
    state.choices.forEach((choice, i) => {
      if (choice === null) return;
      counts[pairs[i].rival].played += 1;
      counts[pairs[i].rival].chosen += choice === pairs[i].side;
    });
    return counts;
  }

  function scored(rival, chosen, played) {
    const [low, high] = wilson(chosen, played).map((v) => (100 * v).toFixed(1));
    return `${models[0].name} against ${rival}: chosen in ${chosen} of ${played} pairs,`
      + ` ${(100 * chosen / played).toFixed(1)}\u00a0% (95\u00a0% interval ${low} to ${high}\u00a0%)`;
  }

  // The score interval of Wilson, of a share k / n.
  function wilson(k, n) {
    const z = 1.959963984540054; // 95 %
    const middle = (k + z * z / 2) / (n + z * z);
    const half = (z / (n + z * z)) * Math.sqrt(k * (n - k) / n + z * z / 4);
    return [Math.max(0, middle - half), Math.min(1, middle + half)];
  }

  function draw() {
    const place = state.choices.length - 1;
    const open = told.classList.contains("open");
    const canvases = [...pictures.map((p) => p.canvas), ...(open ? [original] : [])];
    original.getContext("2d").clearRect(0, 0, side, side);
    canvases.forEach((canvas, i) => paint({ canvas, sheet, frame: 3 * place + i, columns }));
  }
}
