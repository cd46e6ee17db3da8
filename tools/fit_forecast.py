"""Fit the forecast's constants to published times: to all, and with each family left out.

Run it after `labs/forecast/data/` or the roofline has changed: a few minutes. It writes down how
far the forecasts are from what others measured, and `make test` says whether the bars still hold.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from tqdm.auto import tqdm

from labs.forecast.gpus import DATA
from labs.forecast.published import (
    forecast_published_memory,
    forecast_published_seconds,
    forecast_row,
    read_published_seconds,
)
from labs.forecast.rates import Constants, read_constants
from tools.benchmark import RESULTS

if TYPE_CHECKING:
    import pandas

REPORT = RESULTS / "forecast.md"
TEXT = """# How far to trust the forecasts

Written by `python -m tools.fit_forecast`. Published times and peaks, with their sources, lie in
`labs/forecast/data/`. An error is the forecast's middle over the published figure, less one.

The constants of the seconds are fitted to times that one person measured, at batch 4 and more. Each
time is forecast by constants that were fitted without its family of cards, or without its card.
What a processor takes to launch an operation, how wide the range is and a few round numbers
(`labs/forecast/rates.py`) were set by hand, with all of the times in view. Nothing is fitted to
the peaks of memory but the careful end of the range; what is allocated is forecast without one.
"""
START = Constants(0.3, 0.3, 0.5, 2.0, 15.0)
LEAST = Constants(0.1, 0.05, 0.1, 0.5, 5.0)
MOST = Constants(0.9, 0.9, 1.0, 5.0, 50.0)
SCALE = 0.1  # errors beyond 10% count less than by their square


def to_fit(rows: pandas.DataFrame) -> list[dict[str, Any]]:
    """The rows that constants are fitted to: measured by one person, with the card at full work.

    Example:
        >>> rows = to_fit(read_published_seconds())
        >>> min(row["batch_size"] for row in rows)
        4
    """
    return rows.query("people == 1 and batch_size >= 4").to_dict("records")


def errors(constants: Constants, rows: Sequence[dict[str, Any]]) -> np.ndarray:
    """The logarithms of forecast over published seconds.

    Example:
        >>> errors(START, to_fit(read_published_seconds())[:3]).shape
        (3,)
    """
    return np.array([np.log(forecast_row(row, constants)[1] / row["seconds"]) for row in rows])


def loss(constants: Constants, rows: Sequence[dict[str, Any]]) -> float:
    """What fitting makes small: half the sum of softened squares, as SciPy's "soft_l1".

    Example:
        >>> loss(START, [])
        0.0
    """
    squares = (errors(constants, rows) / SCALE) ** 2 if rows else np.zeros(0)
    return float(SCALE**2 * ((1 + squares) ** 0.5 - 1).sum())


def fit(rows: Sequence[dict[str, Any]]) -> Constants:
    """Find the constants that forecast the rows best.

    Source: SciPy, `least_squares`.

    Example:
        >>> rows = [row for row in to_fit(read_published_seconds()) if row["gpu"] == "RTX A5000"]
        >>> loss(fit(rows), rows) < loss(START, rows)
        True
    """
    from scipy.optimize import least_squares

    low, high = np.array(LEAST), np.array(MOST)
    found = least_squares(
        lambda x: errors(Constants(*(low + x * (high - low))), rows),
        (np.array(START) - low) / (high - low),
        bounds=(0, 1),
        loss="soft_l1",
        f_scale=SCALE,
        diff_step=1e-3,
        xtol=1e-4,
    )
    return Constants(*map(float, np.round(low + found.x * (high - low), 4)))


def seconds_table(rows: pandas.DataFrame) -> pandas.DataFrame:
    """How far the forecast of seconds is from published times.

    Args:
        rows: what `forecast_published_seconds` returns.

    Example:
        >>> published = read_published_seconds().query("gpu == 'T4' and height == 512")
        >>> list(seconds_table(forecast_published_seconds(published)).columns)
        ['rows', 'median error', 'nine of ten within', 'within 30%', 'in the range']
    """
    large, crowd = rows.batch_size >= 4, rows.people > 1
    xl = rows.model.str.startswith("SDXL")
    parts = {
        "batch 4 and more": rows[large],
        "... measured by one person": rows[large & ~crowd],
        "... medians of a crowd": rows[large & crowd],
        "batch 2 and 3": rows[(rows.batch_size > 1) & ~large],
        "batch 1": rows[rows.batch_size == 1],
        "Stable Diffusion XL, 1024 x 1024": rows[xl & (rows.height == 1024)],
    }
    parts |= {f"{name}, batch 4 and more": some for name, some in rows[large].groupby("family")}
    return _errors_of(parts, rows.seconds)


def memory_table(rows: pandas.DataFrame) -> pandas.DataFrame:
    """How far the forecast of memory is from published peaks; nothing was fitted to these.

    Args:
        rows: what `forecast_published_memory` returns.

    Example:
        >>> from labs.forecast.published import read_published_memory
        >>> published = read_published_memory().query("gpu == 'T4'")
        >>> list(memory_table(forecast_published_memory(published)).index)
        ['all', 'process']
    """
    table = _errors_of({"all": rows} | dict([*rows.groupby("measure")]), rows.mib)
    table["lowest"] = rows.groupby("measure").error.min()
    table.loc["all", "lowest"] = rows.error.min()
    return table.drop(columns="within 30%")


def _errors_of(parts: Mapping[str, pandas.DataFrame], published: pandas.Series) -> pandas.DataFrame:
    """A row for each part of the forecasts: how many, how far, how many in the range."""
    import pandas

    found = {}
    for name, rows in parts.items():
        error, here = rows.error.abs(), published[rows.index]
        inside = (rows.least <= here) & (here <= rows.most)
        found[name] = {
            "rows": len(rows),
            "median error": error.median(),
            "nine of ten within": error.quantile(0.9),
            "within 30%": (error <= 0.3).mean(),
            "in the range": inside[rows.least < rows.most].mean(),
        }
    return pandas.DataFrame.from_dict(found, orient="index").astype({"rows": int})


def report(by_family: pandas.DataFrame, by_card: pandas.DataFrame, memory: pandas.DataFrame) -> str:
    """Write down in Markdown how far to trust the forecasts.

    Args:
        by_family, by_card: seconds, forecast without the family of a card, and without the card.
        memory: what `forecast_published_memory` returns.

    Example:
        >>> from labs.forecast.published import read_published_memory
        >>> seconds = forecast_published_seconds(read_published_seconds().query("gpu == 'T4'"))
        >>> memory = forecast_published_memory(read_published_memory().query("gpu == 'T4'"))
        >>> report(seconds, seconds, memory).splitlines()[0]
        '# How far to trust the forecasts'
    """
    parts = {
        "Seconds, the card's family left out": seconds_table(by_family),
        "Seconds, the card left out": seconds_table(by_card),
        "Memory": memory_table(memory),
    }
    return TEXT + "".join(f"\n## {title}\n\n{_markdown(table)}" for title, table in parts.items())


def _markdown(table: pandas.DataFrame) -> str:
    lines = ["| | " + " | ".join(table.columns) + " |", "|---|" + "---:|" * len(table.columns)]
    for name, row in table.iterrows():
        cells = [f"{row[one]:.0f}" if one == "rows" else f"{row[one]:.0%}" for one in table]
        lines.append(f"| {name} | " + " | ".join(cells).replace("nan%", "-") + " |")
    return "\n".join(lines) + "\n"


def main() -> None:
    """Fit the constants, write them where the forecast reads them, and how well they do."""
    rows = read_published_seconds()
    fitted = {"all": fit(to_fit(rows))}
    for column in ("family", "gpu"):
        names = sorted({row[column] for row in to_fit(rows)})  # others change nothing
        for name in tqdm(names, column):
            fitted[f"without {name}"] = fit(to_fit(rows[rows[column] != name]))
    lines = [f' "{name}": {json.dumps(of._asdict())}' for name, of in fitted.items()]
    (DATA / "constants.json").write_text("{\n" + ",\n".join(lines) + "\n}\n", encoding="utf-8")
    read_constants.cache_clear()
    by_family, by_card = (forecast_published_seconds(left_out=one) for one in ("family", "gpu"))
    text = report(by_family, by_card, forecast_published_memory())
    REPORT.write_text(text, encoding="utf-8")
    print(*lines, text, sep="\n")


if __name__ == "__main__":
    main()
