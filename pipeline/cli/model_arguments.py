"""What commands about models are asked with."""

from __future__ import annotations

from typing import Annotated

import typer

from pipeline.settings import Settings
from pipeline.store.models import Group

MOST = 2**63 - 1
"""Largest number that the database can give a model."""

ModelId = Annotated[
    int, typer.Argument(metavar="MODEL", min=1, max=MOST, help="Number of the model, from `pipeline models list`.")
]
Kind = Annotated[str, typer.Argument(metavar="KIND", help="Kind of model, such as remaining_life.")]
MachineType = Annotated[str, typer.Argument(metavar="MACHINE_TYPE", help="Type of the machines it is for.")]


def group_of(settings: Settings) -> Group:
    """Return whose models the settings speak of."""
    return Group(settings.site.cluster, settings.group)
