"""Feed-forward transformers, and the patch network without attention, to compare with: timm's own modules and
initialisation, no dropout anywhere, and the interface of `eplib.baselines.CNN`.
"""

import torch
from timm.models.mlp_mixer import MlpMixer
from timm.models.swin_transformer import SwinTransformer
from timm.models.vision_transformer import Block, VisionTransformer, init_weights_vit_timm
from torch import nn

from eplib.checks import InputError, check_images
from eplib.network import per_channel


class ImageClassifier(nn.Module):
    """What the networks here share: images [N, C, H, W] in [0, 1] to logits [N, classes], with normalisation
    inside, in the type of the weights.

    `settings` holds the constructor's arguments except mean and std as JSON takes them, so that
    `type(net)(**net.settings)` is the same architecture. InputError for a number that is not whole and
    positive.
    """

    def __init__(self, mean, std, **settings):
        super().__init__()
        for name, value in settings.items():
            numbers = value if isinstance(value, list) else [value]
            if any(type(number) is not int or number < 1 for number in numbers):
                raise InputError(f"{name} {value!r}: give whole numbers of at least 1")
        self.settings = settings
        self.classes, self.in_channels = settings["classes"], settings["in_channels"]
        self.image_size = settings["image_size"]
        self.register_buffer("mean", per_channel(mean, self.in_channels))
        self.register_buffer("std", per_channel(std, self.in_channels))

    def forward(self, images):
        return self.body((images.to(self.mean.dtype) - self.mean) / self.std)

    def check(self, images):
        """Raise InputError unless `images` is [N, C, H, W], floating, finite and within [0, 1]."""
        check_images(images, (self.in_channels, self.image_size, self.image_size))

    def _patches(self):
        """The arguments that timm's patch networks share. They would cut an image short where the patches do
        not fill it.
        """
        _check_multiple("image size", self.image_size, "patches of side {}", self.settings["patch"])
        return {
            "img_size": self.image_size,
            "patch_size": self.settings["patch"],
            "embed_dim": self.settings["width"],
            "in_chans": self.in_channels,
            "num_classes": self.classes,
        }


class ViT(ImageClassifier):
    """Vision transformer (Dosovitskiy et al. 2021, arXiv 2010.11929) with a class token and learned position
    embeddings; `mlp` is the hidden width of the MLPs. ViT-Lite of arXiv 2104.05704 is this in other sizes.

    `patch` is the side of a patch in pixels. In the public project omihub777/ViT-CIFAR (7 layers, width 384,
    MLP 384) it counts the patches along a side: its patch 4 is 8 here (16 tokens), its patch 8 is 4 (64
    tokens). The network there also has dropout, a second GELU in every MLP and attention scores that are not
    scaled.

    InputError where patches do not fill the image or heads do not divide the width.
    """

    def __init__(
        self, patch, width, depth, heads, mlp, classes=10, in_channels=3, image_size=32, mean=0.0, std=1.0
    ):
        super().__init__(
            mean,
            std,
            patch=patch,
            width=width,
            depth=depth,
            heads=heads,
            mlp=mlp,
            classes=classes,
            in_channels=in_channels,
            image_size=image_size,
        )
        _check_multiple("width", width, "{} heads", heads)
        ratio = _mlp_ratio(mlp, width)
        self.body = VisionTransformer(**self._patches(), depth=depth, num_heads=heads, mlp_ratio=ratio)


class CCT(ImageClassifier):
    """Compact convolutional transformer (Hassani et al. 2021, "Escaping the Big Data Paradigm with Compact
    Transformers", arXiv 2104.05704): `CompactTransformer` with `len(channels) + 1` convolutions in front.

    CCT-2/3×2 of the paper is channels [64], width 128, depth 2, heads 2, mlp 128. InputError where heads do
    not divide the width.
    """

    def __init__(
        self, channels, width, depth, heads, mlp, classes=10, in_channels=3, image_size=32, mean=0.0, std=1.0
    ):
        super().__init__(
            mean,
            std,
            channels=list(channels),
            width=width,
            depth=depth,
            heads=heads,
            mlp=mlp,
            classes=classes,
            in_channels=in_channels,
            image_size=image_size,
        )
        _check_multiple("width", width, "{} heads", heads)
        self.body = CompactTransformer(
            [in_channels, *channels, width], depth, heads, mlp, classes, image_size=image_size
        )


class CompactTransformer(nn.Module):
    """The network inside `CCT`, on normalised images: [3×3 convolution without bias, ReLU, 3×3 max-pooling of
    stride 2] from each of `channels` to the next, one token per remaining pixel plus its learned position,
    timm's `Block`s, LayerNorm, sequence pooling, linear head. Logits [N, classes].

    Sequence pooling is the mean of the tokens weighted by the softmax over tokens of a learned linear score.
    As in the authors' code, queries, keys and values have no bias; their blocks normalise once more inside
    the residual path.
    """

    def __init__(self, channels, depth, heads, mlp, classes, image_size):
        super().__init__()
        width, side = channels[-1], image_size
        self.tokenizer = nn.Sequential()
        for before, after in zip(channels, channels[1:], strict=False):
            convolution = nn.Conv2d(before, after, 3, padding=1, bias=False)
            self.tokenizer.extend([convolution, nn.ReLU(), nn.MaxPool2d(3, stride=2, padding=1)])
            side = (side + 1) // 2
        self.positions = nn.Parameter(torch.empty(1, side * side, width))
        self.blocks = nn.Sequential(*(Block(width, heads, _mlp_ratio(mlp, width)) for _ in range(depth)))
        self.norm = nn.LayerNorm(width)
        self.score = nn.Linear(width, 1)
        self.head = nn.Linear(width, classes)
        self.apply(init_weights_vit_timm)
        nn.init.trunc_normal_(self.positions, std=0.02)  # as timm's ViT

    def forward(self, x):
        tokens = self.tokenizer(x).flatten(2).transpose(1, 2)
        tokens = self.norm(self.blocks(tokens + self.positions))
        return self.head((self.score(tokens).softmax(1) * tokens).sum(1))


class Swin(ImageClassifier):
    """Swin transformer (Liu et al. 2021, arXiv 2103.14030): attention within windows of `window`×`window`
    tokens, shifted by half a window in every second block; `depths` and `heads` give one number per stage.
    Each stage after the first has half the grid and twice the width; MLPs are four times as wide as their
    stage.

    timm pads a grid that windows do not fill. InputError where patches do not fill the image, the two lists
    differ in length or heads do not divide the width of their stage.
    """

    def __init__(
        self, patch, width, depths, heads, window, classes=10, in_channels=3, image_size=32, mean=0.0, std=1.0
    ):
        super().__init__(
            mean,
            std,
            patch=patch,
            width=width,
            depths=list(depths),
            heads=list(heads),
            window=window,
            classes=classes,
            in_channels=in_channels,
            image_size=image_size,
        )
        if not 0 < len(depths) == len(heads):
            raise InputError(f"{len(depths)} depths and {len(heads)} heads: give one of each for every stage")
        for stage, count in enumerate(heads):
            _check_multiple(f"stage {stage + 1} width", width * 2**stage, "{} heads", count)
        self.body = SwinTransformer(
            **self._patches(),
            depths=tuple(depths),
            num_heads=tuple(heads),
            window_size=window,
            drop_path_rate=0.0,
        )


class Mixer(ImageClassifier):
    """MLP-Mixer (Tolstikhin et al. 2021, arXiv 2105.01601): the same patches mixed by MLPs over tokens
    (hidden width / 2) and over channels (hidden 4 · width), without attention; the mean token gives the
    logits.

    timm starts its read-out at zero, so before any training all logits and image gradients are zero.
    InputError where patches do not fill the image.
    """

    def __init__(self, patch, width, depth, classes=10, in_channels=3, image_size=32, mean=0.0, std=1.0):
        super().__init__(
            mean,
            std,
            patch=patch,
            width=width,
            depth=depth,
            classes=classes,
            in_channels=in_channels,
            image_size=image_size,
        )
        self.body = MlpMixer(**self._patches(), num_blocks=depth)


def _check_multiple(what, whole, parts, part):
    if whole % part:
        raise InputError(
            f"{what} {whole} cannot be cut into {parts.format(part)}: choose a multiple of {part}"
        )


def _mlp_ratio(mlp, width):
    return (mlp + 0.5) / width  # timm truncates ratio · width; the half keeps rounding from losing a unit
