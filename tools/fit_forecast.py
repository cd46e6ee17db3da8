"""Fit the forecast's constants to published times: to all, and with each family left out.

Run it after `helpers/forecast/data/published_seconds.csv` or the roofline has changed: a few
minutes, then `make test` says whether the forecast still holds.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from tqdm.auto import tqdm

from helpers.forecast.gpus import CARDS, DATA
from helpers.forecast.published import forecast_row, read_published_seconds
from helpers.forecast.rates import Constants

if TYPE_CHECKING:
    import pandas

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


def main() -> None:
    """Fit the constants and write them where the forecast reads them."""
    rows = read_published_seconds()
    families = sorted({card.family for card in CARDS.values()})
    fitted = {"all": fit(to_fit(rows))}
    for family in tqdm(families, "families"):
        fitted[f"without {family}"] = fit(to_fit(rows[rows.family != family]))
    lines = [f' "{name}": {json.dumps(of._asdict())}' for name, of in fitted.items()]
    (DATA / "constants.json").write_text("{\n" + ",\n".join(lines) + "\n}\n", encoding="utf-8")
    print(*lines, sep="\n")


if __name__ == "__main__":
    main()
