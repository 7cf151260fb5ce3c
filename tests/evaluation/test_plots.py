"""The figures of the evaluation: what they show of sets that differ."""

from structdiff.evaluation.plots import _legend
from structdiff.system.plotting import new_figure


def test_a_legend_has_the_entries_of_every_panel_once():
    """The first set may lack what the second one has, such as held-out peptides."""
    figure, grid = new_figure(3, 1)
    for axes, names in zip(grid[1:, 0], (["designs"], ["designs", "held-out real"]), strict=True):
        for name in names:
            axes.plot([0], [0], label=name)
    _legend(figure)
    (legend,) = figure.legends
    assert [text.get_text() for text in legend.get_texts()] == ["designs", "held-out real"]


def test_a_figure_without_entries_has_no_legend():
    figure, _ = new_figure()
    _legend(figure)
    assert not figure.legends
