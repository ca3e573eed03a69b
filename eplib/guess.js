// Guess first, then see: a switch that hides an answer until the reader has guessed it.

// questions(): [{ words, options, right }] about what is looked at. toggled(on): the switch was moved.
// revealed(): a guess was made. hides(on, key): whether the answer is hidden; another key asks anew.
function guessing(questions, toggled, revealed) {
  const box = control("input", { type: "checkbox", onchange: () => toggled(box.checked) });
  const show = control("button", { type: "button", textContent: "show", onclick: reveal });
  const fields = make("div", { className: "controls", role: "group", "aria-label": "your guess" });
  const told = make("p", { role: "status" });
  let [at, made, asked] = [null, true, []];

  function hides(on, key) {
    box.checked = on;
    fields.style.display = on ? "" : "none";
    if (!on) key = null;
    if (key !== at) {
      [at, made, told.textContent] = [key, !on, ""];
      asked = on ? questions().map((q) => ({ ...q, ...chooser(q.words, q.options, () => {}) })) : [];
      fields.replaceChildren(...asked.map((q) => q.node), show);
    }
    return !made;
  }

  function reveal() {
    made = true;
    told.textContent = `${asked.map(({ words, options, right, field }) => +field.value === right
      ? `${words} ${options[right]}: you guessed it`
      : `${words} ${options[right]}, you guessed ${options[+field.value]}`).join("; ")}.`;
    revealed();
  }

  return { node: make("div", {}, make("label", {}, box, "guess first"), fields, told), hides };
}
