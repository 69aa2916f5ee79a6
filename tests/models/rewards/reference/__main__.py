"""Build the environment of the references and record them; see README.md beside this file."""

import argparse
import hashlib
import os
import shutil
import subprocess
import sys
import tempfile
import tomllib
from pathlib import Path

HERE = Path(__file__).parent
ROOT = HERE.parents[3]
GROUP = "image-reward-reference"
ALONE = ("clip-anytorch", "fairscale", "hpsv2", "image-reward", "timm")
"""Installed without what they ask for, some of it old and none of it used here."""

BERT_SHA256 = "07eced375cec144d27c900241f3e339478dec958f92fddbc551f295c992038a3"
"""SHA-256 of vocab.txt of bert-base-uncased."""


def main() -> None:
    """Build the environment if it is missing, then record."""
    parser = argparse.ArgumentParser(prog="python -m tests.models.rewards.reference")
    parser.add_argument("--venv", type=Path, required=True, help="Folder; 6 GB.")
    parser.add_argument("--bert-vocabulary", type=Path, required=True, help="A vocab.txt.")
    arguments = parser.parse_args()
    vocabulary = arguments.bert_vocabulary.read_bytes()
    if hashlib.sha256(vocabulary).hexdigest() != BERT_SHA256:
        sys.exit(f"{arguments.bert_vocabulary} is not the vocabulary of bert-base-uncased")
    python = arguments.venv.absolute() / "bin" / "python"
    if not python.exists():
        build(python)
    with tempfile.TemporaryDirectory() as folder:
        # The package asks for the model of this name, and a folder of this name is one.
        bert = Path(folder) / "bert-base-uncased"
        bert.mkdir()
        (bert / "vocab.txt").write_bytes(vocabulary)
        environment = {**os.environ, "PYTHONPATH": str(ROOT), "HF_HUB_OFFLINE": "1"}
        record = [python, "-m", "tests.models.rewards.reference.record", HERE]
        subprocess.run(record, cwd=folder, env=environment, check=True)


def build(python: Path) -> None:
    """Create a virtual environment with exactly the group of pyproject.toml."""
    subprocess.run([sys.executable, "-m", "venv", python.parents[1]], check=True)
    groups = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["dependency-groups"]
    alone = [pin for pin in groups[GROUP] if pin.split("==")[0] in ALONE]
    others = [pin for pin in groups[GROUP] if pin not in alone]
    subprocess.run([python, "-m", "pip", "install", *others], check=True)
    subprocess.run([python, "-m", "pip", "install", "--no-deps", *alone], check=True)
    packages = next(python.parents[1].glob("lib/python*/site-packages"))
    # hpsv2's wheel lacks the vocabulary that it reads on import; it is CLIP's.
    shutil.copy(
        packages / "clip" / "bpe_simple_vocab_16e6.txt.gz", packages / "hpsv2" / "src" / "open_clip"
    )


if __name__ == "__main__":
    main()
