// What attacks make of an image, what they changed, and what the network and a judge say of it. Plain DOM, no
// library; the page holds everything.
const STYLE = `
.eplib-gallery form { max-width: 46em; }
.eplib-gallery output { min-width: 2em; }
.eplib-gallery .pictures { display: grid; grid-template-columns: repeat(3, minmax(0, 1fr)); gap: .8em; }
.eplib-gallery canvas { width: 100%; }
.eplib-gallery .said { min-height: 2.8em; }
`;

// data: see `page_data` in semantics_gallery.py. It opens where the judge is convinced of the target by some
// networks' pictures and not by others' (`opening` there).
function galleryExplorer(root, data) {
  const { side, columns, classes, lengths } = data;
  const sheets = data.images.map((entry) => {
    const sheet = make("img", { onload: draw });
    sheet.src = entry.sheet;
    return sheet;
  });
  const image = chooser("image", data.images.map((e) => `${classes[e.label]}, image ${e.id}`), aim);
  const network = chooser("network", data.models.map((m) => m.name), (value) => move({ network: value }));
  const target = chooser("aimed at", classes, (value) => move({ target: value }));
  const length = slider("ℓ2 length", lengths.length, (value) => move({ length: value }));
  const pictures = ["image", "change", "attacked"].map(() => {
    const canvas = make("canvas", { role: "img", width: side, height: side });
    const words = make("small");
    return { canvas, words, node: make("div", {}, canvas, words) };
  });
  const said = make("p", { className: "said", "aria-live": "polite" });
  const kept = stateOf(root, data.open, {
    image: placeIn(data.images.map((e) => e.id)), network: placeIn(data.models.map((m) => m.key)),
    target: placeIn(classes), length: placeIn([0, ...lengths]),
  }, draw);
  const { state, move } = kept;
  fill(root, "gallery", STYLE,
    make("div", { className: "controls" }, image.node, network.node, target.node, length.node, ...kept.nodes),
    make("div", { className: "pictures" }, ...pictures.map((p) => p.node)), said);
  kept.begin();

  // Another image: the attack aims at the class after its own.
  function aim(place) {
    move({ image: place, target: (data.images[place].label + 1) % classes.length });
  }

  // An image's own class stands for no target.
  function controls(entry, size) {
    [...target.field.options].forEach((option, c) => {
      option.textContent = c === entry.label ? `away from ${classes[c]}` : classes[c];
    });
    image.field.value = state.image;
    network.field.value = state.network;
    target.field.value = state.target;
    length.show(state.length, String(size));
  }

  function draw() {
    if (state.image === undefined) return; // a picture was there before the rest of the figure
    const entry = data.images[state.image];
    const step = state.length;
    const at = (state.network * classes.length + state.target) * lengths.length + step;
    const frame = step ? at : 0; // frame 0 is the image itself
    const truth = classes[entry.label];
    const size = step ? lengths[step - 1] : 0;
    controls(entry, size);
    const sheet = sheets[state.image];
    const scale = show(sheet, frame);
    const model = data.models[state.network].name;
    const goal = state.target === entry.label ? "no target" : `aimed at ${classes[state.target]}`;
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
    return `${classes[c]} (${percent(p)})`;
  }

  // Paints the image, the change and what the attack made of it; the change's largest value.
  function show(sheet, frame) {
    const [before, middle, after] = pictures.map((p) => p.canvas);
    if (!paint({ canvas: before, sheet, frame: 0, columns })) return 0;
    paint({ canvas: after, sheet, frame, columns });
    const [from, to] = [before, after].map((c) => c.getContext("2d").getImageData(0, 0, side, side));
    const { picture, scale } = difference(from, to);
    middle.getContext("2d").putImageData(picture, 0, 0);
    return scale;
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
