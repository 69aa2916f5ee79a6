"""Bill of a plan under each judging policy: evaluations, pairs, GPU-hours, money and requests."""

from dataclasses import dataclass, replace

from pipeline.config.plan import Plan
from pipeline.stages.build_spec import BuildSpec
from pipeline.storage.s3 import MULTIPART_BYTES
from pipeline.storage.s3_upload import num_requests

EXAMPLE_SHARE = 0.05
"""Share of a judged sample where the plan judges all candidates."""


@dataclass(frozen=True, kw_only=True)
class PolicyBill:
    """Expected work and result of one candidate under a judging policy."""

    share: float | None
    """Share of the candidates that are judged. None judges all."""
    is_planned: bool
    """True for the policy of the plan."""
    evaluations: float
    """Mean forward evaluations per candidate; an upper bound for exact inversion."""
    images: float
    """Mean number of decoded and scored images per candidate."""
    pairs: float
    """Expected pairs in the data set per candidate."""

    @property
    def name(self) -> str:
        """Name of the policy with its share."""
        return "all" if self.share is None else f"sample of {self.share:.3g}"

    def gpu_seconds(self, evaluation_seconds: float, image_seconds: float) -> float:
        """Return the GPU-seconds of a candidate from those of an evaluation and of an image.

        ``image_seconds`` covers decoding, and scoring if that is known.
        """
        return self.evaluations * evaluation_seconds + self.images * image_seconds


def bills(plan: Plan, kept_share: float) -> list[PolicyBill]:
    """Return the bill of each policy that the plan could have, the planned one first.

    ``kept_share`` is the expected kept share of judged candidates. A plan that proposes several
    golden noises has only the policy ``all``.
    """
    spec = BuildSpec.of(plan)
    planned = spec.judged_share
    other = EXAMPLE_SHARE if planned is None else None
    shares = [planned, other] if spec.proposals == 1 else [planned]
    return [_bill(replace(spec, judged_share=share), planned, kept_share) for share in shares]


def _bill(spec: BuildSpec, planned: float | None, kept_share: float) -> PolicyBill:
    share = spec.judged_share
    judged = 1.0 if share is None else share
    return PolicyBill(
        share=share,
        is_planned=share == planned,
        evaluations=spec.mean_evaluations(),
        images=spec.mean_images(),
        # Candidates outside the gate are few, and no figure of them is known before the build.
        pairs=judged * kept_share + (1 - judged),
    )


@dataclass(frozen=True, kw_only=True)
class Requests:
    """Requests of a build to an S3 store, without retries, heartbeats and late units."""

    writes: int
    """Requests of the class of PUT and LIST."""
    reads: int
    """Requests of the class of GET and HEAD."""

    @property
    def dollars(self) -> float:
        """Price at Amazon's list price for S3 Standard (us-east-1), in US dollars.

        Source: https://aws.amazon.com/s3/pricing, $0.005 per 1,000 PUT and LIST requests and
        $0.0004 per 1,000 GET requests.
        """
        return (self.writes * 0.005 + self.reads * 0.0004) / 1000


def requests_of(plan: Plan, pairs: float, pair_bytes: int) -> Requests:
    """Estimate the requests of a build without interruptions that ends with ``pairs`` pairs."""
    formats = len(plan.settings.output.formats)
    shard_bytes = plan.settings.output.shard_bytes
    splits = sum(share > 0 for share in plan.settings.splits.fractions().values())
    # The last shard of each split is smaller.
    shards = int(pairs * pair_bytes / shard_bytes) + splits
    per_unit = num_requests(int(pairs * pair_bytes / plan.num_units), MULTIPART_BYTES)
    per_shard = num_requests(min(shard_bytes, int(pairs * pair_bytes)), MULTIPART_BYTES)
    units = plan.num_units
    return Requests(
        # Two objects of the plan, then data and receipt of each unit. Sealing writes the shards,
        # the ledger, the manifest and `_SUCCESS`.
        writes=2 + units * (per_unit + 1) + shards * formats * per_shard + 3,
        # A worker looks for a receipt before it computes, and sealing reads it. Each format reads
        # the units. Sealing looks for every file before it writes it.
        reads=1 + units * (2 + formats) + shards * formats + 2,
    )


@dataclass(frozen=True, kw_only=True)
class Total:
    """Bill of all candidates under one policy, on one kind of GPU."""

    bill: PolicyBill
    gpu: str
    """GPU and software, or this machine."""
    candidates: int
    seconds_per_candidate: float
    """GPU-seconds of one candidate."""
    price: float | None
    """Price of a GPU-hour. None if it is unknown."""

    @property
    def gpu_hours(self) -> float:
        """GPU-hours of all candidates."""
        return self.candidates * self.seconds_per_candidate / 3600

    @property
    def pairs(self) -> float:
        """Expected number of pairs in the data set."""
        return self.candidates * self.bill.pairs

    @property
    def cost(self) -> float | None:
        """Price of all candidates."""
        return None if self.price is None else self.gpu_hours * self.price

    @property
    def cost_per_thousand_pairs(self) -> float | None:
        """Price of 1,000 pairs of the data set."""
        if self.cost is None or not self.pairs:
            return None
        return self.cost / self.pairs * 1000

    def pairs_for(self, budget: float) -> int | None:
        """Return the expected number of pairs that a budget buys."""
        each = self.cost_per_thousand_pairs
        return None if each is None else int(budget / each * 1000)
