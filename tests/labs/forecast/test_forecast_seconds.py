"""The forecast of seconds: what it follows from, and what it refuses."""

from dataclasses import replace

import pytest
import torch

from labs.forecast import forecast_seconds, measure_machine
from labs.forecast.gpus import CARDS
from labs.forecast.operations import KINDS, operations_of
from labs.forecast.rates import rates_of
from labs.forecast.seconds import SecondsForecast


def likely(gpu="T4", model="sd15-shape", **settings):
    return forecast_seconds(model, gpu, **settings).seconds[1]


# Operations


def test_the_operations_of_stable_diffusion_1_5_are_those_that_are_published():
    unet = operations_of("sd15-shape", attention="classic")["UNet step"]
    assert unet.total("flops") == pytest.approx(0.8e12, rel=0.02)
    assert unet.total("weights") == pytest.approx(859.5e6, rel=0.01)


def test_fused_attention_computes_the_same_and_moves_less():
    fused, classic = (
        operations_of("sd15-shape", attention=attention)["UNet step"]
        for attention in ("sdpa", "classic")
    )
    assert fused.total("flops") == pytest.approx(classic.total("flops"), rel=0.001)
    assert fused.total("moved") < classic.total("moved")
    assert fused.total("weights") == classic.total("weights")


@pytest.mark.parametrize(
    ("kind", "least", "most"),
    [("convolution", 3.9, 4.1), ("matrix product", 3.5, 4.1), ("attention", 10, 16)],
)
def test_four_times_the_pixels_are_four_times_the_work_but_for_attention(kind, least, most):
    small, large = (
        operations_of("sd15-shape", height=size, width=size)["UNet step"] for size in (256, 512)
    )
    flops = [
        (unet.times * unet.flops)[unet.kind == KINDS.index(kind)].sum() for unet in (small, large)
    ]
    assert least < flops[1] / flops[0] < most


def test_a_changed_folder_is_read_again(tmp_path):
    from shutil import copytree

    from helpers import MODELS_FOLDER

    folder = copytree(MODELS_FOLDER / "sd15-shape", tmp_path / "model")
    before = operations_of(folder, height=64, width=64)["UNet step"].total("weights")
    config = folder / "unet/config.json"
    text = config.read_text(encoding="utf-8")
    assert '"layers_per_block": 2' in text
    config.write_text(text.replace('"layers_per_block": 2', '"layers_per_block": 1'), "utf-8")
    assert operations_of(folder, height=64, width=64)["UNet step"].total("weights") < before


# What a forecast follows from


def test_steps_are_counted_and_the_rest_is_once():
    ten, twenty = (
        forecast_seconds("sd15-shape", "T4", num_inference_steps=steps) for steps in (10, 20)
    )
    assert twenty.seconds[1] - ten.seconds[1] == pytest.approx(10 * ten.parts["UNet step"][1])


def test_a_better_card_is_faster_where_there_is_work():
    assert likely("H100", batch_size=8) < likely("T4", batch_size=8) / 5


def test_each_saving_saves():
    whole = likely(batch_size=4)
    assert likely(batch_size=4, guidance=False) < 0.6 * whole
    assert likely(batch_size=4, compiled=True) < whole
    assert likely(batch_size=4, channels_last=True) < whole
    assert likely(batch_size=4, dtype="float32") > 2 * whole
    assert likely(batch_size=4, attention="classic") > whole
    a100 = {"gpu": "A100", "batch_size": 4, "dtype": "float32"}
    assert likely(**a100, tf32=True) < likely(**a100)


def test_the_processor_decides_only_on_a_fast_card():
    assert forecast_seconds("sd15-shape", "H100").limits["UNet step"]["launches"] > 0.3
    assert forecast_seconds("sd15-shape", "T4").limits["UNet step"]["launches"] < 0.05


def test_bfloat16_is_as_fast_as_float16_where_it_is_not_emulated():
    assert likely("A100", dtype="bfloat16") == likely("A100", dtype=torch.float16)


def test_a_card_without_tensor_cores_gains_little_from_half_precision():
    assert likely("P100", batch_size=4) > 0.5 * likely("P100", batch_size=4, dtype="float32")


def test_a_power_limit_slows_a_card_down():
    t4 = CARDS["T4"]
    limited = rates_of(t4, "float16").convolution
    unlimited = rates_of(replace(t4, watts=float("inf")), "float16").convolution
    assert 0.3 * unlimited < limited < 0.9 * unlimited


def test_the_vae_of_stable_diffusion_xl_runs_in_float32_instead_of_float16():
    float16, bfloat16 = (
        forecast_seconds("sdxl-shape", "A100", dtype=dtype) for dtype in ("float16", "bfloat16")
    )
    assert float16.parts["VAE decode"][1] > 2 * bfloat16.parts["VAE decode"][1]
    assert float16.parts["UNet step"] == bfloat16.parts["UNet step"]


def test_the_hubs_model_is_forecast_without_the_hub():
    hub = forecast_seconds("stable-diffusion-v1-5", "T4")
    assert set(hub.parts) == {*forecast_seconds("sd15-shape", "T4").parts, "safety check"}


def test_a_forecast_is_shown_as_a_table_and_printed_as_a_sentence():
    parts = {"UNet step": (1.0, 2.0, 3.0), "the rest": (0.5, 0.5, 0.5)}
    limits = {"UNet step": {"arithmetic": 1.0, "memory": 0.0, "launches": 0.0}}
    forecast = SecondsForecast("<mine>", 2, parts, {"UNet step": 10, "the rest": 1}, limits)
    assert forecast.seconds == (10.5, 20.5, 30.5)
    assert str(forecast) == "<mine>: 10.25 s per image, between 5.25 and 15.25"
    assert forecast.table().loc["UNet step", "seconds"] == 20
    assert "UNet step" in forecast._repr_html_() and "<mine>" not in forecast._repr_html_()


# What it refuses

BAD_SETTINGS = [
    ({"gpu": "RTX 4900"}, "no 'RTX 4900' in the table of GPUs"),
    ({"gpu": ["T4"]}, r"no \['T4'\] in the table of GPUs"),
    ({"model": "sd15"}, "no Stable Diffusion 1.x or XL under 'sd15': give a name of MODELS"),
    ({"model": 15}, "no Stable Diffusion 1.x or XL under '15'"),
    ({"batch_size": 0}, "batch_size is 0: use a whole number, at least 1"),
    ({"batch_size": 1.5}, "batch_size is 1.5: use a whole number"),
    ({"num_inference_steps": 0}, "num_inference_steps is 0: use a whole number"),
    ({"num_inference_steps": "20"}, "num_inference_steps is '20': use a whole number"),
    ({"height": 100}, "height is 100: use a multiple of 8"),
    ({"width": "512"}, "width is '512': use a multiple of 8"),
    ({"width": [512]}, r"width is \[512\]: use a multiple of 8"),
    ({"attention": "flash"}, "attention is 'flash': use one of sdpa, classic, sliced"),
    ({"attention": ["sdpa"]}, "attention is .*: use one of sdpa, classic, sliced"),
    ({"dtype": "half"}, "'half' cannot be forecast: use float32, bfloat16, float16"),
    ({"dtype": "bfloat16"}, "T4, of 2018, only emulates bfloat16, .*: use dtype='float16'"),
    ({"gpu": "V100", "dtype": torch.bfloat16}, "V100-SXM2-16GB, of 2017, only emulates bfloat16"),
]


@pytest.mark.parametrize(("settings", "message"), BAD_SETTINGS, ids=lambda value: str(value)[:40])
def test_a_setting_that_cannot_be_forecast(settings, message):
    with pytest.raises(ValueError, match=message):
        forecast_seconds(**{"model": "sd15-shape", "gpu": "T4", **settings})


# This machine


@pytest.fixture(scope="module")
def machine():
    """Measured with few repeats, and with the random numbers left alone."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("labs.forecast.machine.SECONDS_PER_PROBE", 0.02)
        torch.manual_seed(3)
        expected = torch.rand(1)
        torch.manual_seed(3)
        rates = measure_machine("cpu", "float32")
        assert torch.rand(1) == expected
    return rates


def test_this_machine_is_forecast_like_a_card(machine):
    assert machine.dtype == "float32" and "CPU" in machine.label and not machine.asynchronous
    for rate in ("convolution", "product", "attention", "bandwidth"):
        assert getattr(machine, rate) > 0
    least, middle, most = forecast_seconds("tiny-portraits", machine, batch_size=2).seconds
    assert 0 < least < middle < most
    assert forecast_seconds("sd15-shape", machine).seconds[1] > 20 * middle


def test_twice_the_batch_takes_up_to_twice_as_long_here(machine):
    two, four = (likely(machine, "tiny-portraits", batch_size=size) for size in (2, 4))
    assert two < four <= 2 * two


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"dtype": "float16"}, r"was measured in float32, not in float16: .*dtype='float16'"),
        ({"dtype": torch.float16}, r"measure it again with measure_machine\(dtype='float16'\)"),
        ({"compiled": True}, "was measured with PyTorch's defaults: leave out compiled"),
        ({"tf32": True}, "leave out compiled, channels_last and tf32"),
    ],
    ids=str,
)
def test_rates_are_not_used_for_what_was_not_measured(machine, settings, message):
    with pytest.raises(ValueError, match=message):
        forecast_seconds("tiny-portraits", machine, **settings)
