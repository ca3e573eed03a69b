"""Sets of networks from a folder and from servers of this machine that behave in many ways."""

import hashlib
import http.server
import io
import json
import os
import shutil
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest
import torch

from eplib import __main__, baselines, checkpoints, fetching, files, imported, manifests, results
from eplib.checks import InputError, Interrupted
from eplib.network import EPCNN

NETWORK = "checkpoints/quick/ep-cnn-sample-s11"
RESULT = "results/quick/sample/pgd-linf/ep-cnn-s11-4262ea6a0c"
PATHS = [f"{NETWORK}.safetensors", f"{NETWORK}.json", *(f"{RESULT}.{e}" for e in ("csv", "npz", "json"))]
WEIGHTS = PATHS[0]


@pytest.fixture
def published(tmp_path):
    """A data folder with the manifest of one network and one result of it."""
    folder = tmp_path / "published"
    for path in PATHS:
        (folder / path).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(files.ROOT / "data" / path, folder / path)
    manifests.write(folder)
    return folder


@pytest.fixture
def into(tmp_path):
    return tmp_path / "mine"


class Handler(http.server.BaseHTTPRequestHandler):
    """Serves a folder. server.ranges: whether parts can be asked for; server.breaks: {path: bytes that are
    sent of it}; server.answers: {path: status, or a function of the handler}; server.slow: seconds before
    each KiB.
    """

    def do_GET(self):
        path, server = self.path.removeprefix("/set/"), self.server
        asked = self.headers.get("Range")
        server.asked.append((path, asked))
        answer = server.answers.get(path, 200)
        if callable(answer):
            return answer(self)
        if answer != 200:
            return self.send_error(answer)
        content, start = (server.folder / path).read_bytes(), 0
        if asked and server.ranges:
            start = int(asked.removeprefix("bytes=").removesuffix("-"))
            if start >= len(content):
                return self.send_error(416)
        self.send_response(206 if start else 200)
        if start:
            self.send_header("Content-Range", f"bytes {start}-{len(content) - 1}/{len(content)}")
        self.send_header("Content-Length", str(len(content) - start))
        self.end_headers()
        body = content[start : server.breaks.get(path, len(content))]
        for place in range(0, len(body), 1024):
            time.sleep(server.slow)
            self.wfile.write(body[place : place + 1024])

    def log_message(self, *_):
        pass


@pytest.fixture
def server(published, monkeypatch):
    """A server of the published folder; server.url is its address."""
    monkeypatch.setenv("no_proxy", "*")
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        server.folder, server.ranges, server.breaks, server.answers = published, True, {}, {}
        server.slow, server.asked = 0, []
        server.url = f"http://127.0.0.1:{server.server_port}/set"
        thread = threading.Thread(target=server.serve_forever, args=(0.01,))
        thread.start()
        yield server
        server.shutdown()
        thread.join()


def get(where, into, **settings):
    return fetching.fetch(str(where), into, progress=False, **settings)


def present(folder):
    """{path: content} of all files below a folder."""
    return {p.relative_to(folder).as_posix(): p.read_bytes() for p in folder.rglob("*") if p.is_file()}


def refused(words, where, into, **settings):
    """Check that fetching is refused in one sentence with these words."""
    with pytest.raises(InputError) as caught:
        get(where, into, **settings)
    text = str(caught.value)
    assert words in text and "\n" not in text, text
    return text


def listed(folder):
    return json.loads((folder / manifests.NAME).read_text())


def change(folder, edit):
    """Edit the manifest of a folder."""
    manifest = listed(folder)
    edit(manifest)
    (folder / manifests.NAME).write_text(json.dumps(manifest))


def relist(folder):
    """Give the manifest the hashes and sizes that files have now, as one who tampers with a set would."""

    def edit(manifest):
        for entry in manifest["files"]:
            content = (folder / entry["path"]).read_bytes()
            entry |= {"sha256": hashlib.sha256(content).hexdigest(), "bytes": len(content)}

    change(folder, edit)


@pytest.mark.parametrize("kind", ["folder", "ranges", "no ranges"])
def test_a_set_comes_whole_and_only_once(kind, published, server, into):
    server.ranges = kind == "ranges"
    where = published if kind == "folder" else server.url
    first = get(where, into)
    assert present(into) == {p: c for p, c in present(published).items() if p != manifests.NAME}
    assert (first["networks"], first["results"], first["fetched"], first["already_there"]) == (1, 1, 5, 0)
    assert first["bytes"] == sum((published / p).stat().st_size for p in PATHS)
    server.asked.clear()
    again = get(f"{where}/", into)
    assert (again["fetched"], again["already_there"], again["bytes"]) == (0, 5, 0)
    assert [path for path, _ in server.asked] == ([] if kind == "folder" else [manifests.NAME])


def test_what_came_is_found_by_chapters(published, out, monkeypatch):
    monkeypatch.setenv(fetching.SETTING, str(published))
    assert fetching.fetch(progress=False)["folder"] == str(out)
    path = checkpoints.find("quick", "ep-cnn", "sample", 11)
    assert path == out / WEIGHTS and checkpoints.load(path).name == "ep-cnn-sample-s11"
    assert len(results.load(out / f"{RESULT}.json").image_ids) == 128


@pytest.mark.parametrize("ranges", [True, False])
def test_a_broken_download_is_gone_on_with(ranges, server, into):
    size = (server.folder / WEIGHTS).stat().st_size
    server.breaks = {WEIGHTS: size // 2}
    refused("the same command goes on", server.url, into)
    assert list(present(into)) == [f"{WEIGHTS}.part"]
    assert len(present(into)[f"{WEIGHTS}.part"]) == size // 2
    server.breaks, server.ranges = {}, ranges
    server.asked.clear()
    get(server.url, into)
    assert server.asked[1] == (WEIGHTS, f"bytes={size // 2}-")  # asked for either way
    assert present(into).keys() == set(PATHS)
    assert (into / WEIGHTS).read_bytes() == (server.folder / WEIGHTS).read_bytes()


def test_the_bar_counts_every_byte_once(server, into, monkeypatch):
    counts = []

    class Bar(fetching.tqdm):
        def close(self):
            counts.append((self.n, self.total))
            super().close()

    monkeypatch.setattr(fetching, "tqdm", lambda **how: Bar(**how | {"disable": False}, file=io.StringIO()))
    server.breaks = {WEIGHTS: 1000}
    refused("1,000 of", server.url, into)
    server.breaks = {}
    get(server.url, into)
    total = sum((server.folder / p).stat().st_size for p in PATHS)
    assert counts[-1] == (total, total)


def test_a_part_that_is_whole_or_too_long_or_not_of_this_file(server, into):
    part = into / f"{WEIGHTS}.part"
    part.parent.mkdir(parents=True)
    content = (server.folder / WEIGHTS).read_bytes()
    part.write_bytes(content)
    get(server.url, into)
    assert WEIGHTS not in [path for path, _ in server.asked]
    shutil.rmtree(into)
    part.parent.mkdir(parents=True)
    part.write_bytes(content + b"more")
    get(server.url, into)
    shutil.rmtree(into)
    part.parent.mkdir(parents=True)
    part.write_bytes(b"of another file")
    refused("does not have the hash", server.url, into)
    assert not part.exists()
    get(server.url, into)
    assert (into / WEIGHTS).read_bytes() == content


def test_a_server_that_sends_another_part_than_asked_for(server, into):
    part = into / f"{WEIGHTS}.part"
    part.parent.mkdir(parents=True)
    part.write_bytes((server.folder / WEIGHTS).read_bytes()[:100])

    def other(handler):
        handler.send_response(206)
        handler.send_header("Content-Range", "bytes 50-99/200")
        handler.end_headers()

    server.answers = {WEIGHTS: other}
    refused("another part", server.url, into)
    server.answers = {
        WEIGHTS: lambda handler: handler.send_error(416) if handler.headers["Range"] else whole(handler)
    }
    get(server.url, into)  # begun anew


def whole(handler):
    handler.send_response(200)
    handler.end_headers()
    handler.wfile.write((handler.server.folder / WEIGHTS).read_bytes())


def test_a_killed_fetch_goes_on(server, into):
    server.slow = 0.005
    command = [sys.executable, "-m", "eplib", "fetch", server.url, "--out", str(into)]
    process = subprocess.Popen(command, cwd=files.ROOT, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    part = into / f"{WEIGHTS}.part"
    deadline = time.monotonic() + 60
    while not (part.exists() and part.stat().st_size) and time.monotonic() < deadline:
        time.sleep(0.01)
    process.send_signal(signal.SIGKILL)
    process.wait()
    assert list(present(into)) == [f"{WEIGHTS}.part"]
    had = part.stat().st_size
    server.slow = 0
    server.asked.clear()
    get(server.url, into)
    assert server.asked[1] == (WEIGHTS, f"bytes={had}-")
    assert present(into).keys() == set(PATHS)


def test_the_record_takes_its_name_last(server, into, monkeypatch):
    seen, replace = [], os.replace

    def watched(source, target):
        seen.append(Path(target).name)
        assert hashlib.sha256(Path(source).read_bytes()).hexdigest() in json.dumps(listed(server.folder))
        replace(source, target)

    monkeypatch.setattr(os, "replace", watched)
    get(server.url, into)
    assert [name.rpartition(".")[2] for name in seen] == ["safetensors", "json", "csv", "npz", "json"]


def test_a_wrong_hash_is_refused_and_the_rest_is_kept(server, into):
    path = f"{RESULT}.npz"
    content = bytearray((server.folder / path).read_bytes())
    content[-1] ^= 1
    (server.folder / path).write_bytes(content)
    refused(f"{path} of {server.url} does not have the hash", server.url, into)
    assert present(into).keys() == {*PATHS[:2], f"{RESULT}.csv.part"}


def test_another_file_of_the_same_name_is_never_overwritten(published, into):
    for path in (f"{NETWORK}.json", WEIGHTS):
        mine = into / path
        mine.parent.mkdir(parents=True, exist_ok=True)
        mine.write_text("mine")
        refused(f"{mine} is here with other content", published, into)
        assert present(into) == {path: b"mine"}
        mine.unlink()
    (into / WEIGHTS).mkdir(parents=True)
    refused("other content", published, into)


def entry(path, sha="0" * 64, size=10):
    return {"path": path, "sha256": sha, "bytes": size}


@pytest.mark.parametrize(
    "path",
    [
        "../x",
        "/etc/x",
        "checkpoints/quick/../../x-s1.json",
        "checkpoints/quick/a.pkl",
        "checkpoints/quick/a-s1.pkl",
        "checkpoints\\quick\\a-s1.json",
        "checkpoints/quick/..-s1.json",
        "checkpoints/quick/.a-s1.json",
        "checkpoints/quick/a-s1.unfinished.safetensors",
        "checkpoints/smoke/a-s1.json",
        "checkpoints/unknown/a-s1.json",
        "checkpoints/quick/a-s1.csv",
        "checkpoints/quick/a-s1.json\n",
        "checkpoints/quick/a-s١.json",
        "checkpoints/quick/sample/a-s1.json",
        "results/quick/sample/pgd-linf/a-s1-0123456789.safetensors",
        "results/quick/mnist/pgd-linf/a-s1-0123456789.csv",
        "results/quick/sample/../a-s1-0123456789.csv",
        "results/quick/sample/a-s1-0123456789.csv",
        "published/quick/a-s1.json",
        "eplib/network.py",
        "http://example.org/checkpoints/quick/a-s1.json",
        "C:checkpoints/quick/a-s1.json",
        "checkpoints/quick/" + "a" * 300 + "-s1.json",
        "",
        None,
        ["checkpoints/quick/a-s1.json"],
    ],
)
def test_no_other_path_is_fetched(path, published, into):
    change(published, lambda m: m["files"].append(entry(path)))
    text = refused("networks.json names", published, into)
    assert len(text) < 400 and text.isprintable() and not into.exists()


@pytest.mark.parametrize(
    "edit, words",
    [
        (lambda m: m["files"][0].update(bytes=10**12), "bytes: 1 to 4,194,304"),
        (lambda m: m["files"][0].update(bytes=0), "bytes: 1 to"),
        (lambda m: m["files"][0].update(bytes=True), "bytes: 1 to"),
        (lambda m: m["files"][0].update(bytes=1.5), "bytes: 1 to"),
        (lambda m: m["files"][0].update(sha256="x"), "64 hex digits"),
        (lambda m: m["files"][0].update(sha256=None), "64 hex digits"),
        (lambda m: m["files"][0].update(more=1), "no more"),
        (lambda m: m["files"][0].pop("bytes"), "no more"),
        (lambda m: m["files"].append(m["files"][0]), "more than once"),
        (lambda m: m["files"].append("checkpoints/quick/a-s1.json"), "an entry"),
        (lambda m: m["files"].clear(), "1 to 20,000"),
        (lambda m: m.update(files={}), "1 to 20,000"),
        (lambda m: m.update(format=2), "format 1"),
        (lambda m: m.pop("format"), "format 1"),
        (lambda m: m["files"].pop(1), "without its safetensors"),
        (lambda m: m["files"].pop(), "without its npz"),
        (
            lambda m: m["files"].extend(entry(f"checkpoints/quick/a-s{i}.json") for i in range(20_000)),
            "1 to 20,000",
        ),
        (
            lambda m: m["files"].extend(
                entry(f"checkpoints/quick/a-s{i}.safetensors", size=64 * 2**20) for i in range(200)
            ),
            "more than 8,192",
        ),
    ],
)
def test_a_manifest_is_read_strictly(edit, words, published, into):
    change(published, edit)
    refused(words, published, into)
    assert not into.exists()


@pytest.mark.parametrize("content", [b"<html>", b"[1]", b"\xff\xfe", b"", b"[" * 100_000, b"null"])
def test_a_manifest_that_is_none(content, server, into):
    (server.folder / manifests.NAME).write_bytes(content)
    refused("networks.json", server.url, into)


def test_a_million_entries_are_not_even_read(server, into):
    sent = []

    def endless(handler):
        handler.send_response(200)
        handler.end_headers()
        line = b'{"path": "checkpoints/quick/a-s1.json", "sha256": "", "bytes": 1},' * 1000
        handler.wfile.write(b'{"format": 1, "files": [')
        for _ in range(1000):
            sent.append(handler.wfile.write(line))

    server.answers = {manifests.NAME: endless}
    refused("more than 8 MiB", server.url, into)
    assert sum(sent) < 5 * manifests.LARGEST_MANIFEST


@pytest.mark.parametrize("status", [404, 500, 403])
@pytest.mark.parametrize("path", [manifests.NAME, f"{RESULT}.csv"])
def test_what_a_server_refuses(path, status, server, into):
    server.answers = {path: status}
    refused(f"{path} cannot be had (the server answers {status})", server.url, into)
    if path != manifests.NAME:
        assert present(into).keys() == set(PATHS[:2])


def test_no_answer(server, into, monkeypatch):
    monkeypatch.setattr(fetching, "TIMEOUT", 0.2)
    server.slow = 0.5
    refused("no answer for 0.2 seconds", server.url, into)
    server.slow, server.answers = 0, {manifests.NAME: lambda handler: time.sleep(0.5)}
    refused("no answer for 0.2 seconds", server.url, into)
    server.answers = {manifests.NAME: lambda handler: handler.wfile.write(b"\x1b[31m no HTTP\r\n\r\n")}
    assert refused("cannot be had", server.url, into).isprintable()
    refused("cannot be had", "http://127.0.0.1:1/set", into)


def leads_to(target):
    def redirect(handler):
        handler.send_response(302)
        handler.send_header("Location", target)
        handler.end_headers()

    return redirect


def test_redirects_lead_to_http_alone(server, into, published):
    for target in (f"file://{published}/networks.json", "ftp://127.0.0.1/networks.json", "data:,{}"):
        server.answers = {manifests.NAME: leads_to(target)}
        refused("", server.url, into)
    server.answers = {manifests.NAME: leads_to(f"{server.url}/networks.json")}
    refused("the server answers 302", server.url, into)  # for ever
    shutil.copy(published / manifests.NAME, published / "elsewhere")
    server.answers = {manifests.NAME: leads_to("/set/elsewhere")}
    assert get(server.url, into)["fetched"] == 5
    handler, asked = fetching._Redirects(), fetching.urllib.request.Request("https://a.example/x")
    with pytest.raises(InputError, match="not https"):
        handler.redirect_request(asked, None, 302, "", {}, "http://a.example/x")
    assert handler.redirect_request(asked, None, 302, "", {}, "https://b.example/x").host == "b.example"


@pytest.mark.parametrize(
    "where",
    [
        "file:///etc",
        "ftp://host/set",
        "data:,x",
        "http:///set",
        "http://user:word@host/set",
        "http://host/set?key=1",
        "http://host/set#x",
        "http://[bad/set",
        "http://host:port/set",
        "https:",
    ],
)
def test_no_other_address_is_opened(where, into):
    refused("http", where, into)


def test_a_place_that_is_none(into, monkeypatch, tmp_path):
    monkeypatch.delenv(fetching.SETTING, raising=False)
    refused("set EPLIB_NETWORKS", "", into)
    refused("is no folder", tmp_path / "nothing", into)
    (tmp_path / "empty").mkdir()
    refused("cannot be read", tmp_path / "empty", into)


def test_one_scale_alone(published, into):
    refused("nothing of scale paper", published, into, scale="paper")
    refused("unknown scale", published, into, scale="smoke")
    assert get(published, into, scale="quick")["fetched"] == 5


def spoil(folder, **changes):
    """Change a network's record, and the manifest with it."""
    path = folder / f"{NETWORK}.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | changes))
    relist(folder)


@pytest.mark.parametrize(
    "changes, words",
    [
        (
            {"network": {"kind": "Imported", "source": "antigravity_of_mine:run", "classes": 10}},
            "code of somebody",
        ),
        ({"network": {"kind": "os"}}, "unknown kind of network"),
        ({"network": "x"}, "the description of a network"),
        ({"network": baselines.describe(EPCNN([20_000], [1]))}, "describes"),
        ({"network": {"kind": "EPCNN", "channels": [10**12], "paddings": [1]}}, ""),
        ({"sha256": "0" * 64}, "does not have the hash of its record"),
        ({"seed": 12}, "is the record of 'checkpoints/quick/ep-cnn-sample-s12'"),
        ({"scale": "paper"}, "is the record of"),
        ({"format": 3}, "unknown checkpoint format"),
    ],
)
def test_a_network_that_cannot_be_loaded_is_not_kept(changes, words, published, into, monkeypatch):
    monkeypatch.setattr(imported, "made", lambda source: pytest.fail("code of somebody else was called"))
    spoil(published, **changes)
    text = refused(words, published, into)
    assert "none of it was kept" in text and ".fetched-" not in text
    assert not present(into)


def test_weights_that_are_no_numbers(published, into):
    net = baselines.build(json.loads((published / f"{NETWORK}.json").read_text())["network"])
    with torch.no_grad():
        net.readout.bias[0] = float("nan")
    content = checkpoints.safetensors.torch.save(
        {k: v.half().contiguous() for k, v in net.state_dict().items()}
    )
    (published / WEIGHTS).write_bytes(content)
    spoil(published, sha256=hashlib.sha256(content).hexdigest())
    refused("not finite", published, into)
    assert not present(into)


def test_a_result_that_cannot_be_loaded_is_not_kept(published, into):
    path = published / f"{RESULT}.json"
    record = json.loads(path.read_text())
    for changed, words in (
        (record | {"n": 10**14}, "cannot be read"),
        (record | {"settings": record["settings"] | {"seed": 12}}, "not those its name stands for"),
        (record | {"settings": {}}, "cannot be read"),
        (record | {"csv_sha256": ""}, "recorded hash"),
    ):
        path.write_text(json.dumps(changed))
        relist(published)
        refused(words, published, into)
        assert present(into).keys() == set(PATHS[:2])  # the network, which is whole


def test_arrays_of_any_size_are_not_unpacked(published, into, monkeypatch):
    monkeypatch.setattr(manifests, "LARGEST_ARRAYS", 100)
    refused("arrays", published, into)


def test_a_folder_that_cannot_be_written(published, tmp_path):
    (tmp_path / "file").write_text("")
    refused("cannot be written", published, tmp_path / "file" / "below")


def test_ctrl_c_keeps_what_came(server, into, monkeypatch):
    def stop(*_):
        raise KeyboardInterrupt

    monkeypatch.setattr(manifests, "check", stop)
    with pytest.raises(Interrupted, match="the same command goes on"):
        get(server.url, into)
    assert present(into).keys() == {f"{p}.part" for p in PATHS[:2]}


def test_a_manifest_lists_what_is_whole(published, tmp_path):
    before = (published / manifests.NAME).read_bytes()
    folder = published / "checkpoints" / "quick"
    (folder / "ep-cnn-sample-s19.unfinished.safetensors").write_bytes(b"x")
    (folder / "cnn-sample-s11.safetensors").write_bytes(b"no record yet")
    (published / "checkpoints" / "smoke").mkdir()
    (published / "notes.json").write_text("{}")
    said = manifests.write(published)
    assert (published / manifests.NAME).read_bytes() == before
    assert (said["networks"], said["results"]) == (1, 1)
    (published / WEIGHTS).write_bytes((published / WEIGHTS).read_bytes() + b"damaged")
    with pytest.raises(InputError, match="does not have the hash of its record"):
        manifests.write(published)
    assert (published / manifests.NAME).read_bytes() == before
    for wrong in (tmp_path / "nothing", tmp_path):
        with pytest.raises(InputError):
            manifests.write(wrong)


def test_the_command(published, into, capsys):
    assert __main__.main(["fetch", str(published), "--out", str(into), "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["fetched"] == 5
    assert __main__.main(["fetch", "--manifest", str(into), "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["networks"] == 1
    assert listed(into) == listed(published)
    assert __main__.main(["fetch", str(published), "--manifest", str(into)]) == 2
    assert __main__.main(["fetch", "file:///etc"]) == 2
    errors = capsys.readouterr().err.splitlines()
    assert len(errors) == 2 and all(line.startswith("eplib: ") for line in errors)


QUIET = """
import importlib, pkgutil, sys
heard = []
sys.addaudithook(lambda event, _: event in EVENTS and heard.append(event))
EVENTS = ("socket.connect", "socket.getaddrinfo", "socket.sendto", "urllib.Request")
import eplib
for module in pkgutil.iter_modules(eplib.__path__):
    if module.name != "__main__":
        importlib.import_module(f"eplib.{module.name}")
from eplib import chapters, checkpoints, fetching, results, scales
shown = chapters.choose()
chapters.outcomes(shown, ("ep-cnn",), "pgd-linf")
chapters.where_stored("cifar100")
for scale in scales.SCALES:
    checkpoints.find(scale, "ep-cnn", "cifar10", 99)
try:
    chapters.choose("paper", "cifar10")
except ValueError:
    pass
assert not heard, heard
try:
    fetching.fetch(progress=False)
except ValueError:
    pass
assert heard  # asked for, it is
"""


def test_nothing_is_fetched_unless_asked_for():
    environment = os.environ | {fetching.SETTING: "http://127.0.0.1:1/set", "OMP_NUM_THREADS": "1"}
    environment.pop("EPLIB_OUT", None)
    subprocess.run([sys.executable, "-c", QUIET], cwd=files.ROOT, env=environment, check=True, timeout=120)
