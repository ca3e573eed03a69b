"""Buttons at the head of a chapter that open it online, where `eplib.online` knows where."""

from pathlib import Path

from eplib import online

ICONS = {"Binder": "fa-solid fa-play", "Colab": "fa-solid fa-flask"}


def add(app, page, template, context, doctree):
    """Add a button for each place to the theme's own."""
    if not (Path(app.srcdir) / f"{page}.ipynb").exists() or "header_buttons" not in context:
        return
    places = online.buttons(Path(page).name)
    for name, address in places.items():
        context["header_buttons"].append(
            {
                "type": "link",
                "url": address,
                "text": name,
                "tooltip": f"Open this chapter in {name}",
                "icon": ICONS[name],
                "label": f"launch-{name.lower()}",
            }
        )


def setup(app):
    app.connect("html-page-context", add, priority=501)  # after the theme's own, at 500
    return {"parallel_read_safe": True}
