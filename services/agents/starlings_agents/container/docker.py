"""Containers on a Docker engine, over its API (https://docs.docker.com/reference/api/engine/).

Found again by name: of two `create` for one name the engine refuses the second. A container is
started only while it has never been, so that one that has ended is not run again. What has ended
stays for `keep_s`, with its logs, for whoever may look once more; later starts clear it away.
"""

from __future__ import annotations

import json
import ssl
import time
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from functools import lru_cache
from typing import Any
from urllib.parse import quote

import httpx

from starlings import StepFailed, TransientError
from starlings_agents.named_values import named_values, without

from .http import TIMEOUT, EngineClient
from .settings import SECRET_PREFIX, ContainerSettings
from .work import LOGS_LIMIT_BYTES, LOGS_READ_BYTES, EngineRefused, Order, Seen, Started, last_of

_NOT_FOUND, _CONFLICT = 404, 409
_FRAME_HEAD_BYTES = 8
_CLEARED_AT_ONCE = 100
_CLEAR_EVERY_S = 60.0
_OURS = "starlings.agent=container"
_next_clearing = 0.0


class Docker:
    """One Docker engine."""

    def __init__(self, settings: ContainerSettings) -> None:
        self._settings = settings

    async def start(self, order: Order) -> None:
        """Create and start it, fetching its image where that is missing."""
        async with self._client() as engine:
            await self._clear(engine)
            spec = self._spec(order)
            try:
                await _create(engine, order.name, spec)
            except EngineRefused as error:
                if error.status != _NOT_FOUND:
                    raise _refused(error, order.work.image) from None
                await _pull(engine, order.work.image)
                await _create(engine, order.name, spec)
            await _start_if_new(engine, order)

    async def look(self, started: Started) -> Seen:
        """Inspect it, and read the end of its logs once it has ended."""
        async with self._client() as engine:
            try:
                found = await engine.ask("GET", f"/containers/{started.name}/json")
            except EngineRefused as error:
                raise _gone(error, started) from None
            state = found["State"] if isinstance(found, dict) else {}
            if state.get("Status") not in {"exited", "dead"}:
                return Seen(running=bool(state.get("Running")), waits_for=str(state.get("Status")))
            raw = await _logs(engine, started) if started.log_lines else b""
        text, cut = last_of(raw)
        if state.get("Error") and not text:
            text = str(state["Error"])
        return Seen(
            exit_code=int(state["ExitCode"]),
            out_of_memory=bool(state.get("OOMKilled")),
            logs=without(text, self._secret_values(started.secrets)),
            logs_cut=cut,
            started_at=state.get("StartedAt"),
            finished_at=state.get("FinishedAt"),
        )

    async def remove(self, name: str) -> None:
        """Kill and remove it with its anonymous volumes."""
        async with self._client() as engine:
            await _remove(engine, name)

    @asynccontextmanager
    async def _client(self) -> AsyncGenerator[EngineClient]:
        url = self._settings.docker_url
        unix = url.startswith("unix://")
        transport = httpx.AsyncHTTPTransport(uds=url.removeprefix("unix://")) if unix else None
        base = "http://docker" if unix else url.rstrip("/")
        async with httpx.AsyncClient(
            transport=transport, base_url=base, timeout=TIMEOUT, trust_env=False, verify=_tls(base)
        ) as client:
            yield EngineClient(client, "the Docker engine", "STARLINGS_CONTAINER_DOCKER_URL")

    def _spec(self, order: Order) -> dict[str, Any]:
        work = order.work
        secret = self._secrets(work.secrets)
        return {
            "Image": work.image,
            "Labels": {**order.labels, "starlings.agent": "container"},
            "Env": [f"{name}={value}" for name, value in {**work.env, **secret}.items()],
            **({"Entrypoint": work.command, "Cmd": []} if work.command is not None else {}),
            **({"Cmd": work.args} if work.args is not None else {}),
            **({"WorkingDir": work.workdir} if work.workdir else {}),
            "HostConfig": {
                "NanoCpus": int(order.cpus * 1e9),
                "Memory": order.memory_bytes,
                "MemorySwap": order.memory_bytes,  # none beyond the memory
                "PidsLimit": 1_024,
                "NetworkMode": self._settings.docker_network,
                "SecurityOpt": ["no-new-privileges"],
                "LogConfig": {
                    "Type": "json-file",
                    "Config": {"max-size": "10m", "max-file": "1"},
                },
            },
        }

    def _secrets(self, wanted: dict[str, str]) -> dict[str, str]:
        known = named_values(SECRET_PREFIX)
        found = {}
        for variable, name in wanted.items():
            value = known.get(name.lower())
            if value is None:
                raise StepFailed(
                    f"there is no secret {name!r}: {SECRET_PREFIX}{name.upper()} is not set",
                    code="secret_unknown",
                )
            found[variable] = value
        return found

    def _secret_values(self, names: list[str]) -> list[str]:
        known = named_values(SECRET_PREFIX)
        return [known[name.lower()] for name in names if name.lower() in known]

    async def _clear(self, engine: EngineClient) -> None:
        """Remove what ended long ago; at most once a minute, and not more than there is time."""
        global _next_clearing  # noqa: PLW0603 - one clock for the process
        if time.monotonic() < _next_clearing:
            return
        _next_clearing = time.monotonic() + _CLEAR_EVERY_S
        filters = json.dumps({"label": [_OURS], "status": ["exited", "dead"]})
        query = {"all": "1", "limit": "1000", "filters": filters}
        try:
            listed = await engine.ask("GET", "/containers/json", params=query)
        except EngineRefused:
            return  # whoever guards the engine lets nobody list
        for found in (listed or [])[-_CLEARED_AT_ONCE:]:
            try:
                state = (await engine.ask("GET", f"/containers/{found['Id']}/json"))["State"]
                if _age_s(state["FinishedAt"]) > self._settings.keep_s:
                    await _remove(engine, found["Id"])
            except EngineRefused:
                continue  # somebody else has removed it


@lru_cache(maxsize=4)  # making one takes longer than asking the engine
def _tls(base: str) -> ssl.SSLContext | bool:
    return ssl.create_default_context() if base.startswith("https:") else False


async def _create(engine: EngineClient, name: str, spec: dict[str, Any]) -> None:
    try:
        await engine.ask("POST", "/containers/create", params={"name": name}, json=spec)
    except EngineRefused as error:
        if error.status != _CONFLICT:
            raise


async def _start_if_new(engine: EngineClient, order: Order) -> None:
    try:
        found = await engine.ask("GET", f"/containers/{order.name}/json")
    except EngineRefused as error:
        failed: Exception = TransientError(
            f"{order.work.image} cannot be seen to: {error}", code="engine_failed"
        )
    else:
        if found["State"]["Status"] != "created":
            return
        try:
            await engine.ask("POST", f"/containers/{order.name}/start")
        except EngineRefused as error:
            failed = _not_started(error, order.work.image)
        else:
            return
    await _remove(engine, order.name)  # another attempt makes one of its own
    raise failed


async def _pull(engine: EngineClient, image: str) -> None:
    """Fetch an image; the engine tells of failures after it has said 200."""
    last = image.rpartition("/")[2]
    reference = image if "@" in last or ":" in last else f"{image}:latest"  # else it takes all tags
    path = f"/images/create?fromImage={quote(reference, safe='')}"
    try:
        async with engine.stream("POST", path) as response:
            async for line in response.aiter_lines():
                _check_pull(json.loads(line) if line.strip() else {})
    except EngineRefused as error:
        raise _refused(error, image) from None
    except ValueError:
        raise engine.nonsense() from None


def _check_pull(told: dict[str, Any]) -> None:
    if "error" in told:
        raise EngineRefused(str(told["error"]), _NOT_FOUND)


def _refused(error: EngineRefused, image: str) -> Exception:
    if error.status == _NOT_FOUND:
        return StepFailed(
            f"there is no image {image!r} to be had: {error}; check its name, and whether the "
            "engine may fetch it",
            code="image_not_found",
        )
    if _is_the_engines(error):
        return TransientError(f"{image} cannot be run: {error}", code="engine_failed")
    return StepFailed(f"{image} cannot be run: {error}", code="container_refused")


def _not_started(error: EngineRefused, image: str) -> Exception:
    said = f"{image} cannot be started: {error}"
    if _is_the_engines(error) or error.status == _NOT_FOUND:  # 404: somebody has removed it
        return TransientError(said, code="engine_failed")
    return StepFailed(said, code="container_refused")  # such as a command that it does not have


def _is_the_engines(error: EngineRefused) -> bool:
    return error.status >= 500  # noqa: PLR2004 - HTTP


def _gone(error: EngineRefused, started: Started) -> Exception:
    if error.status != _NOT_FOUND:
        return TransientError(str(error), code="engine_failed")
    return StepFailed(
        f"the container {started.name} ({started.image}) is not there any more: somebody removed "
        "it, or it ended longer ago than STARLINGS_CONTAINER_KEEP_S",
        code="container_gone",
    )


async def _remove(engine: EngineClient, name: str) -> None:
    try:
        await engine.ask("DELETE", f"/containers/{name}", params={"force": "1", "v": "1"})
    except EngineRefused as error:
        if error.status not in {_NOT_FOUND, _CONFLICT}:  # 409: it is being removed
            raise TransientError(str(error), code="engine_failed") from None


async def _logs(engine: EngineClient, started: Started) -> bytes:
    """Read the end of both streams: frames of a kind, a length and so many bytes."""
    query = {"stdout": "1", "stderr": "1", "tail": str(started.log_lines)}
    raw, read = bytearray(), 0
    path = f"/containers/{started.name}/logs"
    async with engine.stream("GET", path, params=query) as response:
        async for chunk in response.aiter_bytes():
            raw += chunk
            read += len(chunk)
            if read > LOGS_READ_BYTES:
                break
    return unframed(bytes(raw))


def unframed(raw: bytes) -> bytes:
    """Take the text out of frames; of a terminal, which has none, all is text."""
    text, at = bytearray(), 0
    while at + _FRAME_HEAD_BYTES <= len(raw):
        if raw[at] > 2 or raw[at + 1 : at + 4] != b"\0\0\0":  # noqa: PLR2004 - stdin, stdout, stderr
            return raw
        size = int.from_bytes(raw[at + 4 : at + 8], "big")
        text += raw[at + _FRAME_HEAD_BYTES : at + _FRAME_HEAD_BYTES + size]
        at += _FRAME_HEAD_BYTES + size
        del text[: max(0, len(text) - 2 * LOGS_LIMIT_BYTES)]
    return bytes(text)


def _age_s(told: str) -> float:
    """Say how long ago a time of Docker's was: RFC 3339, with nanoseconds."""
    moment = datetime.fromisoformat(f"{told[:19]}+00:00")
    return (datetime.now(UTC) - moment).total_seconds()
