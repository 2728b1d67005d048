"""How to reach Kafka: `KAFKA_…` from the environment and `.env`, and which settings go together."""

from __future__ import annotations

from pathlib import Path
from typing import Literal

from pydantic import Field, SecretStr
from pydantic_settings import SettingsConfigDict

from starlings.environment import EnvironmentSettings
from starlings.messages import ConfigError

from .probe import address_of

Protocol = Literal["PLAINTEXT", "SSL", "SASL_PLAINTEXT", "SASL_SSL"]
Compression = Literal["zstd", "lz4", "snappy", "gzip", "none"]
Mechanism = Literal["PLAIN", "SCRAM-SHA-256", "SCRAM-SHA-512", "OAUTHBEARER"]


class KafkaSettings(EnvironmentSettings):
    """Address and security of Kafka, the same for every client of a process."""

    model_config = SettingsConfigDict(env_prefix="KAFKA_")

    bootstrap: str = Field(
        default="127.0.0.1:9092", min_length=1, description="host:port, or several with commas"
    )
    security_protocol: Protocol = Field(
        default="PLAINTEXT", description="PLAINTEXT, SSL, SASL_PLAINTEXT or SASL_SSL"
    )
    sasl_mechanism: Mechanism = Field(
        default="PLAIN", description="PLAIN, SCRAM-SHA-256, SCRAM-SHA-512 or OAUTHBEARER"
    )
    sasl_username: str | None = Field(default=None, description="user of PLAIN and SCRAM")
    sasl_password: SecretStr | None = Field(default=None, description="password of that user")
    sasl_token_url: str | None = Field(
        default=None, description="OAUTHBEARER: token endpoint (client credentials grant)"
    )
    sasl_client_id: str | None = Field(default=None, description="OAUTHBEARER: client id")
    sasl_client_secret: SecretStr | None = Field(
        default=None, description="OAUTHBEARER: client secret"
    )
    sasl_scope: str | None = Field(default=None, description="OAUTHBEARER: scope asked for")
    ssl_cafile: Path | None = Field(default=None, description="PEM file of trusted authorities")
    ssl_certfile: Path | None = Field(default=None, description="PEM file, for mutual TLS")
    ssl_keyfile: Path | None = Field(
        default=None, description="PEM file of the key, for mutual TLS"
    )
    ssl_key_password: SecretStr | None = Field(default=None, description="password of the key")
    ssl_check_hostname: bool = Field(default=True, description="true or false")
    compression: Compression = Field(
        default="zstd", description="zstd, lz4, snappy, gzip or none, as the brokers take"
    )
    request_timeout_ms: int = Field(
        default=40_000, ge=1_000, description="milliseconds a request may take"
    )

    @property
    def uses_sasl(self) -> bool:
        """Whether clients authenticate by SASL."""
        return self.security_protocol.startswith("SASL")

    @property
    def uses_tls(self) -> bool:
        """Whether connections are encrypted."""
        return self.security_protocol.endswith("SSL")

    def check(self) -> None:
        """Refuse settings that contradict each other, naming them.

        Raises:
            ConfigError: with what to set.
        """
        for problem in (*self._address_problems(), *self._sasl_problems(), *self._tls_problems()):
            raise ConfigError(problem)

    def _address_problems(self) -> list[str]:
        texts = [text.strip() for text in self.bootstrap.split(",")]
        return [
            f"KAFKA_BOOTSTRAP={self.bootstrap}: {text!r} is no host:port"
            for text in texts
            if address_of(text) is None
        ]

    def _sasl_problems(self) -> list[str]:
        given = [
            f"KAFKA_{name.upper()}"
            for name in sorted(self.model_fields_set)
            if name.startswith("sasl_") and getattr(self, name) is not None
        ]
        if not self.uses_sasl:
            if not given:
                return []
            said = f"{given[0]} is set, but KAFKA_SECURITY_PROTOCOL is {self.security_protocol}: "
            return [said + "set it to SASL_SSL (or SASL_PLAINTEXT), or unset the former"]
        needed: tuple[str, ...] = ("sasl_username", "sasl_password")
        if self.sasl_mechanism == "OAUTHBEARER":
            needed = ("sasl_token_url", "sasl_client_id", "sasl_client_secret")
        why = f"{self.security_protocol} with KAFKA_SASL_MECHANISM={self.sasl_mechanism} needs it"
        return [
            f"KAFKA_{name.upper()} is not set, but KAFKA_SECURITY_PROTOCOL={why}"
            for name in needed
            if getattr(self, name) is None
        ]

    def _tls_problems(self) -> list[str]:
        files = {n: getattr(self, n) for n in ("ssl_cafile", "ssl_certfile", "ssl_keyfile")}
        problems = []
        for name, path in files.items():
            if path is None:
                continue
            if not self.uses_tls:
                problems.append(
                    f"KAFKA_{name.upper()} is set, but KAFKA_SECURITY_PROTOCOL is "
                    f"{self.security_protocol}: set it to SSL or SASL_SSL, or unset the former"
                )
            elif not path.is_file():
                problems.append(f"KAFKA_{name.upper()}={path} does not exist")
        if self.ssl_keyfile is not None and self.ssl_certfile is None:
            problems.append("KAFKA_SSL_KEYFILE is set, but KAFKA_SSL_CERTFILE is not")
        return problems
