"""OpenVINO in the pipeline's place: the same pictures, and a way back."""

import os
import subprocess
import sys
from types import SimpleNamespace

import pytest
import torch

from helpers import image_distance, load_pipeline, make_generators
from labs.fast import use_few_steps, use_openvino

PROMPT = "portrait photo of a old warrior chief"


@pytest.fixture(scope="module")
def converted():
    return use_openvino(load_pipeline("tiny-portraits", device="cpu", dtype="float32"))


def draw(pipeline, count=1, **options):
    inputs = {"generator": make_generators(range(count)), "num_inference_steps": 3, **options}
    return pipeline([PROMPT] * count, **inputs).images


@pytest.mark.parametrize(
    ("count", "options"),
    [(1, {}), (3, {}), (1, {"guidance_scale": 1}), (1, {"height": 192, "width": 64})],
    ids=["one", "batch", "without guidance", "other size"],
)
def test_the_pictures_stay_the_same(converted, pipeline, count, options):
    ours, theirs = (draw(each, count, **options) for each in (converted, pipeline))
    assert len(ours) == count
    for mine, other in zip(ours, theirs, strict=True):
        assert mine.size == other.size
        assert image_distance(mine, other) < 0.2


def test_the_networks_of_pytorch_are_no_longer_asked(converted, monkeypatch):
    def refuse(*inputs, **options):
        raise AssertionError("PyTorch was asked")

    for part in (converted.unet, converted.vae.decoder):
        monkeypatch.setattr(type(part), "forward", refuse)
    draw(converted)
    monkeypatch.delattr(converted.unet, "forward")
    with pytest.raises(AssertionError, match="PyTorch was asked"):
        draw(converted)


def test_with_other_weights_it_has_to_be_converted_again():
    pipeline = use_openvino(load_pipeline("tiny-portraits", device="cpu", dtype="float32"))
    before = draw(pipeline)[0]
    use_few_steps(pipeline, "tiny-portraits-lcm")
    with pytest.raises(ValueError, match="changed since they were converted: call use_openvino"):
        draw(pipeline, guidance_scale=1)
    use_openvino(pipeline)
    assert image_distance(draw(pipeline, guidance_scale=1)[0], before) > 10


@pytest.mark.skipif(
    "ONEDNN_MAX_CPU_ISA" in os.environ,
    reason="OpenVINO asks the processor for bfloat16, its kernels ask this variable: they disagree",
)
def test_half_precision_stays_half_precision():
    pipeline = use_openvino(load_pipeline("tiny-portraits", device="cpu", dtype="bfloat16"))
    latents = draw(pipeline, output_type="latent")
    assert latents.dtype is torch.bfloat16
    exact = draw(load_pipeline("tiny-portraits", device="cpu", dtype="float32"))[0]
    assert image_distance(draw(pipeline)[0], exact) < 10


def test_what_it_was_converted_without_is_refused(converted):
    with pytest.raises(ValueError, match="converted without cross_attention_kwargs"):
        draw(converted, cross_attention_kwargs={"scale": 0.5})


def test_another_device_is_refused():
    pipeline = load_pipeline("tiny-portraits", device="cpu")
    pipeline.unet.to("meta")
    with pytest.raises(ValueError, match="on 'meta': make another with load_pipeline"):
        use_openvino(pipeline)


def test_without_openvino_it_says_what_to_install(pipeline, monkeypatch):
    monkeypatch.setitem(sys.modules, "openvino", None)
    with pytest.raises(ModuleNotFoundError, match="pip install openvino"):
        use_openvino(pipeline)
    assert "forward" not in vars(pipeline.unet)


def test_no_usage_data_is_collected(tmp_path):
    """OpenVINO leaves a folder in the home, unless in CI, before it sends any."""
    home = {name: str(tmp_path) for name in ("HOME", "USERPROFILE")}
    environment = {key: value for key, value in os.environ.items() if key != "CI"} | home
    code = (
        "from helpers import load_pipeline, use_openvino\n"
        "use_openvino(load_pipeline('tiny-portraits', device='cpu'))"
    )
    subprocess.run([sys.executable, "-c", code], check=True, env=environment, capture_output=True)
    assert not (tmp_path / "intel").exists()


@pytest.mark.parametrize(
    "change",
    [
        lambda pipeline: pipeline.unet.load_state_dict(pipeline.unet.state_dict()),
        lambda pipeline: pipeline.vae.load_state_dict(pipeline.vae.state_dict()),
    ],
    ids=["UNet", "autoencoder"],
)
def test_weights_that_changed_later_are_not_drawn_with_silently(change):
    pipeline = use_openvino(load_pipeline("tiny-portraits", device="cpu"))
    change(pipeline)
    with pytest.raises(ValueError, match="changed since they were converted: call use_openvino"):
        pipeline("a knight", num_inference_steps=1)


def test_weights_that_changed_between_two_pictures_are_seen_before_the_second():
    pipeline = use_openvino(load_pipeline("tiny-portraits", device="cpu"))
    draw(pipeline)
    pipeline.unet.load_state_dict(pipeline.unet.state_dict())
    with pytest.raises(ValueError, match="changed since they were converted"):
        draw(pipeline, output_type="latent")  # which the decoder, that looks too, is not asked for


def test_what_is_no_stable_diffusion_1_is_refused():
    other = SimpleNamespace(transformer=torch.nn.Linear(1, 1), vae=None)
    with pytest.raises(ValueError, match="SimpleNamespace is no Stable Diffusion 1.x"):
        use_openvino(other)


def test_a_unet_that_asks_for_more_is_refused():
    xl = load_pipeline("tiny-portraits", device="cpu")
    xl.unet.register_to_config(addition_embed_type="text_time")
    with pytest.raises(ValueError, match="StableDiffusionPipeline is no Stable Diffusion 1.x"):
        use_openvino(xl)
