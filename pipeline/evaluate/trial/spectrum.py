"""Radial power spectrum of a noise or a perturbation. C channels, H W latent size."""

import numpy as np
import numpy.typing as npt

Maps = npt.NDArray[np.float32]


def radial_power(maps: Maps) -> npt.NDArray[np.float64]:
    """Return the mean power of maps (C, H, W) at each radial frequency 0, 1, ….

    The mean is over channels and directions. White noise of variance 1 has power 1 at every
    frequency. Frequency k means k waves across the shorter side. The result includes the corners of
    the spectrum, whose frequencies exceed half of that side.
    """
    height, width = maps.shape[-2:]
    power = np.abs(np.fft.fft2(maps.astype(np.float64), norm="ortho")) ** 2
    rows = np.fft.fftfreq(height)[:, None]
    columns = np.fft.fftfreq(width)[None, :]
    ring = np.rint(np.hypot(rows, columns) * min(height, width)).astype(int)
    totals = np.bincount(ring.ravel(), weights=power.mean(axis=0).ravel())
    return np.asarray(totals / np.bincount(ring.ravel()))
