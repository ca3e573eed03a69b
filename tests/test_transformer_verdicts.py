import functools
from dataclasses import replace
from functools import partial

import numpy as np
import pytest
from corrupted import result

from eplib import models, published, scales, statistics
from eplib import transformer_verdicts as rules
from eplib.checks import InputError
from eplib.results import Result

N = 400
SEEDS = (11, 13)
EPSILON = published.largest_gap("linf")[0]

corrupted = functools.cache(partial(result, names=rules.TYPES, severities=(3,)))


def attacked(measurement, model, right, seed, clean=0.9, dataset="sample", n=N, epsilon=EPSILON):
    """The first images right at the ε that counts, none at a larger one."""
    correct = np.zeros((2, n), bool)
    correct[0, : round(right * n)] = True
    sizes = {"epsilons": [epsilon, 0.1], "norm": "linf", "plan": [["apgd-ce", 20]]}
    settings = {"measurement": measurement, "model": model, "seed": seed, "dataset": dataset, "sizes": sizes}
    return Result(settings, None, np.arange(n), np.arange(n) < round(clean * n), correct, {})


def stored(rivals=rules.FINAL, ep=0.7, rival=0.5, seeds=SEEDS, clean=0.9, dataset="sample"):
    """All comparisons, with one accuracy for the EP-CNN and one for every rival."""
    found = {m: {} for m in rules.COMPARISONS}
    for model in ("ep-cnn", *rivals):
        value = ep if model == "ep-cnn" else rival
        c = 0.9 if model == "ep-cnn" else clean
        for m in rules.COMPARISONS[:2]:
            found[m][model] = [attacked(m, model, value, s, c, dataset) for s in seeds]
        found["corruptions"][model] = [
            corrupted(model, value, clean=c, seed=s, dataset=dataset) for s in seeds
        ]
    return found


def put(found, measurement, model, right):
    """The same with another accuracy of one model in one comparison."""
    changed = {m: dict(of) for m, of in found.items()}
    if measurement == "corruptions":
        new = [corrupted(model, right, seed=s) for s in SEEDS]
    else:
        new = [attacked(measurement, model, right, s) for s in SEEDS]
    changed[measurement][model] = new
    return changed


def words(found, rivals=rules.FINAL):
    return {m: v.networks for m, v in rules.each(found, rivals).items()}


def test_every_transformer_of_every_scale_is_judged_once():
    assert set(rules.FINAL) | set(rules.HALFWAY) <= set(scales.scale("quick").rows)
    assert len(set(rules.FINAL)) == len(models.TRANSFORMERS) + 1 and rules.CONTROL not in rules.TRANSFORMERS
    assert {scales.row("quick", m).kind for m in rules.TRANSFORMERS} == {"ViT", "CCT", "Swin"}
    assert all(scales.row("quick", m).recipe.stop == 0.5 for m in rules.HALFWAY)


def test_the_claim_is_supported_or_contradicted_by_all_comparisons_together():
    assert set(words(stored()).values()) == {"supported"}
    assert set(words(stored(ep=0.5, rival=0.7)).values()) == {"contradicted"}
    assert set(words(stored(ep=0.6, rival=0.6)).values()) == {"undecided"}


@pytest.mark.parametrize(
    "measurement, ahead, even",
    [
        ("pgd-linf", "undecided", "undecided"),
        ("suite-linf", "contradicted", "undecided"),
        ("corruptions", "contradicted", "undecided"),
    ],
)
def test_one_comparison_changes_the_word(measurement, ahead, even):
    found = stored()
    for right, word in ((0.95, ahead), (0.7, even)):
        said = words(put(found, measurement, "cct", right))
        assert said.pop("cct") == word and set(said.values()) == {"supported"}


def test_one_seed_in_the_other_direction_decides_nothing():
    found = stored()
    first = attacked("suite-linf", "swin", 0.9, SEEDS[0])
    found["suite-linf"]["swin"] = [first, found["suite-linf"]["swin"][1]]
    assert words(found)["swin"] == "undecided"


def test_a_missing_comparison_supports_nothing_but_may_contradict():
    for ep, word in ((0.7, "undecided"), (0.5, "contradicted")):
        found = stored(ep=ep, rival=1.2 - ep)
        del found["suite-linf"]["cct"]
        said = rules.each(found)["cct"]
        assert said.networks == word and "Not measured: suite-linf." in said.sentence
    assert "cct" not in rules.each({m: {"ep-cnn": of["ep-cnn"]} for m, of in found.items()})
    assert rules.each({}) == {}


def test_an_under_trained_network_decides_nothing():
    for clean, word in ((0.8, "supported"), (0.79, "undecided")):
        said = rules.each(stored(clean=clean))["vit-8"]
        assert said.networks == word and ("under-trained" in said.sentence) == (word == "undecided")


def test_p_values_are_adjusted_over_all_networks_measurements_and_seeds():
    found = stored(ep=0.7, rival=0.68)  # 8 discordant images, all in one direction: p = 2/256
    one = rules.compared(found, ("cct",))["cct"]
    many = rules.compared(found, rules.FINAL)["cct"]
    assert one["pgd-linf"].tests == 6 and many["pgd-linf"].tests == 6 * len(rules.FINAL)
    assert max(one["pgd-linf"].p_values) < 0.05 <= min(many["pgd-linf"].p_values)
    assert one["pgd-linf"].p_values[0] > 2 / 256
    assert one["pgd-linf"].word == "supported" and many["pgd-linf"].word == "undecided"
    assert words(found, ("cct",))["cct"] == words(found)["cct"] == "undecided"  # 2 of 100 images corrupted


def test_what_a_comparison_is_made_of():
    c = rules.compared(stored(), ("mixer",))["mixer"]
    for m in rules.COMPARISONS:
        assert (c[m].ep, c[m].rival) == (pytest.approx(0.7), pytest.approx(0.5))
        assert c[m].ahead == pytest.approx((0.2, 0.2)) and len(c[m].p_values) == 2
    assert c["pgd-linf"].n == N and c["pgd-linf"].discordant == pytest.approx(0.2)
    assert c["corruptions"].n == 100 and c["corruptions"].resolved is None
    level = 0.05 / c["suite-linf"].tests
    assert c["suite-linf"].resolved == statistics.detectable(N, 0.2, level=level)
    few = replace(c["suite-linf"], n=64, discordant=0.3)
    assert c["suite-linf"].resolved < few.resolved < 0.3


def test_the_epsilon_that_counts_is_fixed_by_the_published_numbers():
    found = stored()
    at = found["suite-linf"]["ep-cnn"][0]
    assert not at.correct[1].any()  # at the other ε nobody is right
    sentence = rules.each(found)["vit-4"].sentence
    assert "ℓ∞ ε = 2.55/255" in sentence and "the short suite" in sentence and "AutoAttack" not in sentence
    assert "the 18 corruptions the EP-CNN keeps 70.0% of the corrupted copies of 100 test images" in sentence


def test_only_shared_seeds_count_and_images_must_be_the_same():
    found = stored()
    found["pgd-linf"]["cct"] = [attacked("pgd-linf", "cct", 0.5, s) for s in (13, 17)]
    assert len(rules.compared(found, ("cct",))["cct"]["pgd-linf"].p_values) == 1
    for other in (dict(n=N - 1), dict(epsilon=0.02)):
        found["pgd-linf"]["cct"] = [attacked("pgd-linf", "cct", 0.5, 11, **other)]
        with pytest.raises(InputError, match="pgd-linf of cct"):
            rules.each(found)


def test_the_method_needs_seeds_and_cifar_images_in_every_comparison():
    five = stored(seeds=(1, 2, 3, 4, 5), dataset="cifar10")
    said = rules.each(five, ("cct", "swin"))
    assert {v.method for v in said.values()} == {"supported"}
    five["suite-linf"]["cct"] = five["suite-linf"]["cct"][:4]
    said = rules.each(five, ("cct", "swin"))
    assert (said["cct"].method, said["swin"].method) == ("undecided", "supported")
    assert said["cct"].networks == "supported" and "4 of the 5 seeds" in said["cct"].sentence
    assert {v.method for v in rules.each(stored()).values()} == {"undecided"}


def test_the_claim_about_all_transformers():
    found = stored()
    said = rules.each(found)
    assert rules.every(said).networks == "supported" and rules.every(said).method == "undecided"
    one_ahead = rules.each(put(found, "corruptions", "cct", 0.95))
    assert rules.every(one_ahead).networks == "contradicted"
    assert "less" not in rules.every(said).sentence and "less robust in" in rules.every(one_ahead).sentence
    one_even = rules.each(put(found, "suite-linf", "cct", 0.7))
    assert rules.every(one_even).networks == "undecided"
    missing = {m: v for m, v in said.items() if m != rules.AUGMENTED}
    assert rules.every(missing).networks == "undecided"
    assert "Not compared yet: ViT, 4-pixel patches, strong augmentation" in rules.every(missing).sentence
    assert rules.every({}).networks == "undecided"


def test_the_control_without_attention_does_not_count_but_is_told():
    found = stored()
    control_ahead = rules.every(rules.each(put(found, "corruptions", "mixer", 0.95)))
    assert control_ahead.networks == "supported"
    assert "is contradicted, which no transformer has" in control_ahead.sentence
    assert "is supported, which is that of every transformer" in rules.every(rules.each(found)).sentence
    mixed = rules.every(rules.each(put(found, "suite-linf", "cct", 0.7)))
    assert "is supported, which some transformers share" in mixed.sentence
    none = rules.every({m: v for m, v in rules.each(found).items() if m != "mixer"})
    assert none.networks == "supported" and "is not compared yet" in none.sentence


def test_the_method_word_about_all_transformers_follows_theirs():
    five = stored(seeds=(1, 2, 3, 4, 5), dataset="cifar10")
    assert rules.every(rules.each(five)).method == "supported"
    five["pgd-linf"]["swin"] = five["pgd-linf"]["swin"][:2]
    assert rules.every(rules.each(five)).method == "undecided"


@pytest.mark.parametrize("word", ["supported", "contradicted", "undecided"])
def test_sentences_begin_with_the_word_and_say_what_would_change_it(word):
    ep, rival = {"supported": (0.7, 0.5), "contradicted": (0.5, 0.7), "undecided": (0.6, 0.6)}[word]
    said = rules.each(stored(ep=ep, rival=rival))
    for v in (*said.values(), rules.every(said)):
        assert v.sentence.startswith(f"For these networks: {word}. ") and v.overturn
        assert "For the method: undecided" in v.sentence
