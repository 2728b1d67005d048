"""Who we are to a Kubernetes cluster: the pod's own service account, or a kubeconfig.

Service account tokens are renewed on disk, so they are read anew for each client. Of a kubeconfig
its current context counts; users that are programs (`exec`) are refused.
"""

from __future__ import annotations

import base64
import os
import ssl
import tempfile
from dataclasses import dataclass, field
from functools import lru_cache
from pathlib import Path
from typing import Any

import yaml

from starlings.messages import ConfigError

from .settings import ContainerSettings

ACCOUNT = Path("/var/run/secrets/kubernetes.io/serviceaccount")
_SETTING = "STARLINGS_CONTAINER_KUBECONFIG"


@dataclass(frozen=True, slots=True)
class Cluster:
    """Where it is, what it trusts, and as whom."""

    url: str
    namespace: str
    token: str = field(repr=False)
    context: ssl.SSLContext


def find_cluster(settings: ContainerSettings) -> Cluster:
    """Read the credentials.

    Raises:
        ConfigError: there are none, or they cannot be used.
    """
    host = os.environ.get("KUBERNETES_SERVICE_HOST")
    if not settings.kubeconfig and host and (ACCOUNT / "token").exists():
        return _in_cluster(settings, host)
    named = settings.kubeconfig or os.environ.get("KUBECONFIG", "").split(os.pathsep)[0]
    path = Path(named) if named else Path.home() / ".kube" / "config"
    try:
        config = yaml.safe_load(path.read_text())
        return _from_config(config, path, settings)
    except (OSError, ValueError, KeyError, TypeError, StopIteration, yaml.YAMLError) as error:
        said = (
            f"{type(error).__name__}: {error}" if isinstance(error, OSError) else "it lacks parts"
        )
    raise ConfigError(
        f"there are no usable credentials of a Kubernetes cluster in {path} ({said}); {_SETTING} "
        "names a kubeconfig with a current context, and in a pod its service account is used"
    )


def _in_cluster(settings: ContainerSettings, host: str) -> Cluster:
    port = os.environ.get("KUBERNETES_SERVICE_PORT", "443")
    named = f"[{host}]" if ":" in host else host
    namespace = settings.namespace or (ACCOUNT / "namespace").read_text().strip()
    context = _trusting((ACCOUNT / "ca.crt").read_text())
    token = (ACCOUNT / "token").read_text().strip()
    return Cluster(f"https://{named}:{port}", namespace, token, context)


def _from_config(config: Any, path: Path, settings: ContainerSettings) -> Cluster:
    chosen = _named(config["contexts"], config["current-context"])["context"]
    cluster = _named(config["clusters"], chosen["cluster"])["cluster"]
    user = _named(config["users"], chosen["user"])["user"] or {}
    if "exec" in user or "auth-provider" in user:
        raise ConfigError(
            f"{path} gets its credentials from a program, which is not supported: {_SETTING} takes "
            "one with a token or a client certificate"
        )
    token = str(user.get("token") or "")
    if not token and "tokenFile" in user:
        token = (path.parent / user["tokenFile"]).read_text().strip()
    return Cluster(
        str(cluster["server"]).rstrip("/"),
        settings.namespace or chosen.get("namespace") or "default",
        token,
        _context(cluster, user, path.parent),
    )


def _named(entries: list[dict[str, Any]], name: str) -> dict[str, Any]:
    return next(entry for entry in entries if entry["name"] == name)


def _context(cluster: dict[str, Any], user: dict[str, Any], folder: Path) -> ssl.SSLContext:
    authority = _part(cluster, "certificate-authority", folder)
    return _trusting(
        authority.decode() if authority else None,
        _part(user, "client-certificate", folder) or b"",
        _part(user, "client-key", folder) or b"",
        checks=not cluster.get("insecure-skip-tls-verify"),
    )


@lru_cache(maxsize=8)  # making one takes longer than asking the cluster
def _trusting(
    authority: str | None, certificate: bytes = b"", key: bytes = b"", *, checks: bool = True
) -> ssl.SSLContext:
    context = ssl.create_default_context(cadata=authority)
    if not checks:
        context.check_hostname = False
        context.verify_mode = ssl.CERT_NONE
    if certificate and key:
        with tempfile.TemporaryDirectory(prefix="starlings-") as private:  # ssl reads files only
            pair = Path(private) / "pair.pem"
            pair.touch(mode=0o600)
            pair.write_bytes(certificate + b"\n" + key)
            context.load_cert_chain(pair)
    return context


def _part(of: dict[str, Any], name: str, folder: Path) -> bytes | None:
    if of.get(f"{name}-data"):
        return base64.b64decode(of[f"{name}-data"])
    return (folder / of[name]).read_bytes() if of.get(name) else None
