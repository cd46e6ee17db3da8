"""The forecast of memory: how near it comes to what runs take, and what fits."""

import copy
from pathlib import Path

import pytest
import torch
from calls import draw, set_up
from diffusers.pipelines.stable_diffusion import StableDiffusionSafetyChecker
from transformers import CLIPConfig, CLIPImageProcessor

from helpers import load_pipeline, peak_memory
from helpers.memory import bytes_of, tensors_of
from labs.forecast import GPUS, Forecast, forecast_memory, what_fits

ROOT = Path(__file__).parents[3]


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


# The forecast by itself


def test_the_hubs_model_is_forecast_by_its_shape_without_the_hub():
    hub, shape = (forecast_memory(name) for name in ("stable-diffusion-v1-5", "sd15-shape"))
    checker = 2 * 303_981_587  # parameters in float16
    assert hub.weights == pytest.approx(shape.weights + checker, rel=0.001)
    assert hub.activations.pop("safety check") > 0
    assert hub.activations == shape.activations
    assert "safety check" in forecast_memory("stable-diffusion-v1-5").activations


def make_safety_checker():
    sides = {"hidden_size": 32, "intermediate_size": 64, "num_attention_heads": 2}
    vision = sides | {"num_hidden_layers": 2, "patch_size": 16, "image_size": 64}
    return StableDiffusionSafetyChecker(CLIPConfig(vision_config=vision, projection_dim=16))


def test_a_safety_checker_counts(pipeline, tmp_path):
    checker = make_safety_checker()
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


def test_a_folder_and_a_torch_dtype_are_taken():
    folder = ROOT / "models" / "tiny-portraits"
    by_folder = forecast_memory(folder, dtype=torch.bfloat16)
    assert by_folder.peak == forecast_memory("tiny-portraits", dtype="bfloat16").peak


def test_attention_costs_what_its_scores_take():
    classic, sliced, sdpa = (
        forecast_memory("sd15-shape", attention=attention).activations["UNet step"]
        for attention in ("classic", "sliced", "sdpa")
    )
    scores = 2 * 8 * 4096**2 * 2  # images with guidance, heads, tokens squared, bytes of float16
    assert classic > 2 * scores > sliced > sdpa


def test_slicing_decodes_one_image_at_a_time_and_tiling_a_part_of_it():
    one = forecast_memory("tiny-portraits").activations["VAE decode"]
    four = forecast_memory("tiny-portraits", batch_size=4).activations["VAE decode"]
    sliced = forecast_memory("tiny-portraits", batch_size=4, vae_slicing=True)
    assert one < sliced.activations["VAE decode"] < four / 2
    large = {"height": 256, "width": 256}
    whole = forecast_memory("tiny-portraits", **large).activations["VAE decode"]
    tiled = forecast_memory("tiny-portraits", **large, vae_tiling=True)
    assert one < tiled.activations["VAE decode"] < whole / 2


def test_a_forecast_shows_as_a_table_and_reads_as_a_sentence():
    forecast = Forecast("<mine>", 2 * 10**9, {"UNet step": 10**9, "b": 10**8})
    assert forecast.peak == 3 * 10**9
    assert str(forecast).startswith("<mine>: at most 3.00 GB of tensors, in the UNet step; the")
    table = forecast.table()
    assert list(table) == ["weights (GB)", "activations (GB)", "peak (GB)"]
    assert list(table.loc["b"]) == [2, 0.1, 2.1]
    assert "UNet step" in forecast._repr_html_() and "<mine>" not in forecast._repr_html_()


def test_settings_are_named_in_the_label():
    settings = {"vae_slicing": True, "vae_tiling": True, "width": 64}
    forecast = forecast_memory("tiny-portraits", batch_size=2, **settings)
    for part in ("tiny-portraits", "batch of 2", "64 x 128", "float16", "sdpa", "VAE slicing"):
        assert part in forecast.label
    assert "VAE tiling" in forecast.label


BAD_SETTINGS = [
    ({"batch_size": 0}, "batch_size is 0: use a whole number, at least 1"),
    ({"batch_size": "4"}, "batch_size is '4': use a whole number"),
    ({"batch_size": True}, "batch_size is True: use a whole number"),
    ({"height": -64}, "height is -64: use a multiple of 8, at least 8"),
    ({"height": "512"}, "height is '512': use a multiple of 8"),
    ({"width": 100}, "width is 100: use a multiple of 8"),
    ({"attention": "flash"}, "attention is 'flash': use one of sdpa, classic, sliced"),
    ({"dtype": "half"}, "'half' cannot be forecast: use float32, bfloat16, float16"),
    ({"dtype": torch.int8}, "torch.int8 cannot be forecast"),
    ({"model": "sd15"}, "no Stable Diffusion 1.x or XL under 'sd15': give a name of MODELS"),
    ({"model": ROOT / "models"}, "no Stable Diffusion 1.x or XL under"),
    ({"model": ROOT / "models" / "tiny-judge"}, "no Stable Diffusion 1.x or XL under"),
]


@pytest.mark.parametrize(("settings", "message"), BAD_SETTINGS, ids=lambda value: str(value)[:30])
def test_a_setting_that_cannot_be_forecast(settings, message):
    with pytest.raises(ValueError, match=message):
        forecast_memory(**{"model": "tiny-portraits", **settings})


# What a GPU's process takes


def test_a_process_takes_more_than_its_tensors_and_is_forecast_as_a_range():
    forecast = forecast_memory("sd15-shape", batch_size=8)
    assert forecast.peak < forecast.allocated == forecast.reserved[0]
    for reserved, process in zip(forecast.reserved, forecast.process, strict=True):
        assert 0.2e9 < process - reserved < 1e9
    least, _, most = forecast.process
    assert least < forecast.process[1] < most
    sliced = forecast_memory("sd15-shape", batch_size=8, vae_slicing=True)
    assert sliced.process[2] < 0.6 * most


@pytest.mark.skipif(not torch.cuda.is_available(), reason="there is no GPU")
@pytest.mark.parametrize("batch_size", [1, 8])
def test_the_range_holds_what_cuda_reserves(batch_size):
    pipeline = load_pipeline("sd15-shape", device="cuda", dtype="float16")
    torch.cuda.empty_cache()
    torch.cuda.reset_peak_memory_stats()
    draw(pipeline, batch_size)
    least, _, most = forecast_memory("sd15-shape", batch_size=batch_size).reserved
    assert 0.9 * least <= torch.cuda.max_memory_reserved() <= 1.1 * most


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


def test_each_gpu_has_a_row_and_a_small_one_may_hold_nothing():
    table = what_fits("sd15-shape", gpus={**GPUS, "tiny": 1.0})
    assert list(table.index) == [*GPUS, "tiny"]
    assert table["largest batch"]["tiny"] == 0
    assert table["largest batch"].drop("tiny").min() > 0
    assert table["memory (GB)"]["tiny"] == 2**30 / 1e9
    by_memory = table.sort_values("memory (GB)")
    assert by_memory["largest batch"].is_monotonic_increasing


def test_a_budget_below_one_image():
    with pytest.raises(
        ValueError, match=r"One image may take .* GB, and the largest GPU has .*: use a smaller"
    ):
        what_fits("sd15-shape", gpus={"mine": 2.0})


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"gpus": ["T4"]}, r"gpus is \['T4'\]: use a dict, such as"),
        ({"gpus": {}}, r"gpus is \{\}: use a dict"),
        ({"gpus": {"mine": "8"}}, "gpus has '8' for mine: use a number"),
        ({"gpus": {"mine": float("nan")}}, "gpus has nan for mine: use a number"),
    ],
    ids=str,
)
def test_wrong_input_of_what_fits_gets_one_sentence(settings, message):
    with pytest.raises(ValueError, match=message):
        what_fits("tiny-portraits", **settings)
