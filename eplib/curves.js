// Accuracy against ε of any networks under any attacks, from a page that holds every curve. What is chosen is
// kept in the address. Plain DOM, no library; nothing is computed again, so every host shows the same.
const NEAR = 40; // pixels from a point that still mean it
const STYLE = `
.eplib-curves form { max-width: none; }
.eplib-curves fieldset { display: flex; flex-wrap: wrap; gap: .3em 1.1em; align-items: center; border: 0;
  margin: 0 0 .4em; padding: 0; min-width: 0; }
.eplib-curves legend { float: none; width: auto; margin: 0; padding: 0; font-size: 1em; line-height: 1.4;
  font-weight: 600; }
.eplib-curves :is(summary, legend label) { font-weight: 600; }
.eplib-curves label.none { opacity: .75; font-style: italic; }
.eplib-curves .plot { position: relative; touch-action: pan-y; }
.eplib-curves svg { display: block; overflow: visible; font-size: 11px; fill: currentColor; }
.eplib-curves label svg { flex: none; }
.eplib-curves p { overflow-wrap: anywhere; }
.eplib-curves .said { min-height: 5.6em; }
.eplib-curves .rows { overflow: auto; max-height: 26em; margin: .5em 0; }
.eplib-curves table { width: 100%; margin: 0; border-collapse: collapse; font-size: .92em; }
.eplib-curves caption { caption-side: top; text-align: left; color: inherit; font-size: 1em; padding: 0;
  margin-bottom: .4em; }
.eplib-curves th, .eplib-curves td { padding: .15em .7em .15em 0; border: 0; text-align: left;
  font-weight: 400; white-space: nowrap; vertical-align: top; }
.eplib-curves thead th { font-weight: 600; }
.eplib-curves tbody tr { border: 0; background: transparent !important; color: inherit; }
.eplib-curves .number { text-align: right; }
`;

// data: see `everything` in curve_data.py, with `open`, the state that it begins with.
function curvesExplorer(root, data) {
  const every = data.curves.map((c) => unpacked(c, data));
  const keys = {
    norm: Object.keys(data.units), ours: [...data.sets.map((s) => s.key), "none"],
    published: [...data.published.map((s) => s.key), "none"], axis: ["log", "linear"],
    attacks: data.attacks.map((a) => a.key), models: data.models.map((m) => m.key),
  };
  let drawn = [];
  let current = null; // the point that is told: { curve, place }
  let figure = null; // where the points are
  const choice = (key, label, names) => chooser(label, names, (place) => move({ [key]: keys[key][place] }));
  const none = "not shown";
  const selects = {
    norm: choice("norm", "norm", keys.norm.map((n) => (n === "l2" ? "ℓ2" : "ℓ∞"))),
    ours: choice("ours", "ours", [...data.sets.map((s) => s.name), none]),
    published: choice("published", "published", [...data.published.map((s) => s.name), none]),
    axis: choice("axis", "ε axis", ["logarithmic", "linear"]),
  };
  const attacks = boxes("attacks", data.attacks.map((a, i) => ({ ...a, swatch: markOf(i) })));
  const families = [...new Set(data.models.map((m) => m.family))].map((name) => ({
    name, ...boxes("models", data.models.filter((m) => m.family === name), name),
  }));
  const all = whole("all networks", () => visible(data.models));
  const title = make("span");
  const models = make("details", { open: root.clientWidth > 600 }, make("summary", {}, title),
    all.node, ...families.map((f) => f.node));
  const plot = control("div", {
    className: "plot", tabIndex: 0, role: "application", "aria-roledescription": "plot", onkeydown: step,
    onfocus: enter, onpointermove: point, onpointerdown: point,
  });
  const said = make("p", { className: "said", "aria-live": "polite" });
  const legend = make("p");
  const name = "table of what is drawn";
  const rows = make("div", { className: "rows", tabIndex: 0, role: "region", "aria-label": name });
  const table = make("details", { ontoggle: list }, make("summary", {}, name), rows);
  const save = control("button", { type: "button", textContent: "Download CSV", onclick: download });
  const codes = Object.entries(keys).map(([key, values]) =>
    [key, Array.isArray(data.open[key]) ? someOf(values) : oneOf(values)]);
  // it opens with networks that are alike and with two attacks that disagree: `opening` in curve_explorer.py
  const kept = stateOf(root, data.open, Object.fromEntries(codes), show);
  const { state, move } = kept;
  const [reset, note] = kept.nodes;
  fill(root, "curves", STYLE,
    make("div", { className: "controls" }, ...Object.values(selects).map((s) => s.node), reset), attacks.node,
    note, plot, said, legend, models, table, make("div", {}, save));
  kept.begin();
  watch(root, draw);

  function show() {
    const here = every.filter(isHere);
    const [chosen, wanted] = [new Set(state.attacks), new Set(state.models)];
    drawn = here.filter((c) => chosen.has(c.attack.key) && wanted.has(c.model.key));
    shade(data.models, new Set(drawn.map((c) => c.model)));
    current = null;
    Object.entries(selects).forEach(([key, s]) => { s.field.value = keys[key].indexOf(state[key]); });
    const there = (key, of) => new Set(of.map((c) => c[key].key));
    attacks.show(chosen, there("attack", here), there("attack", here));
    const known = there("model", here);
    const drawable = there("model", here.filter((c) => chosen.has(c.attack.key)));
    families.forEach((f) => f.show(wanted, known, drawable));
    all.show(visible(data.models));
    const count = new Set(drawn.map((c) => c.model.key)).size;
    title.textContent = `networks: ${count} of ${known.size} drawn`;
    legend.replaceChildren(...legendOf(drawn, data));
    said.textContent = drawn.length ? "Move over a point, touch it, or use the arrow keys." : "";
    draw();
    list();
  }

  // The models of some that have a curve of the norm in one of the sets that are shown.
  function visible(some) {
    return some.filter((m) => every.some((c) => c.model === m && isHere(c)));
  }

  function isHere(c) {
    return c.norm === state.norm && [state.ours, state.published].includes(c.set);
  }

  // Checkboxes of one list of the state; with a name, that of a family, one before them for all of them.
  function boxes(key, items, name) {
    const entries = items.map((item) => {
      const input = control("input", {
        type: "checkbox", onchange: () => toggle(key, [item], input.checked),
      });
      const swatch = item.swatch ?? swatchOf(data.models.indexOf(item));
      return { item, input, node: make("label", {}, input, swatch, item.name) };
    });
    const group = name && whole(name, () => visible(items));
    const node = make("fieldset", {}, make("legend", {}, group ? group.node : key),
      ...entries.map((e) => e.node));
    function show(chosen, known, drawable) {
      for (const { item, input, node: label } of entries) {
        input.checked = chosen.has(item.key);
        input.disabled = !drawable.has(item.key);
        label.className = input.disabled ? "none" : "";
        label.hidden = key === "models" && !known.has(item.key);
        label.style.display = label.hidden ? "none" : "";
      }
      if (group) group.show(visible(items));
      node.style.display = entries.some((e) => !e.node.hidden) ? "" : "none";
    }
    return { node, show };
  }

  // A checkbox for several models at once, half set where some of them are chosen.
  function whole(name, items) {
    const input = control("input", {
      type: "checkbox", onchange: () => toggle("models", items(), input.checked),
    });
    function show(some) {
      const count = some.filter((m) => state.models.includes(m.key)).length;
      input.checked = some.length > 0 && count === some.length;
      input.indeterminate = count > 0 && count < some.length;
    }
    return { node: make("label", {}, input, name), show };
  }

  function toggle(key, items, on) {
    const chosen = new Set(state[key]);
    items.forEach((item) => (on ? chosen.add(item.key) : chosen.delete(item.key)));
    move({ [key]: keys[key].filter((k) => chosen.has(k)) }); // always in the same order
  }

  function draw() {
    const dark = lightText(root);
    figure = picture(drawn, state, data, plot.clientWidth || 640, dark, current);
    plot.replaceChildren(figure.node);
    const words = `${count(drawn.length, "curve")} of accuracy against ${data.axes[state.norm]}.`
      + " Left and right go along a curve, up and down to another one.";
    plot.setAttribute("aria-label", words);
    root.querySelectorAll("[data-model]").forEach((swatch) => {
      swatch.style.color = readable(data.models[swatch.dataset.model].shade, dark);
    });
  }

  function point(event) {
    const box = plot.getBoundingClientRect();
    const [x, y] = [event.clientX - box.left, event.clientY - box.top];
    const found = nearest(figure.points, (p) => Math.hypot(p.x - x, p.y - y));
    if (found && Math.hypot(found.x - x, found.y - y) <= NEAR) tell(found);
  }

  // The plot is reached by the tab key.
  function enter() {
    if (!current && drawn.length && plot.matches(":focus-visible")) tell({ curve: 0, place: 0 });
  }

  function step(event) {
    const moves = {
      ArrowLeft: [0, -1], ArrowRight: [0, 1], ArrowUp: [-1, 0], ArrowDown: [1, 0],
      Home: [0, -Infinity], End: [0, Infinity],
    };
    if (!(event.key in moves) || !drawn.length) return;
    event.preventDefault();
    const [curves, places] = moves[event.key];
    const from = current ?? { curve: 0, place: 0 };
    const curve = within(from.curve + curves, 0, drawn.length - 1);
    const at = drawn[from.curve].x[from.place];
    const x = drawn[curve].x;
    const place = curve === from.curve ? within(from.place + places, 0, x.length - 1)
      : nearest([...x.keys()], (i) => Math.abs(Math.log(x[i] / at)));
    tell({ curve, place });
  }

  function tell(point) {
    if (current && point.curve === current.curve && point.place === current.place) return;
    current = { curve: point.curve, place: point.place };
    said.textContent = sentence(drawn[point.curve], point.place);
    draw();
  }

  function list() {
    if (table.open) rows.replaceChildren(tableOf(drawn, state, data));
  }

  function download() {
    const url = URL.createObjectURL(new Blob([csv(drawn)], { type: "text/csv" }));
    const link = make("a", { href: url, download: "robustness-curves.csv" });
    root.append(link);
    link.click();
    link.remove();
    setTimeout(() => URL.revokeObjectURL(url), 10000);
  }
}

// Draw again when the width changes or the theme of the page.
function watch(root, draw) {
  let seen = "";
  const look = () => {
    const now = `${root.clientWidth} ${lightText(root)}`;
    if (root.isConnected && now !== seen) draw();
    seen = now;
  };
  new ResizeObserver(look).observe(root);
  const themes = new MutationObserver(look);
  for (const node of [document.documentElement, document.body]) themes.observe(node, { attributes: true });
  matchMedia("(prefers-color-scheme: dark)").addEventListener("change", look);
}

function nearest(items, distance) {
  const far = items.map(distance);
  return items[far.indexOf(Math.min(...far))];
}
