"""The forecast of memory: how near it comes to what runs take, and what fits."""

import copy

import pytest
import torch
from calls import draw, set_up
from diffusers.pipelines.stable_diffusion import StableDiffusionSafetyChecker
from transformers import CLIPConfig, CLIPImageProcessor

from helpers import load_pipeline, peak_memory
from helpers.memory import bytes_of, tensors_of
from labs.forecast import forecast_memory, what_fits
from labs.forecast.gpus import CARDS

# The forecast, held to a real run


@pytest.mark.parametrize(
    "settings",
    [
        {},
        {"batch_size": 4, "dtype": "bfloat16"},
        {"batch_size": 8, "vae_slicing": True},
        {"batch_size": 2, "attention": "classic", "height": 256, "width": 256},
        {"batch_size": 2, "attention": "sliced", "height": 256, "width": 192},
        {"vae_tiling": True, "height": 256, "width": 256},
    ],
    ids=str,
)
def test_the_forecast_is_near_what_the_embedded_model_takes(settings):
    settings = {"batch_size": 1, "dtype": "float32"} | settings
    pipeline = load_pipeline(device="cpu", dtype=settings["dtype"])
    how = {"attention", "vae_slicing", "vae_tiling"} & settings.keys()
    set_up(pipeline, **{name: settings[name] for name in how})
    size = {name: settings[name] for name in {"height", "width"} & settings.keys()}
    peak = peak_memory(lambda: draw(pipeline, settings["batch_size"], **size), pipeline).bytes
    weights = bytes_of(tensors_of(pipeline.unet, pipeline.vae, pipeline.text_encoder))
    forecast = forecast_memory("tiny-portraits", **settings)
    assert forecast.weights == weights
    assert forecast.peak - weights == pytest.approx(peak - weights, rel=0.05)


@pytest.mark.skipif(not torch.cuda.is_available(), reason="there is no GPU")
@pytest.mark.parametrize("attention", ["sdpa", "classic", "sliced"])
@pytest.mark.parametrize("batch_size", [1, 4])
def test_the_forecast_is_near_cudas_own_figure(attention, batch_size):
    pipeline = set_up(load_pipeline("sd15-shape", device="cuda", dtype="float16"), attention)
    draw(pipeline, batch_size)  # workspaces are made once
    peak = peak_memory(lambda: draw(pipeline, batch_size), pipeline).bytes
    forecast = forecast_memory("sd15-shape", batch_size=batch_size, attention=attention)
    assert forecast.allocated == pytest.approx(peak, rel=0.1)
    least, _, most = forecast.reserved
    assert 0.9 * least <= torch.cuda.max_memory_reserved() <= 1.1 * most


# The forecast by itself


def test_the_hubs_model_is_forecast_by_its_shape_without_the_hub():
    hub, shape = (forecast_memory(name) for name in ("stable-diffusion-v1-5", "sd15-shape"))
    checker = 2 * 303_981_587  # parameters in float16
    assert hub.weights == pytest.approx(shape.weights + checker, rel=0.001)
    assert hub.activations.pop("safety check") > 0
    assert hub.activations == shape.activations
    assert "safety check" in forecast_memory("stable-diffusion-v1-5").activations


def test_a_safety_checker_counts(pipeline, tmp_path):
    sides = {"hidden_size": 32, "intermediate_size": 64, "num_attention_heads": 2}
    vision = sides | {"num_hidden_layers": 2, "patch_size": 16, "image_size": 64}
    checker = StableDiffusionSafetyChecker(CLIPConfig(vision_config=vision, projection_dim=16))
    with_checker = copy.copy(pipeline)
    with_checker.register_modules(
        safety_checker=checker, feature_extractor=CLIPImageProcessor(size=64, crop_size=64)
    )
    with_checker.save_pretrained(tmp_path)
    peak = peak_memory(lambda: draw(with_checker, 4), with_checker).bytes
    settings = {"batch_size": 4, "dtype": "float32"}
    whole, bare = (forecast_memory(name, **settings) for name in (tmp_path, "tiny-portraits"))
    assert whole.peak == pytest.approx(peak, rel=0.05)
    assert whole.weights - bare.weights == bytes_of(tensors_of(checker))


# What a GPU's process takes


def test_a_process_takes_more_than_its_tensors_and_is_forecast_as_a_range():
    forecast = forecast_memory("sd15-shape", batch_size=8)
    assert forecast.peak < forecast.allocated == forecast.reserved[0]
    assert forecast.reserved[0] < forecast.process[0] < forecast.process[1] < forecast.process[2]
    sliced = forecast_memory("sd15-shape", batch_size=8, vae_slicing=True)
    assert sliced.process[2] < 0.6 * forecast.process[2]


# What fits


@pytest.mark.parametrize("settings", [{}, {"attention": "classic", "vae_slicing": True}], ids=str)
def test_the_largest_batch_is_the_largest_that_is_forecast_to_fit(settings):
    gib = 1.0
    table = what_fits("tiny-portraits", gpus={"mine": gib}, **settings)
    for column, end in (("largest batch", 2), ("at most", 0)):
        size = int(table[column]["mine"])
        fits, fails = (
            forecast_memory("tiny-portraits", batch_size=batch, **settings).process[end]
            for batch in (size, size + 2 + size // 10)  # between the sizes that are forecast
        )
        assert size > 1
        assert 0.95 * fits <= gib * 2**30 < fails


def test_each_card_has_a_row_and_a_small_gpu_may_hold_nothing():
    table = what_fits("sd15-shape")
    assert set(table.index) == set(CARDS) and table["largest batch"].min() > 0
    assert what_fits("sd15-shape", gpus={"T4": 14.56, "tiny": 1.0})["largest batch"]["tiny"] == 0


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"gpus": ["T4"]}, r"gpus is \['T4'\]: use a dict, such as"),
        ({"gpus": {"mine": float("nan")}}, "gpus has nan for mine: use a number"),
        ({"gpus": {"mine": 0.5}}, "may take .*, and the largest GPU has .*: use a smaller"),
    ],
    ids=str,
)
def test_wrong_input_of_what_fits_gets_one_sentence(settings, message):
    with pytest.raises(ValueError, match=message):
        what_fits("tiny-portraits", **settings)
