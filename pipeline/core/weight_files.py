"""Checks of weight files before memory is taken: safetensors headers, and pickles of tensors.

A header or a pickle can claim any number and size of tensors. The library of safetensors checks
that tensors lie within their file, one after another. Here their number, the size of the header and
the types are limited as well.
"""

import pickletools
import re
import zipfile
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from math import prod
from pathlib import Path
from typing import IO, TYPE_CHECKING, Self

from safetensors import SafetensorError, safe_open

from pipeline.core.errors import ModelError
from pipeline.core.untrusted_files import check_file

if TYPE_CHECKING:
    from torch import Tensor

HEADER_BYTES = 32 * 2**20
"""Maximum size of a safetensors header. Metadata of LoRAs take up to a few MB."""

MOST_TENSORS = 100_000
"""Maximum number of tensors in a file. The largest supported models have about 2,000."""

_PICKLE_BYTES = 4 * 2**20
"""Maximum size of a pickle without its tensors. Published ones have less than 1 MB."""

_LENGTH_BYTES = 8

_STOPS = re.compile(rb'"data_offsets"\s*:\s*\[\s*\d+\s*,\s*(\d{1,20})\s*\]')
"""Ends of the tensors in a header."""

_INTEGERS = ("BOOL", "U", "I")
"""Prefixes of the types that hold no weights. Loading would cast quantised values to weights."""

_INTEGER_BUFFERS = ("_ids", "_index", "_mask", "num_batches_tracked")
"""Suffixes of tensors that are integers in published files."""

_PICKLED_TYPES = (
    "collections.OrderedDict",
    "torch.Size",
    "torch._utils._rebuild_parameter",
    "torch._utils._rebuild_tensor_v2",
    "torch.serialization._get_layout",
)


@dataclass(frozen=True, kw_only=True)
class WeightSizes:
    """Amount of weights in files."""

    tensors: int
    elements: int
    """Number of values in all tensors."""

    @classmethod
    def of_tensors(cls, tensors: "Mapping[str, Tensor]") -> Self:
        """Return the sizes of tensors in memory."""
        elements = sum(tensor.numel() for tensor in tensors.values())
        return cls(tensors=len(tensors), elements=elements)

    @classmethod
    def of_files(cls, files: Iterable[Path]) -> Self:
        """Return the sizes of safetensors files. Raises ``ModelError`` as ``check_weights``."""
        found = [check_weights(file) for file in files]
        return cls(
            tensors=sum(each.tensors for each in found),
            elements=sum(each.elements for each in found),
        )


def check_weights(path: Path) -> WeightSizes:
    """Check the header of a safetensors file and return what the file holds.

    Raises ``ModelError`` for a file that is damaged or no regular file, and for a header with too
    many tensors or with tensors of integers.
    """
    check_file(path, ModelError)
    try:
        size = path.stat().st_size
        with path.open("rb") as file:
            length = int.from_bytes(file.read(_LENGTH_BYTES), "little")
            header = file.read(min(length, HEADER_BYTES))
        if size < _LENGTH_BYTES or length > min(size - _LENGTH_BYTES, HEADER_BYTES):
            raise ModelError(
                f"{path} is damaged (its header has {length:,} bytes, the file {size:,}, and a "
                f"header at most {HEADER_BYTES:,}); fetch it again"
            )
        # The library maps the file before it compares the sizes, and a file may be 8 GiB of zeros.
        stop = max(map(int, _STOPS.findall(header)), default=0)
        if _LENGTH_BYTES + length + stop != size:
            raise ModelError(
                f"{path} is damaged (it has {size:,} bytes, and its tensors end at byte "
                f"{_LENGTH_BYTES + length + stop:,}); fetch it again"
            )
        with safe_open(path, framework="np") as opened:
            names = opened.keys()
            if len(names) > MOST_TENSORS:
                raise ModelError(
                    f"{path}: has {len(names):,} tensors; at most {MOST_TENSORS:,} are supported"
                )
            slices = ((name, opened.get_slice(name)) for name in names)
            elements = sum(_elements(path, name, part) for name, part in slices)
    except (OSError, SafetensorError) as error:
        raise ModelError(f"{path} is damaged ({error}); fetch it again") from error
    return WeightSizes(tensors=len(names), elements=elements)


def check_pickle(path: Path) -> None:
    """Raise ``ModelError`` for a pickle that holds more than tensors, or that is packed.

    ``torch.load`` with ``weights_only=True`` runs no code, but it makes objects of any size that
    the pickle asks for, and it unpacks compressed members.
    """
    check_file(path, ModelError)
    try:
        if zipfile.is_zipfile(path):
            _check_archive(path)
        else:
            _check_legacy(path)
    except (
        MemoryError,  # a string that claims to be longer than the file
        NotImplementedError,  # a method of compression that zipfile lacks
        OSError,
        OverflowError,
        RuntimeError,  # an encrypted member
        ValueError,
        zipfile.BadZipFile,
    ) as error:
        if isinstance(error, ModelError):
            raise
        raise ModelError(f"{path} is damaged ({error}); fetch it again") from error


def check_loaded(path: Path, tensors: "Mapping[str, Tensor]") -> None:
    """Raise ``ModelError`` for tensors that have more values than the file they were read from.

    A pickle may describe a large tensor by a few repeated values.
    """
    size = sum(tensor.numel() * tensor.element_size() for tensor in tensors.values())
    if size > 2 * path.stat().st_size:
        raise ModelError(
            f"{path}: its tensors would take {size:,} bytes, more than the file holds; fetch the "
            "published file again"
        )


def _elements(path: Path, name: str, part: object) -> int:
    dtype, shape = str(part.get_dtype()), part.get_shape()  # type: ignore[attr-defined]  # no types
    if shape and dtype.startswith(_INTEGERS) and not name.endswith(_INTEGER_BUFFERS):
        raise ModelError(
            f"{path}: {name} is of type {dtype}, which holds no weights; quantised weights are not "
            "supported, so use the weights in float16 or float32"
        )
    return prod(shape)


def _check_archive(path: Path) -> None:
    with zipfile.ZipFile(path) as archive:
        members = archive.infolist()
        if any(member.compress_type != zipfile.ZIP_STORED for member in members):
            raise ModelError(f"{path}: has compressed members, which torch never writes")
        total = sum(member.file_size for member in members)
        if total > path.stat().st_size:
            raise ModelError(f"{path}: its members claim {total:,} bytes, more than the file has")
        for member in members:
            if member.filename.endswith(".pkl"):
                if member.file_size > _PICKLE_BYTES:
                    raise ModelError(_too_large(path, member.file_size))
                with archive.open(member) as file:
                    _check_opcodes(path, file)


def _check_legacy(path: Path) -> None:
    # A magic number, a version, a description of the machine, the tensors, and the list of their
    # storages. The values follow.
    with path.open("rb") as file:
        for _ in range(5):
            _check_opcodes(path, file)
            if file.tell() > _PICKLE_BYTES:
                raise ModelError(_too_large(path, file.tell()))


def _check_opcodes(path: Path, file: IO[bytes]) -> None:
    for name in _globals(file):
        is_storage = name.startswith("torch.") and name.endswith("Storage")
        if not (is_storage or name in _PICKLED_TYPES):
            raise ModelError(
                f"{path} contains more than tensors ({name}) and is not opened, because it may run "
                "code; fetch the published file again"
            )


def _globals(file: IO[bytes]) -> Iterator[str]:
    """Yield the names that a pickle refers to."""
    for opcode, argument, _ in pickletools.genops(file):
        if opcode.name in ("GLOBAL", "INST"):
            yield str(argument).replace(" ", ".")
        # Names that are computed on the stack. torch never writes them.
        elif opcode.name in ("STACK_GLOBAL", "EXT1", "EXT2", "EXT4"):
            yield opcode.name


def _too_large(path: Path, size: int) -> str:
    return f"{path}: a pickle of {size:,} bytes; at most {_PICKLE_BYTES:,} are read"
