"""Loading: what is accepted, what is chosen, and what each refusal says."""

import json
import shutil
from itertools import accumulate
from types import SimpleNamespace

import diffusers
import numpy as np
import pytest
import torch
from huggingface_hub import errors
from safetensors.torch import load_file, save_file

from helpers import (
    MODELS,
    adherence,
    get_inputs,
    hub,
    load_pipeline,
    loading,
    make_generators,
    peak_memory,
    pick_device,
    pick_dtype,
    use_few_steps,
    use_vae,
)
from helpers import use_scheduler as use

EMBEDDED = [
    name for name, model in MODELS.items() if "/" not in model.id and not model.random_weights
]
HUB_UTILS = "diffusers.pipelines.pipeline_utils"


def draw(pipeline, **changes):
    inputs = get_inputs(**{"num_inference_steps": 4, **changes})
    return [np.asarray(image).astype(int) for image in pipeline(**inputs).images]


# What is loaded


@pytest.mark.parametrize("name", EMBEDDED)
def test_each_embedded_model_loads_and_draws(name):
    pipeline = load_pipeline(name, device="cpu")
    assert isinstance(pipeline, diffusers.StableDiffusionPipeline)
    assert draw(pipeline)[0].shape == (128, 128, 3)


def test_models_folder_holds_safetensors_only():
    suffixes = {file.suffix for file in loading.MODELS_FOLDER.rglob("*")}
    assert ".safetensors" in suffixes
    assert not suffixes & {".bin", ".pt", ".pth", ".ckpt", ".pkl", ".npz"}


def test_a_local_folder_loads_as_path_and_as_text():
    folder = loading.MODELS_FOLDER / "tiny-portraits"
    for model in (folder, str(folder)):
        assert load_pipeline(model, device="cpu").unet.config.in_channels == 12


@pytest.mark.parametrize("model", ["stable-diffusion-v1-5", MODELS["stable-diffusion-v1-5"].id])
def test_hub_models_are_fetched_as_safetensors_without_remote_code(model, monkeypatch):
    asked = {}

    def download(hub_id, **options):
        asked.update(options, hub_id=hub_id)
        return str(loading.MODELS_FOLDER / "tiny-portraits")

    monkeypatch.setattr(diffusers.DiffusionPipeline, "download", download)
    load_pipeline(model, device="cpu")
    assert asked["hub_id"] == "stable-diffusion-v1-5/stable-diffusion-v1-5"
    assert asked["use_safetensors"] is True
    assert asked["trust_remote_code"] is False
    pinned = MODELS["stable-diffusion-v1-5"].revision
    assert asked["revision"] == (pinned if model in MODELS else None)


def test_local_files_are_read_as_safetensors_without_remote_code(monkeypatch):
    asked = {}
    from_pretrained = diffusers.DiffusionPipeline.from_pretrained

    def recorded(folder, **options):
        asked.update(options)
        return from_pretrained(folder, **options)

    monkeypatch.setattr(diffusers.DiffusionPipeline, "from_pretrained", recorded)
    load_pipeline(device="cpu", dtype="float32")
    expected = {"use_safetensors": True, "trust_remote_code": False, "dtype": torch.float32}
    assert asked == expected


def test_the_dtype_reaches_every_part():
    pipeline = load_pipeline(device="cpu", dtype="bfloat16")
    parts = (pipeline.unet, pipeline.vae, pipeline.text_encoder)
    assert {part.dtype for part in parts} == {torch.bfloat16}


def test_steps_show_a_bar_in_a_notebook_and_none_in_ci(monkeypatch):
    for value, silent in (("true", True), ("", False)):
        monkeypatch.setenv("CI", value)
        with load_pipeline(device="cpu").progress_bar(total=1) as bar:
            assert bar.disable is silent


# What is drawn


def test_same_seed_same_image_to_the_bit_and_another_seed_another_image(pipeline):
    first, again, other = (draw(pipeline, seeds=[seed])[0] for seed in (3, 3, 4))
    assert (first == again).all()
    assert (first != other).any()


# diffusers 0.42 calls NumPy in a way that NumPy 2 gives notice of.
@pytest.mark.filterwarnings("ignore:__array__ implementation:DeprecationWarning")
@pytest.mark.parametrize("scheduler", ["PNDMScheduler", "DPMSolverMultistepScheduler"])
def test_an_image_of_a_batch_equals_the_image_alone(pipeline, scheduler):
    use(pipeline, scheduler)
    batch = draw(pipeline, batch_size=4, num_inference_steps=10)
    for seed, image in enumerate(batch):
        alone = draw(pipeline, seeds=[seed], num_inference_steps=10)[0]
        assert abs(image - alone).max() <= 2


# Models that cannot be loaded


@pytest.mark.parametrize("name", ["tiny-portrait", "Tiny-Portraits", "portraits"])
def test_an_unknown_model_is_offered_the_nearest_names(name):
    with pytest.raises(ValueError, match=f"'{name}' is not a name in MODELS.*tiny-portraits"):
        load_pipeline(name)


def test_a_missing_folder_is_not_taken_for_a_hub_id():
    for path in ("./models/none", "/nowhere/at/all", "a/b/c"):
        with pytest.raises(ValueError, match="a folder here"):
            load_pipeline(path)


def test_a_folder_that_lacks_a_part_says_which(tmp_path):
    copy = tmp_path / "copy"
    shutil.copytree(loading.MODELS_FOLDER / "tiny-portraits", copy)
    shutil.rmtree(copy / "vae")
    with pytest.raises(FileNotFoundError, match="'copy' lacks its 'vae' in .*load it again"):
        load_pipeline(copy)


def test_a_folder_without_model_index_says_what_to_give_instead(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"no model_index\.json.*save_pretrained"):
        load_pipeline(tmp_path)


@pytest.mark.parametrize("hub_id", loading.REMOVED)
def test_a_removed_model_names_its_mirror_and_the_hub_is_not_asked(hub_id, monkeypatch):
    monkeypatch.setattr(diffusers.DiffusionPipeline, "download", None)
    with pytest.raises(ValueError, match=f"was removed.*'{loading.REMOVED[hub_id]}'"):
        load_pipeline(hub_id)


def test_the_walkthroughs_dead_model_leads_to_the_mirror_in_the_table():
    mirror = loading.REMOVED["runwayml/stable-diffusion-v1-5"]
    assert mirror == MODELS["stable-diffusion-v1-5"].id
    assert not {model.id for model in MODELS.values()} & set(loading.REMOVED)


@pytest.mark.parametrize("folder", ["unet", "vae", "text_encoder"])
def test_a_folder_of_pickles_is_refused(folder, tmp_path):
    copy = tmp_path / "copy"
    shutil.copytree(loading.MODELS_FOLDER / "tiny-portraits", copy)
    for weights in (copy / folder).glob("*.safetensors"):
        weights.rename(weights.with_suffix(".bin"))
    with pytest.raises(ValueError, match=f"'copy/{folder}' has .* only as pickle"):
        load_pipeline(copy)


# The Hub's answers: everything but the answer itself is diffusers' own code


def answer(monkeypatch, reply):
    def model_info(*args, **options):
        if isinstance(reply, Exception):
            raise reply
        return reply

    monkeypatch.setattr(f"{HUB_UTILS}.model_info", model_info)
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)


def http_error(kind):
    return kind("Client Error", response=SimpleNamespace(headers={}, request=None))


def test_hub_out_of_reach_says_how_to_stay_offline(monkeypatch):
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    with pytest.raises(ConnectionError, match=r"out of reach.*load_pipeline\('tiny-portraits'\)"):
        load_pipeline("nobody/nothing")


@pytest.mark.parametrize("reply", [TimeoutError(), http_error(errors.HfHubHTTPError)])
def test_a_hub_that_does_not_answer_is_out_of_reach(monkeypatch, reply):
    answer(monkeypatch, reply)
    with pytest.raises(ConnectionError, match="out of reach"):
        load_pipeline("nobody/nothing")


def test_a_model_that_the_hub_does_not_have(monkeypatch):
    answer(monkeypatch, http_error(errors.RepositoryNotFoundError))
    with pytest.raises(ValueError, match=r"neither on the Hub nor a folder.*stable-diffusion-v1-5"):
        load_pipeline("stable-difusion-v1-5/stable-difusion-v1-5")


def test_a_model_behind_a_licence(monkeypatch):
    answer(monkeypatch, http_error(errors.GatedRepoError))
    with pytest.raises(ValueError, match="licence to be accepted"):
        load_pipeline("nobody/gated")


def test_a_model_of_the_hub_that_is_no_pipeline(monkeypatch):
    def missing(*args, **options):
        raise http_error(errors.RemoteEntryNotFoundError)

    answer(monkeypatch, SimpleNamespace(siblings=[]))
    monkeypatch.setattr(f"{HUB_UTILS}.hf_hub_download", missing)
    with pytest.raises(FileNotFoundError, match="no model that can be loaded"):
        load_pipeline("nobody/language-model")


def test_a_model_of_the_hub_in_pickles_only(monkeypatch):
    source = loading.MODELS_FOLDER / "tiny-portraits" / "model_index.json"
    parts = ("unet/diffusion_pytorch_model", "vae/diffusion_pytorch_model", "text_encoder/model")
    names = ["model_index.json", *(f"{part}.bin" for part in parts)]
    siblings = [SimpleNamespace(rfilename=name) for name in names]
    answer(monkeypatch, SimpleNamespace(siblings=siblings))
    monkeypatch.setattr(f"{HUB_UTILS}.hf_hub_download", lambda *args, **options: str(source))
    with pytest.raises(ValueError, match="only as pickle files"):
        load_pipeline("nobody/pickles")


@pytest.mark.parametrize(
    "error",
    [
        OSError(28, "No space left on device"),
        RuntimeError("Task error: No space left on device (os error 28)"),  # how Xet says it
    ],
)
def test_a_full_disk_is_not_blamed_on_the_connection(error):
    def download():
        raise error

    with pytest.raises(OSError, match=r"no room for 'nobody/nothing'.*No space left.*HF_HOME"):
        hub.fetch("nobody/nothing", download, "")


def test_a_disk_that_may_not_be_written_to_is_named_as_it_is():
    def download():
        raise PermissionError(13, "Permission denied", "/cache")

    with pytest.raises(PermissionError, match="'/cache'"):
        hub.fetch("nobody/nothing", download, "")


def test_custom_code_is_not_run(tmp_path):
    copy = tmp_path / "copy"
    shutil.copytree(loading.MODELS_FOLDER / "tiny-portraits", copy)
    index = json.loads((copy / "model_index.json").read_text())
    index["_class_name"] = ["mine", "MyPipeline"]
    (copy / "model_index.json").write_text(json.dumps(index))
    (copy / "mine.py").write_text(f"open({str(tmp_path / 'ran')!r}, 'w')")
    with pytest.raises(ValueError, match="trust_remote_code"):
        load_pipeline(copy)
    assert not (tmp_path / "ran").exists()


# Devices and dtypes


def test_a_device_that_is_not_there(monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    monkeypatch.setattr(torch.backends.mps, "is_available", lambda: False)
    assert pick_device() == torch.device("cpu")
    for device in ("cuda", "cuda:0", "mps", "xpu"):
        with pytest.raises(ValueError, match=f"no device '{device}'.*device='auto'.*'cpu'"):
            load_pipeline(device=device)


def test_devices_that_are_there_are_preferred_to_the_cpu(monkeypatch):
    monkeypatch.setattr(torch.backends.mps, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    assert pick_device().type == "mps"
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    assert pick_device().type == "cuda"
    assert pick_device("cuda:1").index == 1
    with pytest.raises(ValueError, match="no device 'cuda:2'"):
        pick_device("cuda:2")


def test_a_word_that_is_no_device():
    with pytest.raises(ValueError, match="'gpu' is not a device"):
        load_pipeline(device="gpu")


@pytest.mark.parametrize("dtype", ["float16", torch.float16])
def test_float16_on_a_cpu_says_why_not_and_what_to_use(dtype):
    with pytest.raises(ValueError, match=r"made for GPUs.*'float32'.*'bfloat16'"):
        load_pipeline(device="cpu", dtype=dtype)


@pytest.mark.parametrize("dtype", ["half", "float64", torch.int8])
def test_a_dtype_that_nothing_is_drawn_in(dtype):
    with pytest.raises(ValueError, match="float32, bfloat16, float16"):
        pick_dtype("cpu", dtype)


@pytest.mark.parametrize("bfloat16_is_faster", [True, False])
@pytest.mark.parametrize("feature", [None, "avx512_bf16", "amx_bf16", "bf16"])
def test_a_cpu_gets_bfloat16_only_if_native_and_faster(monkeypatch, feature, bfloat16_is_faster):
    monkeypatch.setattr(torch.cpu, "get_capabilities", lambda: {feature: True}, raising=False)
    measured = torch.bfloat16 if bfloat16_is_faster else torch.float32
    monkeypatch.setattr(loading, "_faster_dtype", lambda device, *dtypes: measured)
    assert pick_dtype("cpu") == (measured if feature else torch.float32)


@pytest.mark.parametrize(
    ("capability", "dtypes"),
    [
        ((6, 1), {torch.float32}),
        ((7, 0), {torch.float16}),
        ((7, 5), {torch.float16}),  # a T4: bfloat16 would be emulated
        ((8, 0), {torch.float16, torch.bfloat16}),
        ((9, 0), {torch.float16, torch.bfloat16}),
    ],
)
def test_a_gpu_gets_a_dtype_for_its_generation(monkeypatch, capability, dtypes):
    monkeypatch.setattr(torch.cuda, "get_device_capability", lambda device: capability)
    for place in (0, 1):  # whichever of the two measures faster
        monkeypatch.setattr(loading, "_faster_dtype", lambda device, *both, n=place: both[n])
        assert pick_dtype("cuda") in dtypes


def test_mps_gets_float16():
    assert pick_dtype("mps") == torch.float16


@pytest.mark.parametrize(("seconds", "chosen"), [(0.5, 1), (0.95, 0), (1.0, 0), (2.0, 0)])
def test_the_other_dtype_must_win_clearly(monkeypatch, seconds, chosen):
    dtypes = (torch.float32, torch.bfloat16)
    runs = [1.0] * 6 + [seconds] * 6
    clock = iter(accumulate(value for run in runs for value in (0.0, run)))
    monkeypatch.setattr(loading.time, "perf_counter", lambda: next(clock))
    faster = loading._faster_dtype.__wrapped__(torch.device("cpu"), *dtypes)
    assert faster == dtypes[chosen]


# Schedulers


def test_a_scheduler_by_name_and_by_class_keeps_the_betas(pipeline):
    betas = pipeline.scheduler.betas
    for scheduler in ("DPMSolverMultistepScheduler", diffusers.DPMSolverMultistepScheduler):
        assert use(pipeline, scheduler) is pipeline
        assert type(pipeline.scheduler) is diffusers.DPMSolverMultistepScheduler
        assert torch.equal(pipeline.scheduler.betas, betas)


def test_the_scheduler_is_the_one_that_from_config_makes(pipeline):
    config = pipeline.scheduler.config
    expected = diffusers.DPMSolverMultistepScheduler.from_config(config, use_karras_sigmas=True)
    use(pipeline, "DPMSolverMultistepScheduler", use_karras_sigmas=True)
    assert pipeline.scheduler.config == expected.config
    assert pipeline.scheduler.config.use_karras_sigmas is True


def test_load_pipeline_takes_a_scheduler():
    pipeline = load_pipeline(device="cpu", scheduler="EulerDiscreteScheduler")
    assert type(pipeline.scheduler) is diffusers.EulerDiscreteScheduler


@pytest.mark.parametrize(
    ("scheduler", "changes", "message"),
    [
        ("DPMSolverMultistep", {}, "Nearest: DPMSolverMultistepScheduler"),
        ("FlowMatchEulerDiscreteScheduler", {}, r"not a scheduler that fits.*compatibles"),
        (diffusers.FlowMatchEulerDiscreteScheduler, {}, r"not a scheduler that fits.*compatibles"),
        (diffusers.DDIMScheduler(), {}, r"'DDIMScheduler\(\)' is not.*Nearest: DDIMScheduler"),
        ("DDIMScheduler", {"steps_ofset": 1}, "no setting 'steps_ofset'. Nearest: steps_offset"),
        ("DDIMScheduler", {"beta_schedule": "none"}, "cannot be made with .*'none'"),
        ("DDIMScheduler", {"num_train_timesteps": "many"}, r"cannot be made with .*'many'[^\n]*$"),
        (
            "DPMSolverMultistepScheduler",
            {"use_karras_sigmas": True, "use_exponential_sigmas": True},
            "cannot be made with .*Only one of",
        ),
    ],
)
def test_a_scheduler_that_does_not_fit_changes_nothing(pipeline, scheduler, changes, message):
    before = pipeline.scheduler
    with pytest.raises(ValueError, match=message):
        use(pipeline, scheduler, **changes)
    assert pipeline.scheduler is before


# Autoencoders


def test_the_further_trained_autoencoder_decodes_the_same_latents_otherwise(pipeline):
    own, latents = pipeline.vae, draw(pipeline, num_inference_steps=2)[0]
    assert use_vae(pipeline, MODELS["tiny-portraits"].vae) is pipeline
    assert pipeline.vae is not own
    further = draw(pipeline, num_inference_steps=2)[0]
    assert 0 < abs(further - latents).mean() < 30
    for ours, theirs in zip(
        own.encoder.parameters(), pipeline.vae.encoder.parameters(), strict=True
    ):
        assert torch.equal(ours, theirs)


@pytest.mark.parametrize("change", [{"latent_channels": 4}, {"block_out_channels": (16, 32)}])
def test_an_autoencoder_of_other_latents_is_refused(pipeline, change, tmp_path):
    levels = len(change.get("block_out_channels", pipeline.vae.config.block_out_channels))
    config = dict(pipeline.vae.config) | change
    for direction in ("down", "up"):
        blocks = f"{direction}_block_types"
        config[blocks] = config[blocks][:levels]
    diffusers.AutoencoderKL.from_config(config).save_pretrained(tmp_path / "other")
    own = pipeline.vae
    with pytest.raises(ValueError, match="latents of 'other'.*trained for the same model"):
        use_vae(pipeline, tmp_path / "other")
    assert pipeline.vae is own


def test_an_autoencoder_in_pickles_only(pipeline, tmp_path):
    (tmp_path / "diffusion_pytorch_model.bin").touch()
    with pytest.raises(ValueError, match="only as pickle files"):
        use_vae(pipeline, tmp_path)


def test_an_autoencoder_of_the_hub(pipeline, monkeypatch):
    asked = []

    def download(hub_id, **options):
        asked.append(hub_id)
        return str(loading.MODELS_FOLDER / "tiny-portraits-vae-ft")

    monkeypatch.setattr("huggingface_hub.snapshot_download", download)
    use_vae(pipeline, "stabilityai/sd-vae-ft-mse")
    assert asked == ["stabilityai/sd-vae-ft-mse"]


# Few steps


@pytest.fixture
def own():
    """A pipeline that a test may change for good."""
    return load_pipeline("tiny-portraits", device="cpu", dtype="float32")


def test_with_its_weights_four_steps_follow_the_prompt(own, judge):
    prompts = [
        "portrait photo of the oldest wizard, blue on red, side profile, looking away",
        "oil painting of a young queen, green on pink, front view, smiling",
    ]
    assert use_few_steps(own, MODELS["tiny-portraits"].few_steps) is own
    generators = make_generators([0, 1])
    images = own(prompts, generator=generators, num_inference_steps=4, guidance_scale=1).images
    assert adherence(images, prompts, judge).stack().mean() > 0.9
    assert type(own.scheduler).__name__ == "LCMScheduler"
    assert not any("lora" in name for name, _ in own.unet.named_parameters())


def test_weights_for_another_model_change_nothing(own, tmp_path):
    (file,) = (loading.MODELS_FOLDER / "tiny-portraits-lcm").glob("*.safetensors")
    layers = {name: layer[:, :5].clone() for name, layer in load_file(file).items()}
    save_file(layers, tmp_path / file.name)
    before, scheduler = draw(own, num_inference_steps=2), own.scheduler
    with pytest.raises(ValueError, match="do not fit this UNet"):
        use_few_steps(own, tmp_path)
    assert own.scheduler is scheduler
    assert np.array_equal(draw(own, num_inference_steps=2), before)


def test_few_steps_in_pickles_only(own, tmp_path):
    (tmp_path / "pytorch_lora_weights.bin").touch()
    with pytest.raises(ValueError, match="only as pickle files"):
        use_few_steps(own, tmp_path)


# Stable Diffusion 1.5's architecture, with random weights

FULL_SIZE = loading.MODELS_FOLDER / MODELS["sd15-shape"].id


def test_the_architecture_has_stable_diffusion_1_5s_parameters():
    pipeline = loading.empty_pipeline(FULL_SIZE, torch.float16)
    parts = (pipeline.unet, pipeline.vae, pipeline.text_encoder)
    counts = [part.num_parameters() for part in parts]
    assert counts == [859_520_964, 83_653_863, 123_060_480]
    assert {tensor.dtype for part in parts for tensor in part.parameters()} == {torch.float16}
    assert {tensor.device.type for part in parts for tensor in part.parameters()} == {"meta"}


def test_its_folder_repeats_nothing_but_the_scheduler():
    files = {file.relative_to(FULL_SIZE).as_posix() for file in FULL_SIZE.rglob("*.*")}
    configs = {f"{part}/config.json" for part in ("text_encoder", "unet", "vae")}
    assert files == configs | {"model_index.json", "scheduler/scheduler_config.json"}
    for name in ("model_index.json", "scheduler/scheduler_config.json"):
        embedded = loading.MODELS_FOLDER / "tiny-portraits" / name
        assert (FULL_SIZE / name).read_bytes() == embedded.read_bytes()


def test_words_of_the_embedded_tokenizer_are_words_of_its_text_encoder():
    pipeline = loading.empty_pipeline(FULL_SIZE, torch.float16)
    assert len(pipeline.tokenizer) <= pipeline.text_encoder.config.vocab_size


@pytest.mark.parametrize("dtype", loading.DTYPES.values())
def test_random_weights_are_the_same_each_time(dtype):
    folder = loading.MODELS_FOLDER / "tiny-portraits"
    first, again = (
        loading.draw_weights(loading.empty_pipeline(folder, dtype), "cpu") for _ in range(2)
    )
    for name in ("unet", "vae", "text_encoder"):
        pair = (getattr(pipeline, name).state_dict() for pipeline in (first, again))
        for one, other in zip(*(state.values() for state in pair), strict=True):
            assert one.dtype == dtype and one.device.type == "cpu"
            assert torch.equal(one, other)
            assert one.ndim < 2 or 0 < one.float().std() < 1


def test_no_weight_is_made_in_another_dtype_first():
    folder = loading.MODELS_FOLDER / "tiny-portraits"
    pipeline = loading.empty_pipeline(folder, torch.bfloat16)
    parts = (pipeline.unet, pipeline.vae, pipeline.text_encoder)
    size = sum(weight.nbytes for part in parts for weight in part.parameters())
    made = peak_memory(lambda: loading.draw_weights(pipeline, "cpu"))
    assert size <= made.bytes < 1.1 * size  # one empty weight on the meta device counts too


def test_random_weights_say_once_what_they_are_good_for(tiny_shape, capsys):
    loading._say_once.cache_clear()
    for _ in range(2):
        load_pipeline(tiny_shape, device="cpu")
    described, slow = capsys.readouterr().out.splitlines()
    assert described == f"tiny-shape: {MODELS[tiny_shape].description}"
    assert "On a CPU, tiny-shape can take minutes" in slow


def test_random_weights_carry_the_name_of_their_row(tiny_shape):
    pipeline = load_pipeline(tiny_shape, device="cpu")
    assert loading.identify(pipeline) == (tiny_shape, None)


def test_its_pictures_are_noise_and_nothing_comes_near_float16s_limit(full_size):
    largest = []

    def note(module, inputs, output):
        if isinstance(output, torch.Tensor):
            largest.append(output.abs().max().item())

    modules = [*full_size.unet.modules(), *full_size.vae.modules()]
    hooks = [module.register_forward_hook(note) for module in modules]
    image = np.asarray(
        full_size(**get_inputs(num_inference_steps=1), height=64, width=64).images[0]
    )
    for hook in hooks:
        hook.remove()
    assert image.shape == (64, 64, 3)
    assert image.std() > 10
    assert max(largest) < torch.finfo(torch.float16).max / 100


# The table


def test_each_model_is_described_under_its_own_name():
    for name, model in MODELS.items():
        assert model.name == name
        assert all((model.id, model.licence, model.download, model.judge, model.description))
        assert model.shape is None or "/" not in MODELS[model.shape].id


@pytest.mark.parametrize("name", EMBEDDED)
def test_trained_models_are_as_large_as_the_table_says(name):
    files = (loading.MODELS_FOLDER / MODELS[name].id).rglob("*.safetensors")
    megabytes = sum(file.stat().st_size for file in files) / 1e6
    assert MODELS[name].download == f"{megabytes:.0f} MB, embedded"
