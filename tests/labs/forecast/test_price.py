"""What many images take on each card, and whether a speed is normal."""

import pytest
from PIL import Image

from helpers.timing import Measurement
from labs.forecast import forecast_memory, forecast_seconds, is_this_normal, what_will_it_take
from labs.forecast.gpus import CARDS
from labs.forecast.plots import describe_prices, plot_prices

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


def test_without_prices_all_cards_are_listed_the_fastest_first():
    table = what_will_it_take("sd15-shape", batch_size=1)
    assert set(table.index) == set(CARDS)
    assert "price" not in table and table["hours"].dropna().is_monotonic_increasing


def test_the_largest_batch_that_surely_fits_is_taken():
    table = take(gpus=["T4", "RTX 2060"])
    for name, batch in table["batch"].items():
        memory = CARDS[name].memory_gib * 2**30
        sizes = (1, 2, 4, 8, 16)
        takes = {size: forecast_memory("sd15-shape", batch_size=size).process for size in sizes}
        assert batch == max(size for size, (_, _, most) in takes.items() if most <= memory)
        assert table["fits"][name] == "surely"
    assert table["batch"]["RTX 2060"] < table["batch"]["T4"]
    assert table["price"].isna()["RTX 2060"]  # nobody gave one


def test_a_card_that_is_too_small_or_lacks_the_dtype_is_marked():
    table = take(gpus=["GTX 1070", "T4"], batch_size=64, price_per_hour=None)
    assert table["fits"]["GTX 1070"] == "too little memory"
    table = take(dtype="bfloat16", batch_size=1)
    assert list(table["fits"].sort_index()) == ["surely", "surely", "no bfloat16"]
    nothing = what_will_it_take("sdxl-shape", 10, {"RTX 2060": 1}, batch_size=64)
    assert list(nothing["fits"]) == ["too little memory"] and nothing["price"].isna().all()
    with pytest.raises(ValueError, match="No card holds even one image"):
        plot_prices(nothing)


def test_vae_slicing_makes_a_batch_fit():
    fits = [take(gpus=["T4"], batch_size=16, vae_slicing=on)["fits"]["T4"] for on in (False, True)]
    assert fits == ["perhaps", "surely"]


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"images": "1000"}, "images is '1000': use a whole number"),
        ({"price_per_hour": {"T4": -1}}, "price_per_hour has -1 for T4: use a number"),
        ({"price_per_hour": {"T4": "0.5"}}, "price_per_hour has '0.5' for T4: use a number"),
        ({"gpus": ["T5"]}, "no 'T5' in the table of GPUs"),
        ({"gpus": "T4"}, r"gpus is 'T4': use a list, such as \['T4'\]"),
    ],
    ids=str,
)
def test_wrong_input_gets_one_sentence(settings, message):
    with pytest.raises(ValueError, match=message):
        take(**{"batch_size": 1, **settings})


def test_every_card_is_a_labelled_point_and_has_a_price():
    table = take(batch_size=4)
    (axes,) = plot_prices(table).axes
    assert {text.get_text() for text in axes.texts} == set(table.index)
    assert all(f"{name} " in describe_prices(table) for name in table.index)
    with pytest.raises(ValueError, match=r"no prices to plot: use what_will_it_take\("):
        plot_prices(take(price_per_hour=None, gpus=["T4"], batch_size=1))


# Is my speed normal?


def measurement(seconds, batch=1, device="Tesla T4", size=512, steps=20):
    images = [Image.new("RGB", (size, size))] * batch
    return Measurement("mine", images, seconds, 0.0, num_inference_steps=steps, device=device)


def test_a_speed_is_compared_with_those_of_others():
    slow, fast = (is_this_normal(measurement(seconds, 4)) for seconds in (100.0, 1.0))
    assert "0.8 image-steps per second on T4: slower than" in slow
    count = slow.split("slower than ")[1].split(" of ")[0]
    assert f"slower than {count} of {count} published times for a batch of 4" in slow
    assert f"faster than {count} of {count} published times for a batch of 4" in fast
    assert "processor" not in slow


def test_the_nearest_batch_is_named_and_bfloat16_is_as_fast_as_float16():
    a100 = measurement(9.0, 5, "NVIDIA A100-SXM4-40GB")
    assert "published times for a batch of 4" in is_this_normal(
        a100, "sd15-shape", dtype="bfloat16"
    )


def test_a_size_that_nobody_published():
    assert "nobody has published a time" in is_this_normal(measurement(9.0, size=640))


@pytest.mark.parametrize(
    ("change", "model", "message"),
    [
        ({"steps": None}, "sd15-shape", "has no number of steps: use measure"),
        ({"device": "x86_64 (CPU, 2 threads)"}, "sd15-shape", "in the table of GPUs"),
        ({}, "sd15", "'sd15' is no name of MODELS"),
    ],
    ids=str,
)
def test_what_cannot_be_compared(change, model, message):
    with pytest.raises(ValueError, match=message):
        is_this_normal(measurement(4.0, **change), model)
