"""The forecasts, held against what others measured: the bars that they must keep."""

import pytest

from labs.forecast.published import forecast_published_memory, forecast_published_seconds
from labs.forecast.rates import read_constants
from tools.fit_forecast import REPORT, fit, report, to_fit


@pytest.fixture(scope="module")
def seconds():
    """Each time forecast by constants that were fitted without its family of cards."""
    return forecast_published_seconds()


@pytest.fixture(scope="module")
def memory():
    return forecast_published_memory()


def in_range(rows, published):
    return ((rows.least <= published) & (published <= rows.most)).mean()


@pytest.mark.parametrize("crowd", [False, True])
def test_seconds_at_batch_4_and_more_with_the_family_left_out(seconds, crowd):
    rows = seconds[(seconds.batch_size >= 4) & ((seconds.people == 1) | crowd)]
    assert len(rows) > 300
    assert rows.error.abs().median() <= 0.12
    assert (rows.error.abs() <= 0.3).mean() >= 0.9


@pytest.mark.parametrize("family", ["Ada", "Ampere", "Hopper", "Turing", "Volta"])
def test_no_family_is_off_as_a_whole(seconds, family):
    rows = seconds[(seconds.batch_size >= 4) & (seconds.family == family)]
    assert len(rows) > 10
    assert rows.error.abs().median() <= 0.12


def test_the_range_holds_what_batch_1_took(seconds):
    rows = seconds[seconds.batch_size == 1]
    assert len(rows) > 200
    assert in_range(rows, rows.seconds) >= 0.8


def test_stable_diffusion_xl(seconds):
    rows = seconds[seconds.model.str.startswith("SDXL") & (seconds.height == 1024)]
    assert len(rows) > 40
    assert rows.error.abs().median() <= 0.2


def test_memory_is_near_published_peaks_and_never_far_below(memory):
    assert len(memory) > 130
    assert memory.error.abs().median() <= 0.1
    assert memory.error.min() >= -0.2


def test_the_careful_end_holds_what_others_took(memory):
    rows = memory[memory.measure != "allocated"]
    assert (rows.mib <= rows.most).mean() >= 0.95
    assert (rows.mib / rows.most).max() < 1.1
    assert in_range(rows, rows.mib) >= 0.95


def test_ranges_have_an_order(seconds, memory):
    for rows in (seconds, memory):
        assert ((rows.least <= rows.forecast) & (rows.forecast <= rows.most)).all()


def test_what_is_written_down_is_what_comes_out(seconds, memory):
    by_card = forecast_published_seconds(left_out="gpu")
    assert REPORT.read_text(encoding="utf-8") == report(seconds, by_card, memory)


def test_the_constants_are_those_that_fit_best(seconds):
    rows = seconds[seconds.family != "Ampere"]
    again = fit(to_fit(rows))
    assert again == pytest.approx(read_constants()["without Ampere"], rel=0.02)
