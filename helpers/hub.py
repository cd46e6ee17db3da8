"""Find a model's files: embedded, in a folder here, or on the Hub, downloaded first."""

from __future__ import annotations

import difflib
import errno
import re
from collections.abc import Callable, Iterable
from contextlib import suppress
from functools import partial
from pathlib import Path

from huggingface_hub import constants, errors, snapshot_download, try_to_load_from_cache

from helpers.models import MODELS, MODELS_FOLDER, REMOVED, REVISIONS

DISK_IS_FULL = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)


def find_model(model: str | Path) -> Path:
    """Return the folder of a pipeline; download it if needed.

    Args:
        model: a name of `MODELS`, a repository on the Hub ("owner/name"), or a folder.
    """
    row = MODELS.get(str(model))
    if row and "/" not in row.id:
        return MODELS_FOLDER / row.id
    path = Path(model).expanduser()
    if row is None and path.is_dir():
        return path
    if path.is_file():
        raise ValueError(
            f"{str(model)!r} is a file: load it with `StableDiffusionPipeline.from_single_file`, "
            "save it with `save_pretrained`, and give that folder."
        )
    hub_id = row.id if row else str(model)
    if hub_id in REMOVED:
        raise ValueError(
            f"{hub_id!r} was removed from the Hub: load its mirror, {REMOVED[hub_id]!r}, instead."
        )
    check_hub_id(hub_id, "a name in MODELS", MODELS)
    return _download_pipeline(hub_id)


def find_weights(name: str | Path) -> Path:
    """Return the folder or file of one model, such as a VAE, LoRA weights or a judge.

    Args:
        name: a folder of models/, a repository on the Hub, a folder or a safetensors file.
    """
    paths = (MODELS_FOLDER / name, Path(name).expanduser())
    found = next((path for path in paths if path.exists()), None)
    if found is None:
        hub_id = str(name)
        check_hub_id(hub_id, "a folder of models/", (path.name for path in MODELS_FOLDER.iterdir()))
        files = ["*.json", "*.txt", "*.safetensors"]
        options = {"allow_patterns": files, "ignore_patterns": ["*/*"]}
        revision = REVISIONS.get(hub_id)
        found = fetch(hub_id, partial(snapshot_download, hub_id, revision=revision, **options))
    if found.suffix != ".safetensors" and not any(found.glob("*.safetensors")):
        raise ValueError(
            f"There are no safetensors files in {str(name)!r}: pickle files are refused, because "
            "they can run any code when they are opened, and subfolders are not searched."
        )
    return found


def check_hub_id(name: str, kind: str, known: Iterable[str]) -> None:
    """Refuse what cannot be a repository on the Hub: a missing path or a misspelt name."""
    if re.search(r"^[~./\\]|^\w:|\\|/.*/|^models/|\.safetensors$", name):
        raise FileNotFoundError(f"There is no file or folder {name!r}: check the path.")
    if not re.fullmatch(r"\w[\w.-]*/\w[\w.-]*", name):
        raise ValueError(
            f"{name!r} is not {kind}, a repository on the Hub ('owner/name') or a folder here. "
            f"{nearest(name, known)}"
        )


def nearest(name: str, names: Iterable[str]) -> str:
    """Suggest the names that resemble a misspelt one, or list them all."""
    names = sorted(names)
    first = (name.split() or [""])[0].lower()
    near = [other for other in names if len(first) > 2 and other.lower().startswith(first)]
    near = near or difflib.get_close_matches(name, names, n=3, cutoff=0.4)
    return f"Nearest: {', '.join(near)}." if near else f"There are: {', '.join(names)}."


def fetch(hub_id: str, download: Callable[..., str], advice: str = "") -> Path:
    """Run a download from the Hub or its cache, and explain what goes wrong.

    Args:
        download: fetches "owner/name" and returns its folder; takes `local_files_only`.
        advice: what to do if the Hub does not have it.
    """
    try:
        return Path(download())
    except Exception as error:
        cause: BaseException | None = error
        while cause and not isinstance(cause, errors.HfHubHTTPError):
            cause = cause.__cause__
        if cause and 400 < cause.response.status_code < 405:
            # It is missing, or needs a license or another token: huggingface_hub says which.
            raise ValueError(f"The Hub refuses {hub_id!r}: {cause} {advice}") from error
        # Xet, which carries most downloads, reports a full disk in words alone.
        full = any(f"(os error {number})" in str(error) for number in DISK_IS_FULL)
        if full or getattr(error, "errno", None) in DISK_IS_FULL:
            raise OSError(
                f"There is no room for {hub_id!r} in {constants.HF_HUB_CACHE} ({error}). Free some "
                "space, or set HF_HOME to a folder on another disk before Python starts; then try "
                "again: files that have arrived are kept."
            ) from error
        if isinstance(error, AttributeError):
            raise ValueError(
                f"{hub_id!r} needs a class that this version of Diffusers lacks ({error}): update "
                "diffusers, or choose another model."
            ) from error
        if getattr(error, "errno", None) or isinstance(error, ValueError):
            raise  # a disk that may not be written to, or custom code: it says so itself
        if "necessary `safetensors` weights" in str(error):
            raise ValueError(
                f"{hub_id!r} has only pickle files, or only a variant such as fp16, which you can "
                f"download yourself and give as a folder: {error}"
            ) from error
        # diffusers gives up when the Hub does not answer, even if the cache holds the whole model.
        with suppress(Exception):
            return Path(download(local_files_only=True))
        raise ConnectionError(
            f"The Hub cannot be reached ({type(error.__cause__ or error).__name__}), and "
            f"{hub_id!r} is not completely in the cache. Try again with a connection (files that "
            "have arrived are kept), or use the embedded 'tiny-portraits' and 'tiny-judge'."
        ) from error


def variant_of(folder: Path) -> str | None:
    """The variant, such as "fp16", if all weights in a folder are of this one; else None."""
    names = [file.name for file in folder.rglob("*.safetensors")]
    variants = {name.split(".")[1] for name in names if re.search(r"\.\w+\.safetensors$", name)}
    plain = any(re.fullmatch(r"[\w-]+\.safetensors", name) for name in names)
    return variants.pop() if len(variants) == 1 and not plain else None


def check_parts(folder: Path) -> None:
    """Refuse a pipeline's folder that lacks a part, such as after an interrupted download."""
    from diffusers import DiffusionPipeline

    for part, kind in DiffusionPipeline.load_config(folder).items():
        if part.startswith("_") or not isinstance(kind, list) or not isinstance(kind[0], str):
            continue
        if not any((folder / part).glob("*")):
            raise FileNotFoundError(
                f"There is no {part!r} in {folder}: if its download was interrupted, load it again "
                "with a connection."
            )


def _download_pipeline(hub_id: str) -> Path:
    """Return the cached folder of a pipeline on the Hub, downloaded first if it is not complete."""
    from diffusers import DiffusionPipeline

    row = next((model for model in MODELS.values() if model.id == hub_id), None)
    revision = REVISIONS.get(hub_id)
    cached = try_to_load_from_cache(hub_id, "model_index.json", revision=revision)
    if row and not isinstance(cached, str):
        print(
            f"{row.name}: {row.download}, is kept in {constants.HF_HUB_CACHE}. Its license is "
            f"{row.license}: see {constants.ENDPOINT}/{row.id} for what it allows."
        )
    advice = nearest(hub_id, {*MODELS, *(model.id for model in MODELS.values())})
    if row and row.earlier:
        advice = f"Load {row.earlier!r} instead, the checkpoint before it."
    options = {"revision": revision, "use_safetensors": True, "trust_remote_code": False}
    return fetch(hub_id, partial(DiffusionPipeline.download, hub_id, **options), advice)
