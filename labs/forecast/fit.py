"""Fit the constants of the forecast to published times, and report its errors.

Run `python -m labs.forecast.fit` after the data or the roofline have changed; it takes a few
minutes. It writes data/constants.json, and prints the table of errors for README.md.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pandas

from labs.forecast.gpus import DATA
from labs.forecast.published import (
    forecast_published_memory,
    forecast_published_seconds,
    forecast_row,
    read_published_seconds,
)
from labs.forecast.rates import Constants, read_constants

START = Constants(0.3, 0.3, 0.5, 2.0, 15.0)
SCALE = 0.1  # larger errors count less than by their square


def rows_to_fit(rows: pandas.DataFrame) -> list[dict[str, Any]]:
    """Return the rows that are fitted: measured by one person, at batch 4 and more."""
    return rows.query("people == 1 and batch_size >= 4").to_dict("records")


def log_errors(constants: Constants, rows: Sequence[Mapping[str, Any]]) -> np.ndarray:
    """Return the logarithms of forecast over published seconds, shape (rows,)."""
    return np.array([np.log(forecast_row(row, constants)[1] / row["seconds"]) for row in rows])


def fit(rows: Sequence[Mapping[str, Any]]) -> Constants:
    """Return the constants with the smallest errors; all are positive, so their logarithms vary."""
    from scipy.optimize import least_squares

    found = least_squares(
        lambda x: log_errors(Constants(*np.exp(x)), rows),
        np.log(START),
        loss="soft_l1",
        f_scale=SCALE,
        diff_step=1e-3,
        xtol=1e-4,
    )
    return Constants(*np.exp(found.x).round(4).tolist())


def report(seconds: pandas.DataFrame, memory: pandas.DataFrame) -> str:
    """Return the errors of the forecasts of published times and peaks as a table in Markdown."""
    large, crowd = seconds.batch_size >= 4, seconds.people > 1
    groups = {
        "**Seconds, batch 4 and more**": seconds[large],
        "... measured by one person": seconds[large & ~crowd],
        "... medians of a crowd": seconds[large & crowd],
    }
    groups |= {f"... {family}": rows for family, rows in seconds[large].groupby("family")}
    xl = (seconds.model_shape == "sdxl-shape") & (seconds.height == 1024)
    groups |= {
        "Seconds, batch 2 and 3": seconds[(seconds.batch_size > 1) & ~large],
        "Seconds, batch 1": seconds[seconds.batch_size == 1],
        "Seconds, Stable Diffusion XL, 1024 x 1024": seconds[xl],
        "**Memory**": memory,
    }
    groups |= {f"... {measure}": rows for measure, rows in memory.groupby("measure")}
    lines = ["| | rows | median error | nine of ten within | lowest | in the range |"]
    lines.append("|---|---:|---:|---:|---:|---:|")
    for name, rows in groups.items():
        error = rows.error.abs()
        ranged = rows[rows.least < rows.most]  # what is allocated is forecast as one figure
        inside = "-" if ranged.empty else f"{ranged.inside.mean():.0%}"
        cells = f"{error.median():.0%} | {error.quantile(0.9):.0%} | {rows.error.min():.0%}"
        lines.append(f"| {name} | {len(rows)} | {cells} | {inside} |")
    return "\n".join(lines) + "\n"


def main() -> None:
    """Fit to all times, and without each family of cards; write the constants."""
    rows = read_published_seconds()
    fitted = {"all": fit(rows_to_fit(rows))}
    for family in sorted({row["family"] for row in rows_to_fit(rows)}):
        fitted[f"without {family}"] = fit(rows_to_fit(rows[rows.family != family]))
    lines = [f' "{name}": {json.dumps(values._asdict())}' for name, values in fitted.items()]
    (DATA / "constants.json").write_text("{\n" + ",\n".join(lines) + "\n}\n", encoding="utf-8")
    read_constants.cache_clear()
    print(report(forecast_published_seconds(), forecast_published_memory()))


if __name__ == "__main__":
    main()
