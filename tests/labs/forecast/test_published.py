"""How accurate the forecasts are: the bars that they must keep."""

import numpy as np
import pytest

from labs.forecast.fit import SCALE, log_errors, report, rows_to_fit
from labs.forecast.gpus import DATA
from labs.forecast.published import (
    forecast_published_memory,
    forecast_published_seconds,
    read_published_seconds,
)
from labs.forecast.rates import read_constants


@pytest.fixture(scope="module")
def seconds():
    return forecast_published_seconds()


def test_seconds_at_batch_4_and_more_without_the_family(seconds):
    large = seconds[seconds.batch_size >= 4]
    families = ["Ada", "Ampere", "Hopper", "Turing", "Volta"]
    groups = [large, large[large.people == 1], *(large[large.family == name] for name in families)]
    assert [len(rows) > 10 for rows in groups] == 7 * [True]
    assert max(rows.error.abs().median() for rows in groups) <= 0.12
    assert min((rows.error.abs() <= 0.3).mean() for rows in groups[:2]) >= 0.9


def test_the_readme_reports_the_errors_of_every_group(seconds):
    readme = (DATA.parent / "README.md").read_text(encoding="utf-8")
    assert report(seconds, forecast_published_memory()) in readme


@pytest.mark.parametrize("left_out", ["", "Ampere", "Turing"])
def test_no_other_constants_fit_better(left_out):
    rows = read_published_seconds()
    rows = rows_to_fit(rows[rows.family != left_out])
    constants = read_constants()[f"without {left_out}" if left_out else "all"]

    def loss(values):  # SciPy's "soft_l1"
        return (np.hypot(1, log_errors(values, rows) / SCALE) - 1).sum()

    best = 0.999 * loss(constants)
    for name, value in constants._asdict().items():
        for factor in (0.95, 1.05):
            changed = constants._replace(**{name: factor * value})
            assert loss(changed) > best, (name, factor)
