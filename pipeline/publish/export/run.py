"""Execution of an export: write the files, store them and read each one back.

Every file depends only on the pairs. An export that was killed is simply run again: existing files
are compared instead of written, and the result has the same bytes. A folder belongs to the export
whose ``export.json`` it holds.
"""

import hashlib
import tempfile
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from itertools import count, islice
from pathlib import Path

from pipeline.core.errors import ObjectNotFoundError, UserError, VerificationError
from pipeline.core.identity import file_sha256
from pipeline.core.records import Split
from pipeline.diffusion.noise import source_noise, stored
from pipeline.publish.export.format import Format, SplitPart
from pipeline.publish.export.formats import FORMATS
from pipeline.publish.export.spec import ExportSpec
from pipeline.storage.durable import scratch_folder
from pipeline.storage.formats.pairs import NoisePair
from pipeline.storage.local import LocalStore
from pipeline.storage.manifest import Manifest
from pipeline.storage.object_store import CHUNK_BYTES, ObjectStore
from pipeline.storage.sealed_files import open_whole, shard_refs

DESCRIPTION = "export.json"
"""Name of the file that identifies the export; written first."""
CHECKSUMS = "SHA256SUMS"
"""Name of the list of all digests, in the format of ``sha256sum --check``; written last."""

_FILES_AT_ONCE = 8
"""Number of concurrent uploads, because small files mostly wait for the store."""


@dataclass(frozen=True, kw_only=True)
class Exported:
    """Result of an export."""

    is_new: bool
    """True if this call finished the export; False if it was already complete."""
    num_files: int
    num_bytes: int
    remarks: tuple[str, ...]


def export(store: ObjectStore, target: ObjectStore, spec: ExportSpec) -> Exported:
    """Export from ``store`` into ``target``; only one export may write a target at a time.

    Raises ``UserError`` if the target holds other files, and ``VerificationError`` for a damaged
    shard, or for a file of the target with other bytes.
    """
    with scratch_folder("npd-export-") as folder:
        scratch = folder / "scratch"
        scratch.mkdir()
        # Before the claim, because it raises if the library of the format is missing.
        made = FORMATS[spec.format](spec, scratch)
        if _claim(target, spec) and target.head(CHECKSUMS) is not None:
            return Exported(is_new=False, num_files=0, num_bytes=0, remarks=())
        checksums = folder / CHECKSUMS
        num_files = num_bytes = 0
        with checksums.open("w", encoding="utf-8") as sums:
            for files in _written(folder, store, spec, made):
                for put in _put_all(target, files):
                    sums.write(f"{put.sha256}  {put.key}\n")
                    num_files, num_bytes = num_files + 1, num_bytes + put.num_bytes
        if isinstance(target, LocalStore):
            # A killed export leaves temporary files, which loaders would find in a listing.
            target.remove_leftovers(0)
        # Last, because this file marks the export as complete.
        _put(target, CHECKSUMS, checksums)
    return Exported(
        is_new=True, num_files=num_files, num_bytes=num_bytes, remarks=tuple(made.remarks())
    )


def _claim(target: ObjectStore, spec: ExportSpec) -> bool:
    """Claim a target for this export; return True if it was claimed. Raises ``UserError``."""
    try:
        existing = target.get(DESCRIPTION)
    except ObjectNotFoundError:
        found = next(iter(target.list("")), None)
        if found is not None:
            raise UserError(
                f"{target.url} is not empty (it holds {found.key}) and is not an export; choose "
                "another output"
            ) from None
        if target.put_if_absent(DESCRIPTION, spec.description()):
            return False
        # Another export claimed the target first. It may be the same one.
        existing = target.get(DESCRIPTION)
    # The description holds everything that decides the bytes, so an equal one is the same export.
    if existing != spec.description():
        raise UserError(
            f"{target.url} holds another export (see {DESCRIPTION}); choose another output"
        )
    return True


def _written(folder: Path, store: ObjectStore, spec: ExportSpec, made: Format) -> Iterator[Path]:
    """Yield folders with the next files; each is deleted when the next one is requested."""
    for split in spec.splits:
        for part in _parts(store, spec, split):
            with tempfile.TemporaryDirectory(dir=folder) as name:
                made.write_part(Path(name), part)
                yield Path(name)
        # Each folder is deleted after its upload, so the disk holds the files of one part.
        with tempfile.TemporaryDirectory(dir=folder) as name:
            made.finish_split(Path(name), split)
            yield Path(name)
    with tempfile.TemporaryDirectory(dir=folder) as name:
        made.finish(Path(name), store)
        yield Path(name)


def _parts(store: ObjectStore, spec: ExportSpec, split: Split) -> Iterator[SplitPart]:
    pairs = sealed_pairs(store, spec.manifest, split)
    starts = range(0, spec.manifest.num_samples(split), spec.samples_per_file)
    for index, first in enumerate(starts):
        yield SplitPart(
            split=split,
            index=index,
            parts=len(starts),
            first=first,
            pairs=islice(pairs, spec.samples_per_file),
        )


def sealed_pairs(store: ObjectStore, manifest: Manifest, split: Split) -> Iterator[NoisePair]:
    """Yield all pairs of a split in order, each with source noise; memory holds one shard.

    Raises ``VerificationError`` for a shard that differs from its digest in the manifest, and
    ``ObjectNotFoundError`` for a missing one.
    """
    for ref in shard_refs(store, manifest, split):
        yield from map(_with_source, open_whole(ref).pairs())


def _with_source(pair: NoisePair) -> NoisePair:
    if pair.source_noise is not None:
        return pair
    rebuilt = stored(source_noise(pair.seed, pair.golden_noise.shape))
    return replace(pair, source_noise=rebuilt.numpy())


@dataclass(frozen=True, kw_only=True)
class _Stored:
    key: str
    sha256: str
    num_bytes: int


def _put_all(target: ObjectStore, folder: Path) -> Iterator[_Stored]:
    """Store every file of a folder under its path in it, in spec."""
    paths = sorted(path for path in folder.rglob("*") if path.is_file())
    with ThreadPoolExecutor(_FILES_AT_ONCE, thread_name_prefix="export") as pool:
        yield from pool.map(
            lambda path: _put(target, path.relative_to(folder).as_posix(), path), paths
        )


def _put(target: ObjectStore, key: str, path: Path) -> _Stored:
    """Store a file, unless it is there, and read it back. Raises ``VerificationError``."""
    digest = file_sha256(path)
    if not target.put_file_if_absent(key, path) or _stored_sha256(target, key) != digest:
        raise VerificationError(
            f"{target.url}/{key}: not what this export writes. It is damaged, or other versions "
            "of the libraries began the export: remove the output and export again"
        )
    return _Stored(key=key, sha256=digest, num_bytes=path.stat().st_size)


def _stored_sha256(target: ObjectStore, key: str) -> str:
    """Return the digest of a stored object, read in pieces."""
    digest = hashlib.sha256()
    for start in count(0, CHUNK_BYTES):
        piece = target.get_range(key, start, CHUNK_BYTES)
        digest.update(piece)
        if len(piece) < CHUNK_BYTES:
            break
    return digest.hexdigest()
