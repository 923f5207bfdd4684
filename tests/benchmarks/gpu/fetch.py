"""Fetch what the GPU day needs beside the checkout, into a folder that git ignores:

    python tests/benchmarks/gpu/fetch.py --train TRAIN.tar --test TEST.tar

It needs nothing but Python, pip and a package index. Packages that the GPU machine lacks are unpacked there for its
Python, pure Python packages alone, so that they run on any machine; ``gpu_day.py`` finds them. The tars are CIFAR-10 as
WebDataset (jpg or png, and cls), compressed or not.
"""

from __future__ import annotations

import argparse
import configparser
import re
import shutil
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[3]
FOLDER = ROOT / "build/gpu-day"
PACKAGES = ("webdataset", "braceexpand")
MOST_MIB = 64  # of the checkout and the folder together
MIB = 2**20
PURE = ("--no-deps", "--only-binary=:all:", "--platform=any", "--implementation=py", "--abi=none", "--no-compile")


def requirement(package: str) -> str:
    """The package with the version that setup.cfg asks for."""
    setup = configparser.ConfigParser()
    setup.read(ROOT / "setup.cfg")
    for line in setup["options"]["install_requires"].split():
        if re.split(r"[<>=!~\[]", line)[0] == package:
            return line
    return package


def fetch_packages(packages: list[str], folder: Path, python: str) -> None:
    shutil.rmtree(folder, ignore_errors=True)
    command = [sys.executable, "-m", "pip", "install", "--quiet", "--disable-pip-version-check", *PURE]
    command += ["--python-version", python, "--target", str(folder), *map(requirement, packages)]
    subprocess.run(command, check=True)


def copy_tar(tar: Path, folder: Path, part: str) -> None:
    """Copy a tar as ``train.tar`` or ``test.tar``, with what shows its compression."""
    for old in folder.glob(f"{part}.tar*"):
        old.unlink()
    shutil.copyfile(tar, folder / f"{part}{tar.name[tar.name.index('.tar') :]}")


def checkout_bytes() -> int:
    """Size of the files that git does not ignore."""
    command = ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"]
    listed = subprocess.run(command, cwd=ROOT, capture_output=True, check=True, text=True).stdout
    return sum(path.lstat().st_size for name in listed.split("\0") if name and (path := ROOT / name).exists())


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--train", type=Path, help="CIFAR-10's training images; without them the case trains on noise")
    parser.add_argument("--test", type=Path, help="its test images")
    parser.add_argument("--packages", nargs="*", default=list(PACKAGES), help="that the GPU machine lacks")
    parser.add_argument("--python", default="3.12", help="version of the GPU machine's Python")
    parser.add_argument("--folder", type=Path, default=FOLDER)
    asked = parser.parse_args()
    asked.folder.mkdir(parents=True, exist_ok=True)
    if asked.packages:
        fetch_packages(asked.packages, asked.folder / "packages", asked.python)
    for part in ("train", "test"):
        if tar := getattr(asked, part):
            if not tar.is_file() or ".tar" not in tar.name:
                parser.error(f"--{part} {tar}: no such tar; give a file NAME.tar, NAME.tar.xz or NAME.tar.gz")
            copy_tar(tar, asked.folder, part)
    folder = sum(path.stat().st_size for path in asked.folder.rglob("*") if path.is_file())
    whole = checkout_bytes() + folder
    print(f"{asked.folder}: {folder / MIB:.1f} MiB; with the checkout {whole / MIB:.1f} of {MOST_MIB} MiB")
    if whole > MOST_MIB * MIB:
        sys.exit(f"that is more than {MOST_MIB} MiB: leave out --train, or remove large files from the checkout")
    print(f"Take the checkout, with {asked.folder}, to the machine with the GPU. There, run in the checkout:")
    print("    python tests/benchmarks/gpu_day.py --minutes 9 --out runs/gpu-day")


if __name__ == "__main__":
    main()
