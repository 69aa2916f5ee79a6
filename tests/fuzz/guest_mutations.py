"""Seeded mutations of the folders of ``guests``: bytes, JSON, tensors, pickles, file types."""

import json
import os
import pickle
import random
import shutil
import struct
import tarfile
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pyarrow as pa

from tests.fuzz.mutations import changed_bytes, changed_json
from tests.fuzz.prompt_mutations import (
    STRANGE_NAMES,
    mutate_lines,
    mutate_members,
    mutate_packed_lines,
    mutate_table,
)

_SIZES = (0, -1, 1, 2, 3, 1000, 2**20, 2**31, 10**9, 2**62, 10**30)
_HUGE = 2**33
_CODE = {"auto_map": {"AutoModel": "code.Code"}, "attn_implementation": "a/b", "_class_name": "os"}
_ENDLESS = (r"(.+)+$", r"(é|éé)+$", r"(é*)*b", r"é{1,9}+$", r"(?:\w?){40}b")
"""Regular expressions for which a backtracking search takes very long."""


class _Asks:
    """Pickled as a call: of code, or of something that takes memory."""

    def __init__(self, function: Callable[..., object], argument: object) -> None:
        self._call = function, (argument,)

    def __reduce__(self) -> tuple[Callable[..., object], tuple[object]]:
        return self._call


def mutate(folder: Path, rng: random.Random) -> str:
    """Apply one mutation to the files of ``folder``, sometimes several.

    Code that runs leaves a file ``ran`` two folders above.
    """
    paths = sorted(path for path in folder.rglob("*") if path.is_file())
    if (folder / "p.txt").exists():  # one file of prompts is read at a time
        keep = rng.choice(paths)
        kept = {keep, *keep.parent.iterdir()} if keep.parent != folder else {keep}
        for path in set(paths) - kept:
            path.unlink()
        if keep.parent == folder:
            shutil.rmtree(folder / "saved")
        paths = [keep]
    done = []
    for _ in range(rng.choice([1, 1, 1, 2, 3])):
        path = rng.choice(paths)
        if path.is_file() and not path.is_symlink() and path.stat().st_size < _HUGE:
            done.append(f"{path.relative_to(folder)}: {_mutate_file(path, folder, rng)}")
    return "; ".join(done)


def _mutate_file(path: Path, folder: Path, rng: random.Random) -> str:
    kind = rng.random()
    if kind < 0.12:
        return _other_type(path, folder.parent / "private.txt", rng)
    if kind < 0.16 and path.suffix == ".pt":
        return _call(path, folder.parent.parent / "ran", rng)
    if path.suffix == ".json":
        ran = str(folder.parent.parent / "ran")
        (path.parent / "code.py").write_text(f"open({ran!r}, 'w')\nclass Code: pass\n")
    special = next((by for suffix, by in _BY_SUFFIX.items() if path.name.endswith(suffix)), None)
    if special is not None and kind < 0.8:
        try:
            return special(path, rng)
        except _UNREADABLE:  # an earlier mutation damaged what this one would read
            pass
    path.write_bytes(changed_bytes(path.read_bytes(), rng))
    return "bytes"


_UNREADABLE = (
    *(ArithmeticError, AttributeError, EOFError, LookupError, OSError, RecursionError),
    *(TypeError, ValueError, struct.error, tarfile.TarError, zipfile.BadZipFile, pa.ArrowException),
)


def _other_type(path: Path, outside: Path, rng: random.Random) -> str:
    kind = rng.choice(["link", "loop", "device", "fifo", "folder", "nothing", "empty", "sparse"])
    if kind == "sparse":
        os.truncate(path, _HUGE)
        return kind
    path.rename(outside) if kind == "link" else path.unlink()
    if kind == "link":
        path.symlink_to(outside)
    elif kind == "loop":
        path.symlink_to(path.name)
    elif kind == "device":
        path.symlink_to("/dev/zero")
    elif kind == "fifo":
        os.mkfifo(path)
    elif kind == "folder":
        path.mkdir()
    elif kind == "empty":
        path.touch()
    return kind


def _json(path: Path, rng: random.Random) -> str:
    content = json.loads(path.read_bytes())
    kind = rng.randrange(8)
    if kind == 0:
        path.write_text(rng.choice(["[", '{"a":', "[[0],"]) * 100_000)
        return "nested"
    if kind == 1:
        name = rng.choice(list(_CODE))
        content[name] = _CODE[name]
    elif kind == 2 and path.name == "model_index.json":
        names = ("AutoModel", "pipeline", "CLIPTextModel", "DDIMScheduler", "Code", "__file__")
        part = rng.choice([*content, "../../x", "image_encoder"])
        content[part] = [rng.choice(["os", "diffusers", "transformers", "code"]), rng.choice(names)]
        name = part
    elif kind == 2 and "pre_tokenizer" in content:
        pattern = rng.choice(_ENDLESS)
        split = {"type": "Split", "pattern": {"Regex": pattern}, "invert": False}
        content["pre_tokenizer"] = split | {"behavior": "Removed"}
        name = pattern
    elif kind <= 5 and (places := list(_numbers(content))):
        holder, key = rng.choice(places)
        holder[key] = rng.choice(_SIZES)
        name = f"{key} = {holder[key]}"
    else:
        name = changed_json(content, rng)
    path.write_text(json.dumps(content), encoding="utf-8", errors="surrogatepass")
    return f"value {name}"


def _numbers(content: Any) -> list[tuple[Any, Any]]:
    """Return holder and key of each integer in nested JSON."""
    items = content.items() if isinstance(content, dict) else enumerate(content)
    found = []
    for key, value in items:
        if isinstance(value, dict | list):
            found += _numbers(value)
        elif isinstance(value, int):
            found.append((content, key))
    return found


def _safetensors(path: Path, rng: random.Random) -> str:
    data = path.read_bytes()
    (length,) = struct.unpack_from("<Q", data)
    header, body = json.loads(data[8 : 8 + length]), data[8 + length :]
    name = rng.choice([name for name in header if name != "__metadata__"])
    entry = header[name]
    kind = rng.choice(["length", "entry", "offsets", "shape", "dtype", "name", "many", "metadata"])
    if kind == "length":
        value = rng.choice([0, 1, length - 1, length + 1, 2**31, 2**62, 2**64 - 1])
        path.write_bytes(struct.pack("<Q", value) + data[8:])
        return f"header of {value} bytes"
    if kind == "entry":
        changed_json(entry, rng)
    elif kind == "offsets":
        entry["data_offsets"][rng.randrange(2)] = rng.choice([*_SIZES, len(body)])
    elif kind == "shape":
        entry["shape"] = rng.choice([[], [0], [2**31, 2**31], entry["shape"][::-1], [1] * 100])
    elif kind == "dtype":
        entry["dtype"] = rng.choice(["F64", "F16", "BF16", "I8", "BOOL", "F8_E4M3", "C64", "X", 1])
    elif kind == "name":
        header[rng.choice(STRANGE_NAMES)] = header.pop(name)
    elif kind == "many":
        empty = {"dtype": "F32", "shape": [0], "data_offsets": [0, 0]}
        header = {**dict.fromkeys(map(str, range(rng.choice([10, 200_000]))), empty), **header}
    else:
        values = ["NaN", "x", "[" * 100_000, "1e999", '{"unet.r": 1000000000}', "-1", "[1]"]
        keys = ["lora_adapter_metadata", "ss_network_alpha", "modelspec.architecture", "format"]
        header["__metadata__"] = {rng.choice(keys): rng.choice(values)}
    text = json.dumps(header).encode("utf-8", "surrogatepass")
    path.write_bytes(struct.pack("<Q", len(text)) + text + body)
    return f"{kind} of {name}"


def _call(path: Path, ran: Path, rng: random.Random) -> str:
    asked = rng.choice([_Asks(os.mkdir, str(ran)), _Asks(bytearray, 10**10)])
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("archive/data.pkl", pickle.dumps(asked, rng.choice([2, 4])))
    return "pickled call"


def _pickle(path: Path, rng: random.Random) -> str:
    kind = rng.choice(["bytes", "bytes", "bytes", "packed", "bomb"])
    with zipfile.ZipFile(path) as archive:
        members = {each.filename: archive.read(each) for each in archive.infolist()}
    name = next(name for name in members if name.endswith("data.pkl"))
    if kind == "bytes":
        members[name] = changed_bytes(members[name], rng)
    elif kind == "bomb":
        largest = max(members, key=lambda each: len(members[each]))
        members[largest] = bytes(100_000_000)
    how = zipfile.ZIP_STORED if kind == "bytes" else zipfile.ZIP_DEFLATED
    with zipfile.ZipFile(path, "w", how) as archive:
        for name, data in members.items():
            archive.writestr(name, data)
    return f"pickle {kind}"


_BY_SUFFIX: dict[str, Callable[[Path, random.Random], str]] = {
    ".json": _json,
    ".jsonl": mutate_lines,
    ".safetensors": _safetensors,
    ".pt": _pickle,
    ".pth": _pickle,
    ".parquet": mutate_table,
    ".arrow": mutate_table,
    ".tar": mutate_members,
    ".tar.gz": mutate_members,
    ".gz": mutate_packed_lines,
    ".zst": mutate_packed_lines,
    ".csv": mutate_lines,
    ".tsv": mutate_lines,
    ".txt": mutate_lines,
}
