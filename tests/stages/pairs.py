"""Made-up pairs: random noises, unique in everything."""

import numpy as np

from pipeline.core.records import NoiseStats
from pipeline.storage.formats.pairs import NoisePair, PairSchema

SHAPE = (2, 3, 5)
SCHEMA = PairSchema(latent_shape=SHAPE, reward_names=("scene", "oracle"))


def make_pairs(count: int, *, source: bool = True, images: bool = True) -> list[NoisePair]:
    rng = np.random.default_rng(0)
    # Values that float32 represents exactly, so that the values read back are equal.
    stats = NoiseStats(cosine=0.5, relative_change=0.25, mean=0.0, std=1.0, kurtosis=-0.125)
    return [
        NoisePair(
            sample_id=f"{index:016x}-00000000",
            prompt=f"größer {index}",
            prompt_id=f"{index:016x}",
            seed=2**32 - 1 - index,
            source_noise=rng.standard_normal(SHAPE).astype(np.float16) if source else None,
            golden_noise=rng.standard_normal(SHAPE).astype(np.float16),
            source_rewards={"scene": -0.5, "oracle": float(index)},
            golden_rewards={"scene": 1.5, "oracle": 0.25},
            noise_stats=stats,
            source_image=b"\x89PNG source %d" % index if images else None,
            golden_image=b"\x89PNG golden %d" % index if images else None,
        )
        for index in range(count)
    ]
