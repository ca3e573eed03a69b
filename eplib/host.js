// The live host, an anywidget in JupyterLab: the figure, and what only a network can answer. The explorer
// asks for that with ask(wanted), and has { controls, update(cell), restore() }: where it is said that it
// waits, what takes the answer, and what puts back a value that was refused.
function hosted(kind, explorer) {
  function render({ model, el }) {
    const root = make("div");
    const figure = make("figure", { className: "eplib-explorer" }, root,
      make("figcaption", {}, model.get("caption")));
    figure.dataset.explorer = kind;
    figure.style.margin = "1rem 0";
    el.append(figure);
    const shown = explorer(root, model.get("data"), ask);
    const note = make("strong", { role: "status" });
    shown.controls.append(note);
    shown.controls.addEventListener("input", () => { // what was said is read by now
      if (!model.get("busy")) note.textContent = "";
    });
    const events = ["message", "busy"].map((name) => [`change:${name}`, show]);
    events.push(["change:cell", () => shown.update(model.get("cell"))]);
    events.forEach((event) => model.on(...event));
    show();
    return () => {
      shown.stop?.();
      events.forEach((event) => model.off(...event));
    };

    // The same again is being computed, was refused, or its answer is there.
    function ask(wanted) {
      if (JSON.stringify(wanted) === JSON.stringify(model.get("wanted"))) {
        if (model.get("message")) show();
        else if (!model.get("busy")) shown.update(model.get("cell"));
        return;
      }
      model.set("wanted", wanted);
      model.set("busy", true);
      model.save_changes();
    }

    function show() {
      const busy = model.get("busy");
      note.textContent = busy ? "computing…" : model.get("message");
      if (!busy && model.get("message")) shown.restore();
    }
  }
  return { render };
}
