"""Bugs that would break a promise, and the test that has to notice each."""

from __future__ import annotations

from tests.sabotage.agents_bugs import AGENTS_BUGS
from tests.sabotage.broker_bugs import BROKER_BUGS
from tests.sabotage.core_bugs import CORE_BUGS
from tests.sabotage.store_bugs import STORE_BUGS
from tests.sabotage.tables_bugs import TABLES_BUGS

BUGS = [*STORE_BUGS, *TABLES_BUGS, *CORE_BUGS, *BROKER_BUGS, *AGENTS_BUGS]
