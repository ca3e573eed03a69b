"""How many queries Square (Andriushchenko et al. 2020) needs to break an image."""

import numpy as np
import torch
from torch import nn

from eplib import suite
from eplib.attacks import AttackedModel, ThreatModel, predicted
from eplib.checks import InputError, check_labels
from eplib.parts import in_parts
from eplib.studies import Found, quartiles, share


def square_queries(net, images, labels, sizes, folder=None, progress=True):
    """`Found` of Square with true labels, at every ε on the images that survived the smaller ones.

    sizes: epsilons (ascending, pixel units of [0, 1]), norm, queries, batch (images at a time; with the place
    of its first image and of ε it fixes all random numbers). folder: where finished parts are kept, see
    `parts.in_parts`. Rows, for every ε: accuracy (Wilson interval) and queries (over the images broken at
    this ε, left out where there are none: median, low and high the quartiles). Arrays: queries int32 [E, N],
    the queries with this ε until the image was broken, 0 for images that are wrong already or were broken at
    a smaller ε, -1 for survivors. The first query is the random stripes that Square starts from, `queries`
    more follow. Raises InputError for bad input.
    """
    threats = [ThreatModel(sizes["norm"], e) for e in sizes["epsilons"]]
    if list(sizes["epsilons"]) != sorted(sizes["epsilons"]):
        raise InputError(f"epsilons {sizes['epsilons']}: give them in ascending order")
    net.check(images)
    check_labels(labels, images, net.classes)
    model = AttackedModel(net)

    def part(rows):
        x, y = images[rows], labels[rows]
        suite.check_model(model, x)
        clean = predicted(model, x) == y
        counts = _counts(model, x, y, clean, threats, sizes["queries"], rows.start)
        return {"clean": clean.cpu().numpy(), "queries": counts.cpu().numpy()}

    def running(done):
        return f"ε = {threats[-1].epsilon:.3g}: {(done['queries'][-1] == -1).mean():.3f} right"

    words = f"queries of square {sizes['norm']}"
    done, seconds = in_parts(len(images), sizes["batch"], part, words, folder, progress, running)
    where = {"attack": "square", "norm": sizes["norm"], "labels": "true", "attack_steps": sizes["queries"]}
    where |= {"predict_steps": model.steps, "order": model.order}
    rows = []
    for threat, counts in zip(threats, torch.from_numpy(done["queries"]), strict=True):
        here = where | {"epsilon": threat.epsilon}
        rows.append(here | share("accuracy", counts == -1))
        if (counts > 0).any():
            rows.append(here | quartiles("queries", counts[counts > 0]))
    return Found(rows, done["clean"], done["queries"] == -1, {"queries": done["queries"]}, seconds)


def _counts(model, images, labels, clean, threats, queries, start):
    """int32 [E, N]: the queries that broke each image, 0 where it wasn't attacked, -1 where it survived."""
    alive, counts = clean, torch.zeros(len(threats), len(images), dtype=torch.int32, device=images.device)
    for i, threat in enumerate(threats):
        if not alive.any():
            break
        x, y, counting = images[alive], labels[alive], _Counting(model, labels[alive], queries)
        seed = int(np.random.SeedSequence((0, start, i)).generate_state(1)[0])
        adversarial = suite.checked(counting, x, y, threat, "square", queries, seed)
        survives = predicted(model, adversarial) == y
        counts[i, alive] = torch.where(survives, -1, counting.queries)
        alive = counts[i] == -1
    return counts


class _Counting(nn.Module):
    """A model that counts the queries [N] which torchattacks' Square makes of every image.

    Square asks for the images themselves, to leave out what is wrong; for the stripes it starts from; up to
    `limit` times for a candidate of each image that is not yet broken, in order; and at last for the result.
    Broken is an image whose true logit is not above all others. The first and the last call are no queries.
    """

    def __init__(self, model, labels, limit):
        super().__init__()
        self.model, self.net, self.labels, self.left = model, model.net, labels, limit + 1
        self.queries = torch.zeros(len(labels), dtype=torch.int32, device=labels.device)
        self.alive = None
        self.eval()

    def forward(self, images):
        logits = self.model(images)
        if self.alive is None:
            self.alive = (logits.argmax(1) == self.labels).nonzero()[:, 0]
        elif self.left and len(self.alive):
            self.left -= 1
            self.queries[self.alive] += 1
            true = self.labels[self.alive][:, None]
            others = logits.scatter(1, true, -float("inf")).amax(1)
            self.alive = self.alive[logits.gather(1, true)[:, 0] - others > 0]
        return logits
