"""Training layout of the paper's authors: an ``.npz`` for each pair, and a log of captions.

    train/pairs/<index>_<seed>.npz    arr_0 source noise, arr_1 golden noise: float16 (1, C, H, W);
                                      arr_2 index, an integer
    train/prompts.txt                 one line for each pair: index, seed, caption, both score lists

The splits have separate folders, because the authors' trainer draws its validation pairs from the
folder that it receives. It takes folder and log as ``--data-dir`` and ``--prompt-path``, with
``--pick``. It opens every file of the folder, so the log is outside. With ``--discard`` it drops
pairs whose first golden score is not strictly larger than the source score.

A line is both JSON and a Python literal, because their loader evaluates it: no ``null``, no
``true``, no surrogate pairs. The scores are those of the selecting rewards, in the plan's order. A
pair that was not judged has empty lists, on which ``--discard`` fails.
"""

import json
from pathlib import Path

import numpy as np

from pipeline.core.records import Split
from pipeline.publish.export.format import Format, SplitPart
from pipeline.publish.export.spec import ExportSpec
from pipeline.storage.formats.pairs import NoisePair

PAIRS, LOG = "pairs", "prompts.txt"


class GoldenNoiseNpz(Format):
    """Writer for ``--format golden-noise-npz``."""

    def __init__(self, spec: ExportSpec, scratch: Path) -> None:
        super().__init__(spec, scratch)
        # The log of a split is complete only after its last part, and parts are stored before that.
        self._log = scratch / LOG
        self._num_not_better = self._num_unjudged = 0

    def write_part(self, folder: Path, part: SplitPart) -> None:
        """Write a file for each pair, and add its line to the log."""
        pairs = folder / part.split.value / PAIRS
        pairs.mkdir(parents=True)
        with self._log.open("a", encoding="utf-8") as log:
            for index, pair in enumerate(part.pairs, start=part.first):
                log.write(self._line(index, pair))
                assert pair.source_noise is not None, "a part has every source noise"
                np.savez(
                    pairs / f"{index}_{pair.seed}.npz",
                    pair.source_noise[np.newaxis],
                    pair.golden_noise[np.newaxis],
                    np.array(index, dtype=np.int64),
                )

    def finish_split(self, folder: Path, split: Split) -> None:
        """Write the log."""
        (folder / split.value).mkdir()
        (folder / split.value / LOG).write_bytes(self._log.read_bytes())
        self._log.unlink()

    def remarks(self) -> list[str]:
        """Return notes on the pairs on which the authors' ``--discard`` would act."""
        remarks = []
        if self._num_not_better:
            remarks.append(
                f"{self._num_not_better} pairs were kept, under a negative margin, without a "
                "strictly larger golden score: the authors' loader drops them if it runs with "
                "--discard"
            )
        if self._num_unjudged:
            remarks.append(
                f"{self._num_unjudged} pairs were not judged and have empty score lists: run the "
                "authors' loader without --discard"
            )
        return remarks

    def _line(self, index: int, pair: NoisePair) -> str:
        is_judged = pair.judged is not False
        names = self.spec.selecting if is_judged else []
        source = [_score(pair.source_rewards[name]) for name in names]
        golden = [_score(pair.golden_rewards[name]) for name in names]
        # The authors' `--discard` compares the first score only.
        self._num_not_better += is_judged and not source[0] < golden[0]
        self._num_unjudged += not is_judged
        line = {
            "index": index,
            "seed": pair.seed,
            "caption": pair.prompt,
            "original_score_list": source,
            "optimized_score_list": golden,
        }
        return json.dumps(line, ensure_ascii=False, allow_nan=False) + "\n"


def _score(score: float | None) -> float:
    assert score is not None, "a kept pair has every score that selects"
    return score
