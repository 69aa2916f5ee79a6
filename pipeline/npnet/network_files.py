"""Files of a saved network: ``config.json`` and ``model.safetensors``.

The configuration contains the digest of the weights, so files of two networks are rejected.
"""

from pathlib import Path

from pydantic import ValidationError

from pipeline.core.errors import ModelError
from pipeline.core.identity import canonical_json, file_sha256, readable_json, sha256
from pipeline.core.records import Record
from pipeline.core.untrusted_files import check_file, check_numbers, check_size, read_json
from pipeline.core.validation import explain
from pipeline.core.weight_files import check_weights
from pipeline.npnet.config import Layout
from pipeline.npnet.origin import Origin
from pipeline.storage.durable import atomic_write

CONFIG_FILE, WEIGHTS_FILE = "config.json", "model.safetensors"

_CONFIG_BYTES = 4 * 2**20

_BESIDE_LAYOUT = ("origin", "weights_sha256")


class Description(Record):
    """Content of ``config.json``. In the file, the fields of the layout are at the top level."""

    layout: Layout
    origin: Origin | None = None
    """None in networks that an earlier version saved."""
    weights_sha256: str | None = None
    """None in networks that an earlier version saved."""


def write_network(folder: Path, described: Description, weights: bytes) -> None:
    """Replace a saved network."""
    content = {
        **described.layout.model_dump(mode="json", exclude_none=True),
        **described.model_dump(mode="json", include={"origin"}, exclude_none=True),
        "weights_sha256": sha256(weights),
    }
    # A crash between the two writes leaves a configuration with the digest of other weights, which
    # reading rejects.
    atomic_write(folder / WEIGHTS_FILE, [weights])
    atomic_write(folder / CONFIG_FILE, [readable_json(content)])


def read_network(folder: Path) -> tuple[Description, bytes]:
    """Read the description and the weights of a saved network. Raises ``ModelError``."""
    described = read_description(folder)
    path = _file(folder, WEIGHTS_FILE)
    check_weights(path)
    try:
        weights = path.read_bytes()
    except OSError as error:
        raise ModelError(f"{path} cannot be read: {error.strerror}") from error
    if described.weights_sha256 not in (None, sha256(weights)):
        raise ModelError(
            f"{path} is damaged or does not belong to {CONFIG_FILE}: it has another digest; copy "
            "both files again, or run the training again"
        )
    return described, weights


def read_description(folder: Path) -> Description:
    """Read the description of a saved network. Raises ``ModelError``."""
    path = _file(folder, CONFIG_FILE)
    content = read_json(path, ModelError, _CONFIG_BYTES)
    beside = {name: content.pop(name) for name in _BESIDE_LAYOUT if name in content}
    check_numbers(path, content, ModelError)
    try:
        # Validated as JSON, because strict validation of Python objects rejects a list for a tuple.
        return Description.model_validate_json(canonical_json({"layout": content, **beside}))
    except (ArithmeticError, RecursionError, TypeError, ValidationError, ValueError) as error:
        raise ModelError(
            f"{path} is no configuration of a noise prompt network: {explain(error)}"
        ) from error


def network_digest(folder: str | Path) -> str:
    """Return the SHA-256 of a network's two files. Other files in the folder do not count.

    Raises ``ModelError`` if one is missing or damaged.
    """
    path = Path(folder)
    check_size(_file(path, CONFIG_FILE), ModelError, _CONFIG_BYTES)
    check_weights(_file(path, WEIGHTS_FILE))
    files = {name: file_sha256(path / name) for name in (CONFIG_FILE, WEIGHTS_FILE)}
    return sha256(canonical_json(files))


def _file(folder: Path, name: str) -> Path:
    """Return the path of a file. Raises ``ModelError`` unless it is a regular one in ``folder``."""
    path = folder / name
    if not path.exists():
        raise _missing(folder)
    check_file(path, ModelError, folder)
    return path


def _missing(path: Path) -> ModelError:
    return ModelError(
        f"{path}: no noise prompt network here; the folder must contain {CONFIG_FILE} and "
        f"{WEIGHTS_FILE}, which python -m jobs.train_npnet writes"
    )
