"""How Faust and aiokafka are told what proves a client to the broker; apart, because importing them takes half a second."""

from __future__ import annotations

import ssl
from typing import Any

from faust.auth import SASLCredentials, SSLCredentials
from faust.transport.drivers.aiokafka import credentials_to_aiokafka_auth

from pipeline.broker.security import BrokerSecurity


def for_faust(security: BrokerSecurity) -> tuple[SASLCredentials | SSLCredentials | None, ssl.SSLContext | None]:
    """Return ``broker_credentials`` and ``ssl_context`` for a Faust app.

    Faust's driver reads the context out of the credentials and ignores the app's own once there are any; the app's
    is returned all the same, for whatever else it connects to the broker with.

    Raises
    ------
    SettingsError
        A certificate file is absent or cannot be read as PEM.
    """
    context = security.ssl_context()
    if security.uses_sasl:
        credentials = SASLCredentials(
            username=security.username,
            password=security.password,
            ssl_context=context,
            mechanism=security.sasl_mechanism,
        )
        return credentials, context
    return (SSLCredentials(context), context) if context is not None else (None, None)


def for_aiokafka(security: BrokerSecurity) -> dict[str, Any]:
    """Return the arguments an aiokafka client is made with; raises as :func:`for_faust` does."""
    return dict(credentials_to_aiokafka_auth(*for_faust(security)))
