"""Files of arrays, as NumPy saves them."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray


def saved(path: Path, arrays: Mapping[str, NDArray[Any]]) -> Path:
    np.savez(path, **dict(arrays))  # type: ignore[arg-type]
    return path
