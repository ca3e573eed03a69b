"""How far images are from another class to first order: logit margin over the dual norm of its gradient."""

import torch

from eplib import studies, suite
from eplib.attacks import AttackedModel, fitting, free_memory
from eplib.checks import check_labels
from eplib.parts import in_parts

_DUALS = {"linf": 1, "l2": 2}  # the order of the norm dual to ℓ∞ and to ℓ2


def margins(net, images, labels, sizes, folder=None, progress=True):
    """Margins m of the logits, the size of their gradients, and the first-order radius m / ‖∇m‖ (dual norm),
    the distance at which the linearised margin is zero. Pixel units of [0, 1]. Returns `studies.Found`.

    net: an EPCNN (exact gradient through its own free phase) or any classifier of this project. sizes: batch
    (images at a time, fewer where memory is short). folder: where finished parts are kept (`parts.in_parts`).
    Rows: "accuracy", and over the images that are right, if any: "margin" (median; low and high are the
    quartiles), "gradient_norm" and "radius" (the same) with column norm ("linf": of ‖∇m‖₁, "l2": of ‖∇m‖₂),
    and "zero_gradient", the share whose gradient is zero and radius infinite. All with predict_steps and
    order. Arrays: margin, gradient_linf, gradient_l2, float32 [N], of all images. Raises InputError for bad
    input and for logits that attacks cannot use (`suite.check_model`).
    """
    net.check(images)
    check_labels(labels, images, net.classes)
    model = AttackedModel(net)
    batch = fitting(sizes["batch"], model.bytes_an_image(), free_memory(images.device))
    suite.check_model(model, images[: max(batch, 1)])

    def compute(part):
        margin, gradient, right = differentiated(model, images[part], labels[part])
        flat = gradient.double().flatten(1)
        sizes = {f"gradient_{norm}": flat.norm(order, dim=1) for norm, order in _DUALS.items()}
        found = {"margin": margin.double(), "right": right, **sizes}
        return {name: value.cpu().numpy() for name, value in found.items()}

    arrays, seconds = in_parts(len(images), batch, compute, "margins", folder, progress)
    right = arrays.pop("right")
    rows = [studies.share("accuracy", torch.from_numpy(right))]
    if right.any():
        rows += _rows({name: torch.from_numpy(value[right]) for name, value in arrays.items()})
    where = {"predict_steps": model.steps, "order": model.order}
    arrays = {name: value.astype("float32") for name, value in arrays.items()}
    return studies.Found([where | row for row in rows], right, right[None], arrays, seconds)


def differentiated(model, images, labels):
    """(margin [N], its gradient [N, C, H, W], right bool [N]) of m = z_y − max_{j≠y} z_j at the logits z of
    `model` (images -> logits). labels: the true classes y, int64 [N].
    """
    with torch.enable_grad():
        x = images.detach().requires_grad_()
        logits = model(x)
        others = logits.scatter(1, labels[:, None], -float("inf")).max(1).values
        margin = logits.gather(1, labels[:, None])[:, 0] - others
        gradient = torch.autograd.grad(margin.sum(), x)[0]
    return margin.detach(), gradient, logits.argmax(1) == labels


def _rows(found):
    """The rows over images that are right: tensors margin, gradient_linf and gradient_l2 [n]."""
    margin, rows = found["margin"], [studies.quartiles("margin", found["margin"])]
    for norm in _DUALS:
        gradient = found[f"gradient_{norm}"]
        radius = torch.where(margin == 0, 0.0, margin / gradient)  # 0 / 0 is a tie, at distance 0
        rows.append({"norm": norm, **studies.quartiles("gradient_norm", gradient)})
        rows.append({"norm": norm, **studies.quartiles("radius", radius)})
    return [*rows, studies.share("zero_gradient", found["gradient_l2"] == 0)]
