import base64
import io

import numpy as np
from PIL import Image

from eplib import chapters, explorers


def test_sprite_holds_every_frame_exactly():
    frames = np.random.default_rng(0).integers(0, 256, (7, 3, 5, 5)).astype(np.float32) / 255
    uri, columns = explorers.sprite(frames)
    sheet = np.asarray(Image.open(io.BytesIO(base64.b64decode(uri.split(",")[1]))))
    for i, frame in enumerate(frames):
        y, x = divmod(i, columns)
        tile = sheet[5 * y : 5 * y + 5, 5 * x : 5 * x + 5]
        assert np.array_equal(tile, (frame * 255).round().transpose(1, 2, 0).astype(np.uint8))


def test_attack_explorer_has_an_answer_for_every_image_and_strength(out):
    shown = chapters.Shown("smoke", "sample", (0,))
    steps = chapters.attack_steps(shown, ("ep-cnn", "cnn"), "linf", count=2)
    assert steps["epsilons"][0] == 0 and list(steps["epsilons"]) == sorted(steps["epsilons"])
    for model, (classes, probabilities) in steps["answers"].items():
        assert np.shape(classes) == np.shape(probabilities) == (2, len(steps["epsilons"]))
        assert steps["images"][model].shape == (2, len(steps["epsilons"]), 3, 32, 32)
    page = explorers.attack(steps)
    assert "http" not in page and page.count("<script>") == 1 and "EP-CNN" in page
    assert page == explorers.attack(steps)
