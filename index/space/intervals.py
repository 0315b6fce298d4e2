"""How far a mean over queries can be trusted, and whether two of them differ: by resampling.

Interval: percentile bootstrap by query (Efron & Tibshirani 1993, ch. 13), 1000 resamples, 2.5 and
97.5 %. It says what another draw of queries from the same collection would give; the gallery stays
as it is. Where all queries have the same value resamples cannot differ; there the exact binomial
bound stands: at least a share of 0.025^(1/n) of all queries has that value, the rest may have any.

Difference: paired randomisation test (Smucker, Allan, Carterette, CIKM 2007): under the null
hypothesis each query's difference may as well have the other sign; 10,000 assignments of signs,
p = (1 + as large or larger) / (1 + assignments), two-sided. Seeds are fixed.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

RESAMPLES = 1000
SIGN_FLIPS = 10_000
_SEED = 0
_BLOCK = 2**22  # numbers drawn at once
# Sums of the same differences in another order differ in their last bits and are equal here.
_EQUAL = 1e-12

Doubles = NDArray[np.float64]


@dataclass(frozen=True)
class Mean:
    """A mean over queries with its 95 % interval.

    Args:
        value: None where nothing could be measured; the reason stands in `reasons`.
        low, high: None with fewer than two queries.
    """

    value: float | None
    low: float | None = None
    high: float | None = None


def means(values: Doubles) -> list[Mean]:
    """The mean of each column with its interval; the same resamples for every column.

    Args:
        values: float64 of shape (queries, measures), each from 0 to 1.
    """
    return _means(values, least=0.0)


def differences(values: Doubles) -> list[Mean]:
    """The same of numbers from -1 to 1."""
    return _means(values, least=-1.0)


def _means(values: Doubles, least: float) -> list[Mean]:
    count, columns = values.shape
    if count == 0:
        return [Mean(None)] * columns
    centre = values.mean(axis=0)
    if count == 1:
        return [Mean(float(value)) for value in centre]
    low, high = np.percentile(_resampled(values), (2.5, 97.5), axis=0)
    equal = (values == values[0]).all(axis=0)
    share = 0.025 ** (1 / count)
    low = np.where(equal, share * centre + (1 - share) * least, low)
    high = np.where(equal, share * centre + (1 - share), high)
    return [Mean(*map(float, figures)) for figures in zip(centre, low, high, strict=True)]


def sign_flip_p(values: Doubles) -> float:
    """Two-sided p-value of a mean difference under random signs, float64 (queries,)."""
    moving = values[values != 0]
    if len(moving) == 0:
        return 1.0
    observed = abs(moving.sum())
    rng = np.random.default_rng(_SEED)
    extreme = done = 0
    while done < SIGN_FLIPS:
        size = min(max(_BLOCK // len(moving), 1), SIGN_FLIPS - done)
        signs = rng.integers(0, 2, (size, len(moving)), np.int8) * 2.0 - 1.0
        extreme += int((np.abs(signs @ moving) >= observed - _EQUAL).sum())
        done += size
    return (1 + extreme) / (1 + SIGN_FLIPS)


def _resampled(values: Doubles) -> Doubles:
    """Means of the resamples, (RESAMPLES, measures)."""
    count = len(values)
    rng = np.random.default_rng(_SEED)
    found = np.empty((RESAMPLES, values.shape[1]))
    step = max(_BLOCK // count, 1)
    for start in range(0, RESAMPLES, step):
        size = min(step, RESAMPLES - start)
        drawn = rng.integers(0, count, (size, count))
        flat = (drawn + np.arange(size)[:, None] * count).ravel()
        times = np.bincount(flat, minlength=size * count).reshape(size, count)
        found[start : start + size] = times @ values / count
    return found
