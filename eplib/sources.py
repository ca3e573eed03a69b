"""Where a page's numbers come from. While a notebook runs, every stored file that is read is noted, and every
cell that shows something is followed by the files behind it; the end of the page lists all of them with their
hashes and the commands that make them again.

A cell is taken statement by statement: what a name was assigned from is remembered, and a `Result` inside a
value counts for itself. So a cell is given every file that its numbers can depend on, and no more of a table
of results than it names.
"""

import ast
import dataclasses
from collections import namedtuple

from eplib import files
from eplib.chapters import Shown
from eplib.results import Result, stem

KINDS = ("results", "checkpoints", "published", "benchmarks")
MARK = "_eplib_statement"
DEPTH = 5  # of dictionaries, lists and dataclasses in which results are looked for
_page = None  # the `Page` of this notebook


class Page:
    """What one notebook has read so far: `where`, {file: its path}, where a file is (kind, path below the
    kind's folder); `behind`, {name: files that its value was made from}; `shown`, files behind all cells.
    """

    def __init__(self, names):
        self.names, self.where, self.behind, self.shown = names, {}, {}, {}
        self.marks = []

    def mark(self, number):
        """Called before the statement of that number: how many files had been noted."""
        self.marks.append((number, len(files.noted)))

    def cell(self, source):
        """The files behind what a cell shows, in the order of reading; [] where it shows nothing. Called
        after the cell, with its source.
        """
        statements, starts = ast.parse(source).body, dict(self.marks)
        noted = [self._file(path) for path in files.noted]
        found = {}
        for number, statement in enumerate(statements):
            if number not in starts:
                break  # an error before it
            end = starts.get(number + 1, len(noted))
            own = _looped(statement)
            read = [of for of in _reads(statement, self.names) if of[0] not in own]
            here = dict.fromkeys(f for name, keys in read for f in self._of(name, keys))
            here |= dict.fromkeys(f for f in noted[starts[number] : end] if f)
            self.behind |= dict.fromkeys(_stored(statement) - own, here)
            found |= here if _shows(statement, statement is statements[-1]) else {}
        self.marks.clear()
        files.noted.clear()
        found = {f: None for f in found if f not in self._networks_of(found)}
        self.shown |= found
        return list(found)

    @staticmethod
    def _networks_of(found):
        """The networks whose results are among files: those name them already."""
        results = [of_result(path) for kind, path in found if kind == "results"]
        return {("checkpoints", f"{r.scale}/{r.model}-{r.dataset}-s{r.seed}.json") for r in results}

    def _of(self, name, keys):
        """The files behind name[key][key]…: of the results in it, or those that it was made from; none
        behind a choice of scale and seeds, for which every result was looked up.
        """
        value = self.names.get(name)
        if isinstance(value, Shown):
            return ()
        for key in keys:
            try:
                value = value[key]
            except (KeyError, IndexError, TypeError):
                break
        inside = [("results", f"{stem(r.settings)}.json") for r in _results(value, DEPTH)]
        return [f for f in inside if f in self.where] or self.behind.get(name, ())

    def _file(self, path):
        parts = path.parts
        for kind in KINDS:
            if kind in parts and "unfinished" not in parts:
                place = len(parts) - 1 - parts[::-1].index(kind)
                file = (kind, "/".join(parts[place + 1 :]))
                self.where[file] = path
                return file
        return None


Named = namedtuple("Named", "scale dataset measurement model seed")


def of_result(path):
    """What a result's path below its folder says, SCALE/DATASET/MEASUREMENT/MODEL-sSEED-HASH.json."""
    scale, dataset, measurement, name = path.split("/")
    model, _, seed = name.rpartition("-")[0].rpartition("-s")
    return Named(scale, dataset, measurement, model, int(seed))


def _results(value, depth):
    if isinstance(value, Result):
        yield value
    elif depth and isinstance(value, dict | list | tuple):
        for part in value.values() if isinstance(value, dict) else value:
            yield from _results(part, depth - 1)
    elif depth and dataclasses.is_dataclass(value) and not isinstance(value, type):
        for field in dataclasses.fields(value):
            yield from _results(getattr(value, field.name), depth - 1)


def _reads(node, names):
    """(name, constant keys) of everything that a piece of code reads: found["ep-cnn"] gives ("found",
    ["ep-cnn"]). A loop over a dictionary reads its keys, and so nothing. names: {name: value}.
    """
    keys, base = [], node
    while isinstance(base, ast.Subscript) and isinstance(base.slice, ast.Constant):
        keys.insert(0, base.slice.value)
        base = base.value
    if isinstance(base, ast.Name) and isinstance(base.ctx, ast.Load):
        yield base.id, keys
        return
    for child in ast.iter_child_nodes(node):
        over = isinstance(node, ast.comprehension) and child is node.iter and isinstance(child, ast.Name)
        if not (over and isinstance(names.get(child.id), dict)):
            yield from _reads(child, names)


def _stored(node):
    return {n.id for n in ast.walk(node) if isinstance(n, ast.Name) and isinstance(n.ctx, ast.Store)}


def _looped(statement):
    """The names that comprehensions of a statement loop over, which are nobody else's."""
    loops = (n for n in ast.walk(statement) if isinstance(n, ast.comprehension))
    return {name for loop in loops for name in _stored(loop.target)}


def _shows(statement, last):
    """Whether a statement displays something: it calls display, or ends the cell with a value."""
    calls = (n.func for n in ast.walk(statement) if isinstance(n, ast.Call))
    return (last and isinstance(statement, ast.Expr)) or any(
        isinstance(f, ast.Name) and f.id == "display" for f in calls
    )


class _Marks(ast.NodeTransformer):
    """Puts a call before every statement of a cell, which says that it is reached."""

    def visit_Module(self, node):
        body = []
        for number, statement in enumerate(node.body):
            call = ast.parse(f"{MARK}({number})").body[0]
            body += [ast.copy_location(ast.fix_missing_locations(call), statement), statement]
        node.body = body
        return ast.fix_missing_locations(node)


def follow():
    """Begin to note what this notebook reads, and show after every cell the files behind it; returns what
    stands at the top of an executed notebook: its parameters, and what runs it.
    """
    from eplib import source_tables

    global _page
    shell = _shell()
    if shell is None:
        return source_tables.this_run({})
    if _page is None:
        shell.ast_transformers.append(_Marks())
        shell.events.register("post_run_cell", _after_cell)
    _page, files.noted = Page(shell.user_ns), []
    shell.user_ns[MARK] = _page.mark
    return source_tables.this_run(parameters(shell.user_ns.get("In", ())))


def parameters(cells):
    """{name: value} of what cells assign as plain values: the last value of each name."""
    found = {}
    for cell in cells:
        try:
            statements = ast.parse(cell).body
        except SyntaxError:
            continue  # a magic
        for statement in statements:
            if isinstance(statement, ast.Assign) and isinstance(statement.targets[0], ast.Name):
                try:
                    found[statement.targets[0].id] = ast.literal_eval(statement.value)
                except ValueError:
                    continue  # computed: no parameter
    return found


def _shell():
    try:
        from IPython import get_ipython
    except ImportError:
        return None
    return get_ipython()


def _after_cell(outcome):
    from IPython.display import display

    from eplib import source_tables

    source = outcome.info.raw_cell
    if outcome.error_before_exec or outcome.error_in_exec or not _page.marks:
        _page.marks.clear()
        files.noted.clear()
        return
    found = _page.cell(source)
    if found and "sources." not in source:  # the list of all of them needs none
        display(source_tables.behind_cell(found))


def everything():
    """The list of all files behind the cells so far, with hashes and commands."""
    from eplib import source_tables

    shown = () if _page is None else _page.shown
    return source_tables.table({file: _page.where[file] for file in shown})
