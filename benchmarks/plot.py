"""Draws a benchmark's table as a bar chart.

python plot.py WHERE.svg   with {"title": …, "bars": [[words, rows a second], …], "note": …} on standard input
"""

from __future__ import annotations

import json
import sys

from matplotlib import pyplot


def main(where: str) -> None:
    """Read the table from standard input, and write the SVG file."""
    pyplot.switch_backend("svg")
    pyplot.rcParams["svg.hashsalt"] = "pipeline"  # makes the file reproducible
    table = json.load(sys.stdin)
    words = [bar[0] for bar in table["bars"]]
    rates = [bar[1] / 1000 for bar in table["bars"]]
    figure, axes = pyplot.subplots(figsize=(8, 0.5 * len(words) + 1.4))
    bars = axes.barh(words[::-1], rates[::-1], color="#4878a8")
    axes.bar_label(bars, fmt="%.0f", padding=3)
    axes.set_xlabel("thousand rows a second")
    axes.set_title(table["title"], loc="left")
    axes.spines[["top", "right"]].set_visible(False)
    figure.text(0.01, 0.01, table["note"], fontsize=7)
    figure.tight_layout(rect=(0, 0.04, 1, 1))
    figure.savefig(where, metadata={"Date": None})


main(sys.argv[1])
