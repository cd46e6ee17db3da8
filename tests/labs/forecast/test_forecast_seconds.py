"""The forecast of seconds: what it follows from, and what it refuses."""

import time
from dataclasses import replace

import pytest
import torch

from labs.forecast import forecast_seconds, measure_machine
from labs.forecast.gpus import CARDS
from labs.forecast.operations import operations_of
from labs.forecast.rates import rates_of
from labs.forecast.seconds import SecondsForecast


def middle(gpu="T4", model="sd15-shape", **settings):
    return forecast_seconds(model, gpu, **settings).seconds[1]


# What the network computes


def test_the_operations_of_stable_diffusion_1_5_are_those_that_are_published():
    unet = operations_of("sd15-shape", attention="classic")["UNet step"]
    assert unet.total("flops") == pytest.approx(0.8e12, rel=0.02)
    assert unet.total("weights") == pytest.approx(859.5e6, rel=0.01)


@pytest.mark.parametrize("model", ["tiny-portraits", "sd15-shape", "sdxl-shape"])
def test_fused_attention_computes_the_same_and_moves_less(model):
    size = {"height": 128, "width": 128}
    fused, classic = (
        operations_of(model, **size, attention=one)["UNet step"] for one in ("sdpa", "classic")
    )
    assert fused.total("flops") == pytest.approx(classic.total("flops"), rel=0.001)
    assert fused.total("moved") < classic.total("moved")
    assert fused.total("weights") == classic.total("weights")


def test_convolutions_grow_with_the_picture_and_attention_faster():
    small, large = (
        operations_of("sd15-shape", height=size, width=size)["UNet step"] for size in (256, 512)
    )
    for kind, factor in ((0, 4), (1, 4), (2, 10)):
        ratio = [(one.times * one.flops)[one.kind == kind].sum() for one in (large, small)]
        assert ratio[0] / ratio[1] == pytest.approx(factor, rel=0.15) or kind == 2
        assert ratio[0] / ratio[1] >= factor * 0.85


# What a forecast follows from


def test_steps_are_counted_and_the_rest_is_once():
    ten, twenty = (
        forecast_seconds("sd15-shape", "T4", num_inference_steps=steps) for steps in (10, 20)
    )
    step = ten.parts["UNet step"][1]
    assert twenty.seconds[1] - ten.seconds[1] == pytest.approx(10 * step)


def test_a_better_card_is_faster_where_there_is_work():
    slow, fast = middle("T4", batch_size=8), middle("H100", batch_size=8)
    assert fast < slow / 5


def test_each_saving_saves():
    whole = middle(batch_size=4)
    assert middle(batch_size=4, guidance=False) < 0.6 * whole
    assert middle(batch_size=4, compiled=True) < whole
    assert middle(batch_size=4, channels_last=True) < whole
    assert middle(batch_size=4, dtype="float32") > 2 * whole
    assert middle(batch_size=4, attention="classic") > whole
    a100 = {"gpu": "A100", "batch_size": 4, "dtype": "float32"}
    assert middle(**a100, tf32=True) < middle(**a100)


def test_the_processor_decides_on_a_fast_card_alone():
    assert forecast_seconds("sd15-shape", "H100").limits["UNet step"]["launches"] > 0.3
    assert forecast_seconds("sd15-shape", "T4").limits["UNet step"]["launches"] < 0.05


def test_bfloat16_is_as_fast_as_float16_where_there_is_any():
    assert middle("A100", dtype="bfloat16") == middle("A100", dtype=torch.float16)


def test_a_card_without_tensor_cores_gains_little_from_half_precision():
    p100 = [middle("P100", dtype=dtype, batch_size=4) for dtype in ("float16", "float32")]
    assert p100[0] > 0.5 * p100[1]


def test_a_limit_of_power_slows_a_card_down():
    t4 = CARDS["T4"]
    held = rates_of(t4, "float16").convolution
    free = rates_of(replace(t4, watts=float("inf")), "float16").convolution
    assert 0.3 * free < held < 0.9 * free


def test_the_decoder_of_stable_diffusion_xl_runs_in_float32():
    half, brain = (
        forecast_seconds("sdxl-shape", "A100", dtype=dtype) for dtype in ("float16", "bfloat16")
    )
    assert half.parts["VAE decode"][1] > 2 * brain.parts["VAE decode"][1]
    assert half.parts["UNet step"] == brain.parts["UNet step"]


def test_the_hubs_model_is_forecast_without_the_hub():
    hub = forecast_seconds("stable-diffusion-v1-5", "T4")
    assert set(hub.parts) == {*forecast_seconds("sd15-shape", "T4").parts, "safety check"}


def test_a_forecast_takes_no_longer_than_three_seconds():
    operations_of("tiny-portraits")  # imports what is needed
    start = time.process_time()
    forecast_seconds("sd15-shape", "T4", height=448, width=576)
    assert time.process_time() - start < 3 * 2  # processor seconds, on a slow machine


def test_a_forecast_shows_as_a_table_and_reads_as_a_sentence():
    parts = {"UNet step": (1.0, 2.0, 3.0), "the rest": (0.5, 0.5, 0.5)}
    limits = {"UNet step": {"arithmetic": 1.0, "memory": 0.0, "launches": 0.0}}
    forecast = SecondsForecast("<mine>", 2, parts, {"UNet step": 10, "the rest": 1}, limits)
    assert forecast.seconds == (10.5, 20.5, 30.5)
    assert str(forecast) == "<mine>: 10.25 s an image, between 5.25 and 15.25"
    assert forecast.table().loc["UNet step", "seconds"] == 20
    assert "UNet step" in forecast._repr_html_() and "<mine>" not in forecast._repr_html_()


# What it refuses

BAD_SETTINGS = [
    ({"gpu": "RTX 4900"}, "no 'RTX 4900' in the table of GPUs"),
    ({"model": "sd15"}, "no Stable Diffusion 1.x or XL under 'sd15': give a name of MODELS"),
    ({"batch_size": 0}, "batch of 0 draws nothing: use a batch_size of at least 1"),
    ({"num_inference_steps": 0}, "0 steps draw nothing: use at least 1"),
    ({"height": 100}, "height of 100 cannot be drawn: use a multiple of 8"),
    ({"attention": "flash"}, "'flash' is no kind of attention"),
    ({"dtype": "half"}, "'half' is not a dtype to forecast: use float32, bfloat16, float16"),
    ({"dtype": "bfloat16"}, "T4, of 2018, has no bfloat16 .*: use dtype='float16'"),
    ({"gpu": "V100", "dtype": torch.bfloat16}, "V100-SXM2-16GB, of 2017, has no bfloat16"),
]


@pytest.mark.parametrize(("settings", "message"), BAD_SETTINGS, ids=lambda value: str(value)[:40])
def test_a_setting_that_cannot_be_forecast(settings, message):
    with pytest.raises(ValueError, match=message):
        forecast_seconds(**{"model": "sd15-shape", "gpu": "T4", **settings})


# The machine at hand


@pytest.fixture(scope="module")
def here():
    return measure_machine("cpu", "float32")


def test_this_machine_is_a_row_like_any_other(here):
    assert here.dtype == "float32" and "CPU" in here.label and not here.asynchronous
    rates = (here.convolution, here.product, here.attention, here.bandwidth, here.launch[1])
    assert min(rates) > 0
    forecast = forecast_seconds("tiny-portraits", here, batch_size=2)
    least, likely, most = forecast.seconds
    assert 0 < least < likely < most
    assert forecast_seconds("sd15-shape", here).seconds[1] > 20 * likely


def test_twice_the_batch_takes_nearly_twice_as_long_here(here):
    two, four = (forecast_seconds("tiny-portraits", here, batch_size=n).seconds[1] for n in (2, 4))
    assert 1.3 < four / two <= 2


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"dtype": "float16"}, r"was measured in float32, not in float16: .*dtype='float16'"),
        ({"compiled": True}, "was measured as PyTorch runs by default: leave out compiled"),
        ({"tf32": True}, "leave out compiled, channels_last and tf32"),
    ],
    ids=str,
)
def test_rates_are_not_used_for_what_they_were_not_measured_for(here, settings, message):
    with pytest.raises(ValueError, match=message):
        forecast_seconds("tiny-portraits", here, **settings)


def test_measuring_leaves_the_random_numbers_alone():
    torch.manual_seed(3)
    expected = torch.rand(1)
    torch.manual_seed(3)
    measure_machine("cpu", "float32")
    assert torch.rand(1) == expected
