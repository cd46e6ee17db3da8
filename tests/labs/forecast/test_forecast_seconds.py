"""The forecast of seconds: what it follows from, and what it refuses."""

from dataclasses import replace
from functools import partial
from shutil import copytree

import pytest
import torch

from helpers import MODELS_FOLDER
from labs.forecast import forecast_memory, forecast_seconds, measure_machine
from labs.forecast.operations import operations_of


def likely(gpu="T4", model="sd15-shape", **settings):
    return forecast_seconds(model, gpu, **settings).seconds[1]


def test_the_operations_of_stable_diffusion_1_5_are_those_that_are_published():
    unet = operations_of("sd15-shape", attention="classic")["UNet step"]
    assert unet.total("flops") == pytest.approx(0.8e12, rel=0.02)
    assert unet.total("weights") == pytest.approx(859.5e6, rel=0.01)


def test_a_changed_folder_is_read_again(tmp_path):
    folder = copytree(MODELS_FOLDER / "sd15-shape", tmp_path / "model")
    before = operations_of(folder, height=64, width=64)["UNet step"].total("weights")
    config = folder / "unet/config.json"
    text = config.read_text(encoding="utf-8")
    config.write_text(text.replace('"layers_per_block": 2', '"layers_per_block": 1'), "utf-8")
    assert operations_of(folder, height=64, width=64)["UNet step"].total("weights") < before


def test_steps_are_counted_and_the_rest_is_once():
    ten, twenty = (
        forecast_seconds("sd15-shape", "T4", num_inference_steps=steps) for steps in (10, 20)
    )
    assert twenty.seconds[1] - ten.seconds[1] == pytest.approx(10 * ten.parts["UNet step"][1])


def test_options_make_a_run_faster_or_slower():
    whole = likely(batch_size=4)
    assert likely(batch_size=4, guidance=False) < 0.6 * whole
    assert likely(batch_size=4, compiled=True) < whole
    assert likely(batch_size=4, channels_last=True) < whole
    assert likely(batch_size=4, dtype="float32") > 2 * whole
    assert likely(batch_size=4, attention="classic") > whole
    a100 = {"gpu": "A100", "batch_size": 4, "dtype": "float32"}
    assert likely(**a100, tf32=True) < likely(**a100)
    assert likely("A100", dtype="bfloat16") == likely("A100", dtype=torch.float16)
    p100 = {"gpu": "P100", "batch_size": 4}  # without tensor cores
    assert likely(**p100) > 0.5 * likely(**p100, dtype="float32")


def test_the_vae_of_stable_diffusion_xl_runs_in_float32_instead_of_float16():
    float16, bfloat16 = (
        forecast_seconds("sdxl-shape", "A100", dtype=dtype) for dtype in ("float16", "bfloat16")
    )
    assert float16.parts["VAE decode"][1] > 2 * bfloat16.parts["VAE decode"][1]
    assert (float16.parts["UNet step"] == bfloat16.parts["UNet step"]).all()


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"batch_size": 0}, "batch_size is 0: use a whole number, at least 1"),
        ({"batch_size": "4"}, "batch_size is '4': use a whole number"),
        ({"height": 100}, "height is 100: use a multiple of 8, at least 8"),
        ({"attention": "flash"}, "attention is 'flash': use one of sdpa, classic, sliced"),
        ({"dtype": torch.int8}, "torch.int8 cannot be forecast: use float32, bfloat16, float16"),
        ({"model": MODELS_FOLDER / "tiny-judge"}, "no Stable Diffusion 1.x or XL under"),
    ],
    ids=str,
)
def test_a_setting_that_cannot_be_forecast(settings, message):
    for forecast in (forecast_memory, partial(forecast_seconds, gpu="T4")):
        with pytest.raises(ValueError, match=message):
            forecast(**{"model": "sd15-shape", **settings})


def test_a_card_that_lacks_the_dtype():
    with pytest.raises(ValueError, match="T4, of 2018, only emulates bfloat16, .*'float16'"):
        forecast_seconds("sd15-shape", "T4", dtype=torch.bfloat16)


@pytest.fixture(scope="module")
def machine():
    """Measured with few repeats, and with the random numbers left alone."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("labs.forecast.machine.SECONDS_PER_PROBE", 0.02)
        state = torch.get_rng_state()
        rates = measure_machine("cpu", "float32")
        assert torch.equal(torch.get_rng_state(), state)
    return rates


def test_this_machine_is_forecast_like_a_card(machine):
    assert machine.dtype == "float32" and "CPU" in machine.label and not machine.asynchronous
    least, middle, most = forecast_seconds("tiny-portraits", machine, batch_size=2).seconds
    assert 0 < least < middle < most
    assert forecast_seconds("sd15-shape", machine).seconds[1] > 20 * middle


def test_what_runs_in_another_dtype_than_was_measured_is_said(machine):
    label = forecast_seconds("sdxl-shape", replace(machine, dtype="float16")).label
    assert label.endswith(" (also for the VAE decode, which runs in float32)")


def test_guidance_is_on_or_off():
    with pytest.raises(ValueError, match="guidance is 7.5: use True or False"):
        forecast_seconds("sd15-shape", "T4", guidance=7.5)


@pytest.mark.parametrize("settings", [{"dtype": "float16"}, {"tf32": True}], ids=str)
def test_rates_are_not_used_for_what_was_not_measured(machine, settings):
    with pytest.raises(ValueError, match="was measured in float32 with PyTorch's defaults"):
        forecast_seconds("tiny-portraits", machine, **settings)
