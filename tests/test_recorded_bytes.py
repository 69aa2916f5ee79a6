"""Plan ids and file formats that stored data sets depend on, against recorded digests.

Pixels and scores differ between kinds of processors, so no digest of a built set is recorded here.
These inputs are fixed. A changed digest changes what stored sets resume from or what readers see:
it changes only together with ``ALGORITHM_VERSION`` or ``SCHEMA_VERSION``.
"""

import io
from pathlib import Path

import pytest

from pipeline.config.file import load_config
from pipeline.config.plan import Plan
from pipeline.core.identity import file_sha256, sha256
from pipeline.core.records import Outcome, Split, Status
from pipeline.storage.formats.arrow_shard import pack_pairs
from pipeline.storage.formats.ledger import LedgerWriter
from pipeline.storage.formats.prompts import PromptTable
from pipeline.storage.formats.webdataset_shard import write_samples
from pipeline.storage.plans import plan_bytes
from pipeline.workflows.plan import make_plan
from tests.stages.pairs import SCHEMA, make_pairs

PLAN_IDS = {
    "demo": "53336a4f76d6f53d",
    "demo_published": "b660c17e0cf0b329",
    "demo_train": "6b8a31e0bbbfc647",
}


def _plan(name: str) -> tuple[Plan, PromptTable]:
    config = load_config(name)
    return make_plan(config)


@pytest.mark.parametrize("name", PLAN_IDS)
def test_recorded_plan_id_of_each_shipped_configuration(name: str) -> None:
    assert _plan(name)[0].plan_id == PLAN_IDS[name]


def test_recorded_bytes_of_the_demo_plan() -> None:
    plan, prompts = _plan("demo")
    assert (
        sha256(plan_bytes(plan))
        == "6e4536c1e4110b584dcab199321e83a57708f63ab12a4ec733b5a1ed0d78e4af"
    )
    assert (
        sha256(prompts.to_bytes())
        == "c8d70b63aa80582a3124cebbc03022920f8e52d949cb1402aab0f59dba609ab5"
    )


def test_recorded_bytes_of_a_unit_and_an_arrow_shard() -> None:
    assert (
        sha256(pack_pairs(make_pairs(7), SCHEMA, 3))
        == "c28e3a73b66e69ce2502f85486281dd579c90b7e61ae4198da928d5084b9b949"
    )


def test_recorded_bytes_of_a_webdataset_shard() -> None:
    sink = io.BytesIO()
    write_samples(sink, make_pairs(7))
    assert (
        sha256(sink.getvalue())
        == "9fef6e6a4935e1b5f47614054c62edab3c4860a647284f8f82dddb36283fa588"
    )


def test_recorded_bytes_of_a_ledger(tmp_path: Path) -> None:
    outcomes = [
        Outcome(
            candidate=index,
            sample_id=pair.sample_id,
            prompt_id=pair.prompt_id,
            split=Split.TRAIN,
            seed=pair.seed,
            status=Status.KEPT,
            reason=None,
            truncated=False,
            source_rewards=pair.source_rewards,
            golden_rewards=pair.golden_rewards,
            noise_stats=pair.noise_stats,
            num_bytes=120,
        )
        for index, pair in enumerate(make_pairs(7))
    ]
    with LedgerWriter(tmp_path / "ledger", SCHEMA.reward_names) as writer:
        writer.add(outcomes, ["a prompt"] * len(outcomes))
    assert (
        file_sha256(tmp_path / "ledger")
        == "3f340bb055e1f10609778ae175156d0ff5be9c5c6f192a9d2cff6a599eda780e"
    )
