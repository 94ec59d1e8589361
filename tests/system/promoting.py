"""Models brought into a site by its commands."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from pipeline.core.prognosis import artefacts
from pipeline.core.prognosis.artefacts import Model
from pipeline.core.prognosis.features import FEATURE_VERSION
from tests.core.prognosis.models_in_force import maintenance_class
from tests.system.processes import Site

PRESS = "stamping_press"


def imported(at: Site, tmp_path: Path, model: Model) -> str:
    """Bring a model into the registry as a file; return its number."""
    file = tmp_path / "model"
    file.write_bytes(artefacts.encode(model, FEATURE_VERSION))
    return str(told(at, "import", str(file), f"--machine-type={PRESS}")["model_id"])


def told(at: Site, *command: str) -> dict[str, Any]:
    done = at.run("models", *command, "--json")
    assert done.returncode == 0, done.stderr
    answer: dict[str, Any] = json.loads(done.stdout)
    return answer


def predict_some(at: Site) -> None:
    """Let a model tell classes of maintenance; the site may change models."""
    told(at, "promote", imported(at, at.folder, maintenance_class(7550.0)))
