# Copyright (c) 2026 The quietdoor.mtls authors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Test that an encrypted file returns its contents unchanged, or nothing after any damage."""

from __future__ import annotations

import os
import struct
from pathlib import Path
from typing import Any

import pytest
from ansible_collections.quietdoor.mtls.plugins.module_utils._backup import encrypted_container
from ansible_collections.quietdoor.mtls.plugins.module_utils._common.errors import MtlsError

PASSPHRASE = b"a passphrase for tests"
CHUNK = 256 * 1024
HEADER = 16 + 4 + 32 + 8 + 64 + 32


@pytest.fixture(autouse=True)
def cheap(monkeypatch: pytest.MonkeyPatch) -> None:
    """Make scrypt cheap: these tests are not about its cost."""
    monkeypatch.setattr(encrypted_container, "COST", encrypted_container.Cost(4, 8, 1))
    monkeypatch.setattr(encrypted_container, "_LOG_N", range(4, 19))


def sealed_file(path: Path, data: bytes, step: int = 10_000) -> Path:
    def fill(stream: encrypted_container.Writer) -> None:
        for start in range(0, len(data), step):
            stream.write(data[start : start + step])

    length = encrypted_container.seal(
        str(path),
        PASSPHRASE,
        fill,
        lambda keys: encrypted_container.PublicHeader(keys.tag(b"owner"), keys.tag(b"state")),
    )
    assert length == path.stat().st_size
    return path


def opened(path: Path, passphrase: bytes = PASSPHRASE) -> bytes:
    with path.open("rb") as file:
        found = encrypted_container.unseal(str(path), file, passphrase)
        found.require_whole()
        assert found.public == encrypted_container.PublicHeader(found.keys.tag(b"owner"), found.keys.tag(b"state"))
        return b"".join(iter(lambda: found.read(30_000), b""))


@pytest.mark.parametrize("size", [0, 1, CHUNK - 1, CHUNK, CHUNK + 1, 2 * CHUNK, 3 * CHUNK + 7])
def test_what_was_sealed_comes_out(size: int, tmp_path: Path) -> None:
    data = os.urandom(size)
    path = sealed_file(tmp_path / "sealed", data)
    assert opened(path) == data
    assert path.stat().st_mode & 0o777 == 0o600
    assert path.stat().st_size == HEADER + size + 16 * max(1, -(-size // CHUNK))
    assert [entry.name for entry in tmp_path.iterdir()] == ["sealed"]


def test_nothing_of_it_is_readable_and_no_two_are_alike(tmp_path: Path) -> None:
    data = b"-----BEGIN PRIVATE KEY-----" * 1000
    first, second = (sealed_file(tmp_path / name, data).read_bytes() for name in "ab")
    assert b"PRIVATE" not in first
    # Magic, version, cost and length are the same in both files.
    assert first[:20] == second[:20]
    assert first[52:60] == second[52:60]
    assert all(first[start : start + 16] != second[start : start + 16] for start in range(60, len(first), 16))


@pytest.mark.parametrize("passphrase", [b"another", b"", PASSPHRASE + b" ", PASSPHRASE[:-1]])
def test_another_passphrase_does_not_open_it(passphrase: bytes, tmp_path: Path) -> None:
    path = sealed_file(tmp_path / "sealed", b"data")
    with pytest.raises(MtlsError, match="does not open with archive_passphrase, or its header is damaged"):
        opened(path, passphrase)


def test_every_bit_of_the_header_and_of_a_chunk_counts(tmp_path: Path) -> None:
    path = sealed_file(tmp_path / "sealed", b"data")
    good = path.read_bytes()
    for at in range(len(good)):
        path.write_bytes(good[:at] + bytes([good[at] ^ 1 << at % 8]) + good[at + 1 :])
        with pytest.raises(MtlsError):
            opened(path)


@pytest.mark.parametrize("at", [HEADER, HEADER + CHUNK, HEADER + CHUNK + 16, HEADER + 2 * CHUNK + 32, -1])
def test_damage_far_inside_is_seen(at: int, tmp_path: Path) -> None:
    path = sealed_file(tmp_path / "sealed", os.urandom(2 * CHUNK + 5))
    data = bytearray(path.read_bytes())
    data[at] ^= 0x80
    path.write_bytes(data)
    with pytest.raises(MtlsError, match=r"is damaged at or after byte \d+"):
        opened(path)


@pytest.mark.parametrize("left", [0, 1, HEADER - 1])
def test_a_file_shorter_than_the_header_is_none(left: int, tmp_path: Path) -> None:
    path = sealed_file(tmp_path / "sealed", b"data")
    os.truncate(path, left)
    with pytest.raises(MtlsError, match="is not an archive of module ca_backup"):
        opened(path)


@pytest.mark.parametrize("left", [HEADER, HEADER + 1, HEADER + CHUNK + 16, HEADER + 2 * CHUNK + 32, -1])
def test_a_file_that_was_cut_off_is_seen_whether_or_not_its_length_is_asked_for(left: int, tmp_path: Path) -> None:
    path = sealed_file(tmp_path / "sealed", os.urandom(2 * CHUNK + 5))
    os.truncate(path, left if left >= 0 else path.stat().st_size + left)
    with pytest.raises(MtlsError, match=r"has \d+ bytes instead of \d+"):
        opened(path)
    with path.open("rb") as file:
        found = encrypted_container.unseal(str(path), file, PASSPHRASE)
        with pytest.raises(MtlsError, match="is damaged at or after"):
            found.read(3 * CHUNK)


def test_something_added_is_seen(tmp_path: Path) -> None:
    path = sealed_file(tmp_path / "sealed", b"data")
    with path.open("ab") as file:
        file.write(b"x")
    with pytest.raises(MtlsError, match="bytes instead of"):
        opened(path)


def test_chunks_cannot_change_places(tmp_path: Path) -> None:
    path = sealed_file(tmp_path / "sealed", bytes(3 * CHUNK))
    good, size = path.read_bytes(), CHUNK + 16
    head, chunks = good[:HEADER], [good[HEADER + size * index :][:size] for index in range(3)]
    for order in [(1, 0, 2), (0, 0, 2), (2, 1, 0), (0, 2, 1)]:
        path.write_bytes(head + b"".join(chunks[index] for index in order))
        with pytest.raises(MtlsError, match="is damaged at or after"):
            opened(path)


def test_chunks_of_another_file_with_the_same_passphrase_do_not_fit(tmp_path: Path) -> None:
    first, second = (sealed_file(tmp_path / name, bytes(100)).read_bytes() for name in "ab")
    path = tmp_path / "mixed"
    path.write_bytes(first[:HEADER] + second[HEADER:])
    with pytest.raises(MtlsError, match="is damaged at or after"):
        opened(path)


@pytest.mark.parametrize(
    ("cost", "says"),
    [((255, 8, 1), "asks scrypt for"), ((19, 8, 1), "asks scrypt for"), ((0, 8, 1), "asks scrypt for"),
     ((17, 255, 1), "asks scrypt for"), ((17, 0, 1), "asks scrypt for"), ((17, 8, 255), "asks scrypt for"),
     ((17, 8, 0), "asks scrypt for")],
)  # fmt: skip
def test_a_hostile_header_takes_no_memory(
    cost: tuple[int, int, int], says: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = sealed_file(tmp_path / "sealed", b"data")
    data = bytearray(path.read_bytes())
    data[17:20] = struct.pack("BBB", *cost)
    path.write_bytes(data)

    def derived(*_arguments: Any, **_options: Any) -> None:
        raise AssertionError("scrypt was asked")

    monkeypatch.setattr(encrypted_container, "Scrypt", derived)
    with pytest.raises(MtlsError, match=says):
        opened(path)


@pytest.mark.parametrize("length", [0, 1 << 40, (1 << 64) - 1])
def test_a_hostile_length_is_not_believed(length: int, tmp_path: Path) -> None:
    path = sealed_file(tmp_path / "sealed", b"data")
    data = bytearray(path.read_bytes())
    data[52:60] = struct.pack(">Q", length)
    path.write_bytes(data)
    with pytest.raises(MtlsError, match="its header is damaged"):
        opened(path)


def test_a_later_format_is_named(tmp_path: Path) -> None:
    path = sealed_file(tmp_path / "sealed", b"data")
    data = bytearray(path.read_bytes())
    data[16] = 2
    path.write_bytes(data)
    with pytest.raises(MtlsError, match="is an archive of format 2, and this release reads format 1"):
        opened(path)


def test_the_file_that_was_there_stays_when_sealing_fails(tmp_path: Path) -> None:
    path = sealed_file(tmp_path / "sealed", b"data")
    before = path.read_bytes()

    def fails(stream: encrypted_container.Writer) -> None:
        stream.write(bytes(CHUNK * 2))
        raise OSError(28, "No space left on device")

    with pytest.raises(OSError, match="No space left"):
        encrypted_container.seal(
            str(path), PASSPHRASE, fails, lambda _keys: encrypted_container.PublicHeader(bytes(32), bytes(32))
        )
    assert path.read_bytes() == before
    assert [entry.name for entry in tmp_path.iterdir()] == ["sealed"]


@pytest.mark.parametrize("passphrase", [None, "", "eleven char"])
def test_a_short_passphrase_is_refused_for_a_new_archive(passphrase: str | None) -> None:
    with pytest.raises(MtlsError, match="shorter than 12 characters"):
        encrypted_container.check_new_passphrase(passphrase)


def test_a_passphrase_is_any_text() -> None:
    assert (
        encrypted_container.check_new_passphrase("Zwölf \udcff Zeichen\n")
        == "Zwölf ".encode() + b"\xed\xb3\xbf Zeichen\n"
    )
