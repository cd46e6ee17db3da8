"""Refuse to install a copy: the notebooks and the models lie in this folder, outside packages."""

from setuptools import setup
from setuptools.command.build_py import build_py


class EditableOnly(build_py):
    """Builds nothing but an editable installation."""

    def run(self) -> None:
        """Refuse any other."""
        if not self.editable_mode:
            raise SystemExit(
                "Install with `pip install --editable .`: a copy would lack the models."
            )
        super().run()


setup(cmdclass={"build_py": EditableOnly})
