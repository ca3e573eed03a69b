// Two pictures, one question: which looks more like a class? What made them is said after the choice. Plain
// DOM, no library; the page holds everything and keeps nothing.
const STYLE = `
.eplib-game form { display: flex; flex-direction: column; gap: .7em; max-width: 32em; font-size: .9em;
  line-height: 1.4; }
.eplib-game .top { display: flex; justify-content: space-between; align-items: center; gap: 1em; }
.eplib-game .question { font-size: 1.15em; font-weight: 600; }
.eplib-game button { font: inherit; color: inherit; background: transparent; border: 1px solid #888;
  border-radius: 4px; padding: .25em .7em; cursor: pointer; }
.eplib-game button:disabled { cursor: default; }
.eplib-game button:focus-visible, .eplib-game .pair:focus-visible { outline: 2px dashed currentColor;
  outline-offset: 2px; }
.eplib-game .pair { display: grid; grid-template-columns: repeat(2, minmax(0, 1fr)); gap: .8em; }
.eplib-game .pair button { padding: .3em; border: 3px solid #888; touch-action: manipulation; }
.eplib-game canvas { display: block; width: 100%; image-rendering: pixelated; }
.eplib-game .told { display: flex; gap: .8em; align-items: center; min-height: 6em; }
.eplib-game .told canvas { width: 6em; flex: none; border: 1px solid #888; visibility: hidden; }
.eplib-game .told.open canvas { visibility: visible; }
.eplib-game p, .eplib-game ul { margin: 0; }
.eplib-game ul { padding-left: 1.2em; }
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
  const next = control("button", { type: "button", textContent: "next pair", onclick: () => go(place + 1) });
  const again = control("button", { type: "button", textContent: "restart", onclick: restart });
  let place, answered, counts;
  pair.append(...pictures.map((p) => p.button));
  root.classList.add("eplib-game");
  const onsubmit = (event) => event.preventDefault();
  root.append(make("style", {}, STYLE), make("form", { onsubmit, onkeydown },
    make("div", { className: "top" }, progress, again), question, pair,
    make("div", {}, next), make("div", { "aria-live": "polite" }, told, score)));
  begin();
  sheet.src = data.sheet;

  function begin() {
    counts = rivals.map(() => ({ chosen: 0, played: 0 }));
    score.replaceChildren();
    show(0);
  }

  function restart() {
    begin();
    pair.focus({ preventScroll: true });
  }

  function go(to) {
    show(to);
    pair.focus({ preventScroll: true }); // not a picture, or Enter twice would choose it
  }

  // A pair before the choice: nothing here may differ with what made its pictures.
  function show(to) {
    [place, answered] = [to, false];
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
    draw();
  }

  function onkeydown(event) {
    const choice = KEYS[event.key];
    const held = event.repeat || event.altKey || event.ctrlKey || event.metaKey || event.shiftKey;
    if (choice === undefined || held || answered) return;
    event.preventDefault();
    choose(choice);
  }

  function choose(choice) {
    if (answered) return;
    answered = true;
    const { id, label, rival, side: own } = pairs[place];
    const won = choice === own;
    const last = place + 1 === pairs.length;
    counts[rival].played += 1;
    counts[rival].chosen += won;
    pictures.forEach(({ words, label: under, button }, i) => {
      const model = i === own ? models[0] : rivals[rival];
      under.textContent = `${model.name}${i === choice ? " (chosen)" : ""}`;
      button.setAttribute("aria-label", `${words} picture, ${under.textContent}`);
      button.style.borderColor = model.colour;
    });
    const [taken, other] = won ? [models[0], rivals[rival]] : [rivals[rival], models[0]];
    const truth = classes[label];
    said.textContent = `You chose the picture made by attacking: ${taken.name}. The other one was made by`
      + ` attacking: ${other.name}. Both began as this image, ${truth} (test image ${id}).`
      + (last ? " That was the last pair." : "");
    original.setAttribute("aria-label", `the image as it is, ${truth}`);
    told.classList.add("open");
    score.replaceChildren(...counts.flatMap(({ chosen, played }, i) =>
      played ? [make("li", {}, scored(rivals[i].name, chosen, played))] : []));
    next.style.visibility = last ? "hidden" : "visible";
    (last ? again : next).focus({ preventScroll: true });
    pictures.forEach(({ button }) => { button.disabled = true; });
    draw();
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
    if (!sheet.complete || !sheet.naturalWidth) return;
    const canvases = [...pictures.map((p) => p.canvas), ...(answered ? [original] : [])];
    original.getContext("2d").clearRect(0, 0, side, side);
    canvases.forEach((canvas, i) => {
      const frame = 3 * place + i;
      const [x, y] = [(frame % columns) * side, Math.floor(frame / columns) * side];
      canvas.getContext("2d").drawImage(sheet, x, y, side, side, 0, 0, side, side);
    });
  }
}

export default {};
