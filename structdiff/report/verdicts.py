"""HTML that several pages show: the verdict on a set of designs, and figures."""

import base64
import io
from collections.abc import Mapping
from html import escape
from pathlib import Path
from typing import Any

from structdiff.evaluation.registry import all_metrics
from structdiff.evaluation.verdict import TOO_FEW
from structdiff.report.tables import table

__all__ = ["figure", "judged", "tone", "verdict_line"]

COLORS = 96
"""Number of colors of an embedded figure: enough for lines and bars, and the file has a third of
the size."""

COLUMNS = {
    "generated": "designs",
    "held_out": "held-out real",
    "shuffled": "designs shuffled",
    "composition_matched": "random, same composition",
}


def verdict_line(results: Mapping[str, dict[str, Any]]) -> str:
    """Return HTML with the name and the verdict of each set, in one line.

    ``results`` are the results by the name of the set, as in ``evaluation/metrics.json``.
    """
    return "; ".join(
        f'{escape(name)} <b class="{tone(result["verdict"])}">{escape(result["verdict"])}</b>'
        for name, result in results.items()
    )


def judged(name: str, result: dict[str, Any]) -> str:
    """Return the HTML section about one set: verdict, findings, and metrics with controls.

    ``result`` is the result of the set ``name`` in ``evaluation/metrics.json``.
    """
    kept = [finding for finding in result["findings"] if finding["passed"]]
    others = [finding for finding in result["findings"] if not finding["passed"]]
    metrics = {metric.key: metric for metric in all_metrics()}
    rows = [
        [values["title"], *(_number(values.get(column)) for column in COLUMNS)]
        for key, values in result["metrics"].items()
        if key not in metrics or metrics[key].in_story
    ]
    titles = {
        metrics[key].title: metrics[key].definition for key in result["metrics"] if key in metrics
    }
    return (
        f'<h3>{escape(name)}: <span class="{tone(result["verdict"])}">'
        f"{escape(result['verdict'])}</span></h3>{_findings(others) if others else ''}"
        f"<details><summary>{len(kept)} of {len(result['findings'])} limits are kept</summary>"
        f"{_findings(kept)}</details>"
        "<p>Compare each number with its controls: good designs are near the held-out "
        "real peptides, and away from their own shuffles.</p>"
        + table(["metric", *COLUMNS.values()], rows, titles)
    )


def _findings(findings: list[dict[str, Any]]) -> str:
    signs = {True: ("✓", "good"), False: ("✗", "bad"), None: ("?", "unsure")}
    rows = "".join(
        f'<tr><td class="{signs[finding["passed"]][1]}">{signs[finding["passed"]][0]}</td>'
        f"<td>{escape(finding['fault'])}</td><td>{escape(finding['sentence'])}</td></tr>"
        for finding in findings
    )
    return (
        '<div class="wide"><table><thead><tr><th></th><th>fault looked for</th><th>finding</th>'
        f"</tr></thead><tbody>{rows}</tbody></table></div>"
    )


def tone(verdict: str) -> str:
    """Return the CSS class for the color of a verdict."""
    return {"ok": "good", TOO_FEW: "unsure"}.get(verdict, "bad")


def figure(path: Path, alt: str, caption: str) -> str:
    """Return a PNG file as an HTML figure with alt text and caption, in at most `COLORS` colors."""
    from PIL import Image

    with Image.open(path) as image:
        width, height = image.size
        reduced = image.convert("RGB").quantize(COLORS)
    png = io.BytesIO()
    reduced.save(png, "PNG", optimize=True)
    data = base64.b64encode(png.getvalue()).decode()
    # Several panels in a row need room on a phone.
    kind = ' class="panorama"' if width > 2 * height else ""
    return (
        f'<figure><div{kind}><img src="data:image/png;base64,{data}" alt="{escape(alt)}"></div>'
        f"<figcaption>{escape(caption)}</figcaption></figure>"
    )


def _number(value: float | None) -> str:
    return "" if value is None else f"{value:.3g}"
