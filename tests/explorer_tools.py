"""What tests of explorers share: pages that hold one, hosts without JupyterLab, pictures, contrast."""

import base64
import io
import re

import numpy as np
from PIL import Image

HEAD = (
    '<!doctype html><html lang="en"><meta charset="utf-8">'
    '<meta name="viewport" content="width=device-width"><title>{}</title>'
)

LIVE = """async ([source, values]) => {
  const url = URL.createObjectURL(new Blob([source], { type: "text/javascript" }));
  const hearers = {};
  window.saved = [];
  window.model = {
    get: (name) => values[name],
    set(name, value) { values[name] = value; (hearers[`change:${name}`] ?? []).forEach((f) => f()); },
    save_changes: () => window.saved.push({ ...values, data: null }),
    on: (event, f) => (hearers[event] ??= []).push(f),
    off: (event, f) => { hearers[event] = hearers[event].filter((g) => g !== f); },
  };
  const el = document.createElement("div");
  el.id = "live";
  document.body.prepend(el);
  window.end = (await import(url)).default.render({ model: window.model, el });
  window.left = () => Object.values(hearers).flat().length;
}"""


CONTRAST = """(root) => {
  const parse = (c) => {
    const v = c.match(/[\\d.]+/g).map(Number);
    const [r, g, b] = c.startsWith("color(srgb") ? v.slice(0, 3).map((x) => 255 * x) : v;
    return [r, g, b, v.length > 3 ? v[3] : 1];
  };
  const over = ([r, g, b, a], [x, y, z]) => [r * a + x * (1 - a), g * a + y * (1 - a), b * a + z * (1 - a)];
  const light = (c) => c.slice(0, 3).map((v) => v / 255)
    .map((v) => (v > 0.04 ? ((v + 0.055) / 1.055) ** 2.4 : v / 12.92))
    .reduce((sum, v, i) => sum + v * [0.2126, 0.7152, 0.0722][i], 0);
  const behind = (node) => {
    const own = parse(getComputedStyle(node).backgroundColor);
    if (own[3] === 1) return own;
    return over(own, node.parentElement ? behind(node.parentElement) : [255, 255, 255]);
  };
  const faint = (node) => (node && node !== root.parentElement
    ? +getComputedStyle(node).opacity * faint(node.parentElement) : 1);
  const walker = document.createTreeWalker(root, NodeFilter.SHOW_TEXT);
  const found = [];
  while (walker.nextNode()) {
    const node = walker.currentNode.parentElement;
    const text = walker.currentNode.textContent.trim();
    const shown = node.checkVisibility({ visibilityProperty: true });
    if (!text || !shown || /^(OPTION|STYLE)$/.test(node.tagName)) continue;
    const style = getComputedStyle(node);
    const ink = parse(node.closest("svg") ? style.fill : style.color);
    const page = behind(node.closest("svg")?.parentElement ?? node);
    ink[3] *= faint(node);
    const [a, b] = [light(over(ink, page)), light(page)].sort((x, y) => y - x);
    found.push([(a + 0.05) / (b + 0.05), text.slice(0, 40)]);
  }
  return found;
}"""


def page(folder, name, *figures):
    """Write a page of figures into a folder; its address without the name."""
    (folder / f"{name}.html").write_text(HEAD.format(name) + "".join(map(str, figures)))
    return f"{folder.as_uri()}/"


def outside(text):
    """Addresses on other machines in a page, the name of SVG aside."""
    return set(re.findall(r"https?://[^\"' )]+", text)) - {"http://www.w3.org/2000/svg"}


def pixels(canvas):
    """What a canvas shows, uint8 [H, W, 3]."""
    png = base64.b64decode(canvas.evaluate("c => c.toDataURL()").split(",")[1])
    return np.asarray(Image.open(io.BytesIO(png)).convert("RGB"))


def frames(sheet, columns, side=32):
    """uint8 [N, side, side, 3], the frames of a page's picture."""
    picture = np.asarray(Image.open(io.BytesIO(base64.b64decode(sheet.split(",")[1]))).convert("RGB"))
    rows = picture.reshape(-1, side, columns, side, 3).transpose(0, 2, 1, 3, 4)
    return rows.reshape(-1, side, side, 3)


def live(browser_tab, kind, given, wanted=None):
    """Put the live host of an explorer on a page: the locator of its figure."""
    from eplib import explorers

    values = dict(data=given, caption="How", wanted=wanted or {}, cell={}, message="", busy=False)
    browser_tab.evaluate(LIVE, [explorers.module(kind), values])
    browser_tab.wait_for_timeout(200)
    return browser_tab.locator(f"#live [data-explorer={kind}]")


def follow(tab, address):
    """Change the address as a link does, and wait until it was heard."""
    tab.evaluate(
        """(address) => new Promise((done) => {
          const before = location.hash;
          addEventListener("hashchange", () => setTimeout(done), { once: true });
          location.hash = address;
          if (location.hash === before) done(); // nothing will be heard
        })""",
        address,
    )
