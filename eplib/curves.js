// Accuracy against ε of any networks under any attacks, from a page that holds every curve. What is chosen is
// kept in the address. Plain DOM, no library; nothing is computed again, so every host shows the same.
const NEAR = 40; // pixels from a point that still mean it
const STYLE = `
.eplib-curves form { display: flex; flex-direction: column; gap: .7em; font-size: .9em; line-height: 1.4; }
.eplib-curves .controls, .eplib-curves fieldset { display: flex; flex-wrap: wrap; gap: .3em 1.1em;
  align-items: center; }
.eplib-curves fieldset { border: 0; margin: 0 0 .4em; padding: 0; min-width: 0; }
.eplib-curves legend { float: none; width: auto; margin: 0; padding: 0; font-size: 1em; line-height: 1.4;
  font-weight: 600; }
.eplib-curves summary { font-weight: 600; }
.eplib-curves label { display: inline-flex; gap: .4em; align-items: center; margin: 0; max-width: 100%;
  font-weight: 400; }
.eplib-curves legend label { font-weight: 600; }
.eplib-curves label.none { opacity: .75; font-style: italic; }
.eplib-curves input { accent-color: #2f87c8; margin: 0; flex: none; }
.eplib-curves select, .eplib-curves button { font: inherit; color: inherit; background: transparent;
  border: 1px solid #888; border-radius: 4px; padding: .15em .5em; min-width: 0; max-width: 100%; }
.eplib-curves option { color: #000; background: #fff; }
.eplib-curves button, .eplib-curves summary { cursor: pointer; }
.eplib-curves .plot { position: relative; touch-action: pan-y; }
.eplib-curves .plot:focus-visible { outline: 2px dashed #d55e00; outline-offset: 2px; }
.eplib-curves svg { display: block; overflow: visible; font-size: 11px; fill: currentColor; }
.eplib-curves label svg { flex: none; }
.eplib-curves p { margin: 0; overflow-wrap: anywhere; }
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
  const address = addressOf(root, keys, read);
  let state = structuredClone(data.open);
  let drawn = [];
  let current = null; // the point that is told: { curve, place }
  let figure = null; // where the points are
  const choice = (key, label, names) => chooser(label, keys[key], names, (value) => change({ [key]: value }));
  const none = "not shown";
  const selects = {
    norm: choice("norm", "norm", keys.norm.map((n) => (n === "l2" ? "ℓ2" : "ℓ∞"))),
    ours: choice("ours", "ours", [...data.sets.map((s) => s.name), none]),
    published: choice("published", "published", [...data.published.map((s) => s.name), none]),
    axis: choice("axis", "ε axis", ["logarithmic", "linear"]),
  };
  const reset = control("button", { type: "button", textContent: "reset", onclick: start });
  const note = make("p", { role: "status" });
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
  root.classList.add("eplib-curves");
  root.append(make("style", {}, STYLE), make("form", { onsubmit: (event) => event.preventDefault() },
    make("div", { className: "controls" }, ...Object.values(selects).map((s) => s.node), reset), attacks.node,
    note, plot, said, legend, models, table, make("div", {}, save)));
  read();
  watch(root, draw);

  // What the address asks for, or the start where it asks for nothing or for what is not here.
  function read() {
    const { asked, wrong } = address.read();
    const words = `The address asks for something that is not here (${wrong}): this is the start.`;
    note.textContent = wrong ? words : "";
    state = structuredClone({ ...data.open, ...asked });
    show();
  }

  function start() {
    state = structuredClone(data.open);
    note.textContent = "";
    address.forget();
    show();
  }

  function change(changed) {
    Object.assign(state, changed);
    note.textContent = "";
    address.write(state);
    show();
  }

  function show() {
    const here = every.filter(isHere);
    const [chosen, wanted] = [new Set(state.attacks), new Set(state.models)];
    drawn = here.filter((c) => chosen.has(c.attack.key) && wanted.has(c.model.key));
    shade(data.models, new Set(drawn.map((c) => c.model)));
    current = null;
    Object.entries(selects).forEach(([key, s]) => { s.select.value = state[key]; });
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
    change({ [key]: keys[key].filter((k) => chosen.has(k)) }); // always in the same order
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
    const curve = within(from.curve + curves, drawn.length);
    const at = drawn[from.curve].x[from.place];
    const x = drawn[curve].x;
    const place = curve === from.curve ? within(from.place + places, x.length)
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

// A curve with words instead of numbers of places, and accuracies as fractions.
function unpacked(c, data) {
  const share = (values) => values.map((v) => v / 10000);
  const ours = "each" in c;
  const set = ours && data.sets.find((s) => s.key === c.set);
  return {
    ...c, ours, model: data.models[c.model], attack: data.attacks[c.attack], mark: SHAPES[c.attack],
    how: data.hows[c.how], x: data.grids[c.x], y: share(c.y), low: share(c.low), high: share(c.high),
    each: ours ? c.each.map(share) : [], unit: data.units[c.norm], dashed: ours && set.dashed,
    where: ours ? set.name : `published, ${data.published.find((s) => s.key === c.set).name}`,
    scale: ours ? c.set.split("/")[0] : "published", dataset: ours ? c.set.split("/")[1] : c.set,
  };
}

function seedsOf(c, i) {
  return c.ours ? c.seeds.map(([seed]) => seed).join(" ") : count(c.seeds[i], "seed");
}

function images(c, i) {
  return c.ours ? c.n : c.n[i];
}

// The files that a curve comes from, or the published figures.
function source(c) {
  if (!c.ours) return c.figures.map((f) => `arXiv 2401.11543, ${f}`);
  const folder = `data/results/${c.set}/${c.measurement}`;
  return c.seeds.map(([seed, hash]) => `${folder}/${c.model.key}-s${seed}-${hash}.csv`);
}

function sentence(c, i) {
  const seeds = c.ours
    ? c.seeds.map(([seed], s) => `seed ${seed} ${percent(c.each[s][i])}`).join(", ") : seedsOf(c, i);
  const networks = c.ours ? `; network ${c.seeds.map((s) => s[2]).join(", ")}` : "";
  return `${c.model.name}, ${c.attack.name}, ${amount(c, i)}: ${percent(c.y[i])} (${percent(c.low[i])} to`
    + ` ${percent(c.high[i])}). ${c.where}; n = ${images(c, i).toLocaleString("en")}; ${seeds}.`
    + ` How: ${c.how}. From ${source(c).join(", ")}${networks}.`;
}

function amount(c, i) {
  return c.norm === "linf" ? `ℓ∞ ε = ${digits(255 * c.x[i])}/255` : `ℓ2 ε = ${digits(c.x[i])}`;
}

function csv(curves) {
  const head = "model,attack,norm,scale,dataset,seeds,n,epsilon,accuracy,low,high,source";
  const cell = (v) => (/[",\n]/.test(v) ? `"${String(v).replaceAll('"', '""')}"` : v);
  const lines = curves.flatMap((c) => c.x.map((x, i) => [
    c.model.key, c.called, c.norm, c.scale, c.dataset, seedsOf(c, i), images(c, i), x, c.y[i], c.low[i],
    c.high[i], source(c).join(" "),
  ].map(cell).join(",")));
  return `${[head, ...lines].join("\n")}\n`;
}

function tableOf(curves, state, data) {
  const head = ["network", "attack", "of", "seeds", "n", data.axes[state.norm], "accuracy", "low", "high"];
  const body = curves.flatMap((c) => c.x.map((x, i) => make("tr", {},
    make("th", { scope: "row" }, c.model.name),
    ...[c.attack.name, c.where, seedsOf(c, i)].map((v) => make("td", {}, v)),
    ...[images(c, i), digits(c.unit * x), percent(c.y[i]), percent(c.low[i]), percent(c.high[i])].map(
      (v) => make("td", { className: "number" }, String(v))))));
  return make("table", {},
    make("caption", {}, "Every point that is drawn: mean over seeds and the bounds of its band."),
    make("thead", {}, make("tr", {}, ...head.map((h) => make("th", { scope: "col" }, h)))),
    make("tbody", {}, ...body));
}

// What lines and marks mean, and how the published figures that are drawn differ from the paper's.
function legendOf(curves, data) {
  const published = curves.filter((c) => !c.ours);
  const said = [];
  if (curves.some((c) => c.dashed)) said.push("Dashed: ours, on other images than the paper’s.");
  if (published.length) said.push("Hollow marks: published; filled: ours.");
  const count = (key) => new Set(curves.map((c) => c.model[key])).size;
  if (count("shade") < count("key")) {
    said.push("There are fewer colours than networks: some are alike.");
  }
  const figures = [...new Set(published.flatMap((c) => c.figures))].filter((f) => f in data.notes);
  if (!figures.length) return [said.join(" ")];
  const departures = "how these curves depart from the paper’s figures";
  return [said.join(" "), make("details", {}, make("summary", {}, departures),
    ...figures.map((f) => make("p", {}, `${f}: ${data.notes[f]}`)))];
}

// The state of one explorer in the address, "#curves?norm=l2&…"; a second one of a page is "curves-2", and
// ";" stands between them. JupyterLab has the address for itself, so there it is left alone.
function addressOf(root, keys, changed) {
  const kind = "curves";
  const alike = [...document.querySelectorAll(`[data-explorer=${kind}]`)];
  const place = alike.indexOf(root.closest("[data-explorer]"));
  const own = place > 0 ? `${kind}-${place + 1}` : kind;
  const free = !document.getElementById("jupyter-config-data");
  const several = (key) => key === "attacks" || key === "models";
  const parts = () => location.hash.slice(1).split(";").filter((part) => part.includes("?"));
  const mine = (part) => part.split("?")[0] === own;
  if (free) {
    addEventListener("hashchange", function heard() {
      if (!root.isConnected) removeEventListener("hashchange", heard);
      else if (parts().some(mine)) changed(); // and not a link to a heading
    });
  }

  function read() {
    const part = free && parts().find(mine);
    const asked = {};
    for (const [key, value] of new URLSearchParams(part ? part.slice(own.length + 1) : "")) {
      const values = several(key) ? value.split(",").filter(Boolean) : [value];
      if (!Object.hasOwn(keys, key) || !values.every((v) => keys[key].includes(v))) {
        return { asked: {}, wrong: `${key}=${value}`.slice(0, 80) };
      }
      asked[key] = several(key) ? values : value;
    }
    return { asked };
  }

  function put(part) {
    if (!free) return;
    const hash = [...parts().filter((p) => !mine(p)), ...part].join(";");
    try {
      history.replaceState(history.state, "", location.href.split("#")[0] + (hash && `#${hash}`));
    } catch {
      // a page without an address of its own, such as one inside another
    }
  }

  function write(state) {
    const value = (v) => encodeURIComponent(String(v)).replaceAll("%2C", ",").replaceAll("%2F", "/");
    put([`${own}?${Object.keys(keys).map((key) => `${key}=${value(state[key])}`).join("&")}`]);
  }

  return { read, write, forget: () => put([]) };
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

function chooser(label, values, names, chosen) {
  const select = control("select", { onchange: () => chosen(select.value) });
  select.append(...values.map((value, i) => make("option", { value, textContent: names[i] })));
  return { select, node: make("label", {}, label, select) };
}

function nearest(items, distance) {
  const far = items.map(distance);
  return items[far.indexOf(Math.min(...far))];
}

function within(value, length) {
  return Math.max(0, Math.min(length - 1, value));
}
