"""How evenly the images spread over the clusters."""

from typing import Any

import numpy as np
from numpy.typing import NDArray

FAR_FROM_MEAN = 10
"""Our choice: a cluster is tiny below a tenth of the mean size, giant above ten times it."""


def balance(sizes: NDArray[np.int64]) -> dict[str, Any]:
    """JSON facts of the cluster sizes `(k,)`.

    `entropy` in nats; `entropy_normalised` = entropy / ln k, 1 where all clusters are equally large; `tiny_share` of
    the clusters; `giant_share` of the images that lie in giant clusters.
    """
    total, mean = int(sizes.sum()), sizes.mean()
    shares = sizes[sizes > 0] / max(total, 1)
    # Taken from the positive sum: one cluster alone has entropy 0, not -0.
    entropy = float((shares * -np.log(shares)).sum()) + 0.0
    giant = sizes[sizes > FAR_FROM_MEAN * mean]
    return {
        "entropy": entropy,
        "entropy_normalised": entropy / np.log(len(sizes)) if len(sizes) > 1 else 1.0,
        "smallest": int(sizes.min()),
        "largest": int(sizes.max()),
        "tiny_share": float((sizes < mean / FAR_FROM_MEAN).mean()),
        "giant_share": float(giant.sum() / max(total, 1)),
    }
