"""The columns of a pair, and the Arrow file around them."""

import io
import json
from itertools import pairwise
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest

from pipeline.core.records import SCHEMA_VERSION, NoiseStats
from pipeline.storage.formats.arrow_shard import pack_pairs, write_batches
from pipeline.storage.formats.pairs import NoisePair, PairSchema
from tests.stages.pairs import SCHEMA, SHAPE, make_pairs


def _open(data: bytes) -> pa.RecordBatchFileReader:
    return pa.ipc.open_file(pa.BufferReader(data))


def test_pack_equal_pairs_are_equal_bytes_and_others_are_not() -> None:
    assert pack_pairs(make_pairs(7), SCHEMA, 3) == pack_pairs(make_pairs(7), SCHEMA, 3)
    assert pack_pairs(make_pairs(7), SCHEMA, 3) != pack_pairs(make_pairs(7)[::-1], SCHEMA, 3)


@pytest.mark.parametrize(("pairs", "rows"), [(0, 3), (1, 3), (3, 3), (7, 3), (7, 100)])
def test_pack_record_batches_have_a_fixed_number_of_rows(pairs: int, rows: int) -> None:
    file = _open(pack_pairs(make_pairs(pairs), SCHEMA, rows))
    sizes = [file.get_batch(i).num_rows for i in range(file.num_record_batches)]
    assert sum(sizes) == pairs
    assert all(size == rows for size in sizes[:-1]) and all(0 < size <= rows for size in sizes)


@pytest.mark.parametrize("cuts", [[], [1], [3], [2, 5], [1, 2, 3, 4, 5, 6, 7]])
def test_write_batches_bytes_do_not_depend_on_how_the_rows_came(cuts: list[int]) -> None:
    batch = SCHEMA.to_batch(make_pairs(8))
    edges = [0, *cuts, 8]
    slices = [batch.slice(a, b - a) for a, b in pairwise(edges)]
    sink = io.BytesIO()
    write_batches(sink, SCHEMA.arrow(), slices, 3)
    assert sink.getvalue() == pack_pairs(make_pairs(8), SCHEMA, 3)


def test_schema_columns_are_plain_types() -> None:
    rewards = pa.struct([("scene", pa.float32()), ("oracle", pa.float32())])
    stats = ("cosine", "relative_change", "mean", "std", "kurtosis")
    values = int(np.prod(SHAPE))
    expected = {
        "sample_id": pa.string(),
        "prompt": pa.string(),
        "prompt_id": pa.string(),
        "seed": pa.int64(),
        "source_noise": pa.list_(pa.float16(), values),
        "golden_noise": pa.list_(pa.float16(), values),
        "source_rewards": rewards,
        "golden_rewards": rewards,
        "noise_stats": pa.struct([(name, pa.float32()) for name in stats]),
        "source_image": pa.binary(),
        "golden_image": pa.binary(),
    }
    schema = _open(pack_pairs(make_pairs(2), SCHEMA, 3)).schema
    assert {field.name: field.type for field in schema} == expected
    assert schema.names == list(expected)
    assert not any(isinstance(field.type, pa.BaseExtensionType) for field in schema)
    nullable = {field.name for field in schema if field.nullable}
    assert nullable == {"source_noise", "source_image", "golden_image"}
    assert json.loads(schema.metadata[b"latent_shape"]) == list(SHAPE)
    assert schema.metadata[b"schema_version"] == str(SCHEMA_VERSION).encode()


def test_schema_read_back_is_the_same() -> None:
    schema = _open(pack_pairs([], SCHEMA, 3)).schema
    assert PairSchema.of(schema) == SCHEMA
    assert schema.equals(SCHEMA.arrow(), check_metadata=True)


def _same(left: NoisePair, right: NoisePair) -> bool:
    def noise(value: np.ndarray | None) -> bytes | None:
        return None if value is None else value.tobytes() + repr(value.shape).encode()

    def rest(pair: NoisePair) -> dict[str, object]:
        return {k: v for k, v in vars(pair).items() if not k.endswith("_noise")}

    return (
        noise(left.source_noise) == noise(right.source_noise)
        and noise(left.golden_noise) == noise(right.golden_noise)
        and rest(left) == rest(right)
    )


@pytest.mark.parametrize("source", [True, False])
@pytest.mark.parametrize("images", [True, False])
def test_pairs_read_back_are_the_same(source: bool, images: bool) -> None:
    pairs = make_pairs(7, source=source, images=images)
    file = _open(pack_pairs(pairs, SCHEMA, 3))
    batches = [file.get_batch(i) for i in range(file.num_record_batches)]
    back = [pair for batch in batches for pair in SCHEMA.to_pairs(batch)]
    assert len(back) == 7 and all(map(_same, pairs, back))


def test_pairs_of_a_slice_are_those_of_the_slice() -> None:
    pairs = make_pairs(6)
    back = SCHEMA.to_pairs(SCHEMA.to_batch(pairs).slice(2, 3))
    assert all(map(_same, pairs[2:5], back)) and len(back) == 3


def test_noise_is_row_major() -> None:
    (pair,) = make_pairs(1)
    column = SCHEMA.to_batch([pair]).column("golden_noise")
    c, h, w = 1, 2, 0
    flat = column[0].as_py()
    assert flat[(c * SHAPE[1] + h) * SHAPE[2] + w] == pair.golden_noise[c, h, w]


def test_reward_without_score_is_null_and_reads_back_as_none() -> None:
    pair = make_pairs(1)[0]
    pair.golden_rewards["oracle"] = None
    batch = SCHEMA.to_batch([pair])
    assert batch.column("golden_rewards").field("oracle").null_count == 1
    assert SCHEMA.to_pairs(batch)[0].golden_rewards == {"scene": 1.5, "oracle": None}


def test_file_mapped_into_memory_is_read_without_copying(tmp_path: Path) -> None:
    pairs = make_pairs(64)
    path = tmp_path / "pairs.arrow"
    path.write_bytes(pack_pairs(pairs, SCHEMA, 16))
    with pa.memory_map(str(path)) as mapped:
        begin = mapped.read_buffer().address
        before = pa.total_allocated_bytes()
        file = pa.ipc.open_file(mapped)
        for index in range(file.num_record_batches):
            batch = file.get_batch(index)
            for pair in SCHEMA.to_pairs(batch):
                address = pair.golden_noise.__array_interface__["data"][0]
                assert begin <= address < begin + path.stat().st_size
                assert address % 2 == 0
        assert pa.total_allocated_bytes() - before < pairs[0].golden_noise.nbytes * 8


def test_num_bytes_is_the_payload() -> None:
    (pair,) = make_pairs(1)
    noise = 2 * int(np.prod(SHAPE)) * 2
    images = len(pair.source_image or b"") + len(pair.golden_image or b"")
    assert pair.num_bytes == noise + images + len(pair.prompt.encode())


def test_noise_stats_fields_are_those_of_the_record() -> None:
    stats = SCHEMA.arrow().field("noise_stats").type
    assert [field.name for field in stats] == list(NoiseStats.model_fields)
