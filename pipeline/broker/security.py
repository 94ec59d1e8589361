"""How a client proves itself to the broker: one description, told to librdkafka here, and to others by :mod:`.credentials`."""

from __future__ import annotations

import ssl
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal, get_args

from pipeline.core.errors import SettingsError

Protocol = Literal["PLAINTEXT", "SSL", "SASL_PLAINTEXT", "SASL_SSL"]
Mechanism = Literal["PLAIN", "SCRAM-SHA-256", "SCRAM-SHA-512"]

EVENT_HUBS_USERNAME = "$ConnectionString"


@dataclass(frozen=True, slots=True)
class BrokerSecurity:
    """Protocol, login and certificates of the connections to one broker.

    Azure Event Hubs takes ``SASL_SSL`` with ``PLAIN``, the user name ``$ConnectionString`` and the connection string as
    the password.

    Parameters
    ----------
    protocol, sasl_mechanism
        What the listener speaks; the mechanism matters to the two ``SASL`` protocols only.
    username, password
        The login, for the ``SASL`` protocols.
    ca_file
        PEM file of the authority that signed the broker's certificate; empty for the system's authorities.
    certificate_file, key_file
        PEM files of a client certificate; empty where the broker asks for none.

    Raises
    ------
    SettingsError
        A name is unknown, or something the protocol needs is missing.

    Examples
    --------
    >>> BrokerSecurity("SASL_SSL", username="worker", password="secret").for_librdkafka()["sasl.username"]
    'worker'
    >>> "secret" in repr(BrokerSecurity("SASL_SSL", username="worker", password="secret"))
    False
    """

    protocol: Protocol = "PLAINTEXT"
    sasl_mechanism: Mechanism = "PLAIN"
    username: str = ""
    password: str = field(default="", repr=False)
    ca_file: str = ""
    certificate_file: str = ""
    key_file: str = ""

    def __post_init__(self) -> None:
        _require_one_of("broker.security_protocol", self.protocol, get_args(Protocol))
        if self.uses_sasl:
            _require_one_of("broker.sasl_mechanism", self.sasl_mechanism, get_args(Mechanism))
            _require("broker.sasl_username", self.username, f"{self.protocol} needs it")
            _require("broker.sasl_password", self.password, f"{self.protocol} needs it")
        if self.uses_sasl and self.username == EVENT_HUBS_USERNAME:
            _require_one_of("broker.security_protocol", self.protocol, ("SASL_SSL",))
            _require_one_of("broker.sasl_mechanism", self.sasl_mechanism, ("PLAIN",))
        if self.uses_tls and (self.certificate_file or self.key_file):
            _require("broker.certificate_file", self.certificate_file, "broker.key_file is given")
            _require("broker.key_file", self.key_file, "broker.certificate_file is given")

    @property
    def uses_sasl(self) -> bool:
        """Whether a login is sent."""
        return self.protocol.startswith("SASL_")

    @property
    def uses_tls(self) -> bool:
        """Whether the connection is encrypted."""
        return self.protocol.endswith("SSL")

    def for_librdkafka(self) -> dict[str, str]:
        """Return the keys a confluent-kafka client is configured with.

        Raises
        ------
        SettingsError
            A certificate file is absent or cannot be read as PEM.
        """
        keys: dict[str, str] = {"security.protocol": self.protocol}
        if self.uses_sasl:
            keys |= {
                "sasl.mechanism": self.sasl_mechanism,
                "sasl.username": self.username,
                "sasl.password": self.password,
            }
        if self.uses_tls:
            # Of a file that is none, the library raises what nobody expects
            self.ssl_context()
            files = {
                "ssl.ca.location": self.ca_file,
                "ssl.certificate.location": self.certificate_file,
                "ssl.key.location": self.key_file,
            }
            keys |= {key: path for key, path in files.items() if path}
        return keys

    def ssl_context(self) -> ssl.SSLContext | None:
        """Return what Python's own TLS needs; ``None``: the connection is not encrypted.

        Raises
        ------
        SettingsError
            A certificate file is absent or cannot be read as PEM.
        """
        if not self.uses_tls:
            return None
        self._require_files()
        try:
            context = ssl.create_default_context(ssl.Purpose.SERVER_AUTH, cafile=self.ca_file or None)
            if self.certificate_file:
                context.load_cert_chain(self.certificate_file, self.key_file)
        except (ssl.SSLError, OSError) as error:
            raise SettingsError(
                f"broker.ca_file, broker.certificate_file or broker.key_file is no readable PEM file: {error}"
            ) from error
        return context

    def _require_files(self) -> None:
        for name in ("ca_file", "certificate_file", "key_file"):
            path = getattr(self, name)
            if path and not Path(path).is_file():
                raise SettingsError(
                    f"broker.{name} is {path!r}, and there is no such file; correct it or leave it empty"
                )


def _require(key: str, value: str, reason: str) -> None:
    if not value:
        raise SettingsError(f"{key} is missing: {reason}")


def _require_one_of(key: str, value: str, allowed: tuple[str, ...]) -> None:
    if value not in allowed:
        raise SettingsError(f"{key} is {value!r}; it must be {' or '.join(allowed)}")
