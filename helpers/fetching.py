"""Fetch from the Hub or its cache, and say in a sentence what goes wrong."""

from __future__ import annotations

import errno
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

DISK_IS_FULL = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)


def fetch(hub_id: str, download: Callable[..., str], offline: str, instead: str = "") -> Path:
    """Run a download from the Hub or its cache, and put what goes wrong in a sentence.

    Args:
        hub_id: what is fetched, "owner/name".
        download: fetches it and returns its folder; with `local_files_only`, from the cache alone.
        offline: the call that does the same without a connection.
        instead: what to do if the Hub does not have it; if empty, `offline`.

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
        explained = _explain(hub_id, error, instead or f"Embedded is: {offline}.")
        if explained is error:
            raise
        if explained is None:
            # diffusers gives up on a Hub that hangs up, even if all of the model is in the cache.
            with suppress(Exception):
                return Path(download(local_files_only=True))
            explained = ConnectionError(
                f"The Hub is out of reach ({type(error.__cause__ or error).__name__}), and "
                f"{hub_id!r} is not in the cache, or not as a whole. Try again with a connection: "
                "files that have arrived are kept. To stay offline, use what is embedded: "
                f"{offline}."
            )
        raise explained from error


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


def _explain(hub_id: str, error: Exception, instead: str) -> Exception | None:
    """Return an error that says what went wrong, or None if it was the connection."""
    from huggingface_hub import constants, errors

    causes: list[BaseException] = [error]
    while causes[-1].__cause__:
        causes.append(causes[-1].__cause__)

    def is_a(kind: type[BaseException]) -> bool:
        return any(isinstance(cause, kind) for cause in causes)

    if is_a(errors.GatedRepoError):
        advice = "asks for its licence to be accepted on its page, then for `hf auth login`."
        return ValueError(f"{hub_id!r} {advice}")
    if is_a(errors.RepositoryNotFoundError):
        return ValueError(f"{hub_id!r} is neither on the Hub nor a folder here. {instead}")
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
    number = getattr(error, "errno", None)
    # Xet, which carries most downloads, tells of a full disk in words alone.
    if number in DISK_IS_FULL or "(os error 28)" in str(error):
        return OSError(
            f"There is no room for {hub_id!r} in {constants.HF_HUB_CACHE} ({error}). Make some, "
            "or set HF_HOME to a folder on another disk before Python starts; then try again: "
            "files that have arrived are kept."
        )
    # Not the connection either: remote code, or a disk that may not be written to.
    return error if number or isinstance(error, ValueError) else None
