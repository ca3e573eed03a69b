// One attack, many strengths: pick an image and an ε, see what each network sees and says. Plain DOM, no library.
function attackExplorer(root, data) {
  const element = (tag, properties, ...children) => {
    const node = Object.assign(document.createElement(tag), properties);
    node.append(...children);
    return node;
  };
  const sprite = new Image();
  const state = { image: 0, epsilon: 0 };
  const panels = data.models.map((model) => {
    const canvas = element("canvas", { width: data.side, height: data.side, role: "img" });
    canvas.style.cssText = "width:9em;height:9em;image-rendering:pixelated;border:1px solid #8888";
    const words = element("div", {});
    const title = element("strong", { textContent: model.name });
    title.style.color = model.colour;
    root.append(element("div", {}, title, element("br", {}), canvas, words));
    return { canvas, words, model };
  });
  const slider = (label, count, key) => {
    const input = element("input", { type: "range", min: 0, max: count - 1, value: 0 });
    input.setAttribute("data-lm-suppress-shortcuts", "true"); // JupyterLab would take the arrow keys
    const shown = element("output", {});
    input.oninput = () => { state[key] = +input.value; draw(); };
    return { node: element("label", {}, `${label} `, input, " ", shown), shown, input };
  };
  const epsilon = slider(`${data.norm} ε`, data.epsilons.length, "epsilon");
  const image = slider("image", data.labels.length, "image");
  const controls = element("div", {}, epsilon.node, element("br", {}), image.node);
  controls.style.cssText = "flex-basis:100%";
  root.style.cssText = "display:flex;flex-wrap:wrap;gap:1.5em;align-items:flex-start";
  root.prepend(controls);

  function draw() {
    const truth = data.labels[state.image];
    epsilon.shown.textContent = data.epsilons[state.epsilon];
    image.shown.textContent = truth;
    epsilon.input.setAttribute("aria-valuetext", data.epsilons[state.epsilon]);
    image.input.setAttribute("aria-valuetext", truth);
    panels.forEach(({ canvas, words, model }, m) => {
      const frame = (state.image * data.epsilons.length + state.epsilon) * data.models.length + m;
      const x = (frame % data.columns) * data.side;
      const y = Math.floor(frame / data.columns) * data.side;
      canvas.getContext("2d").drawImage(sprite, x, y, data.side, data.side, 0, 0, data.side, data.side);
      const [predicted, confidence] = model.answers[state.image][state.epsilon];
      const right = predicted === truth;
      words.textContent = `${right ? "✓" : "✗"} ${predicted}, ${Math.round(100 * confidence)} %`;
      words.style.fontWeight = right ? "normal" : "bold";
      canvas.setAttribute("aria-label", `attacked ${truth}: ${model.name} says ${predicted}`);
    });
  }
  sprite.onload = draw;
  sprite.src = data.sprite;
}
