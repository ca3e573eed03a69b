"""What a page says about where its numbers come from (`eplib.sources`), as pieces of it."""

import html
import json
import os

from eplib import files, measurements, pictures, scales, sources
from eplib.sentences import Html, scrolling

HASH = 12  # digits of a hash that are shown


def this_run(parameters):
    """The top of an executed notebook: its parameters, {name: value}, the revision of eplib, the libraries
    and the machine.
    """
    made = files.provenance("cpu")
    named = ", ".join(f"{name} = {json.dumps(v, ensure_ascii=False)}" for name, v in parameters.items())
    versions = ", ".join(f"{k} {v}" for k, v in made["versions"].items() if v)
    threads = f"{made['threads']} thread{'s' if made['threads'] > 1 else ''}"
    lines = {
        "Parameters": named or "none",
        "eplib": f"revision {made['git'][:HASH]}{'+changes' if made['git'].endswith('+changes') else ''}",
        "Libraries": versions,
        "Machine": f"{made['device']}, {threads}",
    }
    body = "".join(f"<dt>{k}</dt><dd>{html.escape(v)}</dd>" for k, v in lines.items())
    return Html(
        f'<details class="eplib-run"><summary>This run: {html.escape(named)}</summary>'
        f"<dl>{body}</dl></details>"
    )


def behind_cell(found):
    """What stands below a figure or a sentence: the files behind it, folded, each with a link to its line in
    the list at the end of the page. found: [(kind, path below the kind's folder)].
    """
    groups = {}
    for kind, path in found:
        if kind == "results":
            named = sources.of_result(path)
            models = groups.setdefault(named.measurement, {})
            models.setdefault(pictures.name(named.model), []).append((named.seed, path))
    lines = [
        f"<li>{html.escape(measurement)}: "
        + "; ".join(
            f"{html.escape(model)} " + ", ".join(_jump("results", p, s) for s, p in sorted(every))
            for model, every in models.items()
        )
        + "</li>"
        for measurement, models in groups.items()
    ]
    rest = {"checkpoints": "networks", "published": "the paper's numbers", "benchmarks": "benchmarks"}
    for kind, words in rest.items():
        of_kind = [path for k, path in found if k == kind]
        if of_kind:
            lines.append(f"<li>{words}: {', '.join(_jump(kind, p, _stem(p)) for p in of_kind)}</li>")
    return Html(
        f'<details class="eplib-sources"><summary>Where this comes from: {_count(found)}</summary>'
        f"<ul>{''.join(lines)}</ul></details>"
    )


def _count(found):
    number = sum(kind == "results" for kind, _ in found)
    words = [f"{number} result{'s' if number > 1 else ''}"] if number else []
    networks = sum(kind == "checkpoints" for kind, _ in found)
    words += [f"{networks} network{'s' if networks > 1 else ''}"] if networks else []
    others = {"published": "the paper's numbers", "benchmarks": "timings"}
    words += [text for kind, text in others.items() if any(k == kind for k, _ in found)]
    return ", ".join(words)


def _stem(path):
    return path.rsplit("/", 1)[-1].rpartition(".")[0]


def _jump(kind, path, words):
    return f'<a href="#{_anchor(kind, path)}">{html.escape(str(words))}</a>'


def _anchor(kind, path):
    return f"{kind}-{path.replace('/', '-')}"


def table(where):
    """The list of all files behind a page, {(kind, path below the kind's folder): its path}, with links,
    hashes and the commands that make them.
    """
    head = ("file", "network", "images", "seconds", "command")
    lines = [_line(kind, path, place) for (kind, path), place in where.items()]
    cells = "".join(f'<th scope="col">{h}</th>' for h in head)
    table = scrolling(f"<table><thead><tr>{cells}</tr></thead><tbody>{''.join(lines)}</tbody></table>")
    return Html(
        f'<details class="eplib-everything"><summary>Every file behind this page ({len(lines)}), with hashes'
        f" and commands</summary>{table}</details>"
    )


def _line(kind, path, place):
    cells = ["", "", "", ""]
    if place.suffix == ".json":
        record = json.loads(place.read_text())
        cells = {"results": _of_result, "checkpoints": _of_network, "benchmarks": _of_benchmark}[kind](
            record, place
        )
    named = _link(place, f"{kind}/{path}")
    if kind == "results":
        named += f" · {_link(place.with_name(f'{place.stem}.csv'), 'table')}"
    body = "".join(f"<td>{cell}</td>" for cell in cells)
    return f'<tr id="{html.escape(_anchor(kind, path))}"><th scope="row">{named}</th>{body}</tr>'


def _of_result(record, place):
    s = record["settings"]
    command = ""
    size = scales.scale(s["scale"])
    own = s["model"] in size.others.get(s["dataset"], size.rows)  # and not a network of others
    if own and s["checkpoint"] and s["measurement"] in measurements.MEASUREMENTS:
        command = f"measure --checkpoint {_weights(s)} --measurement {s['measurement']}"
    weights = files.ROOT / _weights(s)
    network = _sha(weights, s["checkpoint_sha256"]) if s["checkpoint"] else ""
    return [network, f"{record['n']:,}", f"{record['seconds']:.0f}", _command(command)]


def _of_network(record, place):
    wanted = {k: record[k] for k in ("model", "dataset", "scale", "seed")}
    command = "train " + " ".join(f"--{key} {value}" for key, value in wanted.items())
    seconds = f"{record['training']['seconds']:.0f}" if "seconds" in record["training"] else ""
    return [_sha(place.with_suffix(".safetensors"), record["sha256"]), "", seconds, _command(command)]


def _of_benchmark(record, place):
    how = "--gpu-report" if place.stem == "gpu" else f"{place.stem} --out"
    return ["", "", "", _command(f"benchmark {how} data/benchmarks")]


def _weights(settings):
    return f"data/checkpoints/{settings['scale']}/{settings['checkpoint']}.safetensors"


def _sha(weights, sha):
    return f"{_link(weights, 'sha256')} <code>{sha[:HASH]}</code>"


def _command(text):
    return f"<code>python -m eplib {html.escape(text)}</code>" if text else ""


def _link(path, words):
    """A link to a file of the project, as seen from book/: in the built pages and in JupyterLab alike; words
    alone for a file elsewhere.
    """
    data = files.ROOT / "data"
    if not path.is_relative_to(data) or not path.exists():
        return html.escape(words)
    target = os.path.relpath(path, files.ROOT / "book").replace(os.sep, "/")
    return f'<a href="{html.escape(target)}">{html.escape(words)}</a>'
