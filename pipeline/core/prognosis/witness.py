"""What goes into models, told by the fold itself: a model that answers nothing and is given everything it asks for.

So what a model is taught is what it will be asked about, to the bit. A witness is none of the kinds that can be registered.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, ClassVar, Self

from pipeline.core.prognosis import checked


class Witness:
    """Wants features, and answers 0 whatever they are, also where they are missing.

    Parameters
    ----------
    features
        What it wants to be given, in this order.
    """

    kind: ClassVar[str] = "witness"

    def __init__(self, features: Sequence[str]) -> None:
        self.features = tuple(features)

    def to_arrays(self) -> dict[str, Any]:
        """Return its features by name."""
        return {"features": list(self.features)}

    @classmethod
    def from_arrays(cls, arrays: Mapping[str, Any]) -> Self:
        """Return the witness that :meth:`to_arrays` described; raises :class:`ValueError` if there is none."""
        return cls(checked.names(arrays, "features"))
