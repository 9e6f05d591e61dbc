"""Learning rates as pure functions of the step.

>>> f"{published(100, 100, 0.01):.6f}"
'0.000245'
>>> warm_cosine(99, 100, 1.0)
0.0
"""

from __future__ import annotations

import math

__all__ = ["published", "warm_cosine"]

PUBLISHED_WARM_UP = 0.1
WARM_UP = 0.05


def published(step: int, total: int, peak: float) -> float:
    """Return the learning rate of step `step` (0-based) of `total` in the recipe of RClicks.

    The learning rate rises linearly from 0 to `peak` over the first tenth of the steps. The cosine after it is as long
    as the whole training, so the training ends at nine tenths of the cosine. The last learning rate is therefore
    (1 + cos(0.9 pi)) / 2 = 0.0245 of the peak and not 0.
    """
    rise = int(PUBLISHED_WARM_UP * total)
    if step < rise:
        return peak * step / rise
    return peak * (1 + math.cos(math.pi * (step - rise) / total)) / 2


def warm_cosine(step: int, total: int, peak: float) -> float:
    """Return the learning rate of step `step` (0-based) of `total`: a short linear rise to `peak`, then a cosine to 0.

    The learning rate of the last step is exactly 0 if there are at least three steps.
    """
    rise = max(1, round(WARM_UP * total))
    if step < rise:
        return peak * (step + 1) / (rise + 1)
    phase = (step - rise) / max(1, total - 1 - rise)
    return peak * max(0.0, (1 + math.cos(math.pi * phase)) / 2)
