"""A figure with several views, of which a page shows one; it needs no script."""

import base64
import html
from dataclasses import dataclass

# Style sheets of books hide what is `hidden` with !important, so showing it takes the same.
RULE = (
    "#{id} input:nth-of-type({place}):checked ~ img {{ display: none !important; }} "
    "#{id} input:nth-of-type({place}):checked ~ img:nth-of-type({place}) {{ display: block !important; }} "
)
STYLE = (
    "#id fieldset { border: 0; margin: 0; padding: 0; min-width: 0; } "
    "#id legend { float: left; width: auto; margin: 0 .8em 0 0; padding: 0; font-size: 1rem; } "
    "#id input { margin: 0 .35em 0 0; accent-color: #0072b2; } "
    "#id label { display: inline-block; margin: 0 1em .3em 0; cursor: pointer; } "
    "#id input:focus-visible + label { outline: 2px solid #0072b2; outline-offset: 2px; } "
    "#id img { clear: both; max-width: 100%; height: auto; } "
    "@media print { #id legend, #id input, #id label { display: none; } } "
)


@dataclass(frozen=True)
class Toggle:
    """A figure with three views, of which a page shows one: {its name: Picture}, the first at the beginning,
    in print and without a style sheet. label, caption: as of a `Picture`. Displays itself in a notebook.
    """

    label: str
    views: dict
    caption: str

    @property
    def svg(self):
        """The drawing of the first view."""
        return next(iter(self.views.values())).svg

    @property
    def alt(self):
        """What the first view shows, in words."""
        return next(iter(self.views.values())).alt

    def _repr_html_(self):
        controls, images, rules = "", "", ""
        for place, (view, picture) in enumerate(self.views.items(), 1):
            one, first = f"{self.label}-view-{place}", place == 1
            controls += (
                f'<input type="radio" name="{self.label}-view" id="{one}"{" checked" * first}>'
                f'<label for="{one}">{html.escape(view)}</label>'
            )
            data = base64.b64encode(picture.svg.encode()).decode()
            images += (
                f'<img src="data:image/svg+xml;base64,{data}" alt="{html.escape(picture.alt)}"'
                f"{' hidden' * (not first)}>"
            )
            rules += RULE.format(id=self.label, place=place)
        return (
            f'<figure class="eplib eplib-toggle" id="{self.label}">'
            f"<style>{STYLE.replace('#id', f'#{self.label}')}@media screen {{ {rules}}}</style>"
            f"<fieldset><legend>show</legend>{controls}{images}</fieldset>"
            f"<figcaption>{html.escape(self.caption)}</figcaption></figure>"
        )
