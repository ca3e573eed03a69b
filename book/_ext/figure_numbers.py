"""Figures have numbers, "Figure 5.2", in their captions and where a text refers to them by {fig}`label`.

The number of the chapter is its place in the table of contents; that of the figure, its place in the executed
chapter. Figures are HTML that cells displayed, so their captions are given the number in the finished page.
"""

import json
import re
from pathlib import Path

import yaml
from docutils import nodes
from sphinx.util import logging
from sphinx.util.docutils import SphinxRole

FIGURE = re.compile(r'<figure class="eplib[^"]*" id="(fig-[^"]+)"')
CAPTION = re.compile(FIGURE.pattern + r".*?<figcaption[^>]*>", re.S)


def chapters(source):
    """The pages of a book's table of contents, in order: ["book/intro", …]."""
    toc = yaml.safe_load((Path(source) / "_toc.yml").read_text())
    return [toc["root"], *(c["file"] for part in toc["parts"] for c in part["chapters"])]


def numbers(source):
    """{page: {label: "5.2"}} of all figures in a folder of executed notebooks."""
    found = {}
    for chapter, page in enumerate(chapters(source), 1):
        notebook = Path(source) / f"{page}.ipynb"
        labels = dict.fromkeys(FIGURE.findall(_outputs(notebook))) if notebook.exists() else ()
        found[page] = {label: f"{chapter}.{place}" for place, label in enumerate(labels, 1)}
    return found


def _outputs(notebook):
    cells = json.loads(notebook.read_text())["cells"]
    shown = (o.get("data", {}) for c in cells for o in c.get("outputs", ()))
    return "".join("".join(data.get("text/html", "")) for data in shown)


class Fig(SphinxRole):
    """{fig}`label`: a link to a figure by its number."""

    def run(self):
        known = self.env.app.figure_numbers
        page = next((page for page, labels in known.items() if self.text in labels), None)
        if page is None:
            logging.getLogger(__name__).warning("no figure %r", self.text, location=self.get_location())
            return [nodes.Text(self.text)], []
        same, here = page == self.env.docname, Path(self.env.docname).parent
        target = "" if same else Path(page).relative_to(here).as_posix() + ".html"
        words = f"Figure {known[page][self.text]}"
        return [nodes.reference("", words, refuri=f"{target}#{self.text}", internal=True)], []


def count(app):
    app.figure_numbers = numbers(app.srcdir)


def number_captions(app, page, template, context, doctree):
    """Write the number of every figure before its caption."""
    labels = app.figure_numbers.get(page, {})

    def numbered(match):
        number = labels[match.group(1)]
        return f'{match.group()}<span class="eplib-number">Figure {number}.</span> '

    if "<figure" in context.get("body", ""):
        context["body"] = CAPTION.sub(numbered, context["body"])


def setup(app):
    app.add_role("fig", Fig())
    app.connect("builder-inited", count)
    app.connect("html-page-context", number_captions)
    return {"parallel_read_safe": True}
