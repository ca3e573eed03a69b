import pytest
import torch
import torch.nn.functional as F

from eplib import baselines
from eplib.baselines import CNN
from eplib.checks import InputError
from eplib.network import EPCNN


def test_published_cnn_has_the_published_size_and_layers():
    net = CNN((128, 256, 512, 512), (1, 1, 1, 0))
    assert sum(p.numel() for p in net.parameters()) == 3_845_258
    assert all(conv.bias is None for conv in net.convs)


def test_logits_equal_the_published_stack_of_layers():
    torch.manual_seed(0)
    net = CNN((4, 5), (1, 0), image_size=12, mean=0.4, std=0.2).double().eval()
    for norm in net.norms:
        norm.running_mean.uniform_(-1, 1)
        norm.running_var.uniform_(0.5, 2)
    images = torch.rand(3, 3, 12, 12, dtype=torch.float64)
    x = (images - 0.4) / 0.2
    for conv, norm in zip(net.convs, net.norms, strict=True):
        x = F.conv2d(x, conv.weight, padding=conv.padding)
        x = (x - norm.running_mean.view(1, -1, 1, 1)) / (norm.running_var.view(1, -1, 1, 1) + norm.eps).sqrt()
        x = F.max_pool2d(x.clamp(min=0), 2)
    torch.testing.assert_close(net(images), net.readout(x.flatten(1)), rtol=1e-6, atol=1e-6)


@pytest.mark.parametrize("net", [CNN((4, 6), (1, 0)), EPCNN((4, 6), (1, 0), steps=9, order="synchronous")])
def test_a_description_builds_the_same_network_again(net):
    again = baselines.build(baselines.describe(net))
    assert type(again) is type(net)
    again.load_state_dict(net.state_dict())
    images = torch.rand(2, 3, 32, 32)
    assert torch.equal(again.eval()(images), net.eval()(images))


@pytest.mark.parametrize(
    "description", [{"kind": "Linear"}, {}, {"kind": "CNN", "colour": 3}, {"kind": "EPCNN"}]
)
def test_a_foreign_description_is_refused(description):
    with pytest.raises(InputError):
        baselines.build(description)
