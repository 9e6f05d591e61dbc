"""Which packages a wheel holds; all other facts are in pyproject.toml.

The catalogue folders lie beside the package in a checkout and inside it in a wheel. Every family folder is found here,
so that a new one cannot be forgotten.
"""

from setuptools import find_packages, setup

CATALOGUE = ("adapters", "datasets", "benchmarks")

packages = ["rclicks", *(f"rclicks.{name}" for name in find_packages("rclicks"))]
for folder in CATALOGUE:
    packages += [f"rclicks.{folder}", *(f"rclicks.{folder}.{name}" for name in find_packages(folder))]

setup(packages=packages, package_dir={f"rclicks.{folder}": folder for folder in CATALOGUE})
