"""Weight files that somebody else made: pickles that ask for memory, and safetensors headers."""

import io
import json
import pickle
import struct
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import save_file

from pipeline.core import weight_files
from pipeline.core.errors import ModelError
from pipeline.core.weight_files import (
    HEADER_BYTES,
    check_loaded,
    check_pickle,
    check_weights,
)


def zeros(size: int) -> tuple[type[bytearray], tuple[int]]:
    return bytearray, (size,)


class Asks:
    """Pickled as a call that takes memory; ``weights_only=True`` allows it."""

    def __reduce__(self) -> tuple[type[bytearray], tuple[int]]:
        return zeros(10**10)


def pickled(path: Path, value: object, protocol: int = 2) -> None:
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("archive/data.pkl", pickle.dumps(value, protocol))


def packed(path: Path) -> None:
    buffer = io.BytesIO()
    torch.save({"a": torch.zeros(10**6)}, buffer)
    with zipfile.ZipFile(buffer) as old, zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as new:
        for member in old.infolist():
            new.writestr(member.filename, old.read(member))


@pytest.mark.parametrize(
    ("write", "message"),
    [
        (lambda path: pickled(path, Asks()), "more than tensors .*bytearray"),
        (lambda path: pickled(path, Asks(), protocol=4), "more than tensors .*STACK_GLOBAL"),
        (packed, "compressed members"),
        (lambda path: path.write_bytes(pickle.dumps(Asks(), 2)), "more than tensors .*bytearray"),
        (lambda path: path.write_bytes(b"\x8e" + struct.pack("<Q", 2**60)), "is damaged"),
        (lambda path: path.write_bytes(b""), "is damaged"),
        (lambda path: path.mkdir(), "not a regular file"),
    ],
)
def test_a_pickle_that_asks_for_more_than_its_tensors_is_rejected(
    write: Callable[[Path], object], message: str, tmp_path: Path
) -> None:
    path = tmp_path / "weights.pt"
    write(path)
    with pytest.raises(ModelError, match=rf"weights\.pt.*{message}"):
        check_pickle(path)


@pytest.mark.parametrize("is_zip", [True, False])
def test_pickles_of_tensors_in_both_formats_are_accepted(is_zip: bool, tmp_path: Path) -> None:
    path = tmp_path / "weights.pt"
    network = torch.nn.Linear(2, 3)
    optimizer = torch.optim.AdamW(network.parameters())
    network(torch.ones(2)).sum().backward()
    optimizer.step()
    half = {"half": torch.ones(2, dtype=torch.bfloat16)}
    stored: dict[str, Any] = {"network": network.state_dict(), "optimizer": optimizer.state_dict()}
    torch.save(stored | half, path, _use_new_zipfile_serialization=is_zip)
    check_pickle(path)


def test_tensors_larger_than_their_file_are_rejected(tmp_path: Path) -> None:
    path = tmp_path / "weights.pt"
    torch.save({"a": torch.zeros(1).expand(2**40)}, path)
    check_pickle(path)
    with pytest.raises(ModelError, match=r"would take 4,398,046,511,104 bytes"):
        check_loaded(path, torch.load(path, weights_only=True))


def headed(path: Path, header: bytes, length: int | None = None, data: bytes = b"") -> None:
    path.write_bytes(struct.pack("<Q", len(header) if length is None else length) + header + data)


def entry(begin: int, end: int, dtype: str = "F32") -> dict[str, Any]:
    return {"dtype": dtype, "shape": [(end - begin) // 4], "data_offsets": [begin, end]}


def of(**tensors: dict[str, Any]) -> bytes:
    return json.dumps(tensors).encode()


@pytest.mark.parametrize(
    ("write", "message"),
    [
        (lambda path: headed(path, b"{}", length=2**62), "header has 4,611,686,018,427,387,904"),
        (lambda path: headed(path, b" " * (HEADER_BYTES + 1)), "a header at most 33,554,432"),
        (lambda path: headed(path, b"[" * 100_000), "is damaged"),
        (lambda path: headed(path, of(a=entry(0, 2**40))), "is damaged"),
        (lambda path: headed(path, of(a=entry(0, 8), b=entry(4, 12)), data=b"\0" * 12), "damaged"),
        (lambda path: headed(path, of(a=entry(0, 8, "I32")), data=b"\0" * 8), "I32, which holds"),
        (lambda path: headed(path, of(a=entry(0, 8, "X")), data=b"\0" * 8), "is damaged"),
        (lambda path: path.write_bytes(b"\0"), "is damaged"),
    ],
)
def test_a_header_that_no_file_has_is_rejected(
    write: Callable[[Path], object], message: str, tmp_path: Path
) -> None:
    path = tmp_path / "model.safetensors"
    write(path)
    with pytest.raises(ModelError, match=rf"model\.safetensors.*{message}"):
        check_weights(path)


def test_a_header_with_too_many_tensors_is_rejected(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(weight_files, "MOST_TENSORS", 10)
    path = tmp_path / "model.safetensors"
    save_file({str(number): torch.ones(0) for number in range(11)}, path)
    with pytest.raises(ModelError, match=r"model\.safetensors: has 11 tensors; at most 10"):
        check_weights(path)
