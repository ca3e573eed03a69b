import base64
import io
import json
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from PIL import Image

from eplib import data, explorers, scales, statistics, training
from eplib import semantics_game as game
from eplib.attacks import AttackedModel
from eplib.semantics_changes import Setting, attacked, targets

SETTING = Setting("budget", 2.0, "targeted", "attack")
IDS = torch.tensor([3, 5, 6, 8, 9, 12, 20])
HELD = "document.querySelector('.eplib-game')"


@pytest.fixture(scope="module")
def made():
    """(page data, networks, test): three untrained networks that stand for the game's, seven images."""
    test = data.load("sample", "test")
    row = scales.row("smoke", "cnn")
    nets = {
        m: AttackedModel(training.initial(row, test.images[:50], 10, seed).eval())
        for seed, m in enumerate(("ep-cnn", *game.RIVALS))
    }
    wanted = targets(test.labels[IDS], 10)
    return game.page_data(nets, test, IDS, wanted, SETTING, 3), nets, test


@pytest.fixture
def opened(browser, made):
    """How a page with other data is opened, as (tab, its game)."""
    tabs = []

    def open_page(given, **size):
        tab = browser.new_page(**size)
        tabs.append(tab)
        tab.problems, tab.left = [], []
        tab.on("pageerror", lambda error: tab.problems.append(str(error)))
        tab.on("request", lambda request: tab.left.append(request.url))
        tab.set_content(f"<!doctype html><body>{explorers.embed('game', given, 'How to use it.')}")
        tab.wait_for_function(f"{HELD} && [...{pixels('0')}].some((v, i) => i % 4 < 3 && v)")
        return tab, tab.locator(".eplib-game")

    yield open_page
    for tab in tabs:
        assert tab.problems == [] and all(url.startswith(("data:", "about:")) for url in tab.left)
        tab.close()


def pixels(canvas):
    return f"{HELD}.querySelectorAll('canvas')[{canvas}].getContext('2d').getImageData(0, 0, 32, 32).data"


def frames(given):
    picture = np.asarray(Image.open(io.BytesIO(base64.b64decode(given["sheet"].split(",")[1]))))
    rows = picture.reshape(-1, 32, given["columns"], 32, 3).transpose(0, 2, 1, 3, 4)
    return rows.reshape(-1, 32, 32, 3)


def test_both_pictures_are_attacks_on_one_image_within_the_budget(made):
    given, nets, test = made
    assert json.loads(json.dumps(given)) == given and sorted(p["id"] for p in given["pairs"]) == IDS.tolist()
    shown, goals = frames(given), targets(test.labels[IDS], 10)
    for k, pair in enumerate(given["pairs"]):
        place = IDS.tolist().index(pair["id"])
        assert pair["label"] == test.labels[pair["id"]] and pair["target"] == goals[place]
        assert np.array_equal(shown[3 * k + 2], test.images[pair["id"]].permute(1, 2, 0).numpy())
        change = (shown[3 * k : 3 * k + 2].astype(float) - shown[3 * k + 2]) / 255
        lengths = np.linalg.norm(change.reshape(2, -1), axis=1)
        assert (lengths > 0.5 * SETTING.amount).all() and (lengths < 1.01 * SETTING.amount).all()
    for m, net in enumerate(
        nets.values()
    ):  # in batches as large as the page's, which decide ties in a gradient
        its = [(k, p) for k, p in enumerate(given["pairs"]) if m in (0, 1 + p["rival"])]
        y, t = (torch.tensor([p[key] for _, p in its]) for key in ("label", "target"))
        x = data.as_float(test.images[[p["id"] for _, p in its]])
        made_by = attacked(net, x, y, t, SETTING, 3, None).permute(0, 2, 3, 1).numpy()
        seen = [shown[3 * k + (p["side"] if m == 0 else 1 - p["side"])] for k, p in its]
        assert np.abs(np.stack(seen) / 255 - made_by).max() < 0.003
    assert not any(np.array_equal(shown[3 * k], shown[3 * k + 1]) for k in range(len(IDS)))


@pytest.mark.parametrize("count, rivals", [(50, 2), (50, 1), (7, 2), (1, 2), (49, 2)])
def test_rivals_and_sides_are_balanced_and_always_the_same(count, rivals):
    order, rival, side = game.drawn(count, rivals)
    again = game.drawn(count, rivals)
    assert all(np.array_equal(a, b) for a, b in zip((order, rival, side), again, strict=True))
    assert sorted(order) == list(range(count)) and set(side) <= {0, 1} and set(rival) <= set(range(rivals))
    assert abs(2 * side.sum() - count) <= 1
    each = [side[rival == r] for r in range(rivals)]
    assert max(map(len, each)) - min(map(len, each)) <= 1
    assert all(abs(2 * s.sum() - len(s)) <= 1 for s in each)
    if count > 40:  # neither is told by the turn
        assert {tuple(pair) for pair in np.stack([side[:-1], side[1:]], 1)} == {
            (0, 0),
            (0, 1),
            (1, 0),
            (1, 1),
        }


def test_keys_and_clicks_choose_and_the_score_is_counted_with_its_interval(opened, made):
    given = made[0]
    tab, played = opened(given)
    names, count = [m["name"] for m in given["models"]], len(given["pairs"])
    tally, seen = np.zeros((2, 2), int), frames(given)
    played.get_by_role("button", name="left picture").focus()
    for k, pair in enumerate(given["pairs"]):
        assert f"pair {k + 1} of {count}" in played.inner_text()
        assert f"{given['classes'][pair['target']]}?" in played.inner_text()
        for canvas in range(2):
            drawn = np.array(tab.evaluate(f"[...{pixels(canvas)}]")).reshape(32, 32, 4)[..., :3]
            assert np.array_equal(drawn, seen[3 * k + canvas])
        choice = int(k in (1, 2, 5))
        if k % 2:
            played.get_by_role("button", name=f"{('left', 'right')[choice]} picture").click()
        else:
            tab.keyboard.press(("ArrowLeft", "ArrowRight")[choice])
        tab.keyboard.press("ArrowLeft")  # a choice is made once
        won = choice == pair["side"]
        tally[pair["rival"]] += won, 1
        told = played.locator(".told").inner_text()
        rival = names[1 + pair["rival"]]
        assert f"made by attacking: {names[0] if won else rival}. The other" in told
        assert given["classes"][pair["label"]] in told and f"test image {pair['id']}" in told
        under = played.locator(".pair small").all_inner_texts()
        assert under[choice].endswith("(chosen)") and under[pair["side"]].startswith(names[0])
        lines = played.locator("li").all_inner_texts()
        expected = []
        for name, (chosen, n) in zip(names[1:], tally, strict=True):
            low, high = (f"{100 * v:.1f}" for v in statistics.wilson(chosen, n)) if n else ("", "")
            words = (
                f"chosen in {chosen} of {n} pairs, {100 * chosen / max(n, 1):.1f}\u00a0% (95\u00a0% interval"
            )
            expected += [f"EP-CNN against {name}: {words} {low} to {high}\u00a0%)"] if n else []
        assert lines == expected
        if k + 1 < count:
            tab.keyboard.press("Enter")
    assert "the last pair" in told and not played.get_by_role("button", name="next pair").is_visible()
    assert tally.sum(0)[1] == count and 0 < tally.sum(0)[0] < count
    tab.keyboard.press("Enter")  # restart has the focus
    assert f"pair 1 of {count}" in played.inner_text() and played.locator("li").count() == 0


def test_before_the_choice_nothing_tells_what_made_a_picture(opened, made):
    given = made[0]
    swapped = [p | {"side": 1 - p["side"], "rival": 1 - p["rival"]} for p in given["pairs"]]
    pages = [opened(given), opened(given | {"pairs": swapped})]
    for _ in given["pairs"][:3]:
        states = [game_.inner_html() for _, game_ in pages]
        blind = states[0].partition('aria-live="polite"')[0]
        assert blind == states[1].partition('aria-live="polite"')[0]
        assert not any(m["name"] in blind or m["colour"] in blind for m in given["models"])
        for tab, played in pages:
            assert played.locator(".told").inner_text() == ""
            assert not any(tab.evaluate(f"[...{pixels(2)}]"))  # the image as it is, not drawn
            played.get_by_role("button", name="right picture").press("ArrowRight")
            assert any(tab.evaluate(f"[...{pixels(2)}]"))
        assert pages[0][1].inner_html() != pages[1][1].inner_html()
        for tab, _ in pages:
            tab.keyboard.press("Enter")


def test_keys_that_mean_something_else_choose_nothing_and_a_phone_is_wide_enough(opened, made):
    tab, played = opened(made[0], viewport={"width": 390, "height": 800}, has_touch=True)
    left = played.get_by_role("button", name="left picture")
    for key in ("Alt+ArrowLeft", "Shift+ArrowRight", "ArrowUp", "Home"):
        tab.evaluate(f"{HELD}.querySelector('.pair').focus()")
        left.evaluate(
            "(node, [key, alt, shift]) => node.dispatchEvent(new KeyboardEvent('keydown',"
            " {key, altKey: alt, shiftKey: shift, bubbles: true}))",
            [key.split("+")[-1], "Alt" in key, "Shift" in key],
        )
        assert played.locator("li").count() == 0
    tab.keyboard.press("Enter")  # the pair has the focus, not a picture
    assert played.locator("li").count() == 0
    assert left.bounding_box()["width"] > 150
    left.tap()
    assert played.locator("li").count() == 1 and left.is_disabled()
    assert tab.evaluate("document.documentElement.scrollWidth <= 390")


def test_the_page_takes_the_measured_images_and_the_largest_budget(monkeypatch, made):
    _, nets, test = made
    given = {}
    monkeypatch.setattr(game, "page_data", lambda *args: given.update(args=args))
    monkeypatch.setattr(game.explorers, "embed", lambda kind, data, caption: (kind, caption))
    ids = np.arange(10, 90)
    right = {m: np.arange(80) % (2 + k) > 0 for k, m in enumerate(nets)}

    def result(correct):
        sizes = {"epsilons": [0.5, 3.0, 1.0], "steps": 4}
        return [SimpleNamespace(image_ids=ids, correct_clean=correct, settings={"sizes": sizes})]

    found = {m: result(r) for m, r in right.items()} | {"vit-8": result(np.zeros(80, bool))}
    kind, caption = game.game(SimpleNamespace(dataset="sample"), found, nets | {"vit-8": None})
    used, _, chosen, wanted, setting, steps = given["args"]
    both = np.all(list(right.values()), 0)
    assert kind == "game" and list(used) == ["ep-cnn", *game.RIVALS] and steps == 4
    assert np.array_equal(chosen, ids[both][: game.COUNT]) and setting.amount == 3 and "ε = 3:" in caption
    assert torch.equal(wanted, targets(test.labels[ids], 10)[torch.from_numpy(both)][: game.COUNT])
    assert (wanted != test.labels[chosen]).all() and "nobody's answers are collected" in caption

    none = {m: result(np.zeros(80, bool)) for m in ("ep-cnn", "cnn")}
    caption = game.game(SimpleNamespace(dataset="sample"), none, nets)[1]
    assert list(given["args"][0]) == ["ep-cnn", "cnn"] and "right or not" in caption
    assert np.array_equal(given["args"][2], ids[: game.COUNT])
