"""Find the folder that holds a model or a part of one, fetched first where it must be."""

from __future__ import annotations

import json
import re
from functools import partial
from pathlib import Path

from helpers.hub.fetching import fetch, pickle_only
from helpers.models import MODELS, MODELS_FOLDER, REMOVED, Model, nearest


def find_folder(model: str | Path) -> Path:
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
            f"here. {nearest(hub_id, MODELS)}"
        )
    return _download(hub_id, known.revision if known else None)


def find_weights(name: str | Path, offline: str) -> Path:
    """Return the folder that holds a part's safetensors files, downloaded where it must be."""
    from huggingface_hub import snapshot_download

    folder = next((f for f in (MODELS_FOLDER / name, Path(name)) if f.is_dir()), None)
    if folder is None:
        files = ["config.json", "*.safetensors"]
        download = partial(snapshot_download, str(name), allow_patterns=files)
        folder = fetch(str(name), download, offline)
    if not any(folder.glob("*.safetensors")):
        raise ValueError(pickle_only(Path(name).name))
    return folder


def check_folder(folder: Path, name: str) -> None:
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
