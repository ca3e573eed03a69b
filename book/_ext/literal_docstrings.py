"""Docstrings of `eplib` are plain text with line breaks that mean something: the API page shows them so."""


def literal(app, what, name, obj, options, lines):
    """Put a docstring into a block that keeps its lines."""
    if lines and any(line.strip() for line in lines):
        lines[:] = [".. code-block:: text", "", *(f"   {line}" for line in lines), ""]


def setup(app):
    app.connect("autodoc-process-docstring", literal)
    return {"parallel_read_safe": True}
