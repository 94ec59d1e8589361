"""What a control record says about a model: that it predicts from here on, is only compared, or is not asked any more.

For each kind and machine type at most one model is live: that another one is, puts the one before out. Records about one kind
and machine type are numbered in the order in which they were decided.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any, Final, Literal

import msgspec

from pipeline.core.errors import ModelRefused

Action = Literal["live", "shadow", "out"]
"""What becomes of a model: its predictions count, are only stored, or there are none."""

MOST_SHADOWS = 4
"""Models of a kind and machine type that may be in the shadow at once: each costs what the live one costs."""

LIVE: Final = "live"
SHADOW: Final = "shadow"
OUT: Final = "out"

_Name = Annotated[str, msgspec.Meta(min_length=1)]
_Count = Annotated[int, msgspec.Meta(ge=1)]


class ModelControl(msgspec.Struct, frozen=True):
    """One decision about one model.

    Parameters
    ----------
    action
        :data:`LIVE`, :data:`SHADOW` or :data:`OUT`.
    model_id, version
        Its number in the registry, and among those of its kind and machine type.
    sha256
        Of its artefact.
    artefact
        Its bytes, see :mod:`pipeline.core.prognosis.artefacts`. A stored control record has them not; whoever reads it gets
        them from the registry. Empty for :data:`OUT`.
    """

    action: Action
    kind: _Name
    machine_type: _Name
    model_id: _Count
    version: _Count
    sha256: Annotated[str, msgspec.Meta(pattern="^[0-9a-f]{64}$")]
    artefact: bytes = b""


def parse(body: Mapping[str, Any]) -> ModelControl:
    """Return what the body of a control record says.

    Raises
    ------
    ModelRefused
        If it says nothing of the kind, or lacks the artefact of a model that is to predict.

    Examples
    --------
    >>> said = {"kind": "remaining_life", "machine_type": "press", "model_id": 17, "version": 3, "sha256": "0" * 64}
    >>> parse(said | {"action": "live", "artefact": b"bytes"}).version
    3
    """
    try:
        found = msgspec.convert(dict(body), ModelControl)
    except (msgspec.ValidationError, TypeError, ValueError) as error:
        raise ModelRefused(f"a control record about a model cannot be read: {error}") from error
    if found.action != OUT and not found.artefact:
        raise ModelRefused(
            f"the control record about the model {found.model_id} came without its artefact: restore model_version"
        )
    return found


def control_body(control: ModelControl) -> dict[str, Any]:
    """Return a decision as the body that is stored: plain JSON, without the artefact."""
    body = msgspec.structs.asdict(control)
    del body["artefact"]
    return body
