"""Loading: what is accepted, what is chosen, and what each refusal says."""

import json
import os
import shutil
from types import SimpleNamespace

import diffusers
import pytest
import torch

from helpers import (
    MODELS,
    MODELS_FOLDER,
    checkpoint,
    cpu_threads,
    get_inputs,
    load_judge,
    load_pipeline,
    pick_device,
    pick_dtype,
    set_threads_for,
)
from helpers.hub import DISK_IS_FULL, fetch, find_weights
from helpers.loading import usable_cores
from helpers.models import REMOVED

EMBEDDED = [
    name for name, model in MODELS.items() if "/" not in model.id and not model.random_weights
]


@pytest.fixture
def copy(tmp_path):
    shutil.copytree(MODELS_FOLDER / "tiny-portraits", tmp_path / "copy")
    return tmp_path / "copy"


@pytest.mark.parametrize("name", EMBEDDED)
def test_each_embedded_model_generates_and_is_as_large_as_the_table_says(name):
    pipeline = load_pipeline(name, device="cpu")
    assert pipeline(**get_inputs(num_inference_steps=1)).images[0].size == (128, 128)
    files = (MODELS_FOLDER / MODELS[name].id).rglob("*.safetensors")
    megabytes = sum(file.stat().st_size for file in files) / 1e6
    assert MODELS[name].download == f"{megabytes:.0f} MB, embedded"


@pytest.mark.parametrize(
    ("find", "name", "message"),
    [
        (load_pipeline, "tiny-portrait", "'tiny-portrait' is not a name in MODELS.*tiny-portraits"),
        (load_pipeline, "Tiny-Portraits", "'Tiny-Portraits' is not .*tiny-portraits"),
        (find_weights, "tiny-portrait-lcm", "'tiny-portrait-lcm' is not .*tiny-portraits-lcm"),
        (load_judge, "tiny", "'tiny' is not .* on the Hub.*Nearest: tiny-judge"),
        (MODELS.__getitem__, "/my/model", "'/my/model' is not a name in MODELS.*its judge"),
        (load_pipeline, __file__, "test_loading.py' is a file: load it with"),
    ],
)
def test_an_unknown_name_is_offered_the_nearest_ones(find, name, message):
    with pytest.raises(ValueError, match=message):
        find(name)


@pytest.mark.parametrize(
    "path", ["./none", "/nowhere/at/all", "a/b/c", "models/none", "~/none", "C:\\models\\lcm"]
)
@pytest.mark.parametrize("find", [load_pipeline, find_weights, load_judge])
def test_a_path_that_does_not_exist_is_not_taken_for_a_repository(find, path):
    with pytest.raises(FileNotFoundError, match="There is no file or folder .*check the path"):
        find(path)


def test_a_checkpoint_is_what_from_pretrained_loads(tmp_path):
    assert checkpoint("tiny-portraits") == MODELS_FOLDER / "tiny-portraits"
    with pytest.raises(ValueError, match="'sd15-shape' has random weights and no files"):
        checkpoint("sd15-shape")
    for name in ("tiny-portraits-vae-ft", "tiny-portraits-lcm", "tiny-judge"):
        assert checkpoint(name) == MODELS_FOLDER / name
    assert checkpoint(str(tmp_path)) == tmp_path


def test_a_folder_that_is_no_whole_pipeline_says_why(copy):
    index = json.loads((copy / "model_index.json").read_text(encoding="utf-8"))
    index |= {"layers": [2, 5], "_ignore_files": ["a.txt", "b.txt"]}  # these are no parts
    (copy / "model_index.json").write_text(json.dumps(index))
    weights = copy / "vae/diffusion_pytorch_model.safetensors"
    weights.rename(weights.with_suffix(".bin"))
    with pytest.raises(OSError, match=r"no file named .*\.safetensors found in .*vae"):
        load_pipeline(copy)
    shutil.rmtree(copy / "vae")
    with pytest.raises(FileNotFoundError, match="There is no 'vae' in .*copy: .*load it again"):
        load_pipeline(copy)


@pytest.mark.parametrize("hub_id", REMOVED)
def test_a_removed_model_names_its_mirror_and_the_hub_is_not_asked(hub_id, monkeypatch):
    monkeypatch.setattr(diffusers.DiffusionPipeline, "download", None)
    with pytest.raises(ValueError, match=f"was removed.*'{REMOVED[hub_id]}'"):
        load_pipeline(hub_id)


@pytest.mark.parametrize(
    ("error", "message"),
    [
        (OSError(28, "No space left on device"), r"no room for 'nobody/nothing'.*HF_HOME"),
        *(
            (RuntimeError(f"Task error: (os error {number})"), r"no room for .*HF_HOME")
            for number in DISK_IS_FULL
        ),  # how Xet says it
        (PermissionError(13, "Permission denied", "/cache"), "'/cache'"),
    ],
)
def test_a_disk_that_cannot_be_written_to_is_not_blamed_on_the_connection(error, message):
    def download():
        raise error

    with pytest.raises(OSError, match=message):
        fetch("nobody/nothing", download)


def test_a_class_that_diffusers_lacks_is_not_blamed_on_the_connection():
    with pytest.raises(ValueError, match="lacks .*NewPipeline"):
        fetch("nobody/nothing", lambda: diffusers.NewPipeline)


def test_custom_code_is_not_run(copy, tmp_path):
    index = json.loads((copy / "model_index.json").read_text(encoding="utf-8"))
    index["_class_name"] = ["mine", "MyPipeline"]
    (copy / "model_index.json").write_text(json.dumps(index))
    (copy / "mine.py").write_text(f"open({str(tmp_path / 'ran')!r}, 'w')")
    with pytest.raises(ValueError, match="trust_remote_code"):
        load_pipeline(copy)
    assert not (tmp_path / "ran").exists()


@pytest.mark.parametrize(
    ("gpus", "mps", "chosen", "missing"),
    [(0, False, "cpu", "mps"), (0, True, "mps", "cuda:0"), (2, True, "cuda", "cuda:2")],
)
def test_the_fastest_device_is_chosen_and_one_that_is_not_there_is_refused(
    monkeypatch, gpus, mps, chosen, missing
):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: gpus > 0)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: gpus)
    monkeypatch.setattr(torch.backends.mps, "is_available", lambda: mps)
    assert pick_device().type == chosen
    assert pick_device("cuda:1" if gpus else "cpu")
    with pytest.raises(ValueError, match="'gpu' is not a device: use 'auto', 'cpu', 'cuda' or"):
        load_pipeline(device="gpu")
    for device in (missing, "xpu"):
        with pytest.raises(ValueError, match=f"no device '{device}'.*device='auto'.*'{chosen}'"):
            load_pipeline(device=device)


@pytest.mark.parametrize(
    ("dtype", "message"),
    [
        ("float16", r"made for GPUs.*'float32'.*'bfloat16'"),
        ("half", "float32, bfloat16, float16"),
        (torch.int8, "float32, bfloat16, float16"),
    ],
)
def test_a_dtype_that_suits_no_cpu_is_refused_with_the_ones_that_do(dtype, message):
    with pytest.raises(ValueError, match=message):
        pick_dtype("cpu", dtype)


@pytest.mark.parametrize(
    ("device", "capability", "name", "dtype"),
    [
        ("cuda", (6, 1), "Tesla P40", torch.float32),
        ("cuda", (7, 5), "Tesla T4", torch.float16),
        ("cuda", (7, 5), "NVIDIA GeForce GTX 1660 Ti", torch.float32),  # float16: black images
        ("cuda", (7, 5), "NVIDIA T400 4GB", torch.float32),
        ("mps", None, "", torch.float16),
        ("cpu", None, "", torch.float32),
    ],
)
def test_a_device_gets_a_dtype_that_suits_it(monkeypatch, device, capability, name, dtype):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 1)
    monkeypatch.setattr(torch.cuda, "get_device_capability", lambda _: capability)
    monkeypatch.setattr(torch.cuda, "get_device_name", lambda _: name)
    monkeypatch.setattr(torch.backends.mps, "is_available", lambda: True)
    assert pick_dtype(device) is dtype


def network(parameters):
    weight = torch.nn.Parameter(torch.empty(int(parameters), device="meta"))
    return SimpleNamespace(components={"unet": torch.nn.ParameterList([weight]), "scheduler": None})


@pytest.mark.parametrize(("parameters", "asked", "threads"), [
    (5e6, None, 1), (860e6, None, usable_cores()), (5e6, "3", 3), (5e6, "two", 1),
])  # fmt: skip
def test_threads_are_chosen_by_size_unless_they_are_asked_for(
    monkeypatch, parameters, asked, threads
):
    monkeypatch.delenv("OMP_NUM_THREADS", raising=False)
    if asked:
        monkeypatch.setenv("OMP_NUM_THREADS", asked)
    with cpu_threads(torch.get_num_threads()):  # restores the number afterwards
        assert set_threads_for(network(parameters)) == torch.get_num_threads() == threads


@pytest.mark.skipif(not hasattr(os, "sched_getaffinity"), reason="needs Linux")
def test_cores_that_the_process_may_not_use_do_not_count(monkeypatch):
    monkeypatch.setattr(os, "sched_getaffinity", lambda process: {3})
    assert usable_cores() == 1


def test_loading_leaves_the_threads_alone_and_an_error_restores_them():
    before = torch.get_num_threads()
    with pytest.raises(ZeroDivisionError), cpu_threads(before + 1):
        load_pipeline(device="cpu")
        assert torch.get_num_threads() == before + 1
        raise ZeroDivisionError
    assert torch.get_num_threads() == before


def test_a_folder_with_float16_weights_only(pipeline, tmp_path):
    pipeline.save_pretrained(tmp_path / "mine", variant="fp16")
    assert load_pipeline(tmp_path / "mine", device="cpu").unet.dtype is torch.float32


def test_home_is_where_the_tilde_leads(copy, monkeypatch):
    monkeypatch.setenv("HOME", str(copy.parent))
    monkeypatch.setenv("USERPROFILE", str(copy.parent))
    assert checkpoint("~/copy") == copy


@pytest.mark.parametrize("name", ["a.txt", "a.bin"])
def test_weights_other_than_safetensors_are_refused(tmp_path, name):
    (tmp_path / name).touch()
    for path in (tmp_path, tmp_path / name):
        with pytest.raises(ValueError, match="There are no safetensors files in .*pickle files"):
            find_weights(path)
