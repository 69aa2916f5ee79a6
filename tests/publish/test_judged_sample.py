"""A sealed set of which a random sample was judged: columns, filters, report, exports, checks."""

import json
import tarfile
from functools import partial
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from pydantic import ValidationError
from typer.testing import CliRunner

from pipeline.cli.app import app
from pipeline.core.errors import ConfigError, UserError
from pipeline.core.identity import is_sampled
from pipeline.core.records import Outcome, Split
from pipeline.evaluate.judged_sample import expected_wins
from pipeline.evaluate.report import make_report
from pipeline.evaluate.scores import read_scores
from pipeline.publish.compact import compact_in
from pipeline.publish.select import select
from pipeline.publish.verify import verify
from pipeline.reader import NoisePairDataset, NoisePairTable
from pipeline.storage.layout import ShardFormat
from pipeline.storage.manifest import Manifest
from pipeline.storage.open import open_store
from tests.fuzz.forge import edit_json
from tests.publish.export.exports import export_to
from tests.publish.problems import problems_in
from tests.sealed import SETTINGS, Built, build, changed, demo_prompts, write_config

SHARE = 0.4
SAMPLED = changed(
    rewards=[{**SETTINGS["rewards"][0], "margin": -0.02}, SETTINGS["rewards"][1]],
    judging={"policy": "sample", "share": SHARE},
    splits={"train": 1.0, "validation": 0.0, "test": 0.0},
    output={"images": "none", "store_rejected": True, "shard_bytes": 6000},
)


@pytest.fixture(scope="module")
def sampled(tmp_path_factory: pytest.TempPathFactory) -> Built:
    return build(tmp_path_factory.mktemp("sampled"), SAMPLED, prompts=demo_prompts(15))


@pytest.fixture(scope="module")
def store(sampled: Built, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The sealed set. Tests must not change it."""
    folder = tmp_path_factory.mktemp("store")
    sampled.sealed_in(str(folder))
    return folder


@pytest.fixture
def manifest(sampled: Built, tmp_path: Path) -> Manifest:
    return sampled.sealed_in(str(tmp_path / "store"))


def _judged_in_tar(path: Path) -> dict[str, bool]:
    """Map the sample ids of a shard to the field of their JSON files."""
    with tarfile.open(path) as tar:
        rows = [
            json.load(file)
            for m in tar
            if m.name.endswith(".json") and (file := tar.extractfile(m))
        ]
    return {row["sample_id"]: row["judged"] for row in rows}


def _outcomes(sampled: Built) -> list[Outcome]:
    return [outcome for unit in sampled.units for outcome in unit.outcomes]


def test_set_verifies_and_its_funnel_counts_the_sample(manifest: Manifest, tmp_path: Path) -> None:
    assert problems_in(tmp_path / "store") == []
    funnel = manifest.funnel
    assert manifest.schema_version == 4
    assert funnel.candidates == 30
    assert funnel.judged is not None and 5 < funnel.judged < 25
    assert funnel.unjudged == 30 - funnel.judged
    assert 0 < funnel.kept < funnel.judged
    assert funnel.kept_rate == funnel.kept / funnel.judged


@pytest.mark.parametrize("shard_format", ["arrow", "webdataset"])
def test_shards_hold_kept_and_unjudged_pairs(
    sampled: Built, manifest: Manifest, tmp_path: Path, shard_format: ShardFormat
) -> None:
    expected = {o.sample_id: o.judged for o in _outcomes(sampled) if o.in_shards}
    found: dict[str, bool] = {}
    for info in manifest.shards[Split.TRAIN][shard_format]:
        path = tmp_path / "store" / info.key
        if shard_format == "arrow":
            rows = pa.ipc.open_file(path).read_all().to_pylist()
            found |= {row["sample_id"]: row["judged"] for row in rows}
        else:
            found |= _judged_in_tar(path)
    assert found == expected


def test_ledger_has_the_column(sampled: Built, manifest: Manifest, tmp_path: Path) -> None:
    table = pq.read_table(tmp_path / "store" / manifest.ledger.key)
    assert table["judged"].to_pylist() == [o.judged for o in _outcomes(sampled)]
    assert {o.judged for o in _outcomes(sampled)} == {True, False}


@pytest.mark.parametrize("judged", [True, False, None])
def test_reader_filters_by_judged(sampled: Built, store: Path, judged: bool | None) -> None:
    expected = {
        o.sample_id: o.judged
        for o in _outcomes(sampled)
        if o.in_shards and judged in (None, o.judged)
    }
    dataset = NoisePairDataset(str(store), judged=judged)
    assert {sample["sample_id"]: sample["judged"] for sample in dataset} == expected
    assert len(NoisePairTable(str(store), judged=judged)) == len(expected)
    (batch,) = NoisePairDataset(str(store), judged=judged, batch_size=len(expected))
    assert batch["judged"].tolist() == [*expected.values()]
    scores = batch["golden_rewards"]["scene"].numpy()
    assert np.array_equal(np.isnan(scores), [not each for each in expected.values()])


def test_preferences_leave_unjudged_pairs_out(sampled: Built, store: Path) -> None:
    read = NoisePairDataset(str(store), view="preference", reward="scene")
    kept = [o.sample_id for o in _outcomes(sampled) if o.in_shards and o.judged]
    assert [sample["sample_id"] for sample in read] == kept


def test_other_margins_decide_judged_pairs_alone(
    sampled: Built, manifest: Manifest, tmp_path: Path
) -> None:
    opened = open_store(str(tmp_path / "store"))
    chosen = select(opened, {"scene": -100.0}, partial(map, partial(compact_in, opened))).manifest
    assert chosen.funnel.kept == chosen.funnel.judged == manifest.funnel.judged
    assert chosen.funnel.unjudged == manifest.funnel.unjudged
    assert verify(opened).problems == []


def test_report_says_how_many_unjudged_pairs_would_win(manifest: Manifest, tmp_path: Path) -> None:
    scores = read_scores(open_store(str(tmp_path / "store")), manifest)
    share = expected_wins(scores)
    assert share is not None
    assert share.value == pytest.approx(manifest.funnel.kept_rate)
    assert share.low < share.value < share.high
    report = make_report(manifest, scores)
    unjudged, pairs = manifest.funnel.unjudged, manifest.funnel.in_shards
    assert f"{unjudged} of {pairs} pairs were not judged. {share.low:.1%} to" in report


def test_page_has_the_same_paragraph(manifest: Manifest, tmp_path: Path) -> None:
    url = str(tmp_path / "store")
    result = CliRunner().invoke(app, ["report", url, "--html"], catch_exceptions=False)
    assert result.exit_code == 0
    (page,) = (tmp_path / "store").glob("reports/*/report.html")
    text = page.read_text(encoding="utf-8")
    assert f"of {manifest.funnel.in_shards} pairs were not judged." in text
    assert f"{manifest.funnel.unjudged:,}</" in text


@pytest.mark.parametrize("name", ["golden-noise-npz", "webdataset", "parquet", "hf"])
def test_every_export_has_all_pairs(store: Path, tmp_path: Path, name: str) -> None:
    exported = export_to(tmp_path / "out", store, name)
    pairs = sum(1 for _ in NoisePairDataset(str(store)))
    if name == "golden-noise-npz":
        lines = (tmp_path / "out/train/prompts.txt").read_text(encoding="utf-8").splitlines()
        empty = [line for line in map(json.loads, lines) if not line["original_score_list"]]
        unjudged = sum(1 for _ in NoisePairDataset(str(store), judged=False))
        assert (len(lines), len(empty)) == (pairs, unjudged)
        assert any("were not judged" in remark for remark in exported.remarks)
    elif name == "webdataset":
        judged: dict[str, bool] = {}
        for path in (tmp_path / "out").rglob("*.tar"):
            judged |= _judged_in_tar(path)
        assert len(judged) == pairs and set(judged.values()) == {True, False}
    else:
        files = [p for p in (tmp_path / "out").rglob("*.parquet") if p.stem != "candidates"]
        tables = [pq.read_table(path, columns=["judged"]) for path in files]
        assert pa.concat_tables(tables).num_rows == pairs
    if name == "hf":
        card = (tmp_path / "out/README.md").read_text(encoding="utf-8")
        assert "Only a random sample of" in card


@pytest.mark.parametrize("to", [True, False])
def test_receipt_with_another_sample_is_found(manifest: Manifest, tmp_path: Path, to: bool) -> None:
    (receipt,) = (tmp_path / "store").glob("receipts/*/00000000.json")

    def forge(content: dict[str, list[dict[str, object]]]) -> None:
        for outcome in content["outcomes"]:
            if outcome.get("judged", True) is not to and outcome["status"] == "unjudged":
                outcome |= {"status": "rejected", "reason": "reward:scene", "judged": to}
            elif outcome.get("judged", True) is not to and outcome["status"] == "rejected":
                none = dict.fromkeys(["scene", "oracle"])
                outcome |= {
                    "status": "unjudged",
                    "reason": None,
                    "judged": to,
                    "source_rewards": none,
                    "golden_rewards": none,
                }

    edit_json(receipt, forge)
    problems = problems_in(tmp_path / "store")
    assert any("its candidates are not those of the plan" in problem for problem in problems)


def test_outcome_that_contradicts_itself_is_refused(sampled: Built) -> None:
    unjudged = next(o for o in _outcomes(sampled) if not o.judged).model_dump(mode="json")
    for change in (
        {"judged": True},
        {"status": "kept"},
        {"source_rewards": {"scene": 1.0, "oracle": None}},
        {"num_bytes": 0},
        {"reason": "gate:norm"},
    ):
        with pytest.raises(ValidationError):
            Outcome.model_validate({**unjudged, "judged": False, **change})


def test_sample_of_a_smaller_share_is_part_of_a_larger_one() -> None:
    names = [f"{number:016x}-00000000" for number in range(20_000)]
    small, large = ({n for n in names if is_sampled(n, share)} for share in (0.05, 0.2))
    assert small < large
    # Four standard errors of a binomial.
    assert abs(len(small) / 20_000 - 0.05) < 4 * (0.05 * 0.95 / 20_000) ** 0.5
    assert abs(len(large) / 20_000 - 0.2) < 4 * (0.2 * 0.8 / 20_000) ** 0.5


@pytest.mark.parametrize(
    ("sections", "message"),
    [
        ({"judging": {"policy": "sample"}}, "belong together"),
        ({"judging": {"share": 0.1}}, "belong together"),
        ({"judging": {"policy": "sample", "share": 1.0}}, "share"),
        ({"judging": {"policy": "sample", "share": 0.1}, "output": {"images": "png"}}, "images"),
    ],
)
def test_contradictory_settings_are_refused(
    tmp_path: Path, sections: dict[str, dict[str, object]], message: str
) -> None:
    with pytest.raises(ConfigError, match=message):
        write_config(tmp_path, changed(**{"output": {"images": "none"}, **sections}))


def test_several_proposals_need_all_to_be_judged(tmp_path: Path) -> None:
    settings = {name: section for name, section in SAMPLED.items() if name != "redenoise"}
    settings["proposers"] = [{"kind": "best_of_n", "name": "random", "n": 3}]
    with pytest.raises(UserError, match="this plan proposes 3"):
        build(tmp_path, settings, prompts=demo_prompts(2))
