"""Run by the kernels in `make test`: `torch.compile`, which takes minutes on a CPU, is refused."""

import os

os.environ["TORCH_COMPILE_DISABLE"] = "1"
