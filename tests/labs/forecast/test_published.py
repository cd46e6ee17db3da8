"""How accurate the forecasts are: the bars that they must keep."""

import pytest

from labs.forecast.fit import loss, report, rows_to_fit
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


@pytest.fixture(scope="module")
def memory():
    return forecast_published_memory()


def test_seconds_at_batch_4_and_more_without_the_family(seconds):
    large = seconds[seconds.batch_size >= 4]
    families = ["Ada", "Ampere", "Hopper", "Turing", "Volta"]
    groups = [large, large[large.people == 1], *(large[large.family == name] for name in families)]
    assert [len(rows) > 10 for rows in groups] == 7 * [True]
    assert max(rows.error.abs().median() for rows in groups) <= 0.12
    assert min((rows.error.abs() <= 0.3).mean() for rows in groups[:2]) >= 0.9


def test_one_image_and_stable_diffusion_xl(seconds):
    single = seconds[seconds.batch_size == 1]
    assert len(single) > 200 and single.inside.mean() >= 0.8
    xl = seconds[seconds.model.str.startswith("SDXL") & (seconds.height == 1024)]
    assert len(xl) > 40 and xl.error.abs().median() <= 0.2


def test_memory_is_near_published_peaks_and_the_most_that_is_forecast_holds_them(memory):
    assert len(memory) > 130
    assert memory.error.abs().median() <= 0.1
    assert memory.error.min() >= -0.2
    rows = memory[memory.measure != "allocated"]
    assert (rows.mib / rows.most).max() < 1.1
    assert rows.inside.mean() >= 0.95


def test_the_readme_reports_these_errors(seconds, memory):
    assert report(seconds, memory) in (DATA.parent / "README.md").read_text(encoding="utf-8")


@pytest.mark.parametrize("left_out", ["", "Ampere", "Turing"])
def test_no_other_constants_fit_better(left_out):
    rows = read_published_seconds()
    rows = rows_to_fit(rows[rows.family != left_out])
    constants = read_constants()[f"without {left_out}" if left_out else "all"]
    least = loss(constants, rows)
    for name, value in constants._asdict().items():
        for factor in (0.95, 1.05):
            changed = constants._replace(**{name: factor * value})
            assert loss(changed, rows) > 0.999 * least, (name, factor)
