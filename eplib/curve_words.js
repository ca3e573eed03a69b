// What curves.js says of its curves: sentences, a table, a file and a legend.

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
    ? c.seeds.map(([seed], s) => `seed ${seed} ${tenths(c.each[s][i])}`).join(", ") : seedsOf(c, i);
  const networks = c.ours ? `; network ${c.seeds.map((s) => s[2]).join(", ")}` : "";
  return `${c.model.name}, ${c.attack.name}, ${amount(c, i)}: ${tenths(c.y[i])} (${tenths(c.low[i])} to`
    + ` ${tenths(c.high[i])}). ${c.where}; n = ${images(c, i).toLocaleString("en")}; ${seeds}.`
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
    ...[images(c, i), digits(c.unit * x), tenths(c.y[i]), tenths(c.low[i]), tenths(c.high[i])].map(
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
