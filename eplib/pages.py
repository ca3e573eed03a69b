"""What must hold for the built pages, checked at the end of every build: links lead somewhere, images have
words for those who cannot see them, chapters were executed, pages are not too large.
"""

import json
from html.parser import HTMLParser
from pathlib import Path
from urllib.parse import unquote, urlsplit

LARGEST = 6e6  # bytes of a page
THEME = "_static"  # folder of what the theme brings, templates among it
ADDRESSES = {"a": "href", "link": "href", "img": "src", "script": "src", "iframe": "src", "source": "src"}


class _Page(HTMLParser):
    """The ids, links and images of a page."""

    def __init__(self, text):
        super().__init__()
        self.ids, self.links, self.mute = set(), [], []
        self.feed(text)

    def handle_starttag(self, tag, attributes):
        found = dict(attributes)
        self.ids |= {found[key] for key in ("id", "name") if found.get(key)}
        if found.get(ADDRESSES.get(tag)):
            self.links.append(found[ADDRESSES[tag]])
        if tag == "img" and "alt" not in found:
            self.mute.append(found.get("src", "")[:60])

    handle_startendtag = handle_starttag


def problems(html, notebooks):
    """What is wrong, a line each, with the pages in the folder `html` and the executed chapters in the folder
    `notebooks`.
    """
    every = sorted(Path(html).rglob("*.html"))
    pages = {p: _Page(p.read_text()) for p in every if THEME not in p.parts}
    found = []
    for path, page in pages.items():
        name, size = path.relative_to(html), path.stat().st_size
        if size > LARGEST:
            found.append(f"{name} has {size / 1e6:.1f} MB, more than {LARGEST / 1e6:.0f}")
        found += [f"{name} has an image without alternative text: {src}" for src in page.mute]
        broken = (link for link in dict.fromkeys(page.links) if not _leads(link, path, pages))
        found += [f"{name} links to {link}, which is not there" for link in broken]
    for path in sorted(Path(notebooks).glob("*.ipynb")):
        found += [f"{path.name}: {what}" for what in _unexecuted(path)]
    return found


def _leads(link, path, pages):
    """Whether a link of a page leads to a file, and to a place in it. Addresses outside are not asked."""
    parts = urlsplit(link)
    if parts.scheme or parts.netloc:
        return True
    target = (path.parent / unquote(parts.path)).resolve() if parts.path else path
    target = target / "index.html" if target.is_dir() else target
    if not target.is_file():
        return False
    place = unquote(parts.fragment)
    # with a question mark it is the state of an interactive figure
    return target not in pages or not place or "?" in place or place in pages[target].ids


def _unexecuted(path):
    """Sentences about the code cells of a notebook that were not run, or failed."""
    cells = json.loads(path.read_text())["cells"]
    for number, cell in enumerate(c for c in cells if c["cell_type"] == "code"):
        if any(o["output_type"] == "error" for o in cell["outputs"]):
            yield f"code cell {number} failed"
        elif "".join(cell["source"]).strip() and cell["execution_count"] is None:
            yield f"code cell {number} was not executed"
