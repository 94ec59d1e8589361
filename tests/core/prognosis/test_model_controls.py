"""What control records say about models: it comes back as it went, and nothing half is taken."""

from __future__ import annotations

import orjson
import pytest

from pipeline.core.errors import ModelRefused
from pipeline.core.prognosis.model_controls import LIVE, OUT, SHADOW, ModelControl, control_body, parse

SAID = {"kind": "line", "machine_type": "press", "model_id": 17, "version": 3, "sha256": "0a" * 32}


@pytest.mark.parametrize("action", [LIVE, SHADOW])
def test_a_decision_is_stored_without_the_artefact_and_read_with_it(action) -> None:
    decided = ModelControl(action, "line", "press", 17, 3, "0a" * 32, b"bytes")

    stored = orjson.loads(orjson.dumps(control_body(decided)))

    assert stored == SAID | {"action": action}
    assert parse(stored | {"artefact": b"bytes"}) == decided


def test_whoever_is_out_needs_no_artefact() -> None:
    assert parse(SAID | {"action": OUT}) == ModelControl(OUT, "line", "press", 17, 3, "0a" * 32)


def test_what_a_later_version_says_besides_is_passed_over() -> None:
    assert parse(SAID | {"action": OUT, "share": 0.1}).action == OUT


@pytest.mark.parametrize(
    "changed",
    [
        {"action": "dead"},
        {"kind": ""},
        {"machine_type": None},
        {"model_id": "17"},
        {"version": 0},
        {"sha256": "0A" * 32},
        {"artefact": b""},
        {"artefact": 5},
    ],
    ids=repr,
)
def test_what_is_wrong_is_refused_in_one_line(changed: dict[str, object]) -> None:
    with pytest.raises(ModelRefused) as refused:
        parse(SAID | {"action": LIVE, "artefact": b"bytes"} | changed)

    assert "\n" not in str(refused.value)


@pytest.mark.parametrize("missing", [*SAID, "action"])
def test_what_is_incomplete_is_refused(missing: str) -> None:
    body = SAID | {"action": OUT}
    del body[missing]

    with pytest.raises(ModelRefused, match=missing):
        parse(body)
