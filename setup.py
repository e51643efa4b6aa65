"""What pyproject.toml cannot say: the presets lie beside the package in a checkout, and in it once installed."""

from setuptools import find_packages, setup

setup(packages=[*find_packages(include=["dsrg", "dsrg.*"]), "dsrg.configs"], package_dir={"dsrg.configs": "configs"})
