"""Atomic writes: through no link, into no other's file; and what dead writers left."""

from __future__ import annotations

import os
import socket
import subprocess
import threading
from pathlib import Path

import pytest

from dreamdistill.shared.core import files
from dreamdistill.shared.core.errors import DreamError
from dreamdistill.shared.core.files import atomic_write, remove_stale_temporaries, write_bytes, write_text

HERE = socket.gethostname()


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


@pytest.mark.skipif(os.name != "posix", reason="links need rights elsewhere")
def test_a_prepared_link_with_the_temporary_name_is_not_followed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(files.secrets, "token_hex", lambda length: "0" * 2 * length)
    victim = tmp_path / "victim"
    for text in ("precious", None):
        if text:
            victim.write_text(text)
        else:
            victim.unlink()
        (tmp_path / f".a.txt.00000000.{HERE}.{os.getpid()}.tmp").symlink_to(victim)
        with pytest.raises(FileExistsError), atomic_write(tmp_path / "a.txt") as file:
            file.write(b"new")
        assert (victim.read_text() if victim.exists() else None) == text


def test_temporary_names_are_never_the_same(tmp_path: Path) -> None:
    seen: set[str] = set()
    for _ in range(100):
        with atomic_write(tmp_path / "a"):
            seen.update(names(tmp_path))
    assert len(seen - {"a"}) == 100


@pytest.mark.skipif(os.name != "posix", reason="modes are those of POSIX")
def test_the_file_has_the_rights_that_the_umask_leaves(tmp_path: Path) -> None:
    before = os.umask(0o027)
    try:
        write_text(tmp_path / "a", "")
    finally:
        os.umask(before)
    assert (tmp_path / "a").stat().st_mode & 0o777 == 0o640


def test_threads_that_write_the_same_file_leave_one_of_their_texts(tmp_path: Path) -> None:
    texts = [bytes([number]) * 10**6 for number in range(8)]
    threads = [threading.Thread(target=write_bytes, args=(tmp_path / "a", text)) for text in texts]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert (tmp_path / "a").read_bytes() in texts
    assert names(tmp_path) == ["a"]


def test_an_error_leaves_what_was_there(tmp_path: Path) -> None:
    write_text(tmp_path / "a", "old")
    with pytest.raises(TypeError), atomic_write(tmp_path / "a") as file:
        file.writelines([b"half", None])  # type: ignore[list-item]
    assert (tmp_path / "a").read_text() == "old"
    (tmp_path / "folder").mkdir()
    with pytest.raises(DreamError, match="folder is a folder"):
        write_text(tmp_path / "folder", "new")
    assert names(tmp_path) == ["a", "folder"]


def test_left_overs_of_dead_writers_are_deleted_and_nothing_else(tmp_path: Path) -> None:
    dead = subprocess.Popen(["true"])
    dead.wait()
    stale = {
        f".000001.tar.0123abcd.{HERE}.{dead.pid}.tmp",
        f".000001.tar.0123abcd.{HERE}.{os.getpid()}.tmp",  # of an earlier process with our id
        f".a.0123abcd.{HERE}.99999999999999999.tmp",
    }
    kept = {
        f".000001.tar.0123abcd.{HERE}.{os.getppid()}.tmp",
        ".000001.tar.0123abcd.node7.example.org.123.tmp",
        ".notes.tmp",
        f".notes.{HERE}.{dead.pid}.tmp",
    }
    for name in stale | kept:
        (tmp_path / name).touch()
    for name in (".notes.tmp", f".notes.{HERE}.{dead.pid}.tmp"):
        os.utime(tmp_path / name, (0, 0))
    folder = f".folder.0123abcd.{HERE}.{dead.pid}.tmp"
    (tmp_path / folder).mkdir()
    with atomic_write(tmp_path / "b") as file:
        file.write(b"whole")
        remove_stale_temporaries(tmp_path)
    assert names(tmp_path) == sorted(kept | {"b", folder})
    assert (tmp_path / "b").read_bytes() == b"whole"


@pytest.mark.skipif(os.name != "posix", reason="links need rights elsewhere")
def test_a_file_that_is_written_again_takes_its_left_overs_along(tmp_path: Path) -> None:
    dead = subprocess.Popen(["true"])
    dead.wait()
    victim = tmp_path / "victim"
    write_text(victim, "precious")
    (tmp_path / f".a.txt.89abcdef.{HERE}.{dead.pid}.tmp").symlink_to(victim)
    (tmp_path / f".a.txt.0123abcd.{HERE}.{dead.pid}.tmp").touch()
    kept = {f".a.txt.0123abcd.{HERE}.{os.getppid()}.tmp", f".b.txt.0123abcd.{HERE}.{dead.pid}.tmp"}
    for name in kept:
        (tmp_path / name).touch()
    write_text(tmp_path / "a.txt", "new")
    assert names(tmp_path) == sorted(kept | {"a.txt", "victim"})
    assert victim.read_text() == "precious"
    write_text(tmp_path / "[ab].txt", "a name is no pattern")
    assert kept < set(names(tmp_path))


@pytest.mark.skipif(os.name != "posix", reason="there are no such pipes")
def test_what_is_no_regular_file_is_not_replaced(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    with pytest.raises(DreamError, match="no regular file"):
        write_text(tmp_path / "pipe", "new")
    assert (tmp_path / "pipe").is_fifo()
    assert names(tmp_path) == ["pipe"]
