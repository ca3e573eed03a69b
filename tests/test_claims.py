import functools
import re
from pathlib import Path

import pytest
from drawings import axes_only, words_only

from eplib import book, chapters, claim_figures, claims, published, published_curves, sentences
from eplib.chapters import Badge
from eplib.checks import InputError
from eplib.claims import Claim, Judged
from eplib.verdicts import Verdict


def verdict(word, method="undecided"):
    return Verdict(word, method, f"For these networks: {word}. a < b.", "Numbers.")


def judged(*words, method="undecided", chapter="white-box"):
    said = {f"rival {i}": verdict(w, method) for i, w in enumerate(words)}
    claim = Claim("A claim & more.", lambda: "EP-CNN 57.4%", chapter, None)
    return Judged(claim, said, Badge("sample", "quick", 64, (11, 13)) if said else None)


def test_every_claim_has_a_chapter_and_a_published_sentence_with_its_numbers():
    assert len({c.words for c in claims.CLAIMS}) == len(claims.CLAIMS)
    for claim in claims.CLAIMS:
        assert claim.chapter in book.slugs()
        told = claim.published()
        assert re.search(r"\d\.\d%", told) or any(w in told for w in ("one architecture", "open", "about 60"))


def test_published_numbers_are_those_of_the_published_curves():
    found = published_curves.curves("Adversarial_Accuracy_Inf")
    gap = (found["ep-cnn"]["mean"] - found["cnn"]["mean"]).dropna()
    ep, cnn = (found[m]["mean"][gap.idxmax()] for m in ("ep-cnn", "cnn"))
    assert f"EP-CNN {ep:.1%}, CNN {cnn:.1%}" in claims.CLAIMS[0].published()
    behind = (found["cnn-at-l2-0.5"]["mean"] - found["ep-cnn"]["mean"]).dropna()
    told = claims._behind("Adversarial_Accuracy_Inf")
    assert f"EP-CNN {found['ep-cnn']['mean'][behind.idxmax()]:.1%}" in told


@pytest.mark.parametrize(
    "words, word",
    [
        (("supported",), "supported"),
        (("contradicted", "contradicted"), "contradicted"),
        (("supported", "undecided"), "undecided"),
        (("supported", "contradicted"), "undecided"),
    ],
)
def test_two_verdicts_make_one_word_only_where_they_agree(words, word):
    assert claims.together(judged(*words).verdicts) == word


def test_the_answer_counts_claims_and_verdicts_about_the_method():
    every = [judged("supported"), judged("contradicted", "contradicted"), judged("undecided"), judged()]
    said = claims.answer(every)
    assert "Of 3 claims that were tested, these networks support 1, contradict 1 and leave 1" in said
    assert "about the method none of the 4 verdicts are decided" in said
    assert "one" not in said.split("method")[1] or "none" in said
    assert "1 of the 1 verdicts is decided" in claims.answer([judged("supported", method="supported")])


def test_the_table_has_a_line_a_claim_with_its_sentences_and_a_link():
    page = claims.table([judged("supported", "contradicted"), judged(chapter="causes")])
    assert page.count("<tr>") == 3 and page.count("<details>") == 2
    assert "A claim &amp; more." in page and 'href="white-box.html"' in page and 'href="causes.html"' in page
    assert "For these networks: contradicted. a &lt; b." in page and "rival 1" in page
    assert "not measured at this scale" in page and "n = 64 test images" in page


def test_a_claim_whose_networks_are_not_there_is_not_judged():
    def absent(pick):
        raise InputError("no stored networks")

    (found,) = claims.judged("smoke", claims=[Claim("c", lambda: "", "causes", absent)])
    assert (found.verdicts, found.badge) == ({}, None)
    with pytest.raises(InputError, match="scale"):
        claims.judged("huge")


def test_a_claim_is_judged_by_the_rule_of_its_chapter(monkeypatch):
    class Found:
        settings = {"dataset": "sample", "scale": "quick", "seed": 3}
        image_ids = range(7)

    asked = []
    monkeypatch.setattr(chapters, "outcomes", lambda shown, models, m: {"ep-cnn": [(shown, m, Found)]})
    monkeypatch.setattr(chapters, "badge", lambda found: Badge("sample", "quick", 7, (3,)))
    rule = functools.partial(claims._of_the_ep_cnn, ("settling",), lambda r: verdict("supported"))
    claim = Claim("c", lambda: "", "equilibrium", rule)
    (found,) = [claims._judged(claim, lambda *needs: asked.append(needs) or "shown")]
    assert asked == [({"ep-cnn": ("settling",)},)] and found.verdicts[""].networks == "supported"
    assert found.badge.n == 7


def test_sentences_of_the_built_page_stand_in_their_chapters():
    """The table repeats its chapters' verdicts word for word."""
    built = Path(book.files.ROOT) / "_build" / "html" / "book"
    if not (built / "claims.html").exists():
        pytest.skip("no built book: run make book first")
    page = (built / "claims.html").read_text().partition("eplib-claims")[2].partition("</table>")[0]
    lines = re.findall(r"<tr><th scope=\"row\">.*?</tr>", page, re.S)
    assert len(lines) == len(claims.CLAIMS)
    for line in lines:
        slug = re.search(r'href="([a-z0-9-]+)\.html"', line).group(1)
        chapter = (built / f"{slug}.html").read_text()
        for word, rest in re.findall(r'evidence">(.*?)\.(.*?)</p>', line, re.S):
            assert f"<strong>{word}.</strong>{rest}" in chapter, (slug, word, rest)


def test_claims_read_images_where_their_chapters_do():
    for claim in claims.CLAIMS:
        page = (book.files.ROOT / "book" / f"{claim.chapter}.ipynb").read_text()
        assert claim.images == ("images=False" not in page), claim.words


def test_the_front_page_lists_answers_under_their_titles():
    every = {"Attacks": sentences.BEGINNING + "It holds.", "Everything": claims.answer([judged("supported")])}
    first, second = sentences.front(every).splitlines()
    assert first == "- **Attacks.** It holds."
    assert second.startswith("- **Everything.** Of 1 claims") and sentences.BEGINNING not in second


def test_the_figure_has_a_mark_for_every_verdict(monkeypatch):
    every = [judged("supported", "contradicted"), judged(), judged("undecided", method="supported")]
    monkeypatch.setattr(claim_figures, "draw", axes_only)
    (ax,) = claim_figures.figure("fig-claims", every)
    marks = [(line.get_xdata()[0], line.get_ydata()[0], line.get_marker()) for line in ax.lines]
    assert marks == [(0, 0, "o"), (1, 0, "^"), (0, 1, "v"), (1, 1, "o"), (0, 2, "^"), (1, 2, "o")]
    monkeypatch.setattr(claim_figures, "draw", words_only)
    picture = claim_figures.figure("fig-claims", every)
    assert "A claim & more (rival 1) contradicted, for the method undecided" in picture.alt
    assert "quick scale" in picture.caption


def test_one_badge_says_on_what_all_words_rest():
    def of(n, seeds, scale="quick"):
        return Judged(claims.CLAIMS[0], {}, Badge("sample", scale, n, seeds))

    two = claim_figures.badge([of(64, (11,)), of(2000, (13, 17)), Judged(claims.CLAIMS[0], {}, None)])
    assert two.count("eplib-badge") == 1
    assert "quick scale, n = 64 to 2,000 test images, seeds 11, 13, 17" in two
    assert claim_figures.badge([of(64, (11,)), of(5, (11,), "cpu")]).count("eplib-badge") == 2
    assert "n = 7 test images" in claim_figures.badge([of(7, (11,))])


def test_every_figure_of_the_paper_has_its_place_in_a_chapter_of_the_book():
    table = claim_figures.of_the_paper()
    rows = published.figures()
    assert len(rows) > 15 and table.count("<tr>") == len(rows) + 1
    for figure in rows.itertuples():
        assert figure.chapter in book.slugs() and figure.label.startswith("fig-")
        assert f'href="{figure.chapter}.html#{figure.label}"' in table
