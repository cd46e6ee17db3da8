"""What many images take on each card, and whether a speed is normal."""

import re
from dataclasses import replace

import numpy as np
import pytest
import torch
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
    assert take(gpus="T4", batch_size=16)["fits"]["T4"] == "perhaps"


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"images": "1000"}, "images is '1000': use a whole number"),
        ({"price_per_hour": {"T4": "cheap"}}, "price_per_hour has 'cheap': use numbers"),
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


def measurement(seconds, batch=1, device="Tesla T4", size=(512, 512), steps=20):
    images = [Image.new("RGB", size)] * batch
    return Measurement("mine", images, seconds, 0.0, num_inference_steps=steps, device=device)


def test_a_speed_is_compared_with_those_of_others_at_the_nearest_batch():
    slow, fast = (is_this_normal(measurement(seconds, 5)) for seconds in (100.0, 1.0))
    assert re.search(r"1.0 image-steps .* on T4: slower than (\d+) of \1 .* batch of 4", slow)
    assert re.search(r"faster than (\d+) of \1 published times for a batch of 4", fast)
    for size in ((640, 512), (512, 640)):
        assert "nobody has published a time" in is_this_normal(measurement(9.0, size=size))


def test_the_size_of_arrays_is_not_guessed():
    arrays = replace(measurement(9.0), images=[np.zeros((512, 512, 3))])
    with pytest.raises(ValueError, match="size is unknown: measure a call that returns PIL"):
        is_this_normal(arrays)


def test_bfloat16_is_compared_with_float16():
    a100 = measurement(9.0, 4, "NVIDIA A100-SXM4-40GB")
    for dtype in ("bfloat16", "torch.float16", torch.float16):
        assert is_this_normal(a100, dtype=dtype) == is_this_normal(a100)


@pytest.mark.parametrize(
    ("change", "model", "message"),
    [
        ({"steps": None}, "sd15-shape", "no number of steps: use measure"),
        ({"device": "x86_64 (CPU, 2 threads)"}, "sd15-shape", "in the table of GPUs"),
        ({}, "sd15", "under 'sd15': give a name of MODELS"),
    ],
    ids=str,
)
def test_what_cannot_be_compared(change, model, message):
    with pytest.raises(ValueError, match=message):
        is_this_normal(measurement(4.0, **change), model)
