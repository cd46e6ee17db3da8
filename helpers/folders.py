"""Find the folder that holds a model or a part of one, fetched first where it must be."""

from __future__ import annotations

import json
import re
from functools import partial
from pathlib import Path
from typing import Any

from helpers.fetching import fetch, pickle_only
from helpers.models import MODELS, MODELS_FOLDER, REMOVED, Model, nearest

PICKLES = {".bin", ".pt", ".pth", ".ckpt"}


def find_folder(model: str | Path) -> Path:
    """Return the folder or the one file that holds the model, downloaded first from the Hub."""
    known = MODELS.get(str(model))
    if known and "/" not in known.id:
        return MODELS_FOLDER / known.id
    place = Path(model).expanduser()
    if known is None and (place.is_dir() or (place.is_file() and place.suffix == ".safetensors")):
        return place
    hub_id = known.id if known else str(model)
    if hub_id in REMOVED:
        raise ValueError(
            f"{hub_id!r} was removed from the Hub. "
            f"Its mirror is {REMOVED[hub_id]!r}: load that instead."
        )
    if not re.fullmatch(r"\w[\w.-]*/[\w.-]+", hub_id):
        raise ValueError(
            f"{hub_id!r} is not a name in MODELS, an id on the Hub ('owner/name') or a folder "
            f"here. {nearest(hub_id, MODELS)}"
        )
    return _download(hub_id, known.revision if known else None)


def find_weights(name: str | Path, offline: str) -> Path:
    """Return the folder of a part's safetensors files, downloaded where it must be, or the file."""
    from huggingface_hub import snapshot_download

    places = (MODELS_FOLDER / name, Path(name).expanduser())
    found = next((place for place in places if place.exists()), None)
    on_hub = found is None
    if found is None:
        files = ["config.json", "*.safetensors"]
        download = partial(snapshot_download, str(name), allow_patterns=files)
        found = fetch(str(name), download, offline)
    if found.is_file() and found.suffix != ".safetensors":
        raise ValueError(f"{found.name!r} is no safetensors file: give one, or a folder of them.")
    if found.is_dir() and not any(found.glob("*.safetensors")):
        if on_hub or _suffixes(found) & PICKLES:
            raise ValueError(pickle_only(Path(name).name))
        raise ValueError(f"There are no weights in {found}: give the folder that holds them.")
    return found


def load_file(kind: Any, file: Path, **options: Any) -> Any:
    """Load what diffusers can from one file, without a connection: a pipeline or a part of one.

    Raises:
        ValueError: the file is none that diffusers knows, or its config has to be fetched first.
    """
    try:
        return kind.from_single_file(str(file), local_files_only=True, **options)
    except Exception as error:  # of many kinds: it guesses the model from the names of the weights
        raise ValueError(
            f"{file.name!r} could not be loaded as it is, without a connection: with one, try "
            f"{kind.__name__}.from_single_file({str(file)!r}); LoRA weights go to "
            "pipeline.load_lora_weights."
        ) from error


def variant_of(folder: Path) -> str | None:
    """The variant, such as "fp16", if a folder's weights are there in no other; else None."""
    names = [file.name for file in folder.rglob("*.safetensors")]
    variants = {name.split(".")[1] for name in names if re.search(r"\.\w+\.safetensors$", name)}
    whole = any(re.fullmatch(r"[\w-]+\.safetensors", name) for name in names)
    return variants.pop() if len(variants) == 1 and not whole else None


def check_folder(folder: Path, name: str) -> None:
    """Refuse a folder that is no pipeline, lacks a part, or would have to be unpickled."""
    for component, kind in read_index(folder).items():
        if component == "_class_name" or not isinstance(kind, list) or kind[0] is None:
            continue
        suffixes = _suffixes(folder / component)
        if not suffixes:
            raise FileNotFoundError(
                f"{name!r} lacks its {component!r} in {folder}: if its download broke off, load "
                "it again with a connection."
            )
        if PICKLES & suffixes and ".safetensors" not in suffixes:
            raise ValueError(pickle_only(f"{name}/{component}"))


def read_index(folder: Path) -> dict[str, Any]:
    """What a folder's model_index.json says of its parts.

    Raises:
        FileNotFoundError: there is none.
        ValueError: it is damaged, or that of something else than a pipeline.
    """
    path = folder / "model_index.json"
    if not path.is_file():
        raise FileNotFoundError(
            f"{folder} has no model_index.json, so it holds no pipeline: give the folder that "
            "pipeline.save_pretrained() wrote, or a name of MODELS."
        )
    try:
        index = json.loads(path.read_text(encoding="utf-8"))
    except ValueError as error:
        raise ValueError(f"{path} is damaged, it is not JSON: fetch the model again.") from error
    if not isinstance(index, dict) or not index.get("_class_name"):
        raise ValueError(
            f"{path} names no pipeline: give the folder that pipeline.save_pretrained() wrote."
        )
    return index


def _suffixes(folder: Path) -> set[str]:
    return {file.suffix for file in folder.glob("*")}


def _download(hub_id: str, revision: str | None) -> Path:
    """Return the cached folder of a pipeline on the Hub, fetched first if it is not whole."""
    from diffusers import DiffusionPipeline

    row = next((model for model in MODELS.values() if model.id == hub_id), None)
    if row:
        _say_what_is_fetched(row, revision)
    download = partial(
        DiffusionPipeline.download,
        hub_id,
        revision=revision,
        use_safetensors=True,
        trust_remote_code=False,
    )
    instead = nearest(hub_id, {*MODELS, *(model.id for model in MODELS.values())})
    if row and row.earlier:
        instead = f"Load {row.earlier!r} instead, the checkpoint before it."
    return fetch(hub_id, download, "load_pipeline('tiny-portraits')", instead)


def _say_what_is_fetched(model: Model, revision: str | None) -> None:
    """Print a model's size, licence and place, unless its download has begun before."""
    from huggingface_hub import constants, try_to_load_from_cache

    if not isinstance(try_to_load_from_cache(model.id, "model_index.json", revision=revision), str):
        print(
            f"{model.name}: {model.download}, is kept in {constants.HF_HUB_CACHE}. Its licence is "
            f"{model.licence}: read on {constants.ENDPOINT}/{model.id} what it allows."
        )
