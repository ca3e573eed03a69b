import pytest
import torch
import torch.nn.functional as F

from eplib import pooling

SIZES = pytest.mark.parametrize("size", [(8, 8), (7, 7), (6, 9), (3, 2)])
POOLINGS = pytest.mark.parametrize("kind", pooling.POOLINGS)


def planes(size, count=3, seed=0):
    generator = torch.Generator().manual_seed(seed)
    z = torch.randn(count, 4, *size, generator=generator, dtype=torch.float64)
    return z.contiguous(memory_format=torch.channels_last)


def test_the_average_of_a_window_and_its_return_by_hand():
    z = torch.tensor([[[[1.0, 2, 9], [3, 6, 9], [9, 9, 9]]]])
    pooled, codes = pooling.pool(z, "average")
    assert pooled.flatten().tolist() == [3.0] and codes.shape == (1, 0)
    back = pooling.unpool(torch.full((1, 1, 1, 1), 2.0), codes, (1, 1), (1, 3, 3))
    assert back.tolist() == [[[[0.5, 0.5, 0], [0.5, 0.5, 0], [0, 0, 0]]]]


def test_the_maximum_of_a_window_and_its_return_by_hand():
    z = torch.tensor([[[[1.0, 2, 9], [3, 6, 9], [9, 9, 9]]]])
    pooled, codes = pooling.pool(z, "max")
    assert pooled.flatten().tolist() == [6.0] and codes.flatten().tolist() == [4]
    back = pooling.unpool(torch.full((1, 1, 1, 1), 2.0), codes, (1, 1), (1, 3, 3))
    assert back.tolist() == [[[[0, 0, 0], [0, 2, 0], [0, 0, 0]]]]


@SIZES
@POOLINGS
def test_unpooling_is_the_derivative_of_pooling(kind, size):
    z = planes(size).requires_grad_()
    expected = F.avg_pool2d(z, 2) if kind == "average" else F.max_pool2d(z, 2)
    pooled, codes = pooling.pool(z.detach(), kind)
    assert torch.equal(pooled, expected) and torch.equal(pooling.gather(z.detach(), codes), expected)
    weight = torch.rand_like(pooled)
    (slope,) = torch.autograd.grad((weight * expected).sum(), z)
    found = pooling.unpool(weight, codes, (1, 1), z.shape)
    torch.testing.assert_close(found, slope, rtol=0, atol=1e-15)
    assert found.is_contiguous(memory_format=torch.channels_last)


@POOLINGS
def test_codes_are_joined_split_and_stored_by_image(kind):
    first, second = planes((7, 7)), planes((7, 7), seed=1)
    codes = [pooling.pool(z, kind)[1] for z in (first, second)]
    both = torch.cat(codes)
    assert len(both) == 6 and len(both[torch.tensor([True, False, True] * 2)]) == 4
    stored = pooling.compact(both, first).long()
    assert torch.equal(stored, both) and stored[3:].shape == codes[1].shape
    torch.testing.assert_close(pooling.gather(second, stored[3:]), pooling.pool(second, kind)[0])
