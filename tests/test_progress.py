"""What the tests say while a single one of them takes long."""

import os
import re
import subprocess
import sys
from pathlib import Path

CONFTEST = Path(__file__).parents[1] / "conftest.py"


def test_a_long_test_is_named_while_it_runs(tmp_path):
    text = CONFTEST.read_text(encoding="utf-8")
    (every,) = re.findall(r"^EVERY = ([\d.]+)  # seconds$", text, re.M)
    assert float(every) < 20
    (tmp_path / "conftest.py").write_text(text.replace(f"EVERY = {every}", "EVERY = 0.1"))
    (tmp_path / "test_it.py").write_text("import time\ndef test_long(): time.sleep(2)\n")
    options = ["-p", "xdist", "-n1", "--rootdir", tmp_path]
    command = [sys.executable, "-m", "pytest", *options, tmp_path]
    environment = os.environ | {"PYTEST_DISABLE_PLUGIN_AUTOLOAD": "1"}  # starts sooner
    run = subprocess.run(command, env=environment, capture_output=True, text=True)
    assert re.search(r"^\[\d+ s\] 0 done; running: none yet$", run.stdout, re.M), run.stdout
    assert re.search(r"^\[\d+ s\] 0 done; running: .*test_long for \d s$", run.stdout, re.M)
    assert "1 passed" in run.stdout
