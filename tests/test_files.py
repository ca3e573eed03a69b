import hashlib
import json
import os
import stat

import pytest

from eplib import files
from eplib.checks import InputError


def crash(*_):
    raise OSError("power cut")


def test_text_and_bytes_are_written_and_folders_made(tmp_path):
    path = tmp_path / "new" / "folder" / "file"
    files.write(path, "ℓ∞")
    assert path.read_bytes() == "ℓ∞".encode()
    files.write(path, b"\x00\xff")
    assert path.read_bytes() == b"\x00\xff"
    assert [p.name for p in path.parent.iterdir()] == ["file"]


def test_a_crash_leaves_the_old_file_whole_and_nothing_else(tmp_path, monkeypatch):
    path = tmp_path / "file"
    files.write(path, "old")
    for function in ("replace", "fsync"):
        with monkeypatch.context() as patch:
            patch.setattr(os, function, crash)
            with pytest.raises(InputError, match="power cut"):
                files.write(path, "new")
        assert path.read_text() == "old"
        assert [p.name for p in tmp_path.iterdir()] == ["file"]


def test_the_temporary_file_is_in_the_same_folder(tmp_path, monkeypatch):
    seen, replace = [], os.replace
    monkeypatch.setattr(os, "replace", lambda a, b: (seen.append(os.path.dirname(a)), replace(a, b)))
    files.write(tmp_path / "file", "x")  # a rename across file systems would not be atomic
    assert seen == [str(tmp_path)] and (tmp_path / "file").read_text() == "x"


def test_others_may_read_what_was_written(tmp_path):
    files.write(tmp_path / "file", "x")
    assert stat.S_IMODE((tmp_path / "file").stat().st_mode) == 0o644


def test_json_round_trip(tmp_path):
    value = {"ε": [1e-4, 8 / 255, None], "b": {"a": True}}
    files.write_json(tmp_path / "a.json", value)
    assert files.read_json(tmp_path / "a.json", "result") == value
    text = (tmp_path / "a.json").read_text(encoding="utf-8")
    assert "ε" in text and text.endswith("}\n")


def test_what_is_no_json_leaves_no_file(tmp_path):
    with pytest.raises(TypeError):
        files.write_json(tmp_path / "a.json", {"a": object()})
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    "content", [b"", b"{", b'{"a": 1', b"[1, 2]", b'"text"', b"null", b"\xff\xfe{}", b"\x80\x04K\x01."]
)
def test_damaged_json_is_refused_in_one_sentence(tmp_path, content):
    path = tmp_path / "a.json"
    path.write_bytes(content)
    with pytest.raises(InputError, match="result .*a.json") as error:
        files.read_json(path, "result")
    assert "\n" not in str(error.value)


def test_missing_json_and_folders_are_refused(tmp_path):
    with pytest.raises(InputError, match="does not exist"):
        files.read_json(tmp_path / "a.json", "result")
    with pytest.raises(InputError, match="cannot be read"):
        files.read_json(tmp_path, "result")


def test_sha256_of_bytes_and_of_files(tmp_path):
    (tmp_path / "file").write_bytes(b"abc")
    expected = hashlib.sha256(b"abc").hexdigest()
    assert files.sha256(b"abc") == files.sha256(tmp_path / "file") == expected


def test_settings_hash_ignores_the_order_of_keys_only():
    settings = {"a": 1, "b": {"c": [1, 2], "d": None}}
    name = files.settings_hash(settings)
    assert files.settings_hash({"b": {"d": None, "c": [1, 2]}, "a": 1}) == name
    assert files.settings_hash(json.loads(json.dumps(settings))) == name  # as read back from a record
    assert len(name) == 10 and int(name, 16) >= 0
    others = [{"a": 2}, {"b": {"c": [2, 1], "d": None}}, {"e": None}]
    assert len({name, *(files.settings_hash(settings | other) for other in others)}) == 4


def test_provenance_names_versions_device_and_revision():
    record = files.provenance("cpu")
    assert set(files.LIBRARIES) | {"python"} == set(record["versions"]) and all(record["versions"].values())
    assert record["device"] and record["git"] and record["threads"] >= 1
    assert json.loads(json.dumps(record)) == record
