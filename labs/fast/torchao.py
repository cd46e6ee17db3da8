"""Let PEFT load LoRA weights beside a torchao that is too old for it."""

from __future__ import annotations

import importlib.metadata


def forget_old_torchao() -> None:
    """Let PEFT ignore an old torchao, such as Colab's, which is not needed here.

    Source: peft, `is_torchao_available`, which raises ImportError where it could return False.
    """
    try:
        importlib.metadata.version("torchao")
    except importlib.metadata.PackageNotFoundError:
        return  # the usual case
    from peft import import_utils
    from peft.tuners.lora import torchao
    from peft.utils import quantization_utils

    try:
        import_utils.is_torchao_available()
    except ImportError:
        for module in (import_utils, torchao, quantization_utils):
            module.is_torchao_available = lambda: False
