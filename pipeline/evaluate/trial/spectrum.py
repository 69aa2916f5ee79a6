"""Where in frequency a noise, or its perturbation, has its power. C channels, H W latent size."""

import numpy as np
import numpy.typing as npt

Maps = npt.NDArray[np.float32]


def radial_power(maps: Maps) -> npt.NDArray[np.float64]:
    """Mean power at each radial frequency 0, 1, … of maps (C, H, W), over channels and directions.

    In units in which white noise of variance 1 has power 1 at every frequency. Frequency k is that
    of k waves across the shorter side; what lies in the corners beyond half of it counts too.
    """
    height, width = maps.shape[-2:]
    power = np.abs(np.fft.fft2(maps.astype(np.float64), norm="ortho")) ** 2
    rows = np.fft.fftfreq(height)[:, None]
    columns = np.fft.fftfreq(width)[None, :]
    ring = np.rint(np.hypot(rows, columns) * min(height, width)).astype(int)
    totals = np.bincount(ring.ravel(), weights=power.mean(axis=0).ravel())
    return np.asarray(totals / np.bincount(ring.ravel()))
