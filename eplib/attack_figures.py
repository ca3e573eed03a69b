"""The paper's figures of attacks beside ours: which of our results are drawn, and what is said below."""

from eplib import chapters, curves, data, others, pictures, published_curves, verdicts

LIKE_THE_PAPERS = ("ep-cnn", "cnn", "vit-8", "cnn-at-l2-0.5", "cnn-at-l2-1")  # the paper's kinds of networks
CAUSES = ("twin-bptt", "twin-adjoint", "cnn-plain", "cnn-like-ep", "cnn-penalised", "student-of-ep-cnn")


def beside(label, published, found, models, badge, radii=None, start="", more="", axes=None):
    """A published figure beside ours (`curves.figure`): of those of `models` that are in `found`, {model:
    [Result, one a seed]}, and of networks of others; says whose seeds are fewer than the badge's. badge: None
    where nothing is found.
    """
    chosen = {model: found[model] for model in (*models, *others.names()) if found.get(model)}
    if not chosen:
        return curves.figure(label, published, [], None, start, more, axes)
    drawn = curves.of_results(chosen, curves.other_images(badge), radii)
    more = " ".join(sentence for sentence in (fewer(chosen, badge), more) if sentence)
    return curves.figure(label, published, drawn, badge, start, more, axes)


def which_images(found, published):
    """Whether ours are the images that the paper looked at, the first of the original test files, or a
    substitute, as a sentence; "" where nothing is found.

    found: {model: [Result, one a seed]}. published: the figure of `published_curves` that shows how many.
    """
    if not any(found.values()):
        return ""
    first = next(results[0] for results in found.values() if results)
    dataset, n = first.settings["dataset"], len(first.image_ids)
    theirs = int(published_curves.curves(published)["ep-cnn"].images.max())
    paper = f"The published EP-CNN was attacked on the first {theirs:,} images of the original test files"
    known = dataset in verdicts.PAPER_DATASETS and data.available(dataset)
    order = data.load(dataset, "test").official if known else None
    if order is not None and set(order[first.image_ids].tolist()) == set(range(n)):
        return f"{paper}; ours are the first {n:,} of these files too."
    return (
        f"{paper}; ours are a substitute, the first {n:,} test images of {chapters.DATASET_NAMES[dataset]} in"
        " this project's canonical order."
    )


def fewer(found, badge):
    """Which models have other seeds than the badge names, as a sentence; "" where none has."""
    other = {}
    for model, results in found.items():
        seeds = tuple(sorted(r.settings["seed"] for r in results))
        if seeds != tuple(sorted(badge.seeds)):
            other.setdefault(seeds, []).append(pictures.name(model))
    said = [
        f"seed{'s' * (len(seeds) > 1)} {', '.join(map(str, seeds))} only: {', '.join(models)}"
        for seeds, models in other.items()
    ]
    return f"With {'; '.join(said)}." if said else ""


def ordered(found):
    """The models of {model: …} as the pages about attacks show them: like the paper's, causes, all others."""
    first = (*LIKE_THE_PAPERS, *CAUSES)
    return [m for m in first if m in found] + [m for m in found if m not in first]
