"""Labelled image files of a stranger: what is refused, by one sentence and before it is decoded."""

from __future__ import annotations

import gzip
import io
import os
import struct
import tarfile
import zlib
from pathlib import Path

import pytest
from PIL import Image

from dreamdistill.shared.core.errors import ConfigError
from dreamdistill.shared.data.class_order import Classes
from dreamdistill.shared.data.image_files import check_tar, find_images, read_images, read_tar


def encoded(size: tuple[int, int] = (8, 8), format: str = "PNG") -> bytes:
    buffer = io.BytesIO()
    Image.new("L", size, 9).save(buffer, format)
    return buffer.getvalue()


def claims(width: int, height: int) -> bytes:
    """A PNG whose header says a size that its data does not have."""
    whole, head = encoded(), b"IHDR" + struct.pack(">IIBBBBB", width, height, 8, 0, 0, 0, 0)
    return whole[:12] + head + struct.pack(">I", zlib.crc32(head)) + whole[33:]


def tar_of(path: Path, **members: bytes) -> Path:
    with tarfile.open(path, "w") as tar:
        for name, data in members.items():
            info = tarfile.TarInfo(f"0.{name}")
            info.size = len(data)
            tar.addfile(info, io.BytesIO(data))
    return path


IMAGES = {
    "empty": (b"", "damaged, or none of PNG"),
    "half": (encoded()[:45], "cannot|Truncated|truncated"),
    "EPS": (b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 8 8\nshowpage\n", "damaged, or none of PNG"),
    "GIF": (encoded(format="GIF"), "damaged, or none of PNG"),
    "30,000 px": (claims(30_000, 30_000), "pixels"),
    "9,000 px": (claims(9_000, 9_000), "9000x9000 pixels"),
    "stretched": (claims(1, 1_000_000), "1x1000000 pixels"),
}


@pytest.mark.parametrize("name", IMAGES)
def test_images_that_are_refused(tmp_path: Path, name: str) -> None:
    data, says = IMAGES[name]
    tar = tar_of(tmp_path / "x.tar", png=data, cls=b"3")
    with pytest.raises(ConfigError, match=f"x.tar: the image of sample 0 cannot be read.*{says}"):
        list(read_tar(tar, Classes(number=10)))
    (tmp_path / "x.png").write_bytes(data)
    with pytest.raises(ConfigError, match=f"x.png cannot be read.*{says}"):
        list(read_images([(tmp_path / "x.png", 3)]))


@pytest.mark.parametrize("label", [b"", b"--1", b"1.5", b"cat", b"9" * 5000, "٣".encode(), b"0_3", b"\xff"])
def test_labels_that_are_refused(tmp_path: Path, label: bytes) -> None:
    with pytest.raises(ConfigError, match=r"the label of sample 0 .*no class number"):
        list(read_tar(tar_of(tmp_path / "x.tar", png=encoded(), cls=label), Classes(number=10)))


def test_other_members_are_not_read(tmp_path: Path) -> None:
    ((image, label),) = read_tar(
        tar_of(tmp_path / "x.tar", png=encoded(), bin=bytes(10**6), cls=b" 3\n"), Classes(number=10)
    )
    assert (image.size, label) == ((8, 8), 3)


@pytest.mark.parametrize("kind", [tarfile.REGTYPE, tarfile.GNUTYPE_LONGNAME, tarfile.XHDTYPE])
def test_a_member_of_gigabytes_is_not_read_into_memory(tmp_path: Path, kind: bytes) -> None:
    info = tarfile.TarInfo("0.png")
    info.type, info.size = kind, 3 * 2**30
    (tmp_path / "x.tar.gz").write_bytes(gzip.compress(info.tobuf() + bytes(10**6)))
    with pytest.raises(ConfigError, match=r"x.tar.gz cannot be read: .*(larger|too long)"):
        list(read_tar(tmp_path / "x.tar.gz", Classes(number=10)))


def test_a_folder_is_read_in_the_order_of_names(tmp_path: Path) -> None:
    for name in ("b/2.png", "a/x/1.JPG", "a/0.jpeg", "a/notes.txt"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_bytes(encoded(format="JPEG" if "j" in name.lower() else "PNG"))
    (tmp_path / "a/up").symlink_to("..")  # would be walked through without end
    files, classes, _ = find_images(tmp_path)
    assert [(str(path.relative_to(tmp_path)), label) for path, label in files] == [
        ("a/0.jpeg", 0),
        ("a/x/1.JPG", 0),
        ("b/2.png", 1),
    ]
    assert len(classes) == 2
    assert [(image.mode, label) for image, label in read_images(files)] == [("RGB", 0), ("RGB", 0), ("RGB", 1)]
    (tmp_path / "c").mkdir()
    with pytest.raises(ConfigError, match="c has no images"):
        find_images(tmp_path)


@pytest.mark.parametrize("kind", ["fifo", "device", "folder"])
def test_a_folder_of_no_files(tmp_path: Path, kind: str) -> None:
    path = tmp_path / "a.png"
    {"fifo": lambda: os.mkfifo(path), "device": lambda: path.symlink_to("/dev/zero"), "folder": path.mkdir}[kind]()
    with pytest.raises(ConfigError, match=r"a.png cannot be read"):
        list(read_images([(path, 0)]))


NO_TARS = {
    "empty": (b"", "is empty: fetch it again"),
    "pointer": (b"version https://git-lfs.github.com/spec/v1\noid sha256:0", "is a Git LFS pointer.*git lfs pull"),
    "page": (b"<!DOCTYPE html><html>", "is a web page: the download gave no file: fetch it again"),
    "text": (b"a.png 0\nb.png 1\n" * 40, "is no tar archive: give this"),
    "image": (encoded(), "is a single image: give this"),
    "array": (b"\x93NUMPY\x01\0" + b"0" * 600, "is a NumPy array: give this"),
    "table": (b"PAR1" + b"0" * 600, "is a Parquet table: give this"),
    "pickle": (b"\x80\x04" + b"0" * 600, "is a Python pickle: give this"),
    "gzip of a text": (gzip.compress(b"a.png 0\n" * 90), r"is compressed \(gzip\), and no tar .*: unpack it"),
    "half a zip": (b"PK\x03\x04" + b"0" * 90, "is damaged, .*: fetch it again"),
}


@pytest.mark.parametrize("name", NO_TARS)
def test_a_file_that_is_no_tar_is_named_for_what_it_is(tmp_path: Path, name: str) -> None:
    content, says = NO_TARS[name]
    path = tmp_path / "x.tar"
    path.write_bytes(content)
    with pytest.raises(ConfigError, match=f"x.tar {says}"):
        check_tar(path, "give this")


def test_tars_pass_and_cut_ones_are_unreadable(tmp_path: Path) -> None:
    path = tar_of(tmp_path / "x.tar", png=encoded(), cls=b"1")
    check_tar(path, "")
    (tmp_path / "x.tar.gz").write_bytes(gzip.compress(path.read_bytes()))
    check_tar(tmp_path / "x.tar.gz", "")
    path.write_bytes(path.read_bytes()[:300])
    with pytest.raises(ConfigError, match="cannot be read: truncated header"):
        check_tar(path, "")
