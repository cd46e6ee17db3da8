"""OpenVINO in PyTorch's place: the same images, and a refusal of what cannot be converted."""

import copy
import os
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from threading import Barrier

import pytest
import torch
from diffusers.configuration_utils import FrozenDict
from peft import LoraConfig

from helpers import image_distance, load_pipeline, make_generators
from labs.fast import use_openvino
from labs.fast.openvino import Converted, _import_openvino

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
    ("count", "options"), [(1, {}), (3, {}), (1, {"guidance_scale": 1, "height": 192, "width": 64})]
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


def test_two_threads_use_two_sizes(monkeypatch):
    network, both, module = torch.nn.Conv2d(3, 3, 1), Barrier(2, timeout=60), _import_openvino()
    converted, compile_model = Converted(network, 1, torch.zeros(1, 3, 8, 8)), module.compile_model
    monkeypatch.setattr(module, "compile_model", lambda *a: (both.wait(), compile_model(*a))[1])
    inputs = [torch.rand(1, 3, side, side) for side in (8, 16)]
    with ThreadPoolExecutor() as pool, torch.no_grad():
        for tensor, output in zip(inputs, pool.map(converted, inputs), strict=True):
            assert torch.allclose(output, network(tensor), atol=1e-5)
        several = pool.map(converted, 8 * inputs[:1])  # of one size, compiled once
        assert len({output.sum().item() for output in several}) == 1


def test_a_change_counts_once_it_is_converted_again(converted):
    before = generate(converted)[0]
    converted.set_adapters("style", 0.3)
    use_openvino(converted, threads=1)
    assert image_distance(generate(converted)[0], before) > 1
    compiled = converted.vae.decoder.forward._compile(1, (1, 12, 16, 16))
    assert compiled.get_property("INFERENCE_NUM_THREADS") == 1
    converted.set_adapters("style", 1.0)
    use_openvino(converted)
    assert image_distance(generate(converted)[0], before) < 0.2


CHANGES = {
    "FreeU": lambda pipeline: pipeline.enable_freeu(s1=0.9, s2=0.2, b1=1.2, b2=1.4),
    "hook": lambda pipeline: pipeline.unet.mid_block.register_forward_hook(lambda *_: None),
    "forward": lambda pipeline: vars(pipeline.unet.mid_block).update(forward=partial(print)),
    "compiled": lambda pipeline: pipeline.unet.mid_block.compile(backend="eager"),
    "wrapped": lambda pipeline: setattr(pipeline.unet, "forward", partial(pipeline.unet.forward)),
    "whole": lambda own: setattr(own, "unet", torch.compile(own.unet, backend="eager")),
}


@pytest.mark.parametrize("change", CHANGES)
def test_what_cannot_be_converted_is_refused(reference, change):
    pipeline = copy.copy(reference)
    pipeline.unet = copy.deepcopy(reference.unet)
    CHANGES[change](pipeline)
    before = vars(pipeline.unet).get("forward")
    with pytest.raises(ValueError, match="is compiled, hooked or patched and cannot be converted"):
        use_openvino(pipeline)
    assert vars(pipeline.unet).get("forward") is before
    assert "forward" not in vars(pipeline.vae.decoder)


def test_inputs_it_was_converted_without_are_refused(converted):
    with pytest.raises(ValueError, match="converted without cross_attention_kwargs"):
        generate(converted, cross_attention_kwargs={"scale": 0.5})


def test_another_device_or_architecture_is_refused(pipeline, monkeypatch):
    elsewhere = load_with_lora()
    elsewhere.unet.to("meta")
    with pytest.raises(ValueError, match="on 'meta': call load_pipeline"):
        use_openvino(elsewhere)
    config = FrozenDict({**pipeline.unet.config, "addition_embed_type": "text_time"})  # as XL has
    monkeypatch.setattr(pipeline.unet, "_internal_dict", config)
    elsewhere.unet = None
    for other in (pipeline, elsewhere):
        with pytest.raises(ValueError, match="Only Stable Diffusion 1.x on the CPU"):
            use_openvino(other)


def test_without_openvino_it_says_what_to_install(pipeline, monkeypatch):
    monkeypatch.setitem(sys.modules, "openvino", None)
    with pytest.raises(ModuleNotFoundError, match="`make fast` adds it"):
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
        "Converted(torch.nn.Linear(2, 2), None, torch.zeros(1, 2))"
    )
    subprocess.run([sys.executable, "-c", code], check=True, env=environment, capture_output=True)
    assert not (tmp_path / "intel").exists()
