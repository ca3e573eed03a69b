// The state of an explorer: it opens with one, a button brings that back, and the address keeps any other, as
// "#kind?key=value&…"; a second explorer of a kind is "kind-2", and ";" stands between them.
const PAUSE = 350; // milliseconds: browsers refuse more than a hundred changes of the address in 30 seconds

// open: the state that it begins with. codes: { key: { write(value), read(text) } } of what the address
// keeps. show(): called when the state has changed. live: whether the host is JupyterLab.
// { state, move(changed), nodes }: the button, and what is said of an address that is wrong.
function stateOf(root, open, codes, show, live) {
  const state = {};
  const address = addressOf(root, codes, live, begin);
  const reset = control("button", { type: "button", textContent: "reset", onclick: start });
  const note = make("p", { role: "status" });

  // What the address asks for, or the start where it asks for nothing or for what is not here.
  function begin() {
    const { asked, wrong } = address.read();
    note.textContent = wrong
      ? `The address asks for something that is not here (${wrong}): this is the start.` : "";
    become(asked);
  }

  function start() {
    note.textContent = "";
    address.write("");
    become({});
  }

  function become(asked) {
    Object.keys(state).forEach((key) => delete state[key]);
    Object.assign(state, structuredClone({ ...open, ...asked }));
    show();
  }

  function move(changed) {
    Object.assign(state, changed);
    note.textContent = "";
    const words = address.inWords(state);
    address.write(words === address.inWords(open) ? "" : words);
    show();
  }

  return { state, move, begin, nodes: [reset, note] };
}

// JupyterLab has the address for itself, so there it is neither read nor written.
function addressOf(root, codes, live, heard) {
  const figure = root.closest("[data-explorer]");
  const kind = figure?.dataset.explorer;
  const place = [...document.querySelectorAll(`[data-explorer=${kind}]`)].indexOf(figure);
  const own = place > 0 ? `${kind}-${place + 1}` : kind;
  const free = figure && !live && !document.getElementById("jupyter-config-data");
  const parts = () => location.hash.slice(1).split(";").filter((part) => part.includes("?"));
  const mine = (part) => part.split("?")[0] === own;
  let [timer, last] = [0, 0];
  if (free) {
    addEventListener("hashchange", function changed() {
      if (!root.isConnected) return removeEventListener("hashchange", changed);
      if (!parts().some(mine)) return; // a link to a heading
      clearTimeout(timer);
      heard();
    });
  }

  function read() {
    const part = free && parts().find(mine);
    const asked = {};
    for (const [key, text] of new URLSearchParams(part ? part.slice(own.length + 1) : "")) {
      const value = Object.hasOwn(codes, key) ? codes[key].read(text) : undefined;
      if (value === undefined) return { asked: {}, wrong: `${key}=${text}`.slice(0, 80) };
      asked[key] = value;
    }
    return { asked, wrong: "" };
  }

  function inWords(state) {
    const plain = (text) => encodeURIComponent(text).replaceAll("%2C", ",").replaceAll("%2F", "/");
    return Object.keys(codes).map((key) => `${key}=${plain(codes[key].write(state[key]))}`).join("&");
  }

  // At once, or after a pause the latest.
  function write(words) {
    clearTimeout(timer);
    const wait = last + PAUSE - Date.now();
    if (free && wait <= 0) put(words);
    else if (free) timer = setTimeout(put, wait, words);
  }

  function put(words) {
    last = Date.now();
    const hash = [...parts().filter((part) => !mine(part)), ...(words ? [`${own}?${words}`] : [])].join(";");
    if (!words && !parts().some(mine)) return; // a heading stays in the address
    try {
      history.replaceState(history.state, "", location.href.split("#")[0] + (hash && `#${hash}`));
    } catch {
      // a page without an address of its own, such as one inside another
    }
  }

  return { read, write, inWords };
}

// How the address keeps a value: one of some, a place among names, some of several, a whole number.
function oneOf(values) {
  return { write: String, read: (text) => values.find((value) => String(value) === text) };
}

function placeIn(names) {
  const read = (text) => (names.map(String).includes(text) ? names.map(String).indexOf(text) : undefined);
  return { write: (place) => String(names[place]), read };
}

function someOf(values) {
  function read(text) {
    const some = text.split(",").filter(Boolean);
    return some.every((value) => values.includes(value)) ? some : undefined;
  }
  return { write: (some) => some.join(","), read };
}

function upTo(last) {
  return { write: String, read: (text) => (/^\d{1,6}$/.test(text) && +text <= last ? +text : undefined) };
}

function onOrOff() {
  return { write: (on) => (on ? "on" : "off"), read: (text) => ({ on: true, off: false })[text] };
}
