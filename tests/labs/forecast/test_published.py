"""How accurate the forecasts are: the bars that they must keep."""

import pytest

from labs.forecast.fit import README, loss, replace_report, report, rows_to_fit
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


@pytest.mark.parametrize("crowd", [False, True])
def test_seconds_at_batch_4_and_more_without_the_family(seconds, crowd):
    rows = seconds[(seconds.batch_size >= 4) & ((seconds.people == 1) | crowd)]
    assert len(rows) > 300
    assert rows.error.abs().median() <= 0.12
    assert (rows.error.abs() <= 0.3).mean() >= 0.9


@pytest.mark.parametrize("family", ["Ada", "Ampere", "Hopper", "Turing", "Volta"])
def test_each_family_is_forecast_without_itself(seconds, family):
    rows = seconds[(seconds.batch_size >= 4) & (seconds.family == family)]
    assert len(rows) > 10
    assert rows.error.abs().median() <= 0.12


def test_the_range_contains_most_times_at_batch_1(seconds):
    rows = seconds[seconds.batch_size == 1]
    assert len(rows) > 200
    assert rows.inside.mean() >= 0.8


def test_stable_diffusion_xl(seconds):
    rows = seconds[seconds.model.str.startswith("SDXL") & (seconds.height == 1024)]
    assert len(rows) > 40
    assert rows.error.abs().median() <= 0.2


def test_memory_is_near_published_peaks_and_never_far_below(memory):
    assert len(memory) > 130
    assert memory.error.abs().median() <= 0.1
    assert memory.error.min() >= -0.2


def test_the_most_that_is_forecast_holds_published_peaks(memory):
    rows = memory[memory.measure != "allocated"]
    assert (rows.mib / rows.most).max() < 1.1
    assert rows.inside.mean() >= 0.95


def test_the_readme_reports_these_errors(seconds, memory):
    text = README.read_text(encoding="utf-8")
    assert text == replace_report(text, report(seconds, memory))


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
