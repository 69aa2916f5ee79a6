"""Intact folders of models, LoRAs, rewards, networks, training runs and prompts."""

import gzip
import io
import json
import shutil
import tarfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import torch
from safetensors.torch import save_file
from torch.optim.lr_scheduler import LambdaLR

from pipeline.config.file import BUNDLED
from pipeline.npnet import NPNet
from pipeline.npnet.config import SmallLayout
from pipeline.training.checkpoint import save_checkpoint
from tests.models.diffusers.original_layout import original_checkpoint
from tests.models.diffusers.tiny import save_tiny_pipeline, tiny_pipeline
from tests.models.rewards.folders import BUILDERS

LATENTS, TOKENS, WIDTH = (4, 8, 8), 3, 16
RUN = {"settings": {"seed": 0}}
_TEXTS = [f"a {colour} {thing}" for colour in ("red", "blue") for thing in ("cube", "ball", "cone")]
_SAVED = "saved"


def model(place: Path) -> None:
    """Write a tiny pipeline."""
    save_tiny_pipeline(place / "model")


def checkpoint(place: Path) -> None:
    """Write a tiny pipeline and its weights in a single file."""
    model(place)
    (place / "single").mkdir()
    save_file(original_checkpoint(tiny_pipeline()), place / "single" / "tiny.safetensors")


def lora(place: Path) -> None:
    """Write a tiny pipeline and a LoRA of its attention, in kohya's format."""
    model(place)
    (place / "lora").mkdir()
    tensors = {}
    for name, module in tiny_pipeline().unet.named_modules():
        if name.endswith(("to_q", "to_v")):
            stem = f"lora_unet_{name.replace('.', '_')}"
            out, width = module.weight.shape
            tensors[f"{stem}.lora_down.weight"] = torch.randn(2, width)
            tensors[f"{stem}.lora_up.weight"] = torch.randn(out, 2)
            tensors[f"{stem}.alpha"] = torch.tensor(2.0)
    metadata = {"ss_network_alpha": "2", "ss_network_dim": "2", "lora_adapter_metadata": "{}"}
    save_file(tensors, place / "lora" / "lora.safetensors", metadata)


def reward(kind: str) -> Callable[[Path], None]:
    """Return a function that writes a published reward of this kind."""

    def make(place: Path) -> None:
        (place / "reward").mkdir()
        BUILDERS[kind](place / "reward")

    return make


def scene(place: Path) -> None:
    """Write the demo's reward."""
    shutil.copytree(BUNDLED / "reward", place / "reward")


def network(place: Path) -> None:
    """Write an untrained network."""
    NPNet.new(_layout(), 0).save(place / "network")


def run(place: Path) -> None:
    """Write the checkpoint of a training run."""
    (place / "run").mkdir()
    save_checkpoint(place / "run" / "checkpoint.pt", RUN, training_parts())


def training_parts() -> dict[str, Any]:
    """Return a network, an optimiser with state and a schedule, as a training run has them."""
    net = NPNet.new(_layout(), 0)
    optimizer = torch.optim.AdamW(net.parameters())
    net(torch.zeros(1, *LATENTS), torch.zeros(1, TOKENS, WIDTH)).sum().backward()
    optimizer.step()
    return {"net": net, "optimizer": optimizer, "schedule": LambdaLR(optimizer, lambda _: 1.0)}


def _layout() -> SmallLayout:
    return SmallLayout(latent_shape=LATENTS, prompt_width=WIDTH, width=16, blocks=1)


def prompts(place: Path) -> None:
    """Write the same prompts in every format."""
    folder = place / "prompts"
    saved = folder / _SAVED
    saved.mkdir(parents=True)
    lines = "".join(f"{text}\n" for text in _TEXTS).encode()
    (folder / "p.txt").write_bytes(lines)
    (folder / "p.txt.gz").write_bytes(gzip.compress(lines))
    with pa.output_stream(str(folder / "p.txt.zst"), compression="zstd") as file:
        file.write(lines)
    for name, quote, mark in (("p.csv", '"', ","), ("p.tsv", "", "\t")):
        rows = "".join(f"{quote}{text}{quote}{mark}1\n" for text in _TEXTS)
        (folder / name).write_text(f"prompt{mark}n\n{rows}")
    objects = "".join(json.dumps({"prompt": text, "n": [{}]}) + "\n" for text in _TEXTS)
    (folder / "p.jsonl").write_text(objects)
    table = pa.table({"n": pa.array(range(len(_TEXTS))), "prompt": _TEXTS})
    pq.write_table(table, folder / "p.parquet", compression="zstd")
    words = table.set_column(1, "prompt", table["prompt"].dictionary_encode())
    _arrow(folder / "p.arrow", words, compression="lz4", is_file=True)
    _arrow(saved / "data-0.arrow", table, compression=None, is_file=False)
    (saved / "state.json").write_text(json.dumps({"_data_files": [{"filename": "data-0.arrow"}]}))
    for name in ("p.tar", "p.tar.gz"):
        (folder / name).write_bytes(_tar(is_packed=name.endswith("gz")))


def sources(place: Path) -> list[Path]:
    """Return the prompt files that are left in a mutated folder, or the saved folder."""
    folder = place / "prompts"
    names = sorted(path.name for path in folder.iterdir()) if folder.is_dir() else [""]
    return [folder / name for name in names if name != "private.txt"]


def _arrow(path: Path, table: pa.Table, *, compression: str | None, is_file: bool) -> None:
    options = pa.ipc.IpcWriteOptions(compression=compression)
    new = pa.ipc.new_file if is_file else pa.ipc.new_stream
    with new(str(path), table.schema, options=options) as writer:
        writer.write_table(table)


def _tar(*, is_packed: bool) -> bytes:
    sink = io.BytesIO()
    with tarfile.open(fileobj=sink, mode="w") as archive:
        for number, text in enumerate(_TEXTS):
            for suffix, data in (("jpg", b"\xff" * 100), ("txt", text.encode())):
                member = tarfile.TarInfo(f"{number:03}.{suffix}")
                member.size = len(data)
                archive.addfile(member, io.BytesIO(data))
    return gzip.compress(sink.getvalue()) if is_packed else sink.getvalue()
