"""Who there is in a partition, as detectors need to know it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import numpy.typing as npt


class Census(NamedTuple):
    """Of each machine its type; of each sensor its name and its machine's row."""

    machine_types: Sequence[str]
    sensor_names: Sequence[str]
    owners: npt.NDArray[np.int32]
