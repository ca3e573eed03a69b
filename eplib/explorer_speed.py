"""How fast explorers answer: in a page, from an input to the next frame of the browser; in JupyterLab, from a
question to the answer of the kernel.
"""

import os
import shutil
import statistics
import tempfile
from pathlib import Path

from eplib import (
    attack_explorer,
    benchmark,
    boundary_explorer,
    chapters,
    corruption_explorer,
    curve_explorer,
    explorers,
    files,
    horizon_explorer,
    perturbations,
    semantics_gallery,
    semantics_game,
    specimens,
)
from eplib.checks import InputError
from eplib.sentences import table as table_of

SCALE = "quick"  # of whose results every copy of the project has all that explorers show
MODELS = ("ep-cnn", "cnn")
ROUNDS = 15
GOAL = 50  # milliseconds
BROWSERS = ("chromium", "chromium-browser", "google-chrome")
CHAPTERS = {
    "attack": "first-attack",
    "settling": "equilibrium",
    "horizons": "masking",
    "corruption": "corruptions",
    "gallery": "semantics",
    "game": "semantics",
    "curves": "robustness-curves",
    "boundary": "boundary",
}
ASKED = {  # of live explorers, in turn: no two alike after each other, and none that a page holds
    "attack": [dict(image=57, norm="linf", epsilon=0.03), dict(image=58, norm="l2", epsilon=0.7)],
    "settling": [dict(image=1, beta=0.2, steps=250), dict(image=0, beta=0.5, steps=250)],
    "horizons": [dict(epsilon=1.3, attack=0), dict(epsilon=1.7, attack=0)],
    "corruption": [dict(image=57, seed=1), dict(image=58, seed=2)],
    "boundary": [dict(place=57), dict(place=58)],
}
# One input after another, and milliseconds from each to the next frame after its handler. What is moved: the
# slider; where there is none, a place of the plane, a checkbox, or the choice of a picture and the next pair.
TIMED = """async ([kind, rounds]) => {
  const figure = document.querySelector(`[data-explorer=${kind}]`);
  const find = (what) => figure.querySelector(what);
  const frame = () => new Promise(requestAnimationFrame);
  const acts = {
    boundary(i) {
      const box = find("canvas").getBoundingClientRect();
      const at = { clientX: box.left + box.width * (i % 2 ? 0.3 : 0.7), clientY: box.top + box.height / 3 };
      find("canvas").dispatchEvent(new PointerEvent("pointermove", { bubbles: true, ...at }));
    },
    curves: () => find("fieldset input:not(:disabled)").click(),
    game: (i) => (i % 2 ? [...figure.querySelectorAll("button")].at(-1) : find(".pair button")).click(),
  };
  const slide = (i) => {
    const slider = find("input[type=range]");
    slider.value = i % 2 ? slider.max : slider.min;
    slider.dispatchEvent(new Event("input", { bubbles: true }));
  };
  const times = [];
  for (let i = 0; i <= rounds; i++) {
    const before = figure.innerHTML;
    await frame();
    const start = performance.now();
    (acts[kind] ?? slide)(i);
    const handled = performance.now() - start;
    await frame();
    times.push([performance.now() - start, handled]);
    if (figure.innerHTML === before) throw new Error(`${kind}: nothing changed`);
    await new Promise((done) => setTimeout(done, 40));
  }
  return times.slice(1);
}"""


def report(rounds=ROUNDS):
    """Milliseconds (median, and the least and most of `rounds`) by explorer: "pages", from an input to the
    next frame after its handler, in headless Chromium, with "handlers", the part that the script takes; and
    "answers", of the live explorers in the kernel. A page of the built book is used where it holds the
    explorer as it is now, otherwise the explorer alone. Raises InputError without playwright or Chromium.
    """
    sync_playwright, path = _browser()
    figures = made()
    with sync_playwright() as playwright:
        chromium = playwright.chromium.launch(executable_path=path, args=["--no-sandbox", "--disable-gpu"])
        pages, handlers, built = in_pages(chromium, figures, rounds)
        version = f"Chromium {chromium.version}"
        chromium.close()
    return {
        "pages": pages,
        "handlers": handlers,
        "built": built,
        "answers": {k: _summary(answer_times(figures[k], ASKED[k], max(3, rounds // 3))) for k in ASKED},
        "goal": GOAL,
        "rounds": rounds,
        "scale": SCALE,
        "browser": version,
        **benchmark.machine("cpu"),
    }


def _browser():
    """(playwright's starter, the path of Chromium)."""
    try:
        from playwright.sync_api import sync_playwright
    except ImportError as error:
        raise InputError(
            "the benchmark explorers drives a browser and playwright is not installed: run pip install"
            " playwright"
        ) from error
    path = next(filter(None, map(shutil.which, BROWSERS)), None)
    if path is None:
        raise InputError(
            f"the benchmark explorers found none of {', '.join(BROWSERS)}: install the package chromium"
        )
    return sync_playwright, path


def made():
    """{kind: its live widget, or its element where it has none} of the first networks of `SCALE`."""
    static = os.environ.pop("EPLIB_STATIC", None)
    try:
        shown = chapters.choose(SCALE, needs={m: ("pgd-linf", "semantics") for m in MODELS})
        found = {k: chapters.stored(shown, k) for k in ("horizons", "corruptions", "slices", "semantics")}
        nets = perturbations.networks(shown, semantics_gallery.MODELS)
        return {
            "attack": attack_explorer.attack(shown, MODELS, "linf"),
            "settling": explorers.settling(*specimens.settling_inputs(chapters.first_seed(shown))),
            "horizons": horizon_explorer.horizons(shown, found["horizons"]["ep-cnn"][0]),
            "corruption": corruption_explorer.corruptions(shown, found["corruptions"]),
            "gallery": semantics_gallery.gallery(shown, nets, perturbations.judge(shown)),
            "game": semantics_game.game(shown, found["semantics"], nets),
            "curves": curve_explorer.explorer(shown, curve_explorer.measured(shown)),
            "boundary": boundary_explorer.boundary(shown, {m: r[0] for m, r in found["slices"].items()}),
        }
    finally:
        if static is not None:
            os.environ["EPLIB_STATIC"] = static


def element(kind, figure):
    """The page's form of an explorer of `made`."""
    return figure if isinstance(figure, str) else explorers.embed(kind, figure.data, figure.caption)


def in_pages(chromium, figures, rounds):
    """({kind: summary}, {kind: summary of handlers}, kinds whose built page was used) of what `made` gives,
    in a browser.
    """
    pages, handlers, built = {}, {}, []
    with tempfile.TemporaryDirectory() as folder:
        for kind, figure in figures.items():
            page = files.ROOT / "_build" / "html" / "book" / f"{CHAPTERS[kind]}.html"
            if page.exists() and explorers.script(kind) in page.read_text():
                built.append(kind)
            else:
                page = Path(folder) / f"{kind}.html"
                page.write_text(f'<!doctype html><meta charset="utf-8">{element(kind, figure)}')
            tab = chromium.new_page(viewport={"width": 1200, "height": 900})
            tab.goto(page.as_uri(), wait_until="load")
            tab.wait_for_timeout(500)
            times = tab.evaluate(TIMED, [kind, rounds])
            pages[kind], handlers[kind] = (_summary(column) for column in zip(*times, strict=True))
            tab.close()
    return pages, handlers, built


def answer_times(widget, asked, rounds):
    """Milliseconds of `rounds` answers of a live widget, after one to warm up. Raises RuntimeError when it
    refuses.
    """
    times = []
    for i in range(rounds + 1):
        wanted = asked[i % len(asked)]
        times.append(1e3 * benchmark.timed(lambda wanted=wanted: setattr(widget, "wanted", wanted), "cpu"))
        if widget.message or not widget.cell:
            raise RuntimeError(f"asked for {wanted}, an explorer said: {widget.message or 'nothing'}")
    return times[1:]


def _summary(times):
    return [round(v, 1) for v in (statistics.median(times), min(times), max(times))]


def table(found):
    """The table of a `report`: how long every explorer takes to follow, in a page and in JupyterLab."""
    goal = found["goal"]

    def cell(times):
        if times is None:
            return "needs no kernel"
        median, least, most = times
        mark = "" if median <= goal else " *"
        return f"{_whole(median)} ({_whole(least)} to {_whole(most)}){mark}"

    lines = [(kind, cell(times), cell(found["answers"].get(kind))) for kind, times in found["pages"].items()]
    late = any(t[0] > goal for part in ("pages", "answers") for t in found[part].values())
    note = (
        "Milliseconds, median (least to most): in a page from an input to the next frame of the browser,"
        " which comes 60 times a second; in JupyterLab until the kernel has computed what no page holds: an"
        " attack on another image, a settling of 250 steps in two orders with its nudged phases, an image"
        f" under 95 corruptions, planes of {boundary_explorer.LIVE_SIDE + 1}² images. The aim is {goal} ms"
        f"{'; * is slower' if late else ''}. {found['rounds']} inputs each; networks of {found['scale']}"
        f" scale; {found['browser']}; {benchmark.in_words(found)}."
    )
    return table_of(["explorer", "in a page", "in JupyterLab, something new"], lines, note)


def _whole(value):
    return f"{value:,.0f}"
