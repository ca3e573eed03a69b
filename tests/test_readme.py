from eplib import chapters, files, readme


def test_headline_and_table_are_made_from_the_stored_results():
    assert readme.HEADLINE.read_text() == readme.headline(chapters.choose(images=False)).svg
    text, shown = readme.README.read_text(), chapters.choose("quick", needs=readme.MEASURED)
    assert readme.with_measured(text, shown) == text
    assert "test accuracy" in text and "training one EP-CNN" in text


def test_the_table_changes_with_the_benchmarks(tmp_path, monkeypatch):
    shown = chapters.choose("quick", needs=readme.MEASURED)
    files.write_json(tmp_path / "book.json", {"fresh_seconds": 123.4, "again_seconds": 5.6})
    monkeypatch.setattr(readme, "BENCHMARKS", tmp_path)
    assert "123 s" in readme.measured(shown) and "6 s" in readme.measured(shown)
