// Planes through the space of images, coloured by class, models side by side. One script, two hosts:
// `boundaryExplorer` in a page that holds all the data, `render` as an anywidget in JupyterLab. Plain DOM, no
// library.
const STYLE = `
.eplib-boundary form { display: flex; flex-direction: column; gap: .7em; max-width: 60em; font-size: .9em;
  line-height: 1.4; }
.eplib-boundary .controls { display: flex; flex-wrap: wrap; gap: .4em 1.2em; align-items: center; }
.eplib-boundary label { display: inline-flex; gap: .5em; align-items: center; margin: 0; font-weight: 400; }
.eplib-boundary select, .eplib-boundary input[type=number] { font: inherit; color: inherit;
  background: transparent; border: 1px solid #888; border-radius: 4px; padding: .15em .5em; }
.eplib-boundary option { color: #000; background: #fff; }
.eplib-boundary input[type=number] { width: 6em; }
.eplib-boundary .planes { display: grid; gap: .8em;
  grid-template-columns: repeat(auto-fill, minmax(8.5em, 1fr)); }
.eplib-boundary .planes > div { display: flex; flex-direction: column; min-width: 0; }
.eplib-boundary .planes canvas { display: block; width: 100%; image-rendering: pixelated; touch-action: pan-y;
  border: 1px solid #888; cursor: crosshair; }
.eplib-boundary .planes canvas:focus-visible { outline: 2px dashed #d55e00; outline-offset: 2px; }
.eplib-boundary .images, .eplib-boundary .legend { display: flex; flex-wrap: wrap; gap: .3em .9em;
  align-items: center; }
.eplib-boundary .images img { width: 3em; height: 3em; image-rendering: pixelated; margin: 0; }
.eplib-boundary .images span { display: inline-flex; gap: .4em; align-items: center; }
.eplib-boundary .legend i { display: inline-block; width: .9em; height: .9em; margin-right: .35em;
  border: 1px solid #888; vertical-align: -.1em; }
.eplib-boundary p { margin: 0; min-height: 1.4em; }
.eplib-boundary small { font-size: .88em; overflow-wrap: anywhere; }
`;

// data: see `page_data` in boundary_explorer.py. ask(place): how a live host is asked for the planes of
// another test image; a page has none.
function boundaryExplorer(root, data, ask) {
  const state = { image: 0, plane: 0, at: [0.5, 0.5] };
  let computed = null; // what a live host computed last
  const image = control("select", { onchange: () => move({ image: +image.value }) });
  image.append(...data.images.map((shown, i) =>
    make("option", { value: i, textContent: `${i + 1}: ${data.classes[shown.label]}` })));
  const plane = control("select", { onchange: () => move({ plane: +plane.value }) });
  plane.append(...data.planes.map((p, i) => make("option", { value: i, textContent: p.short })));
  const own = control("input", {
    type: "number", min: 0, step: 1, onchange: choose,
    onkeydown: ({ key }) => { if (key === "Enter") choose(); }, // no change in JupyterLab
  });
  const controls = make("div", { className: "controls" },
    make("label", {}, "image", image), make("label", {}, "plane through", plane),
    ...(ask ? [make("label", {}, "another test image", own)] : []));
  const pictures = make("div", { className: "images" });
  const said = make("p", { "aria-live": "polite" });
  const panels = data.models.map(panel);
  root.classList.add("eplib-boundary");
  root.append(make("style", {}, STYLE), make("form", { onsubmit: (event) => event.preventDefault() },
    controls, pictures, make("div", { className: "planes" }, ...panels.map((p) => p.node)), said,
    make("div", { className: "legend" }, ...data.classes.map((c, i) => {
      const square = make("i");
      square.style.background = data.colours[i];
      return make("small", {}, square, c);
    }))));
  move({});
  return { controls, update };

  function move(changed) {
    if ("image" in changed) computed = null;
    Object.assign(state, changed);
    draw();
  }

  function choose() {
    if (own.value !== "") ask(+own.value);
  }

  function update(found) {
    computed = found.grids ? found : null;
    draw();
  }

  function shown() {
    return computed ? computed.image : data.images[state.image];
  }

  function side() {
    return computed ? computed.side : data.side;
  }

  // The classes of a model's plane, the first coordinate first.
  function grid(model) {
    const text = computed ? computed.grids[model][state.plane] : data.grids[model][state.image][state.plane];
    return Uint8Array.from(atob(text), (c) => c.charCodeAt(0));
  }

  function draw() {
    image.value = state.image;
    plane.value = state.plane;
    const used = state.plane === 0 ? 3 : 1;
    pictures.replaceChildren(...shown().pictures.slice(0, used).map((src, k) => {
      const words = data.classes[shown().labels[k]];
      return make("span", {}, make("img", { src, alt: `test image: ${words}` }), make("small", {}, words));
    }), make("small", {}, data.planes[state.plane].long));
    const found = panels.map((p) => p.draw());
    const at = state.at.map((v) => `${Math.round(100 * v)} %`);
    said.textContent = `At ${at[0]} to the right, ${at[1]} up: ${found.join("; ")}.`;
  }

  // A model's plane. draw(): paints it and says the class at the chosen place.
  function panel(model, m) {
    const canvas = control("canvas", {
      role: "img", tabIndex: 0, onpointermove: point, onpointerdown: point, onkeydown: step,
    });
    const words = make("small");
    const node = make("div", {}, make("strong", { textContent: model }), canvas, words);
    return { node, draw: paint };

    function point(event) {
      const box = canvas.getBoundingClientRect();
      const within = (v) => Math.max(0, Math.min(1, v));
      const x = within((event.clientX - box.left) / box.width);
      const y = within(1 - (event.clientY - box.top) / box.height);
      move({ at: [x, y] });
    }

    function step(event) {
      const moves = { ArrowUp: [0, 1], ArrowDown: [0, -1], ArrowLeft: [-1, 0], ArrowRight: [1, 0] };
      if (!(event.key in moves)) return;
      event.preventDefault();
      const far = event.shiftKey ? 10 : 1;
      move({ at: state.at.map((v, k) =>
        Math.max(0, Math.min(1, v + (far * moves[event.key][k]) / (side() - 1)))) });
    }

    function paint() {
      const n = side(), classes = grid(m);
      canvas.width = canvas.height = n;
      const pen = canvas.getContext("2d");
      const pixels = pen.createImageData(n, n);
      for (let x = 0; x < n; x++) {
        for (let y = 0; y < n; y++) {
          pixels.data.set([...rgb(data.colours[classes[x * n + y]]), 255], 4 * ((n - 1 - y) * n + x));
        }
      }
      data.dots[state.plane].forEach(([a, b]) => dot(pixels, n, a, b, [0, 0, 0]));
      dot(pixels, n, ...state.at, [255, 255, 255]);
      pen.putImageData(pixels, 0, 0);
      const [x, y] = state.at.map((v) => Math.round(v * (n - 1)));
      const here = data.classes[classes[x * n + y]];
      const many = new Set(classes).size;
      words.textContent = `${here} here; ${many} class${many > 1 ? "es" : ""} in all`;
      canvas.setAttribute("aria-label", `${model}: ${words.textContent}`);
      return `${model} ${here}`;
    }
  }

  // Three pixels to a side.
  function dot(pixels, n, a, b, colour) {
    const x = Math.round(a * (n - 1)), y = n - 1 - Math.round(b * (n - 1));
    for (let i = Math.max(0, x - 1); i <= Math.min(n - 1, x + 1); i++) {
      for (let j = Math.max(0, y - 1); j <= Math.min(n - 1, y + 1); j++) {
        pixels.data.set([...colour, 255], 4 * (j * n + i));
      }
    }
  }
}

function rgb(hex) {
  return [1, 3, 5].map((i) => parseInt(hex.slice(i, i + 2), 16));
}

// The live host: the figure, and the planes of any test image.
function render({ model, el }) {
  const root = make("div");
  const figure = make("figure", { className: "eplib-explorer" }, root,
    make("figcaption", {}, model.get("caption")));
  figure.dataset.explorer = "boundary";
  figure.style.margin = "1rem 0";
  el.append(figure);
  const explorer = boundaryExplorer(root, model.get("data"), ask);
  const note = make("strong", { role: "status" });
  explorer.controls.append(note);
  const events = ["message", "busy"].map((name) => [`change:${name}`, show]);
  events.push(["change:cell", () => explorer.update(model.get("cell"))]);
  events.forEach((event) => model.on(...event));
  show();
  return () => events.forEach((event) => model.off(...event));

  function ask(place) {
    if (place === model.get("wanted").place) return; // being computed, or refused
    model.set("wanted", { place });
    model.set("busy", true);
    model.save_changes();
  }

  function show() {
    note.textContent = model.get("busy") ? "computing…" : model.get("message");
  }
}

export default { render };
