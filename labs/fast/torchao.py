"""Let PEFT do without a torchao that is too old for it, as if it were not installed."""

from __future__ import annotations

import importlib.metadata


def forget_old_torchao() -> None:
    """Keep PEFT from stopping at an old torchao, such as Colab's, which nothing here asks for.

    Source: peft, `is_torchao_available`, which raises where it could say no.

    Example:
        >>> forget_old_torchao()
    """
    try:
        importlib.metadata.version("torchao")
    except importlib.metadata.PackageNotFoundError:
        return  # the usual case: PEFT, which takes its time, need not be imported
    from peft import import_utils
    from peft.tuners.lora import torchao
    from peft.utils import quantization_utils

    try:
        import_utils.is_torchao_available()
    except ImportError:
        for module in (import_utils, torchao, quantization_utils):
            module.is_torchao_available = lambda: False
