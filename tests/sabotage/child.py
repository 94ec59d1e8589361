"""A fork in which one module has a bug: it runs one test and says what became of it."""

from __future__ import annotations

import ast
import importlib
import importlib.machinery
import json
import os
import re
import sys
from collections.abc import Generator, Sequence
from pathlib import Path
from types import CodeType, ModuleType
from typing import Any

import numba
import numpy as np
import pytest
from hypothesis import Phase, settings

from agents.starting import warm_up
from tests.system.commands import import_commands

ROOT = Path(__file__).parents[2]

_HEAVY = (
    "_hypothesis_pytestplugin", "_pytest.doctest", "aiokafka", "confluent_kafka.admin", "cramjam", "cryptography",
    "faust.app.base", "faust.transport.drivers.aiokafka", "msgspec", "numba", "orjson", "psycopg", "pydantic_settings",
    "pytest_asyncio.plugin", "pytest_timeout", "river.base", "structlog", "trustme", "typer", "xdist.scheduler",
    "yoyo",
)  # fmt: skip

_ROOMS = ("pipeline", "agents", "tables", "simulator")
_OURS = ("pipeline.broker.embedded", "pipeline.store.embedded", "agents.worker", "simulator")
_IMPORTED: dict[str, set[str]] = {}
"""What each of our modules imports of ours."""


def prepare() -> None:
    """Import everything once for all forks; each forgets what its change reaches."""
    for name in (*_HEAVY, *_OURS):
        importlib.import_module(name)
    import_commands()
    warm_up()
    ours = [name for name in sys.modules if name.partition(".")[0] in _ROOMS]
    _IMPORTED.update((name, _imported(name).intersection(ours)) for name in ours)
    # The compiler learns its rules when it is first used, not when compiled kernels are loaded
    numba.njit(lambda row: row.count + 1)(np.zeros(1, [("count", np.int64)])[0])


def forget(module: str) -> None:
    """Unload a module and all of ours that import it, however indirectly: they are imported again when they are asked for."""
    reached, found = {module}, {module}
    while found:
        found = {name for name in _IMPORTED.keys() - reached if _IMPORTED[name] & found}
        reached |= found
    for name in reached:
        package, _, own = name.rpartition(".")
        del sys.modules[name]
        # Or ``from package import module`` would find the former one
        if package in sys.modules:
            vars(sys.modules[package]).pop(own, None)


def _imported(name: str) -> set[str]:
    """Return what a module's text imports, and the packages of that."""
    origin = sys.modules[name].__file__
    names = {name}
    for node in ast.walk(ast.parse(Path(origin).read_text())) if origin else ():
        if isinstance(node, ast.ImportFrom) and node.module:
            names |= {node.module, *(f"{node.module}.{each.name}" for each in node.names)}
        elif isinstance(node, ast.Import):
            names |= {each.name for each in node.names}
    return {".".join(parts[:end]) for parts in (each.split(".") for each in names) for end in range(1, len(parts) + 1)}


class _Changed(importlib.machinery.SourceFileLoader):
    """Loads a module with one text replaced; its bytecode is neither read nor written."""

    def __init__(self, name: str, path: str, old: str, new: str) -> None:
        super().__init__(name, path)
        self._old, self._new = old, new

    def get_code(self, fullname: str) -> CodeType:
        source = self.get_data(self.path).decode()
        if source.count(self._old) != 1:
            raise LookupError(f"{self._old!r} is {source.count(self._old)} times in {self.path}")
        return self.source_to_code(source.replace(self._old, self._new).encode(), self.path)


class _Finder:
    """Finds the one changed module."""

    def __init__(self, module: str, old: str, new: str) -> None:
        self._module, self._old, self._new = module, old, new

    def find_spec(
        self, name: str, path: Sequence[str] | None, target: ModuleType | None = None
    ) -> importlib.machinery.ModuleSpec | None:
        spec = importlib.machinery.PathFinder.find_spec(name, path, target) if name == self._module else None
        if spec is not None and spec.origin is not None:
            spec.loader = _Changed(name, spec.origin, self._old, self._new)
        return spec


class _Verdict:
    """Notes how the test went; finding a failure is enough, making it small is not wanted."""

    def __init__(self) -> None:
        self.passed = 0
        self.failures: list[tuple[str, bool, str]] = []

    @pytest.hookimpl(trylast=True)
    def pytest_configure(self) -> None:
        settings.register_profile(
            "sabotage",
            settings.get_profile("pipeline"),
            phases=[Phase.explicit, Phase.generate],
            database=None,
            derandomize=True,
        )
        settings.load_profile("sabotage")

    @pytest.hookimpl(wrapper=True)
    def pytest_runtest_makereport(self, call: pytest.CallInfo[None]) -> Generator[None, Any, Any]:
        if call.excinfo is not None:
            error = call.excinfo.value
            self.failures.append((call.when, _is_judgement(error), repr(error)[:500]))
        elif call.when == "call":
            self.passed += 1
        return (yield)


def _is_judgement(error: BaseException) -> bool:
    """Return whether a test said that something is wrong, rather than that it stumbled."""
    if isinstance(error, BaseExceptionGroup):
        return all(_is_judgement(each) for each in error.exceptions)
    return isinstance(error, AssertionError | pytest.fail.Exception)


def examine(module: str, old: str, new: str, test: str, options: list[str], verdict: str) -> None:
    """Run a test with a bug in a module; write what came out as JSON."""
    os.chdir(ROOT)
    forget(module)
    # Numba takes a compiled function for up to date if the file is, whatever was made of its text; what is not forgotten
    # has its kernels by now
    if _is_compiled(module):
        numba.config.CACHE_DIR = os.environ["NUMBA_CACHE_DIR"] = str(Path(verdict).parent)
    sys.meta_path.insert(0, _Finder(module, old, new))
    judge = _Verdict()
    pytest.main(
        [test, "-q", "-pno:randomly", "-pno:cacheprovider", "-Wignore::pytest.PytestAssertRewriteWarning", *options],
        plugins=[judge],
    )
    Path(verdict).write_text(json.dumps({"passed": judge.passed, "failures": judge.failures}))


def _is_compiled(module: str) -> bool:
    text = Path(ROOT, *module.split(".")).with_suffix(".py").read_text()
    return re.search(r"^from .* import .*\b(njit|uncounted)\b", text, re.MULTILINE) is not None
