"""Figures show labels of every script, never the boxes of missing letters."""

import warnings

import pytest

from structdiff.system.plotting import FONTS, new_figure, readable, save_figure

LABELS = {
    "Chinese": "抗菌肽",
    "Japanese": "抗真菌ペプチド",
    "Korean": "항균",
    "Cyrillic": "противомикробный",
    "Greek": "αντιμικροβιακό",
    "Arabic": "مضاد للميكروبات",
    "Hindi": "रोगाणुरोधी",
    "Thai": "ต้านจุลชีพ",
    "emoji": "kills 🦠",
    "private": "\ue000",
    "dollar": "cost $5 and $6_^",
}


@pytest.mark.parametrize("label", LABELS.values(), ids=list(LABELS))
def test_a_label_is_drawn_without_a_missing_glyph(label, tmp_path):
    figure, grid = new_figure()
    panel = grid[0, 0]
    panel.set(title=label, xlabel=label, ylabel=f"{label}\nshare")
    panel.bar([0, 1], [1, 2], label=label)
    panel.set_xticks([0, 1], [label, "amp"])
    panel.legend()
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        save_figure(figure, tmp_path / "figure")
    assert (tmp_path / "figure.svg").stat().st_size > 1000
    assert (tmp_path / "figure.png").read_bytes().startswith(b"\x89PNG")
    assert panel.get_title() == readable(label)


def test_a_name_with_dots_is_kept_whole(tmp_path):
    save_figure(new_figure()[0], tmp_path / "NP_001.1_scan")
    assert {path.name for path in tmp_path.iterdir()} == {"NP_001.1_scan.png", "NP_001.1_scan.svg"}


def test_letters_of_the_fonts_stay_and_others_are_written_in_latin():
    assert readable("anti-Кандида α ≥ 0.7") == "anti-Кандида α ≥ 0.7"
    if FONTS == ["DejaVu Sans"]:
        assert readable("稀有 label") == "XiYou label"


def test_a_log_axis_keeps_its_powers(tmp_path):
    figure, grid = new_figure()
    grid[0, 0].set(yscale="log", title="loss")
    grid[0, 0].plot([1, 10, 1000])
    save_figure(figure, tmp_path / "log")
    texts = [text.get_text() for text in grid[0, 0].get_yticklabels()]
    assert any("10^{2}" in text for text in texts)
