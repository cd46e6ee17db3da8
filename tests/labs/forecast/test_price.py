"""What a pile of pictures takes on each card, and whether a speed is normal."""

import pytest
from PIL import Image

from helpers.timing import Measurement
from labs.forecast import forecast_memory, forecast_seconds, is_this_normal, what_will_it_take
from labs.forecast.gpus import CARDS
from labs.forecast.price import describe_prices, plot_prices

PRICES = {"T4": 0.5, "L4": 0.8, "A100": 2.0}  # made up for the test


def take(**settings):
    return what_will_it_take("sd15-shape", **{"price_per_hour": PRICES, **settings})


def test_hours_and_price_follow_from_the_seconds():
    table = take(images=1800, batch_size=4)
    seconds = forecast_seconds("sd15-shape", "T4", batch_size=4).seconds_per_image
    row = table.loc["T4"]
    assert row["hours"] == pytest.approx(seconds[1] / 2)
    assert row["hours at best"] == pytest.approx(seconds[0] / 2)
    assert row["price"] == pytest.approx(0.5 * row["hours"])
    assert row["at worst"] == pytest.approx(0.5 * row["hours at worst"])
    assert list(table["price"]) == sorted(table["price"])


def test_without_prices_there_are_all_cards_the_fastest_first_and_no_price():
    table = what_will_it_take("sd15-shape", batch_size=1)
    assert set(table.index) == set(CARDS)
    assert "price" not in table and table["hours"].dropna().is_monotonic_increasing


def test_the_largest_batch_that_surely_fits_is_taken():
    table = take(gpus=["T4", "RTX 2060"])
    for name, batch in table["batch"].items():
        takes = {one: forecast_memory("sd15-shape", batch_size=one).process for one in (1, 2, 4, 8)}
        fits = [one for one, (_, _, most) in takes.items() if most <= CARDS[name].memory]
        assert batch >= max(fits) and table["fits"][name] == "surely"
    assert table["batch"]["RTX 2060"] < table["batch"]["T4"]
    assert table["price"].isna()["RTX 2060"]  # nobody gave one


def test_a_card_that_is_too_small_or_lacks_the_dtype_says_so():
    table = take(gpus=["GTX 1070", "T4"], batch_size=64, price_per_hour=None)
    assert table["fits"]["GTX 1070"] == "too little memory"
    assert list(take(dtype="bfloat16")["fits"].sort_index()) == ["surely", "surely", "no bfloat16"]
    nothing = what_will_it_take("sdxl-shape", 10, {"RTX 2060": 1}, batch_size=64)
    assert list(nothing["fits"]) == ["too little memory"] and nothing["price"].isna().all()
    with pytest.raises(ValueError, match="No card holds even one image"):
        plot_prices(nothing)


def test_memory_settings_are_taken_too():
    whole, sliced = (take(vae_slicing=on, gpus=["T4"])["batch"]["T4"] for on in (False, True))
    assert sliced >= whole


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"images": 0}, "0 images take nothing: ask for at least 1"),
        ({"price_per_hour": {"T4": -1}}, "-1 is no price: give what an hour on T4 costs"),
        ({"price_per_hour": {"T5": 1}}, "no 'T5' in the table of GPUs"),
        ({"gpus": ["T5"]}, "no 'T5' in the table of GPUs"),
        ({"batch_size": 0}, "batch of 0 draws nothing"),
        ({"dtype": "half"}, "'half' is not a dtype to forecast"),
        ({"height": 100}, "height of 100 cannot be drawn"),
    ],
    ids=str,
)
def test_what_cannot_be_told(settings, message):
    with pytest.raises(ValueError, match=message):
        take(**settings)


def test_every_card_is_a_labelled_point():
    table = take(batch_size=4)
    figure = plot_prices(table)
    (axes,) = figure.axes
    assert {text.get_text() for text in axes.texts} == set(table.index)
    assert "hours" in axes.get_xlabel() and "price" in axes.get_ylabel()
    assert all(f"{name} " in describe_prices(table) for name in table.index)


def test_a_plot_needs_prices():
    with pytest.raises(ValueError, match=r"no prices to draw: give what_will_it_take\("):
        plot_prices(take(price_per_hour=None, gpus=["T4"], batch_size=1))


# Is my speed normal?


def measurement(seconds, batch=1, device="Tesla T4", size=512, steps=20):
    images = [Image.new("RGB", (size, size))] * batch
    return Measurement("mine", images, seconds, 0.0, num_inference_steps=steps, device=device)


def test_a_speed_stands_among_those_of_others():
    slow, fast = (is_this_normal(measurement(seconds, 4)) for seconds in (100.0, 1.0))
    assert "0.8 image-steps a second on T4: slower than" in slow
    numbers = slow.split("slower than ")[1].split(" published")[0].split(" of ")
    assert numbers[0] == numbers[1]
    assert f"faster than {numbers[1]} of {numbers[1]} published figures for a batch of 4" in fast
    assert "processor" not in slow


def test_a_batch_of_one_depends_on_the_processor():
    words = is_this_normal(measurement(4.0))
    assert "for a batch of 1" in words and words.endswith("depends on the processor, too.")


def test_the_nearest_batch_is_named_and_bfloat16_is_as_fast_as_float16():
    words = is_this_normal(
        measurement(9.0, 5, "NVIDIA A100-SXM4-40GB"), "sd15-shape", dtype="bfloat16"
    )
    assert "published figures for a batch of 4" in words


def test_a_size_that_nobody_published():
    assert "nobody has published a figure" in is_this_normal(measurement(9.0, size=640))


@pytest.mark.parametrize(
    ("change", "model", "message"),
    [
        ({"steps": None}, "sd15-shape", r"does not tell its steps: measure it with"),
        ({"device": "x86_64 (CPU, 2 threads)"}, "sd15-shape", "in the table of GPUs"),
        ({}, "sd15", "'sd15' is no name of MODELS"),
    ],
    ids=str,
)
def test_what_cannot_be_compared(change, model, message):
    with pytest.raises(ValueError, match=message):
        is_this_normal(measurement(4.0, **change), model)
