// Planes through the space of images, coloured by class, models side by side. One script, two hosts: a page
// that holds all the data, and JupyterLab. Plain DOM, no library.
const STYLE = `
.eplib-boundary form { max-width: 60em; }
.eplib-boundary .planes { display: grid; gap: .8em;
  grid-template-columns: repeat(auto-fill, minmax(8.5em, 1fr)); }
.eplib-boundary .planes > div { display: flex; flex-direction: column; min-width: 0; }
.eplib-boundary .planes canvas { width: 100%; touch-action: pan-y; cursor: crosshair; }
.eplib-boundary .images, .eplib-boundary .legend { display: flex; flex-wrap: wrap; gap: .3em .9em;
  align-items: center; }
.eplib-boundary .images img { width: 3em; height: 3em; image-rendering: pixelated; margin: 0; }
.eplib-boundary .images span { display: inline-flex; gap: .4em; align-items: center; }
.eplib-boundary .legend i { display: inline-block; width: .9em; height: .9em; margin-right: .35em;
  border: 1px solid #888; vertical-align: -.1em; }
.eplib-boundary .said { min-height: 1.4em; }
`;

// data: see `page_data` in boundary_explorer.py. ask({ place }): how a live host is asked for the planes of
// another test image; a page has none.
function boundaryExplorer(root, data, ask) {
  let computed = null; // what a live host computed last, while it is looked at
  const names = data.images.map((shown, i) => `${i + 1}: ${data.classes[shown.label]}`);
  const image = chooser("image", names, (place) => move({ image: place, own: false }));
  const plane = chooser("plane through", data.planes.map((p) => p.short), (k) => move({ plane: k }));
  const own = typed("another test image", () => own.field.value !== "" && ask({ place: +own.field.value }),
    { step: 1 });
  const pictures = make("div", { className: "images", role: "group" });
  const said = make("p", { className: "said", "aria-live": "polite" });
  const panels = data.models.map(panel);
  const [first, kind, at] = data.open; // where the networks disagree most: `opening` in Python
  const kept = stateOf(root, { image: first, plane: kind, at, own: false }, {
    image: placeIn(names.map((_, i) => i + 1)), plane: placeIn(data.planes.map((p) => p.key)),
    at: twoShares(),
  }, draw, ask);
  const { state, move } = kept;
  const controls = make("div", { className: "controls" }, image.node, plane.node, ...(ask ? [own.node] : []),
    ...kept.nodes);
  fill(root, "boundary", STYLE, controls, pictures,
    make("div", { className: "planes" }, ...panels.map((p) => p.node)), said, legendOf(data));
  kept.begin();
  return { controls, update, restore };

  function update(found) {
    computed = found;
    move({ own: true });
  }

  function restore() {
    own.field.value = state.own ? computed.place : "";
  }

  function shown() {
    return state.own ? computed : { side: data.side, image: data.images[state.image] };
  }

  // The classes of a model's plane, the first coordinate first.
  function grid(model) {
    return state.own ? computed.grids[model][state.plane] : data.grids[model][state.image][state.plane];
  }

  function draw() {
    image.field.value = state.image;
    plane.field.value = state.plane;
    own.show(state.own ? computed.place : null);
    through(shown().image);
    const found = panels.map((p) => p.show());
    const told = state.at.map((v) => `${Math.round(100 * v)} %`);
    said.textContent = `At ${told[0]} to the right, ${told[1]} up: ${found.join("; ")}.`;
  }

  // The test images that the plane goes through.
  function through(image) {
    if (pictures.image === image && pictures.plane === state.plane) return; // only the place has changed
    Object.assign(pictures, { image, plane: state.plane });
    const { short, long, images } = data.planes[state.plane];
    pictures.replaceChildren(...image.pictures.slice(0, images).map((src, k) => {
      const words = data.classes[image.labels[k]];
      return make("span", {}, make("img", { src, alt: `test image: ${words}` }), make("small", {}, words));
    }), make("small", {}, long));
    pictures.setAttribute("aria-label", `the plane through ${short}`);
  }

  // A model's plane. show(): paints it and says the class at the chosen place.
  function panel(model, m) {
    const canvas = control("canvas", {
      role: "application", "aria-roledescription": "plane", tabIndex: 0, onpointermove: point,
      onpointerdown: point, onkeydown: step,
    });
    const words = make("small");
    let painted = {}; // the plane that was painted last, without the chosen place

    function point(event) {
      const box = canvas.getBoundingClientRect();
      const x = within((event.clientX - box.left) / box.width, 0, 1);
      const y = within(1 - (event.clientY - box.top) / box.height, 0, 1);
      move({ at: [x, y] });
    }

    function step(event) {
      const moves = { ArrowUp: [0, 1], ArrowDown: [0, -1], ArrowLeft: [-1, 0], ArrowRight: [1, 0] };
      if (!(event.key in moves)) return;
      event.preventDefault();
      const far = (event.shiftKey ? 10 : 1) / (shown().side - 1);
      move({ at: state.at.map((v, k) => within(v + far * moves[event.key][k], 0, 1)) });
    }

    function show() {
      const [text, n] = [grid(m), shown().side];
      if (painted.text !== text || painted.plane !== state.plane) {
        painted = { text, plane: state.plane, ...planeOf(text, n, data, data.dots[state.plane]) };
        canvas.width = canvas.height = n;
      }
      const { classes, pixels, many } = painted;
      const pen = canvas.getContext("2d");
      pen.putImageData(pixels, 0, 0);
      const [x, y] = state.at.map((v) => Math.round(v * (n - 1)));
      pen.fillStyle = "#fff";
      pen.fillRect(x - 1, n - 2 - y, 3, 3);
      const here = data.classes[classes[x * n + y]];
      words.textContent = `${here} here; ${many} class${many > 1 ? "es" : ""} in all`;
      canvas.setAttribute("aria-label", `${model}: ${words.textContent}`);
      return `${model} ${here}`;
    }
    return { node: make("div", {}, make("strong", { textContent: model }), canvas, words), show };
  }
}

// The picture of a plane of n × n places with its test images as dots: { classes, pixels, many }.
function planeOf(text, n, data, dots) {
  const classes = Uint8Array.from(atob(text), (c) => c.charCodeAt(0));
  const colours = data.colours.map((hex) => [1, 3, 5].map((i) => parseInt(hex.slice(i, i + 2), 16)));
  const pixels = new ImageData(n, n);
  const put = (x, y, colour) => pixels.data.set([...colour, 255], 4 * ((n - 1 - y) * n + x));
  classes.forEach((c, i) => put(Math.floor(i / n), i % n, colours[c]));
  for (const [a, b] of dots) { // three pixels to a side
    const [x, y] = [a, b].map((v) => Math.round(v * (n - 1)));
    for (const i of [x - 1, x, x + 1]) {
      for (const j of [y - 1, y, y + 1]) if (Math.min(i, j) >= 0 && Math.max(i, j) < n) put(i, j, [0, 0, 0]);
    }
  }
  return { classes, pixels, many: new Set(classes).size };
}

function legendOf(data) {
  return make("div", { className: "legend" }, ...data.classes.map((c, i) => {
    const square = make("i");
    square.style.background = data.colours[i];
    return make("small", {}, square, c);
  }));
}

// Two shares in per mille, "700,100", as the address keeps them.
function twoShares() {
  function read(text) {
    const found = /^(\d{1,4}),(\d{1,4})$/.exec(text);
    const at = found && found.slice(1).map((v) => v / 1000);
    return at && Math.max(...at) <= 1 ? at : undefined;
  }
  return { write: (at) => at.map((v) => Math.round(1000 * v)).join(","), read };
}
