"""The forecast of memory: how near it comes to what runs take, and what fits."""

from dataclasses import replace

import pytest
import torch
from calls import generate, set_up

from helpers import load_pipeline, peak_memory
from helpers.memory import bytes_of, tensors_of
from labs.forecast import forecast_memory, what_fits
from labs.forecast.gpus import CARDS


@pytest.mark.parametrize(
    "settings",
    [
        {},
        {"batch_size": 4, "dtype": "bfloat16"},
        {"batch_size": 8, "vae_slicing": True},
        {"batch_size": 2, "attention": "classic", "height": 256, "width": 256},
        {"batch_size": 2, "attention": "sliced", "height": 256, "width": 192},
    ],
    ids=str,
)
def test_the_forecast_is_near_what_the_embedded_model_takes(settings):
    settings = {"batch_size": 1, "dtype": "float32"} | settings
    pipeline = load_pipeline(device="cpu", dtype=settings["dtype"])
    how = {"attention", "vae_slicing"} & settings.keys()
    set_up(pipeline, **{name: settings[name] for name in how})
    size = {name: settings[name] for name in {"height", "width"} & settings.keys()}
    peak = peak_memory(lambda: generate(pipeline, settings["batch_size"], **size), pipeline).bytes
    weights = bytes_of(tensors_of(pipeline.unet, pipeline.vae, pipeline.text_encoder))
    forecast = forecast_memory("tiny-portraits", **settings)
    assert forecast.weights == weights
    assert forecast.peak - weights == pytest.approx(peak - weights, rel=0.05)


@pytest.mark.skipif(not torch.cuda.is_available(), reason="there is no GPU")
@pytest.mark.parametrize("attention", ["sdpa", "classic", "sliced"])
@pytest.mark.parametrize("batch_size", [1, 4])
def test_the_forecast_is_near_cudas_own_figure(attention, batch_size):
    pipeline = set_up(load_pipeline("sd15-shape", device="cuda", dtype="float16"), attention)
    generate(pipeline, batch_size)  # workspaces are made once
    peak = peak_memory(lambda: generate(pipeline, batch_size), pipeline).bytes
    forecast = forecast_memory("sd15-shape", batch_size=batch_size, attention=attention)
    assert forecast.allocated == pytest.approx(peak, rel=0.1)
    least, _, most = forecast.reserved
    assert 0.9 * least <= torch.cuda.max_memory_reserved() <= 1.1 * most


def test_the_hubs_model_is_forecast_by_its_shape_without_the_hub():
    hub, shape = (forecast_memory(name) for name in ("stable-diffusion-v1-5", "sd15-shape"))
    checker = 2 * 303_981_587  # parameters in float16
    assert hub.weights == pytest.approx(shape.weights + checker, rel=0.001)
    assert hub.activations.keys() == {*shape.activations, "safety check"}


def test_a_process_takes_more_than_its_tensors_and_less_with_slicing():
    forecast = forecast_memory("sd15-shape", batch_size=8)
    least, likely, most = forecast.process
    assert forecast.peak < forecast.allocated < least < likely < most
    sliced = forecast_memory("sd15-shape", batch_size=8, vae_slicing=True)
    assert sliced.process[2] < 0.6 * most


@pytest.mark.parametrize("settings", [{}, {"attention": "classic", "vae_slicing": True}], ids=str)
def test_the_largest_batch_is_the_largest_that_is_forecast_to_fit(settings):
    row = what_fits("sd15-shape", **settings).loc["T4"]
    for column, end in (("largest batch", 2), ("at most", 0)):
        size = int(row[column])
        fits, fails = (
            forecast_memory("sd15-shape", batch_size=batch, **settings).process[end]
            for batch in (size, size + 2 + size // 10)  # between the sizes that are forecast
        )
        assert 0.95 * fits <= CARDS["T4"].memory_gib * 2**30 < fails


def test_a_card_without_tensor_cores_keeps_all_scores_in_memory():
    default, classic = (what_fits("sd15-shape", attention=kind) for kind in ("sdpa", "classic"))
    same = (default == classic).all(axis="columns")
    assert same["GTX 1070"] and not same["T4"]


def test_a_card_may_hold_nothing(monkeypatch):
    likely = forecast_memory("sd15-shape").process[1] / 2**30
    monkeypatch.setitem(CARDS, "small", replace(CARDS["T4"], memory_gib=likely))
    row = what_fits("sd15-shape").loc["small"]
    assert row["largest batch"] == 0 < row["at most"]
