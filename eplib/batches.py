"""Many runs of chapters by one command: every combination of values is a notebook of its own."""

import itertools
import re
from pathlib import Path

from papermill.exceptions import PapermillExecutionError

from eplib import book
from eplib.checks import InputError, one_of


def combinations(each):
    """[{name: value}] of every combination of {name: [values]}, the last name varying fastest; one that is
    empty for no name.
    """
    return [dict(zip(each, values, strict=True)) for values in itertools.product(*each.values())]


def target(out, slug, varied):
    """The path of a notebook in the folder `out`: its chapter and the parameters that are varied."""
    words = [slug, *(f"{name}-{value}" for name, value in varied.items())]
    return Path(out) / ("-".join(re.sub(r"[^\w.]+", "-", w).strip("-") for w in words) + ".ipynb")


def run(slugs, parameters, each, out):
    """Run chapters with `parameters`, once for every combination of `each` ({name: [values]}), into notebooks
    in the folder `out`; returns their paths.

    One that fails stops no other; at the end InputError names those that failed and why. An unknown chapter,
    or a parameter that is both given and varied, is refused before anything runs.
    """
    for slug in slugs:
        one_of("chapter", slug, book.slugs())
    twice = sorted(parameters.keys() & each.keys())
    if twice:
        raise InputError(f"{', '.join(twice)} given with -p and with --each: give it once")
    every = [(slug, varied) for slug in slugs for varied in combinations(each)]
    if len(every) == 1:
        slug, varied = every[0]
        return [book.execute(slug, target(out, slug, varied), parameters | varied)]
    made, failed = [], []
    for number, (slug, varied) in enumerate(every, 1):
        path = target(out, slug, varied)
        try:
            made.append(book.execute(slug, path, parameters | varied))
            print(f"[{number}/{len(every)}] {path}", flush=True)
        except (InputError, PapermillExecutionError) as error:
            why = str(error).strip().splitlines()[-1]
            failed.append(f"{path.name} ({why})")
            print(f"[{number}/{len(every)}] {path} failed: {why}", flush=True)
    if failed:
        raise InputError(
            f"{len(failed)} of {len(every)} notebooks failed: {'; '.join(failed)}; the others are in {out}"
        )
    return made
