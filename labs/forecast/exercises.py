"""Check figures: bytes, seconds, prices."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from helpers.lessons.exercises import checks
from helpers.memory import format_bytes
from labs.forecast.gpus import find_card
from labs.forecast.memory import forecast_memory
from labs.forecast.published import forecast_row, read_published_seconds
from labs.forecast.rates import read_constants

if TYPE_CHECKING:
    import pandas

    from helpers.timing import Measurement

NEAR = 0.25  # of the seconds that a call took
# Claimed for 50 steps in half precision at 512 x 512 pixels; an L4 takes three times as long.
IMPOSSIBLE = {"gpu": "L4", "seconds": 1.2, "source": "a claim that was passed on"}


@checks(dict, "settings in a dict")
def settings_that_fit(answer: dict[str, Any], model: str, batch_size: int, budget: float) -> str:
    """Does a batch of this size fit into the budget with these settings?

    Args:
        answer: settings of `forecast_memory`, such as {"dtype": "float16"}.
        model: what is to be drawn with.
        batch_size: how many images at once.
        budget: bytes.

    Example:
        >>> settings_that_fit({"dtype": "float32"}, "tiny-portraits", 4, budget=10**6)
        'Not yet: it takes ... MB, with 1.0 MB to fill. Most goes to the ...'
    """
    forecast = forecast_memory(model, batch_size=batch_size, **answer)
    if forecast.peak > budget:
        part = max(forecast.peaks, key=forecast.peaks.__getitem__)
        kind = "weights" if forecast.weights[part] > forecast.activations[part] else "activations"
        return (
            f"Not yet: it takes {format_bytes(forecast.peak)}, more than {format_bytes(budget)}. "
            f"Most goes to the {kind} of the {part}."
        )
    return f"Right: a batch of {batch_size} takes {format_bytes(forecast.peak)}."


@checks(int, "a batch size")
def largest_that_fits(answer: int, model: str, budget: float, **options: Any) -> str:
    """Is this the largest batch that fits into the budget?

    Args:
        answer: a batch size.
        model: what is to be drawn with.
        budget: bytes.
        options: those of `forecast_memory`.

    Example:
        >>> largest_that_fits(1, "tiny-portraits", budget=10**9)
        'Not yet: 1 fits, and so does 2.'
    """
    here, more = (
        forecast_memory(model, batch_size=size, **options).peak for size in (answer, answer + 1)
    )
    if here > budget:
        return f"Not yet: {answer} would take {format_bytes(here)}, not {format_bytes(budget)}."
    if more <= budget:
        return f"Not yet: {answer} fits, and so does {answer + 1}."
    return f"Right: {answer} takes {format_bytes(here)}, and {answer + 1} {format_bytes(more)}."


@checks(str, "a card's name")
def cheapest_in_time(answer: str, table: pandas.DataFrame, hours: float) -> str:
    """Is this the cheapest card that is done in time, at worst?

    Args:
        answer: a name in the table.
        table: what `what_will_it_take` returns, with prices.
        hours: how long there is.

    Example:
        >>> from labs.forecast import what_will_it_take
        >>> table = what_will_it_take("sd15-shape", 1000, {"T4": 1, "L4": 2}, batch_size=4)
        >>> cheapest_in_time("T4", table, hours=0.1)
        'Not yet: at worst the T4 takes ... hours, and there are 0.1.'
    """
    name = find_card(answer).name
    if name not in table.index:
        return f"Not yet: the table has no {name}, only {', '.join(table.index)}."
    row = table.loc[name]
    if row["fits"] != "surely":
        return f"Not yet: it does not surely fit on the {name}: {row['fits']}."
    if row["hours at worst"] > hours:
        takes = f"at worst the {name} takes {row['hours at worst']:.1f} hours"
        return f"Not yet: {takes}, and there are {hours:g}."
    in_time = table[(table["fits"] == "surely") & (table["hours at worst"] <= hours)]
    if row["at worst"] > in_time["at worst"].min():
        return f"Not yet: the {name} is done in time, and so is a cheaper card."
    worst = f"{row['hours at worst']:.1f} hours for {row['at worst']:.1f}"
    return f"Right: the {name} takes {worst} at worst, and no other in time costs less."


def claimed_times() -> pandas.DataFrame:
    """Three published times of a picture of 50 steps, and a claim that cannot be, as rows A to D.

    Example:
        >>> claimed_times().seconds.to_list()
        [2.7, 1.2, ..., 2.5]
    """
    import pandas

    alike = "batch_size == 1 and steps >= 50 and height == 512 and dtype == 'float16'"
    alike += " and attention == 'sdpa' and not compiled and timed == 'call'"
    rows = read_published_seconds().query(alike).drop_duplicates("gpu")
    rows = rows.set_index("gpu", drop=False)
    claim = rows.loc["V100-PCIE-16GB"].to_dict() | IMPOSSIBLE
    measured = rows.loc[["V100-PCIE-16GB", "A100-SXM4-80GB", "RTX 3090"]]
    four = [measured[:1], pandas.DataFrame([claim]), measured[1:]]
    return pandas.concat(four).set_axis(list("ABCD"))


@checks(str, "a row's name")
def impossible_figure(answer: str, figures: pandas.DataFrame) -> str:
    """Is this the published time that cannot be: less than half of the least that is forecast?

    Args:
        answer: a row's name in the figures.
        figures: what `claimed_times` returns.

    Example:
        >>> impossible_figure("A", claimed_times())
        'Not yet: A, ... s, is ... times the least that is forecast: that can be.'
    """
    row = figures.loc[answer]
    share = row["seconds"] / forecast_row(row.to_dict(), read_constants()["all"])[0]
    claim = f"{answer}, {row['seconds']:.3g} s, is {share:.2g} times the least that is forecast"
    return f"Right: {claim}." if share < 0.5 else f"Not yet: {claim}: that can be."


@checks(float, "seconds, such as 1.5,")
def predicted_seconds(answer: float, measurement: Measurement) -> str:
    """Is this within a quarter of what was measured?

    Args:
        answer: the seconds of the whole call.
        measurement: of that call.

    Example:
        >>> from helpers.timing import Measurement
        >>> predicted_seconds(2.0, Measurement("mine", [], 1.0, 0.1))
        'Not yet: 2.00 s is 100% more than the 1.00 s that it took.'
    """
    off = answer / measurement.seconds - 1
    way = "more" if off > 0 else "less"
    took = f"the {measurement.seconds:.2f} s that it took"
    said = f"{answer:.2f} s is {abs(off):.0%} {way} than {took}."
    return f"Right: {said}" if abs(off) <= NEAR else f"Not yet: {said}"
