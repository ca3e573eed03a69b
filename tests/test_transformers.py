import json

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from eplib.checks import InputError
from eplib.transformers import CCT, Mixer, Swin, ViT

# 0.2 to 0.4 million parameters each, at 32x32
SMALL = {
    "ViT patch 4": (ViT, {"patch": 4, "width": 96, "depth": 5, "heads": 3, "mlp": 96}),
    "ViT patch 8": (ViT, {"patch": 8, "width": 96, "depth": 5, "heads": 3, "mlp": 96}),
    "ViT-Lite": (ViT, {"patch": 4, "width": 64, "depth": 7, "heads": 4, "mlp": 128}),
    "CCT": (CCT, {"channels": [64], "width": 128, "depth": 2, "heads": 2, "mlp": 128}),
    "Swin": (Swin, {"patch": 2, "width": 48, "depths": [2, 2], "heads": [3, 6], "window": 4}),
    "Mixer": (Mixer, {"patch": 4, "width": 96, "depth": 4}),
}
TINY = {
    "ViT": (ViT, {"patch": 4, "width": 12, "depth": 2, "heads": 3, "mlp": 10}),
    "CCT": (CCT, {"channels": [6], "width": 12, "depth": 2, "heads": 3, "mlp": 10}),
    "Swin": (Swin, {"patch": 2, "width": 8, "depths": [2, 2], "heads": [2, 4], "window": 4}),
    "Mixer": (Mixer, {"patch": 4, "width": 12, "depth": 2}),
}
tiny = pytest.mark.parametrize("name", TINY)


def randomised(name, seed=0, **more):
    """A tiny network with all weights moved far enough that every part of it matters."""
    kind, settings = TINY[name]
    torch.manual_seed(seed)
    net = kind(**settings, **more).double()
    with torch.no_grad():
        for parameter in net.parameters():
            parameter += 0.3 * torch.randn_like(parameter)
    return net


def images_of(count, channels=3, size=32):
    return torch.rand(count, channels, size, size, dtype=torch.float64)


def parameters_of(net):
    return sum(p.numel() for p in net.parameters())


@pytest.mark.parametrize("name", SMALL)
def test_small_settings_have_the_intended_size_and_settings_give_them_back(name):
    kind, settings = SMALL[name]
    net = kind(**settings)
    assert 200_000 <= parameters_of(net) <= 400_000
    assert net.settings == settings | {"classes": 10, "in_channels": 3, "image_size": 32}


def test_the_published_vit_has_the_published_size():
    net = ViT(patch=4, width=384, depth=7, heads=12, mlp=384)
    assert 6.2e6 <= parameters_of(net) <= 6.4e6
    assert net.body.pos_embed.shape == (1, 65, 384)


def test_the_published_cct_has_the_published_size():
    kind, settings = SMALL["CCT"]
    assert round(parameters_of(kind(**settings)) / 1e6, 2) == 0.28  # CCT-2/3x2 of arXiv 2104.05704


@tiny
def test_settings_build_the_same_network_again(name):
    net = randomised(name, classes=7, in_channels=1, image_size=16)
    again = type(net)(**json.loads(json.dumps(net.settings))).double()
    assert (again.classes, again.in_channels, again.image_size) == (7, 1, 16)
    again.load_state_dict(net.state_dict())
    images = images_of(2, 1, 16)
    assert torch.equal(again(images), net(images))
    assert net.settings == json.loads(json.dumps(net.settings))


@tiny
def test_logits_are_finite_and_of_the_type_of_the_weights(name):
    net, images = randomised(name), images_of(3)
    with torch.no_grad():
        logits = net(images.float())
        assert logits.shape == (3, 10) and logits.dtype == torch.float64 and logits.isfinite().all()
        assert logits.std(0).min() > 1e-3  # the image matters
        single = net.float()(images)
    assert single.dtype == torch.float32
    torch.testing.assert_close(single.double(), logits, rtol=1e-3, atol=1e-3)


@tiny
def test_image_gradients_equal_finite_differences(name):
    net, images = randomised(name), images_of(2).requires_grad_()
    (gradient,) = torch.autograd.grad(F.cross_entropy(net(images), torch.tensor([1, 2])), images)
    assert gradient.abs().amax((1, 2, 3)).min() > 1e-4
    direction, step = torch.randn_like(images), 1e-6
    with torch.no_grad():
        up, down = (F.cross_entropy(net(images + s * direction), torch.tensor([1, 2])) for s in (step, -step))
    expected = (up - down) / (2 * step)
    torch.testing.assert_close((gradient * direction).sum(), expected, rtol=1e-5, atol=1e-7)


@tiny
def test_normalisation_is_inside(name):
    mean, std = [0.5, 0.4, 0.3], [0.2, 0.3, 0.4]
    net, plain = randomised(name, mean=mean, std=std), randomised(name)
    assert net.mean.shape == net.std.shape == (1, 3, 1, 1)
    images = images_of(2)
    mean, std = (torch.tensor(v).double().view(1, 3, 1, 1) for v in (mean, std))
    torch.testing.assert_close(net(images), plain((images - mean) / std), rtol=1e-9, atol=1e-9)
    assert not torch.allclose(net(images), plain(images), atol=1e-2)


@tiny
def test_images_of_a_batch_do_not_influence_each_other_and_nothing_is_random(name):
    net, images = randomised(name).train(), images_of(4)
    alone = torch.cat([net(image[None]) for image in images])
    torch.testing.assert_close(net(images), alone, rtol=1e-9, atol=1e-9)
    torch.testing.assert_close(net.eval()(images), alone, rtol=1e-9, atol=1e-9)


@tiny
def test_images_are_checked(name):
    net = randomised(name)
    net.check(images_of(1))
    for bad in (images_of(1, 1), images_of(1, 3, 16), images_of(1) + 1, torch.zeros(1, 3, 32, 32).int()):
        with pytest.raises(InputError):
            net.check(bad)


def attention(x, block, heads):
    """Attention written out over images, heads and tokens."""
    count, tokens, width = x.shape
    query, key, value = (x @ block.attn.qkv.weight.T).chunk(3, dim=2)
    out = torch.zeros_like(x)
    for n in range(count):
        for h in range(heads):
            part = slice(h * width // heads, (h + 1) * width // heads)
            q, k, v = query[n, :, part], key[n, :, part], value[n, :, part]
            for t in range(tokens):
                weights = (k @ q[t] / (width // heads) ** 0.5).exp()
                out[n, t, part] = weights @ v / weights.sum()
    return out @ block.attn.proj.weight.T + block.attn.proj.bias


def mlp(x, block):
    hidden = F.gelu(x @ block.mlp.fc1.weight.T + block.mlp.fc1.bias)
    return hidden @ block.mlp.fc2.weight.T + block.mlp.fc2.bias


def normalised(x, norm):
    centred = x - x.mean(-1, keepdim=True)
    return centred / (centred.square().mean(-1, keepdim=True) + norm.eps).sqrt() * norm.weight + norm.bias


def test_cct_equals_its_description_written_out():
    net, images = randomised("CCT"), images_of(2)
    body, x = net.body, images
    for convolution in (body.tokenizer[0], body.tokenizer[3]):
        x = F.conv2d(x, convolution.weight, padding=1).clamp(min=0)
        patches = F.unfold(x, 3, padding=1, stride=2)  # zero padding is as good as -inf: x is not negative
        x = patches.view(2, x.shape[1], 9, -1).amax(2).view(2, x.shape[1], x.shape[2] // 2, -1)
    tokens = torch.stack([x[:, :, i, j] for i in range(8) for j in range(8)], dim=1) + body.positions
    assert tokens.shape == (2, 64, 12)
    for block in body.blocks:
        tokens = tokens + attention(normalised(tokens, block.norm1), block, heads=3)
        tokens = tokens + mlp(normalised(tokens, block.norm2), block)
    tokens = normalised(tokens, body.norm)
    for n in range(2):
        total, pooled = 0.0, torch.zeros(12, dtype=torch.float64)
        for token in tokens[n]:
            weight = (token @ body.score.weight[0] + body.score.bias[0]).exp()
            total, pooled = total + weight, pooled + weight * token
        expected = body.head.weight @ (pooled / total) + body.head.bias
        torch.testing.assert_close(net(images)[n], expected, rtol=1e-9, atol=1e-9)


@pytest.mark.parametrize(
    "channels, size, tokens", [([], 32, 256), ([4], 32, 64), ([4, 5], 32, 16), ([4], 30, 64)]
)
def test_cct_halves_the_grid_once_per_convolution(channels, size, tokens):
    net = CCT(channels, 8, 1, 2, 8, image_size=size)
    assert net.body.positions.shape == (1, tokens, 8)
    assert net(torch.rand(1, 3, size, size)).shape == (1, 10)
    assert [m.bias for m in net.modules() if isinstance(m, nn.Conv2d)] == [None] * (len(channels) + 1)


def test_swin_has_the_grids_and_windows_it_says():
    net, shapes = randomised("Swin"), []
    for layer in net.body.layers:
        layer.register_forward_hook(lambda module, given, output: shapes.append(tuple(output.shape)))
    net(images_of(1))
    assert shapes == [(1, 16, 16, 8), (1, 8, 8, 16)]
    blocks = [block for layer in net.body.layers for block in layer.blocks]
    assert [tuple(block.window_size) for block in blocks] == [(4, 4)] * 4
    assert [tuple(block.shift_size) for block in blocks] == [(0, 0), (2, 2)] * 2
    assert [block.attn.num_heads for block in blocks] == [2, 2, 4, 4]


@tiny
def test_only_the_mixer_has_no_attention(name):
    with_attention = any("Attention" in type(module).__name__ for module in randomised(name).modules())
    assert with_attention == (name != "Mixer")


@pytest.mark.parametrize("kind", [ViT, CCT])
def test_the_hidden_width_of_the_mlp_is_exact(kind):
    first = {"patch": 8} if kind is ViT else {"channels": []}
    net = kind(**first, width=49, depth=1, heads=7, mlp=1)  # 49 * (1 / 49) is below 1 in floating point
    assert net.body.blocks[0].mlp.fc1.weight.shape == (1, 49)


@pytest.mark.parametrize("name", ["ViT", "Swin", "Mixer"])
def test_patches_that_do_not_fill_the_image_are_refused(name):
    kind, settings = TINY[name]
    with pytest.raises(
        InputError, match="image size 32 cannot be cut into patches of side 5: choose a multiple of 5"
    ):
        kind(**settings | {"patch": 5})


@pytest.mark.parametrize("name, heads", [("ViT", 5), ("CCT", 5), ("Swin", [3, 4]), ("Swin", [2, 3])])
def test_heads_that_do_not_divide_the_width_are_refused(name, heads):
    kind, settings = TINY[name]
    with pytest.raises(
        InputError, match=r"width \d+ cannot be cut into [35] heads: choose a multiple of [35]"
    ):
        kind(**settings | {"heads": heads})


@pytest.mark.parametrize("change", [{"heads": [2]}, {"depths": [2, 2, 2]}, {"heads": [], "depths": []}])
def test_swin_refuses_lists_of_different_lengths(change):
    kind, settings = TINY["Swin"]
    with pytest.raises(InputError, match="one of each for every stage"):
        kind(**settings | change)


@tiny
@pytest.mark.parametrize("width", [0, -12, 12.0, True, None])
def test_numbers_that_are_not_whole_and_positive_are_refused(name, width):
    kind, settings = TINY[name]
    with pytest.raises(InputError, match="width .* give whole numbers of at least 1"):
        kind(**settings | {"width": width})


@pytest.mark.parametrize("name, change", [("CCT", {"channels": [6, 0]}), ("Swin", {"depths": [2, 0]})])
def test_lists_hold_whole_positive_numbers(name, change):
    kind, settings = TINY[name]
    with pytest.raises(InputError, match="give whole numbers of at least 1"):
        kind(**settings | change)
