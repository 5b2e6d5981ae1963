"""The results as a table, as JSON and as a picture."""

from __future__ import annotations

import html
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

Results = Mapping[str, Mapping[str, float]]  #: way → what was measured → value


def shown(value: float | None) -> str:
    """Return a number with three digits that mean something, or a dash."""
    if value is None:
        return "-"
    if value >= 1000:
        return f"{value:,.0f}"
    return f"{value:.3g}" if value < 100 else f"{value:.0f}"


def table(results: Results) -> str:
    """Return the results as aligned text: a row for each measurement, a column for each way."""
    fullest_first = sorted(results.values(), key=len, reverse=True)
    names = list(dict.fromkeys(name for values in fullest_first for name in values))
    rows = [["", *results]]
    rows += [[name, *(shown(values.get(name)) for values in results.values())] for name in names]
    widths = [max(len(row[column]) for row in rows) for column in range(len(rows[0]))]
    return "\n".join(_line(row, widths) for row in rows)


def ratios(results: Results, pairs: Sequence[tuple[str, str, str, str]]) -> str:
    """Return the ratios of the targets: name, measurement, way and the way it is held against."""
    lines = []
    for title, name, way, other in pairs:
        value, base = results.get(way, {}).get(name), results.get(other, {}).get(name)
        if value is not None and base:
            lines.append(f"{title:<64} {value / base:6.2f} x")
    return "\n".join(lines)


def write_json(path: Path, results: Results, **more: Any) -> None:
    """Write everything to a file."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps({**more, "results": results}, indent=2) + "\n", "utf-8")


def write_picture(path: Path, results: Results, names: Sequence[str]) -> None:
    """Write bars as SVG: a group for each measurement, a bar for each way."""
    bar, left, width, parts, top = 16, 230, 760, [], 30
    for name in names:
        most = max((values.get(name, 0.0) for values in results.values()), default=0.0) or 1.0
        parts.append(f'<text x="8" y="{top}" font-weight="bold">{html.escape(name)}</text>')
        for way, values in results.items():
            top += bar + 4
            length = (width - left - 90) * values.get(name, 0.0) / most
            parts.append(f'<text x="24" y="{top}">{html.escape(way)}</text>')
            parts.append(f'<rect x="{left}" y="{top - 12}" width="{length:.1f}" height="{bar - 2}"/>')
            parts.append(f'<text x="{left + length + 6:.1f}" y="{top}">{shown(values.get(name))}</text>')
        top += 34
    style = "text{font:13px sans-serif;fill:#24201b}rect{fill:#a4551e}svg{background:#fff}"
    head = f'<svg xmlns="http://www.w3.org/2000/svg" width="{width}" height="{top}"><style>{style}</style>'
    path.write_text(head + "".join(parts) + "</svg>\n", "utf-8")


def _line(row: Sequence[str], widths: Sequence[int]) -> str:
    first = row[0].ljust(widths[0])
    return "  ".join([first, *(cell.rjust(width) for cell, width in zip(row[1:], widths[1:], strict=True))])
