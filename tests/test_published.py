import pytest

from eplib import published
from eplib.checks import InputError

MODELS = {"ep-cnn", "cnn"}


@pytest.mark.parametrize("norm", published.NORMS)
def test_every_curve_has_five_seeds_at_every_epsilon(norm):
    table = published.pgd(norm)
    assert set(table.norm) == {norm} and set(table.model) == MODELS and set(table.dataset) == {"cifar10"}
    assert (table.groupby("model").seed.nunique() == 5).all()
    assert (table.groupby(["model", "epsilon"]).size() == 5).all()
    assert not table.duplicated(["model", "seed", "epsilon"]).any()


@pytest.mark.parametrize("norm", published.NORMS)
def test_accuracies_are_shares_of_ten_thousand_images_with_a_source(norm):
    table = published.pgd(norm)
    assert table.accuracy.between(0, 1).all() and (table.epsilon > 0).all() and (table.n == 10_000).all()
    assert table.source_file.notna().all() and (table.source_row >= 1).all()


@pytest.mark.parametrize("norm", published.NORMS)
def test_curves_summarise_the_table(norm):
    curves, table = published.pgd_curves(norm), published.pgd(norm)
    assert set(curves) == MODELS
    for model, curve in curves.items():
        assert (curve.seeds == 5).all() and curve["mean"].between(curve.low, curve.high).all()
        assert curve.index.is_monotonic_increasing
        assert curve["mean"].iloc[0] > 0.8 and curve["mean"].iloc[-1] < 0.11
        epsilon = curve.index[4]
        rows = table[(table.model == model) & (table.epsilon == epsilon)].accuracy
        assert curve["mean"][epsilon] == pytest.approx(sum(rows) / 5)
        assert (curve.low[epsilon], curve.high[epsilon]) == (min(rows), max(rows))


def test_spot_values_of_the_paper():
    curves = published.pgd_curves("linf")
    assert curves["ep-cnn"]["mean"][0.01] == pytest.approx(0.574, abs=1e-3)
    assert curves["cnn"]["mean"][0.01] == pytest.approx(0.218, abs=1e-3)


@pytest.mark.parametrize("norm, expected", [("linf", 0.01), ("l2", 0.309)])
def test_largest_gap_is_where_the_ep_cnn_leads_most(norm, expected):
    epsilon, ep, cnn = published.largest_gap(norm)
    assert epsilon == pytest.approx(expected, rel=1e-2)
    curves = published.pgd_curves(norm)
    assert (ep, cnn) == (curves["ep-cnn"]["mean"][epsilon], curves["cnn"]["mean"][epsilon])
    shared = curves["ep-cnn"].index.intersection(curves["cnn"].index)
    assert len(shared) >= 10
    assert all(ep - cnn >= curves["ep-cnn"]["mean"][e] - curves["cnn"]["mean"][e] for e in shared)


@pytest.mark.parametrize("function", [published.pgd, published.pgd_curves, published.largest_gap])
def test_unknown_norm_is_refused(function):
    with pytest.raises(InputError, match="linf, l2"):
        function("l1")
