// What attacks make of an image, what they changed, and what the network and a judge say of it. Plain DOM, no
// library; the page holds everything.
const STYLE = `
.eplib-gallery form { display: flex; flex-direction: column; gap: .8em; max-width: 46em; font-size: .9em;
  line-height: 1.4; }
.eplib-gallery .controls { display: flex; flex-wrap: wrap; gap: .5em 1.2em; align-items: center; }
.eplib-gallery label { display: inline-flex; gap: .5em; align-items: center; margin: 0; font-weight: 400; }
.eplib-gallery select, .eplib-gallery button { font: inherit; color: inherit; background: transparent;
  border: 1px solid #888; border-radius: 4px; padding: .15em .5em; max-width: 100%; }
.eplib-gallery option { color: #000; background: #fff; }
.eplib-gallery input { accent-color: #2f87c8; margin: 0; }
.eplib-gallery output { min-width: 2em; }
.eplib-gallery .pictures { display: grid; grid-template-columns: repeat(3, minmax(0, 1fr)); gap: .8em; }
.eplib-gallery canvas { display: block; width: 100%; image-rendering: pixelated; border: 1px solid #888; }
.eplib-gallery small { font-size: .88em; overflow-wrap: anywhere; }
.eplib-gallery p { margin: 0; min-height: 2.8em; }
`;

// data: see `page_data` in semantics_gallery.py.
function galleryExplorer(root, data) {
  const { side, columns, classes, lengths } = data;
  const sheets = data.images.map((entry) => {
    const sheet = make("img", { onload: draw });
    sheet.src = entry.sheet;
    return sheet;
  });
  const image = select("image", data.images.map((e) => `${classes[e.label]}, image ${e.id}`), aim);
  const network = select("network", data.models.map((m) => m.name), draw);
  const target = select("aimed at", classes, draw);
  const length = control("input", { type: "range", min: 0, max: lengths.length, step: 1, oninput: draw });
  const shown = make("output");
  const pictures = ["image", "change", "attacked"].map((kind) => {
    const canvas = make("canvas", { role: "img", width: side, height: side });
    const words = make("small");
    return { kind, canvas, words, node: make("div", {}, canvas, words) };
  });
  const said = make("p", { "aria-live": "polite" });
  root.classList.add("eplib-gallery");
  root.append(make("style", {}, STYLE), make("form", { onsubmit: (event) => event.preventDefault() },
    make("div", { className: "controls" }, image.node, network.node, target.node,
      make("label", {}, "ℓ2 length", length, shown)),
    make("div", { className: "pictures" }, ...pictures.map((p) => p.node)), said));
  length.value = lengths.length;
  aim();

  function select(words, names, onchange) {
    const field = control("select", { onchange });
    field.append(...names.map((textContent, value) => make("option", { value, textContent })));
    return { field, node: make("label", {}, words, field) };
  }

  // Another image: its own class becomes “no target”, and the attack aims at the class after it.
  function aim() {
    const { label } = data.images[+image.field.value];
    [...target.field.options].forEach((option, c) => {
      option.textContent = c === label ? `away from ${classes[c]}` : classes[c];
    });
    target.field.value = (label + 1) % classes.length;
    draw();
  }

  function draw() {
    if (!target || !said.parentNode) return; // a picture was there before the rest of the figure
    const place = +image.field.value;
    const entry = data.images[place];
    const step = +length.value;
    const at = (+network.field.value * classes.length + +target.field.value) * lengths.length + step;
    const frame = step ? at : 0; // frame 0 is the image itself
    const truth = classes[entry.label];
    const size = step ? lengths[step - 1] : 0;
    shown.textContent = size;
    const before = pixels(sheets[place], 0);
    const after = pixels(sheets[place], frame);
    if (!before) return;
    const { picture, scale } = difference(before, after);
    [before, picture, after].forEach((painted, i) => {
      pictures[i].canvas.getContext("2d").putImageData(painted, 0, 0);
    });
    const model = data.models[+network.field.value].name;
    const goal = +target.field.value === entry.label ? "no target" : `aimed at ${classes[+target.field.value]}`;
    const words = [truth, `change, ± ${scale.toFixed(2)}`, step ? `attacked on ${model}` : "not attacked"];
    words.forEach((text, i) => {
      pictures[i].words.textContent = text;
      pictures[i].canvas.setAttribute("aria-label", `${text} (${truth}, ${goal}, ℓ2 ${size})`);
    });
    const told = step ? [`${model} says ${answer(entry.answers[frame])}`] : [];
    if (data.judge) told.push(`${data.judge} says ${answer(entry.judged[frame])}`);
    said.textContent = `${truth}, ${step ? `${goal}, ℓ2 length ${size}` : "as it is"}: ${told.join("; ")}.`;
  }

  function answer([c, p]) {
    return `${classes[c]} (${Math.round(100 * p)}\u00a0%)`;
  }

  function pixels(sheet, frame) {
    if (!sheet.complete || !sheet.naturalWidth) return null;
    const canvas = make("canvas", { width: side, height: side });
    const context = canvas.getContext("2d");
    const [x, y] = [(frame % columns) * side, Math.floor(frame / columns) * side];
    context.drawImage(sheet, x, y, side, side, 0, 0, side, side);
    return context.getImageData(0, 0, side, side);
  }

  // The change as colours around grey, and what they end at, in pixels of [0, 1].
  function difference(before, after) {
    const changed = after.data.map((v, i) => Math.abs(v - before.data[i]));
    const most = Math.max(1, ...changed.filter((_, i) => i % 4 < 3));
    const picture = new ImageData(side, side);
    picture.data.forEach((_, i) => {
      const change = (after.data[i] - before.data[i]) / (2 * most);
      picture.data[i] = i % 4 === 3 ? 255 : Math.round(255 * (0.5 + change));
    });
    return { picture, scale: most / 255 };
  }
}

export default {};
