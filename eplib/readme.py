"""What the README shows of the results: the headline figure and the table of measured numbers, both made from
stored files.
"""

import re

from eplib import chapters, figures, files

README = files.ROOT / "README.md"
HEADLINE = files.ROOT / "book" / "_static" / "headline.svg"
BENCHMARKS = files.ROOT / "data" / "benchmarks"
BLOCK = re.compile(r"(<!-- measured -->\n).*?(<!-- end of measured -->)", re.S)
MODELS = ("ep-cnn", "twin-untrained", "cnn")
MEASURED = chapters.MAIN | {"twin-untrained": ("clean",)}


def update():
    """Rewrite headline and table where the results behind them changed."""
    best = chapters.choose(images=False)
    for path, content in (
        (HEADLINE, headline(best).svg),
        (README, with_measured(README.read_text(), chapters.choose("quick", needs=MEASURED))),
    ):
        if not path.exists() or path.read_text() != content:
            files.write(path, content)


def headline(shown):
    """The figure of the README: accuracy under ℓ∞ PGD, published and ours."""
    attacked = chapters.outcomes(shown, ("ep-cnn", "cnn"), "pgd-linf")
    return figures.robustness_curves("linf", attacked, chapters.badge(attacked))


def with_measured(text, shown):
    """The README's text with the block of measured numbers made anew."""
    return BLOCK.sub(lambda match: match.group(1) + measured(shown) + match.group(2), text)


def measured(shown):
    """The measured numbers as a Markdown table."""
    clean = chapters.outcomes(shown, MODELS, "clean")
    badge = chapters.badge(clean)
    rows = [
        (f"{label}, test accuracy", f"{sum(p.value for p in points) / len(points):.1%}")
        for _, label, points in chapters.clean_rows(clean)
    ]
    quickest = min(chapters.networks(shown, "ep-cnn"), key=lambda c: c.record["training"]["seconds"]).record
    threads = f"{quickest['threads']} thread{'s' if quickest['threads'] > 1 else ''}"
    what = f"training one EP-CNN, the quickest of {len(badge.seeds)} (others ran beside other work)"
    rows.append((what, f"{quickest['training']['seconds']:.0f} s on {threads} ({quickest['device']})"))
    for name, sentence in (("training-iteration", _ratio), ("book", _build)):
        path = BENCHMARKS / f"{name}.json"
        if path.exists():
            rows += sentence(files.read_json(path, "benchmark"))
    table = "".join(f"| {what} | {value} |\n" for what, value in rows)
    return f"Means over {len(badge.seeds)} seeds; {badge.text}.\n\n| | |\n|---|---|\n{table}"


def _ratio(report):
    network = "-".join(map(str, report["network"]))
    where = f"({network}, batch {report['batch']}; {report['threads']} threads, {report['device']})"
    lines = []
    for name, ratio in report["ratio"].items():
        if name.startswith("fast"):
            against = "the paper's 310 steps by autograd of Φ (projected)"
            lines.append((f"images a second in training, {name}, against {against} {where}", f"{ratio:.1f}×"))
        elif name != "autograd of Φ":
            lines.append(
                (
                    f"training iteration, {name}, against autograd of Φ, the same steps {where}",
                    f"{ratio:.1f}×",
                )
            )
    return lines


def _build(report):
    return [
        ("`make book` from a clean clone", f"{report['fresh_seconds']:.0f} s"),
        ("`make book` again, unchanged", f"{report['again_seconds']:.0f} s"),
    ]
