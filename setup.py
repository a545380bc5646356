"""Refuses to build a wheel: its `datasets` package would overwrite another project's in site-packages."""

from setuptools import setup
from setuptools.command.bdist_wheel import bdist_wheel


class NoWheel(bdist_wheel):
    def run(self) -> None:
        raise SystemExit("descriptor-bench runs from its checkout: install it with `pip install -e .`, not as a wheel")


setup(cmdclass={"bdist_wheel": NoWheel})
