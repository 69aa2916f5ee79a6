"""A small build whose calls to S3 are recorded."""

import secrets
from dataclasses import dataclass
from typing import Any

import pytest

from infra.storage.seaweedfs import SeaweedFS
from pipeline.monitor.build_monitor import BuildMonitor
from pipeline.monitor.progress import BuildProgress
from pipeline.reader import Cache, NoisePairDataset
from pipeline.storage import layout
from pipeline.storage.open import open_store
from pipeline.workflows import build as steps
from tests.conftest import BUCKET
from tests.infra.files import policy
from tests.infra.iam import Policy, Request, recorded_calls, request_of
from tests.infra.identities import acting_as, add_identities
from tests.sealed import build, changed

SETTINGS: dict[str, Any] = changed(
    prompts={"seeds_per_prompt": 1},
    sampling={"num_inference_steps": 1},
    redenoise={"num_inference_steps": 2},
    units={"size": 50, "batch_size": 50},
    output={"formats": ["arrow"], "images": "none", "shard_bytes": 100_000_000},
) | {"splits": {"train": 1.0}}
"""Settings for one unit and one shard. These tests only need each kind of call once."""


@dataclass(frozen=True, kw_only=True)
class Recorded:
    """A sealed data set, with all S3 requests of its build and of a reader."""

    url: str
    prefix: str
    build: list[Request]
    read: list[Request]
    identities: dict[str, dict[str, str]]
    """Maps builder, keeper and reader to the environment variables of their credentials."""

    def policy(self, name: str) -> Policy:
        """Return a policy for the bucket and prefix of this data set."""
        return policy(name, bucket=BUCKET, prefix=self.prefix)


@pytest.fixture(scope="package")
def recorded(s3_server: SeaweedFS, tmp_path_factory: pytest.TempPathFactory) -> Recorded:
    """The steps of a build with the rights of a builder, in this process to record the calls."""
    prefix = secrets.token_hex(8)
    builder, keeper, reader = (
        policy(name, bucket=BUCKET, prefix=prefix)
        for name in ("iam-builder", "iam-keeper", "iam-reader")
    )
    identities = add_identities(
        s3_server, {"builder": [builder], "keeper": [builder, keeper], "reader": [reader]}
    )
    built = build(tmp_path_factory.mktemp("recorded"), SETTINGS)
    url = f"s3://{BUCKET}/{prefix}"
    with acting_as(identities["builder"]), recorded_calls() as build_calls:
        store = open_store(url)
        opened = steps.open_build(store, built.config)  # probes, lists, writes the plan
        built.commit(store)
        assert all(steps.units_done(opened))
        manifest = built.seal(store)
        store.put(layout.report_key(built.plan.plan_id, "report.md"), b"figures")
        # Leaves and deletes a heartbeat.
        with BuildMonitor(store, built.plan.plan_id, built.config, BuildProgress()) as monitor:
            monitor.sealed(manifest.funnel)
    with acting_as(identities["reader"]), recorded_calls() as read_calls:
        cache = Cache(tmp_path_factory.mktemp("cache"))
        assert len(list(NoisePairDataset(url, split="train", cache=cache))) > 0
    return Recorded(
        url=url,
        prefix=prefix,
        build=[request_of(*call) for call in build_calls],
        read=[request_of(*call) for call in read_calls],
        identities=identities,
    )
