"""An old torchao, as Colab has one, is as good as none."""

import subprocess
import sys

import pytest

CODE = """
from helpers import load_pipeline
from labs.fast import use_few_steps
pipeline = use_few_steps(load_pipeline("tiny-portraits", device="cpu"), "tiny-portraits-lcm")
print(pipeline("a knight", num_inference_steps=1, guidance_scale=1).images[0].size)
"""


@pytest.mark.parametrize("version", ["0.10.0"])  # Colab has it
def test_lora_weights_load_beside_an_old_torchao(tmp_path, version):
    (tmp_path / "torchao").mkdir()
    (tmp_path / "torchao/__init__.py").touch()
    (tmp_path / f"torchao-{version}.dist-info").mkdir()
    metadata = f"Metadata-Version: 2.1\nName: torchao\nVersion: {version}\n"
    (tmp_path / f"torchao-{version}.dist-info/METADATA").write_text(metadata)
    code = f"import sys; sys.path.append({str(tmp_path)!r}){CODE}"
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert run.stdout.endswith("(128, 128)\n"), run.stderr
