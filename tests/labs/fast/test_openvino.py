"""OpenVINO in PyTorch's place: the same images, and no image from a network that has changed."""

import copy
import os
import subprocess
import sys
import threading
from functools import partial
from types import SimpleNamespace

import pytest
import torch
from diffusers import StableDiffusionPipeline
from diffusers.configuration_utils import FrozenDict
from peft import LoraConfig

from helpers import image_distance, load_pipeline, make_generators
from labs.fast import use_openvino

PROMPT = "portrait photo of a old warrior chief"


@pytest.fixture(scope="module")
def reference():
    """A pipeline with LoRA weights, in PyTorch."""
    return load_with_lora()


@pytest.fixture(scope="module")
def converted():
    """The same pipeline, converted. Tests put back what they change."""
    return use_openvino(load_with_lora())


def load_with_lora(dtype="float32"):
    pipeline = load_pipeline("tiny-portraits", device="cpu", dtype=dtype)
    torch.manual_seed(0)
    config = LoraConfig(r=4, target_modules=["to_q", "to_v"], init_lora_weights=False)
    pipeline.unet.add_adapter(config, adapter_name="style")
    return pipeline


def generate(pipeline, count=1, **options):
    inputs = {"generator": make_generators(range(count)), "num_inference_steps": 3, **options}
    return pipeline([PROMPT] * count, **inputs).images


@pytest.mark.parametrize(
    ("count", "options"),
    [(1, {}), (3, {}), (1, {"guidance_scale": 1, "height": 192, "width": 64})],
)
def test_the_images_stay_the_same(converted, reference, count, options):
    ours, theirs = (generate(each, count, **options) for each in (converted, reference))
    assert len(ours) == count
    for mine, other in zip(ours, theirs, strict=True):
        assert image_distance(mine, other) < 0.2


def test_pytorch_no_longer_runs_until_forward_is_deleted(converted, monkeypatch):
    def refuse(*inputs, **options):
        raise AssertionError("PyTorch runs")

    for network in (converted.unet, converted.vae.decoder):
        monkeypatch.setattr(type(network), "forward", refuse)
    generate(converted)
    monkeypatch.delattr(converted.unet, "forward")
    with pytest.raises(AssertionError, match="PyTorch runs"):
        generate(converted)


def test_a_copy_runs_in_pytorch_until_it_is_converted(converted):
    before = generate(converted)[0]
    duplicate = copy.deepcopy(converted)
    duplicate.unet.conv_in.weight.data.mul_(1.1)
    changed = generate(duplicate)[0]
    assert image_distance(changed, before) > 1
    use_openvino(duplicate)
    assert image_distance(generate(duplicate)[0], changed) < 0.2
    assert image_distance(generate(converted)[0], before) == 0


def test_threads_share_a_converted_unet(converted):
    expected = generate(converted, output_type="latent")
    results = []

    def run():
        scheduler = copy.deepcopy(converted.scheduler)  # it counts the steps of one image
        parts = converted.components | {"scheduler": scheduler}
        pipeline = StableDiffusionPipeline(**parts, requires_safety_checker=False)
        pipeline.set_progress_bar_config(disable=True)
        results.extend(generate(pipeline, output_type="latent") for _ in range(2))

    threads = [threading.Thread(target=run) for _ in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(results) == 6
    assert all(torch.equal(latents, expected) for latents in results)


# A network that changes after its conversion


def scale_weights(network, factor):  # through `data`, where PyTorch's counters do not see it
    network.weight.data.mul_(factor)


def enable_freeu(pipeline):
    pipeline.enable_freeu(s1=0.9, s2=0.2, b1=1.2, b2=1.4)


def hook(pipeline):
    pipeline.unet.mid_block.register_forward_hook(lambda module, inputs, output: 2 * output)


CHANGES = {  # and how to take each back
    "weights": (
        lambda pipeline: scale_weights(pipeline.unet.conv_in, 2),
        lambda pipeline: scale_weights(pipeline.unet.conv_in, 0.5),
    ),
    "LoRA scale": (
        lambda pipeline: pipeline.set_adapters("style", 0.3),
        lambda pipeline: pipeline.set_adapters("style", 1.0),
    ),
    "LoRA disabled": (StableDiffusionPipeline.disable_lora, StableDiffusionPipeline.enable_lora),
    "forward hook": (hook, lambda pipeline: pipeline.unet.mid_block._forward_hooks.clear()),
    "FreeU": (enable_freeu, StableDiffusionPipeline.disable_freeu),
}


@pytest.mark.parametrize("change", CHANGES)
def test_no_image_from_a_unet_that_has_changed(converted, change):
    make, undo = CHANGES[change]
    before = generate(converted, output_type="latent")
    make(converted)
    with pytest.raises(ValueError, match="has changed since .*: call use_openvino again"):
        generate(converted, output_type="latent")
    undo(converted)
    assert torch.equal(generate(converted, output_type="latent"), before)


def test_no_image_from_a_decoder_that_has_changed(converted):
    scale_weights(converted.vae.decoder.conv_out, 2)
    with pytest.raises(ValueError, match="The Decoder has changed since"):
        generate(converted)
    scale_weights(converted.vae.decoder.conv_out, 0.5)


# What is refused


def wrap_forward(pipeline):
    pipeline.unet.mid_block.forward = partial(pipeline.unet.mid_block.forward)


def compile_unet(pipeline):
    pipeline.unet = torch.compile(pipeline.unet, backend="eager")


@pytest.mark.parametrize(
    ("change", "name"),
    [
        (enable_freeu, "FreeU"),
        (hook, "a forward hook"),
        (wrap_forward, "another forward"),
        (lambda pipeline: pipeline.unet.mid_block.compile(backend="eager"), "torch.compile"),
        (compile_unet, "torch.compile"),
    ],
)
def test_what_cannot_be_converted_is_named(change, name):
    pipeline = load_with_lora()
    change(pipeline)
    with pytest.raises(ValueError, match=f"has {name}.*: remove that"):
        use_openvino(pipeline)
    assert "forward" not in vars(pipeline.vae.decoder)


def test_inputs_it_was_converted_without_are_refused(converted):
    with pytest.raises(ValueError, match="converted without cross_attention_kwargs"):
        generate(converted, cross_attention_kwargs={"scale": 0.5})


def test_another_device_is_refused():
    pipeline = load_with_lora()
    pipeline.unet.to("meta")
    with pytest.raises(ValueError, match="on 'meta': load another with load_pipeline"):
        use_openvino(pipeline)


def test_another_architecture_is_refused(pipeline, monkeypatch):
    with pytest.raises(ValueError, match="SimpleNamespace is not a Stable Diffusion 1.x"):
        use_openvino(SimpleNamespace(transformer=torch.nn.Linear(1, 1), vae=None))
    config = FrozenDict({**pipeline.unet.config, "addition_embed_type": "text_time"})  # as XL has
    monkeypatch.setattr(pipeline.unet, "_internal_dict", config)
    with pytest.raises(ValueError, match="StableDiffusionPipeline is not a Stable Diffusion 1.x"):
        use_openvino(pipeline)


def test_without_openvino_it_says_what_to_install(pipeline, monkeypatch):
    monkeypatch.setitem(sys.modules, "openvino", None)
    with pytest.raises(ModuleNotFoundError, match="pip install openvino"):
        use_openvino(pipeline)
    assert "forward" not in vars(pipeline.unet)


@pytest.mark.skipif(
    "ONEDNN_MAX_CPU_ISA" in os.environ,
    reason="OpenVINO asks the processor for bfloat16, its kernels ask this variable: they disagree",
)
def test_half_precision_stays_half_precision(reference):
    half = use_openvino(load_with_lora("bfloat16"))
    assert generate(half, output_type="latent").dtype is torch.bfloat16
    assert image_distance(generate(half)[0], generate(reference)[0]) < 10


def test_no_usage_data_is_collected(tmp_path):
    """OpenVINO leaves a folder in the home, unless in CI, before it sends any."""
    home = {name: str(tmp_path) for name in ("HOME", "USERPROFILE")}
    environment = {key: value for key, value in os.environ.items() if key != "CI"} | home
    code = (
        "import torch\n"
        "from labs.fast.openvino import Converted\n"
        "Converted(torch.nn.Linear(2, 2), torch.zeros(1, 2))"
    )
    subprocess.run([sys.executable, "-c", code], check=True, env=environment, capture_output=True)
    assert not (tmp_path / "intel").exists()
