"""Few-step weights: merged once, and refused where they do not fit."""

import logging
import os
import shutil
import subprocess
import sys
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from diffusers import LCMScheduler
from peft import LoraConfig
from safetensors.torch import load_file, save_file

from helpers import MODELS, MODELS_FOLDER, adherence, image_distance, load_pipeline, make_generators
from labs.fast import use_few_steps

NAME = "tiny-portraits-lcm"
FILE = MODELS_FOLDER / NAME / "pytorch_lora_weights.safetensors"


@pytest.fixture
def own():
    """A pipeline that a test may change for good."""
    return load_pipeline("tiny-portraits", device="cpu", dtype="float32")


def generate(pipeline):
    generator = make_generators(0)
    options = {"num_inference_steps": 2, "guidance_scale": 1, "generator": generator}
    return pipeline("a knight", **options).images[0]


def save(path, state):
    save_file({key: tensor.contiguous() for key, tensor in state.items()}, path)
    return path


def test_four_steps_follow_the_prompt(own, judge):
    prompts = [
        "portrait photo of the oldest wizard, blue on red, side profile, looking away",
        "oil painting of a young queen, green on pink, front view, smiling",
    ]
    assert use_few_steps(own, MODELS["tiny-portraits"].few_steps) is own
    generators = make_generators([0, 1])
    images = own(prompts, generator=generators, num_inference_steps=4, guidance_scale=1).images
    assert adherence(images, prompts, judge).stack().mean() > 0.9


def test_it_generates_what_diffusers_own_calls_do(own):
    plain = load_pipeline("tiny-portraits", device="cpu", dtype="float32")
    plain.load_lora_weights(str(FILE.parent))
    plain.scheduler = LCMScheduler.from_config(plain.scheduler.config)
    assert image_distance(generate(use_few_steps(own, NAME)), generate(plain)) < 0.2
    assert own.get_list_adapters() == {}  # merged, so that a step takes no longer


def test_the_same_weights_are_merged_once(own, tmp_path):
    once = generate(use_few_steps(own, NAME))
    own.unload_lora_weights()
    for lora in (NAME, FILE, FILE.parent):
        assert image_distance(generate(use_few_steps(own, lora)), once) == 0
    other = shutil.copy(FILE, tmp_path)
    with pytest.raises(ValueError, match="already merged into this UNet: load the pipeline again"):
        use_few_steps(own, other)


@pytest.mark.skipif(os.name == "nt", reason="links need a privilege on Windows")
def test_a_link_as_in_the_hubs_cache_is_followed(own, tmp_path):
    shutil.copy(FILE, tmp_path / "blob")
    (tmp_path / "half.safetensors").symlink_to("blob")
    assert type(use_few_steps(own, tmp_path).scheduler) is LCMScheduler


def rename(prefix):
    return {key.replace("unet.", f"{prefix}.", 1): value for key, value in load_file(FILE).items()}


OTHER_FILES = {
    "text encoder": lambda pipeline: rename("text_encoder"),
    "transformer": lambda pipeline: rename("transformer"),
    "UNet and text encoder": lambda pipeline: load_file(FILE) | rename("text_encoder"),
    "embedding": lambda pipeline: {"emb_params": torch.zeros(2, 48)},
    "UNet": lambda pipeline: pipeline.unet.state_dict(),
    "VAE": lambda pipeline: pipeline.vae.state_dict(),
    "layer that is not there": lambda pipeline: (
        load_file(FILE)
        | {f"unet.down_blocks.9.fc.lora_{side}.weight": torch.zeros(2, 2) for side in "AB"}
    ),
    "other sizes": lambda pipeline: {key: value[..., :1] for key, value in load_file(FILE).items()},
}


@pytest.mark.parametrize("kind", OTHER_FILES)
def test_weights_that_do_not_fit_change_nothing(own, tmp_path, kind):
    path = save(tmp_path / "other.safetensors", OTHER_FILES[kind](own))
    before, scheduler = generate(own), own.scheduler
    logging.disable()  # Diffusers' list of what does not fit
    try:
        with pytest.raises(ValueError, match="are not LoRA weights for this UNet"):
            use_few_steps(own, path)
    finally:
        logging.disable(logging.NOTSET)
    assert own.scheduler is scheduler
    assert own.get_list_adapters() == {}
    assert np.array_equal(generate(own), before)


def test_a_damaged_file_is_refused(own, tmp_path):
    (tmp_path / FILE.name).write_bytes(b"no weights")
    with pytest.raises(ValueError, match="are not LoRA weights"):
        use_few_steps(own, tmp_path)


@pytest.mark.parametrize("path", [r"C:\models\lcm.safetensors", "/nowhere/lcm", "models/nothere/x"])
def test_a_path_that_does_not_exist_is_named(own, path):
    with pytest.raises(FileNotFoundError, match="no file or folder"):
        use_few_steps(own, path)


def test_several_files_ask_for_one(own, tmp_path):
    for name in ("a", "b"):
        shutil.copy(FILE, tmp_path / f"{name}.safetensors")
    with pytest.raises(ValueError, match="a.safetensors, b.safetensors: give the path of one"):
        use_few_steps(own, tmp_path)


def test_pickle_files_are_refused(own, tmp_path):
    (tmp_path / "pytorch_lora_weights.bin").touch()
    with pytest.raises(ValueError, match="only as pickle files"):
        use_few_steps(own, tmp_path)


def test_other_lora_weights_come_afterwards(own):
    config = LoraConfig(r=4, target_modules=["to_q"], init_lora_weights=False)
    own.unet.add_adapter(config, adapter_name="mine")
    with pytest.raises(ValueError, match="already has LoRA weights .*mine.*: call use_few_steps"):
        use_few_steps(own, NAME)
    assert own.unet.active_adapters() == ["mine"]


def test_a_pipeline_without_a_unet_is_refused():
    with pytest.raises(ValueError, match="SimpleNamespace has no UNet that takes LoRA weights"):
        use_few_steps(SimpleNamespace(transformer=None), NAME)


def test_an_old_torchao_such_as_colabs_does_no_harm(tmp_path):
    (tmp_path / "torchao").mkdir()
    (tmp_path / "torchao/__init__.py").touch()
    (tmp_path / "torchao-0.10.0.dist-info").mkdir()
    metadata = "Metadata-Version: 2.1\nName: torchao\nVersion: 0.10.0\n"
    (tmp_path / "torchao-0.10.0.dist-info/METADATA").write_text(metadata, encoding="utf-8")
    code = (
        f"import sys; sys.path.append({str(tmp_path)!r})\n"
        "from helpers import load_pipeline\n"
        "from labs.fast import use_few_steps\n"
        f"pipeline = use_few_steps(load_pipeline('tiny-portraits', device='cpu'), {NAME!r})\n"
        "print(type(pipeline.scheduler).__name__)"
    )
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert run.stdout.endswith("LCMScheduler\n"), run.stderr
