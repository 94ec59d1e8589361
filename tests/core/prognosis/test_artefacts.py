"""Models as bytes (R30): they come back as they went, and whatever else comes is refused in one line that says what to do."""

from __future__ import annotations

import contextlib
import zlib

import hypothesis.strategies as st
import msgspec
import numpy as np
import pytest
from hypothesis import given
from hypothesis.extra import numpy as arrays_of

from pipeline.core.errors import ModelRefused
from pipeline.core.prognosis import artefacts
from pipeline.core.prognosis.artefacts import MAX_BYTES, SCHEMA_VERSION, KnownModels
from tests.small_model import KNOWN, Line, line


def packed(**changed: object) -> bytes:
    whole = {"schema": SCHEMA_VERSION, "kind": "line", "feature_version": 1, "model": {}} | changed
    return zlib.compress(msgspec.msgpack.encode(whole))


def refusal(stored: bytes, known: KnownModels = KNOWN, sha256: str = "") -> str:
    with pytest.raises(ModelRefused) as refused:
        artefacts.load(stored, sha256 or artefacts.digest(stored), known)
    return str(refused.value)


@given(
    st.lists(st.text(min_size=1), max_size=5).flatmap(
        lambda names: st.tuples(
            st.just(names),
            arrays_of.arrays(np.float64, len(names), elements=st.floats(allow_nan=False, allow_infinity=False)),
        )
    )
)
def test_a_model_comes_back_as_it_went_and_gives_the_same_bytes(given) -> None:
    names, weights = given
    stored = artefacts.encode(Line(weights, tuple(names)), 1)

    came, feature_version = artefacts.load(stored, artefacts.digest(stored), KNOWN)

    assert came.features == tuple(names)
    assert came.weights.tobytes() == weights.tobytes()
    assert artefacts.encode(came, 1) == stored
    assert feature_version == 1


@pytest.mark.parametrize(
    "array",
    [
        np.zeros((0, 3)),
        np.float32([[1, 2], [3, 4]]),
        np.array(7, np.int64),
        np.array([(1, 0.5)], [("node", "<i4"), ("value", "<f8")]),
        np.array([[1, 2], [3, 4]], order="F"),
    ],
    ids=["empty", "float32", "scalar", "records", "columns first"],
)
def test_arrays_of_every_form_come_back(array: np.ndarray) -> None:
    class Holder(Line):
        def to_arrays(self):
            return {"weights": array}

        @classmethod
        def from_arrays(cls, arrays):
            return cls(arrays["weights"])

    stored = artefacts.encode(Holder(array), 1)
    came = artefacts.load(stored, artefacts.digest(stored), KNOWN._replace(kinds={"line": Holder})).model.weights

    np.testing.assert_array_equal(came, array, strict=True)
    assert not came.flags.writeable


def test_the_hash_is_checked_before_anything_else() -> None:
    assert "damaged" in refusal(line(1), KnownModels({}, frozenset()), sha256="0" * 64)
    assert "damaged" in refusal(b"", sha256=artefacts.digest(line(1)))


@pytest.mark.parametrize(
    ("stored", "said"),
    [
        (packed(schema=SCHEMA_VERSION + 1, kind=None), "schema 2, this program reads 1: update this program"),
        (packed(schema=0), "schema 0, this program reads 1: train it anew"),
        (packed(kind="oracle"), "kind 'oracle' are not known (known: line): update this program"),
        (packed(feature_version=2), "features of version 2, computed are those of 1: train it anew"),
        (packed(model={}), "no line model: 'weights'; train it anew"),
        (packed(model={"weights": {"dtype": [["", "|O"]], "shape": [1], "bytes": b"12345678"}}), "no line model"),
        (packed(model={"weights": {"dtype": [["", "<f8"]], "shape": [9], "bytes": b"12345678"}}), "no line model"),
        (artefacts.encode(Line(np.array([np.nan])), 1), "not one finite weight for each feature"),
        (packed(model=[]), "this is no artefact"),
        (zlib.compress(b"\xc1"), "this is no artefact"),
        (zlib.compress(b"\x91" * 100_000), "this is no artefact"),
        (zlib.compress(zlib.decompress(packed()).replace(b"line", b"\xff\xff\xff\xff")), "this is no artefact"),
        (b"", "cut short"),
        (b"a,b\n1,2\n", "this is no artefact"),
        (line(1)[:-1], "cut short"),
        (zlib.compress(b"\0" * (MAX_BYTES + 2)), "cut short, or has more than"),
    ],
)
def test_what_this_program_cannot_work_with_is_refused_in_one_line(stored: bytes, said: str) -> None:
    refused = refusal(stored)

    assert said in refused
    assert "\n" not in refused


@given(st.data())
def test_damaged_bytes_are_a_model_or_refused(data) -> None:
    raw = bytearray(zlib.decompress(line(1)))
    for at in data.draw(st.lists(st.integers(0, len(raw) - 1), min_size=1, max_size=4)):
        raw[at] = data.draw(st.integers(0, 255))
    stored = zlib.compress(bytes(raw))

    with contextlib.suppress(ModelRefused):
        artefacts.load(stored, artefacts.digest(stored), KNOWN)


def test_a_model_that_is_too_large_is_not_encoded() -> None:
    with pytest.raises(ModelRefused, match="learn a smaller one"):
        artefacts.encode(Line(np.zeros(MAX_BYTES // 8)), 1)
