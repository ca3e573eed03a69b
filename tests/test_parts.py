import numpy as np
import pytest

from eplib import parts
from eplib.checks import InputError


def doubled(calls=None, stop=None):
    """A computation over slices that notes its calls, and stops at the slice that starts at `stop`."""

    def compute(rows):
        if calls is not None:
            calls.append(rows.start)
        if rows.start == stop:
            raise KeyboardInterrupt
        places = np.arange(rows.start, rows.stop)
        return {"twice": 2 * places, "table": np.stack([places, -places])}

    return compute


def test_parts_are_joined_along_the_images():
    arrays, seconds = parts.in_parts(7, 3, doubled(), "double", progress=False)
    assert arrays["twice"].tolist() == [0, 2, 4, 6, 8, 10, 12]
    assert np.array_equal(arrays["table"], [np.arange(7), -np.arange(7)])
    assert seconds > 0 and set(arrays) == {"twice", "table"}


def test_a_run_that_was_stopped_goes_on_where_it_was(tmp_path):
    calls, folder = [], tmp_path / "unfinished"
    with pytest.raises(KeyboardInterrupt):
        parts.in_parts(7, 3, doubled(calls, stop=6), "double", folder, progress=False)
    assert sorted(p.name for p in folder.iterdir()) == ["0-3.npz", "3-6.npz"]
    arrays, seconds = parts.in_parts(7, 3, doubled(calls), "double", folder, progress=False)
    assert calls == [0, 3, 6, 6]
    fresh, _ = parts.in_parts(7, 3, doubled(), "double", progress=False)
    assert all(np.array_equal(arrays[k], fresh[k]) for k in fresh) and seconds > 0
    parts.forget(folder)
    assert not folder.exists()
    parts.forget(folder)  # nothing to forget is no error


@pytest.mark.parametrize("damage", [b"", b"no archive", None])
def test_a_damaged_or_foreign_part_is_computed_again(tmp_path, damage):
    calls = []
    parts.in_parts(4, 4, doubled(), "double", tmp_path, progress=False)
    part = tmp_path / "0-4.npz"
    if damage is None:  # another length under the same name
        np.savez(part, twice=np.arange(3), seconds=np.float64(1))
    else:
        part.write_bytes(damage)
    arrays, _ = parts.in_parts(4, 4, doubled(calls), "double", tmp_path, progress=False)
    assert calls == [0] and arrays["twice"].tolist() == [0, 2, 4, 6]


def test_the_words_beside_the_bar_know_all_parts_so_far():
    seen = []

    def say(arrays):
        seen.append(len(arrays["twice"]))
        return "words"

    parts.in_parts(5, 2, doubled(), "double", progress=False, say=say)
    assert seen == [2, 4, 5]


@pytest.mark.parametrize("count, size", [(0, 3), (3, 0)])
def test_empty_work_is_refused(count, size):
    with pytest.raises(InputError, match="1 or more"):
        parts.in_parts(count, size, doubled(), "double", progress=False)
