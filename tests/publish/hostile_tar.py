"""Webdataset shards with a foreign structure, made from a valid one."""

import gzip
import io
import json
import tarfile
from collections.abc import Callable
from typing import Any

import numpy as np

Files = list[tuple[tarfile.TarInfo, bytes]]
Variant = Callable[[bytes], bytes]


def _files(data: bytes) -> Files:
    with tarfile.open(fileobj=io.BytesIO(data)) as tar:
        found = []
        for member in tar:
            file = tar.extractfile(member)
            assert file is not None
            found.append((member, file.read()))
        return found


def _written(files: Files, tar_format: int = tarfile.USTAR_FORMAT) -> bytes:
    sink = io.BytesIO()
    with tarfile.open(fileobj=sink, mode="w", format=tar_format) as tar:
        for member, content in files:
            member.size = len(content)
            tar.addfile(member, io.BytesIO(content))
    return sink.getvalue()


def _index(files: Files, extension: str) -> int:
    return next(i for i, (member, _) in enumerate(files) if member.name.endswith(extension))


def _content(extension: str, change: Callable[[bytes], bytes]) -> Variant:
    """The first file of an extension has another content."""

    def changed(data: bytes) -> bytes:
        files = _files(data)
        at = _index(files, extension)
        files[at] = (files[at][0], change(files[at][1]))
        return _written(files)

    return changed


def _member(change: Callable[[Files], object], tar_format: int = tarfile.USTAR_FORMAT) -> Variant:
    def changed(data: bytes) -> bytes:
        files = _files(data)
        change(files)
        return _written(files, tar_format)

    return changed


def _named(name: str, *, kind: bytes = tarfile.REGTYPE, link: str = "") -> tarfile.TarInfo:
    member = tarfile.TarInfo(name)
    member.type, member.linkname = kind, link
    return member


def _twice(files: Files) -> None:
    at = _index(files, ".json")
    files.insert(at + 1, (files[at][0], files[at][1].replace(b'"seed":', b'"seed":1')))


def _apart(files: Files) -> None:
    files.append(files.pop(0))


def _again_at_the_end(files: Files) -> None:
    files.append(files[_index(files, ".json")])


def _link(kind: bytes) -> Callable[[Files], None]:
    def change(files: Files) -> None:
        name, other = files[0][0].name, files[5][0].name
        files[0] = (_named(name, kind=kind, link=other), b"")

    return change


def _pax(name: str, value: Callable[[Files], str]) -> Callable[[Files], None]:
    def change(files: Files) -> None:
        files[0][0].pax_headers = {name: value(files)}

    return change


def _rename(old: str, new: str) -> Callable[[Files], None]:
    def change(files: Files) -> None:
        at = _index(files, old)
        files[at][0].name = files[at][0].name.replace(old, new)

    return change


def _in_a_folder(files: Files) -> None:
    for member, _ in files:
        member.name = f"folder/{member.name}"


def _npy(noise: np.ndarray[Any, Any]) -> bytes:
    sink = io.BytesIO()
    np.save(sink, noise)
    return sink.getvalue()


def _reloaded(change: Callable[[np.ndarray[Any, Any]], np.ndarray[Any, Any]]) -> Variant:
    return _content("golden_noise.npy", lambda data: _npy(change(np.load(io.BytesIO(data)))))


def _json(change: Callable[[dict[str, Any]], object]) -> Variant:
    def changed(data: bytes) -> bytes:
        row = json.loads(data)
        change(row)
        return json.dumps(row, sort_keys=True, separators=(",", ":"), ensure_ascii=False).encode()

    return _content(".json", changed)


def _shorter_header(data: bytes) -> bytes:
    """numpy reads the last spaces of the header as the first values."""
    length = int.from_bytes(data[8:10], "little") - 16
    text = data[10 : 10 + length - 1] + b"\n"
    return data[:8] + length.to_bytes(2, "little") + text + b" " * 15 + b"\n" + data[26 + length :]


def another_archive_behind(data: bytes) -> bytes:
    files = _files(data)
    return data + _written([(member, content[::-1]) for member, content in files])


def hidden_behind_one_block(data: bytes) -> bytes:
    """One block of zeros ends the archive for some readers, and two do for others."""
    files = _files(data)
    first, rest = _written(files[:5]), _written(files[5:])
    return (
        first.rstrip(b"\0").ljust(-(-len(first.rstrip(b"\0")) // 512) * 512, b"\0")
        + bytes(512)
        + rest
    )


def without_end(data: bytes) -> bytes:
    held = data.rstrip(b"\0")
    return held + bytes(-len(held) % 512)


def wrong_checksum(data: bytes) -> bytes:
    return data[:148] + b"0000000\0" + data[156:]


def shorter_padding(data: bytes) -> bytes:
    """An archive that is not padded to a full record is valid."""
    return without_end(data) + bytes(1024)


REFUSED: tuple[Variant, ...] = (
    _member(_twice),
    _member(_apart),
    _member(_again_at_the_end),
    _member(_link(tarfile.LNKTYPE)),
    _member(_link(tarfile.SYMTYPE)),
    _member(lambda files: files.insert(0, (_named("folder", kind=tarfile.DIRTYPE), b""))),
    _member(lambda files: files.insert(0, (_named("notes.txt"), b"notes"))),
    _member(lambda files: files.pop(0)),
    _member(_pax("path", lambda files: files[5][0].name), tarfile.PAX_FORMAT),
    _member(_pax("comment", lambda files: "none"), tarfile.PAX_FORMAT),
    _member(lambda files: None, tarfile.GNU_FORMAT),
    _member(_rename(".json", ".JSON")),
    _member(_rename(".png", ".webp")),
    _member(_rename("source_noise.npy", "other_noise.npy")),
    _member(_in_a_folder),
    _reloaded(lambda noise: noise.astype(np.float32)),
    _reloaded(np.asfortranarray),
    _reloaded(lambda noise: noise.reshape(8, 4, 8)),
    _content("golden_noise.npy", lambda data: data + bytes(2)),
    _content("golden_noise.npy", lambda data: data[:-2]),
    _content("golden_noise.npy", _shorter_header),
    _content(".json", lambda data: data.replace(b'"seed":', b'"seed":7,"seed":')),
    _content(".json", lambda data: data + b"\n"),
    _json(lambda row: row.update(seed=row["seed"] + 0.5)),
    _json(lambda row: row.update(seed=float(row["seed"]))),
    _json(lambda row: row["golden_rewards"].update(scene=0.1 + row["golden_rewards"]["scene"])),
    _json(lambda row: row["golden_rewards"].pop("scene")),
    _json(lambda row: row.update(sample_id="0" * 16 + "-00000000")),
    another_archive_behind,
    hidden_behind_one_block,
    without_end,
    wrong_checksum,
    gzip.compress,
)
ACCEPTED: tuple[Variant, ...] = (shorter_padding,)
