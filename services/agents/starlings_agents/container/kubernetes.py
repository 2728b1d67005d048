"""Containers as Jobs of a Kubernetes cluster, over its API (batch/v1, core/v1).

A Job's name is the idempotency key: of two `create` for one name the cluster refuses the second.
It makes one pod, whatever happens (`backoffLimit: 0`): whether to try again is the run's to
decide. What has ended goes away by itself after `keep_s`.
"""

from __future__ import annotations

from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from typing import Any

import httpx

from starlings import StepFailed, TransientError

from .cluster import Cluster, find_cluster
from .http import TIMEOUT, EngineClient
from .settings import ContainerSettings
from .work import LOGS_LIMIT_BYTES, LOGS_READ_BYTES, EngineRefused, Order, Seen, Started, last_of

_NOT_FOUND, _CONFLICT = 404, 409
_NO_IMAGE = {"ImagePullBackOff", "InvalidImageName", "ErrImageNeverPull"}
_NOT_TO_BE_MADE = {"CreateContainerConfigError", "CreateContainerError", "RunContainerError"}
_NEVER_BEGUN = {"StartError", "ContainerCannotRun"}
_CONTAINER = "work"
_SPARE_S = 60  # beyond the step's time: an end of last resort, where no instance is left


class Kubernetes:
    """One namespace of one cluster."""

    def __init__(self, settings: ContainerSettings) -> None:
        self._settings = settings

    async def start(self, order: Order) -> None:
        """Create the Job, unless it is there."""
        async with self._client() as (engine, space):
            job = self._job(order)
            try:
                await engine.ask("POST", f"/apis/batch/v1/namespaces/{space}/jobs", json=job)
            except EngineRefused as error:
                if error.status != _CONFLICT:
                    raise _refused(error) from None

    async def look(self, started: Started) -> Seen:
        """Look at the Job's pod, and read the end of its log once it has ended."""
        async with self._client() as (engine, space):
            jobs = f"/apis/batch/v1/namespaces/{space}/jobs"
            try:
                job = await engine.ask("GET", f"{jobs}/{started.name}")
                pod = await self._pod(engine, space, started.name)
                if pod is None:
                    return _without_pod(job)
                seen = _seen(pod)
                if seen is not None:
                    return seen
                return await self._ended(engine, pod, started)
            except EngineRefused as error:
                raise _gone(error, started) from None

    async def remove(self, name: str) -> None:
        """Delete the Job, and with it its pod."""
        async with self._client() as (engine, space):
            path = f"/apis/batch/v1/namespaces/{space}/jobs/{name}"
            try:
                await engine.ask("DELETE", path, params={"propagationPolicy": "Background"})
            except EngineRefused as error:
                if error.status != _NOT_FOUND:
                    raise TransientError(str(error), code="engine_failed") from None

    @asynccontextmanager
    async def _client(self) -> AsyncGenerator[tuple[EngineClient, str]]:
        cluster: Cluster = find_cluster(self._settings)
        headers = {"authorization": f"Bearer {cluster.token}"} if cluster.token else {}
        async with httpx.AsyncClient(
            base_url=cluster.url,
            headers=headers,
            verify=cluster.context,
            timeout=TIMEOUT,
            trust_env=False,
        ) as client:
            setting = "STARLINGS_CONTAINER_KUBECONFIG"
            yield EngineClient(client, f"the cluster at {cluster.url}", setting), cluster.namespace

    async def _pod(self, engine: EngineClient, space: str, name: str) -> dict[str, Any] | None:
        query = {"labelSelector": f"starlings.job={name}", "limit": "10"}
        found = await engine.ask("GET", f"/api/v1/namespaces/{space}/pods", params=query)
        pods = sorted(found["items"], key=lambda pod: str(pod["metadata"]["creationTimestamp"]))
        return pods[-1] if pods else None

    async def _ended(self, engine: EngineClient, pod: dict[str, Any], started: Started) -> Seen:
        ended = _state(pod)["terminated"]
        if ended.get("reason") in _NEVER_BEGUN:
            said = ended.get("message", "")
            raise StepFailed(f"{started.image} cannot be started: {said}", code="container_refused")
        raw = await _logs(engine, pod, started) if started.log_lines else b""
        text, cut = last_of(raw)
        return Seen(
            exit_code=int(ended["exitCode"]),
            out_of_memory=ended.get("reason") == "OOMKilled",
            logs=text or str(ended.get("message") or ""),
            logs_cut=cut,
            started_at=ended.get("startedAt"),
            finished_at=ended.get("finishedAt"),
        )

    def _job(self, order: Order) -> dict[str, Any]:
        limit = None if order.remaining_s is None else int(order.remaining_s) + _SPARE_S
        labels = {"app.kubernetes.io/managed-by": "starlings", "starlings.job": order.name}
        meta = {"labels": labels, "annotations": order.labels}
        return {
            "apiVersion": "batch/v1",
            "kind": "Job",
            "metadata": {"name": order.name, **meta},
            "spec": {
                "backoffLimit": 0,
                "ttlSecondsAfterFinished": self._settings.keep_s,
                **({"activeDeadlineSeconds": limit} if limit else {}),
                "template": {"metadata": meta, "spec": self._pod_spec(order)},
            },
        }

    def _pod_spec(self, order: Order) -> dict[str, Any]:
        work = order.work
        amounts = {"cpu": f"{int(order.cpus * 1_000)}m", "memory": str(order.memory_bytes)}
        secret = self._settings.kube_secret
        env: list[dict[str, Any]] = [
            {"name": name, "value": value} for name, value in work.env.items()
        ]
        env += [
            {"name": variable, "valueFrom": {"secretKeyRef": {"name": secret, "key": key}}}
            for variable, key in work.secrets.items()
        ]  # the values are the cluster's: they never pass through here
        container = {
            "name": _CONTAINER,
            "image": work.image,
            "imagePullPolicy": "IfNotPresent",
            "env": env,
            "resources": {"limits": amounts, "requests": amounts},
            "securityContext": {"allowPrivilegeEscalation": False},
            "terminationMessagePolicy": "FallbackToLogsOnError",
            **({"command": work.command} if work.command is not None else {}),
            **({"args": work.args} if work.args is not None else {}),
            **({"workingDir": work.workdir} if work.workdir else {}),
        }
        return {
            "restartPolicy": "Never",
            "automountServiceAccountToken": False,
            "terminationGracePeriodSeconds": 5,
            "containers": [container],
        }


def _state(pod: dict[str, Any]) -> dict[str, Any]:
    statuses = pod.get("status", {}).get("containerStatuses") or [{}]
    state: dict[str, Any] = statuses[0].get("state") or {}
    return state


def _seen(pod: dict[str, Any]) -> Seen | None:
    """Judge a pod whose container has not ended; None: it has."""
    state = _state(pod)
    if "terminated" in state:
        return None
    status = pod.get("status", {})
    if status.get("phase") == "Failed":
        why = f"{status.get('reason') or 'for no reason told'} {status.get('message') or ''}"
        said = f"the pod {pod['metadata']['name']} failed: {why.rstrip()}"
        return Seen(failed=StepFailed(said, code="pod_failed", retryable=True))
    waiting = state.get("waiting") or {}
    _check_waiting(waiting)
    return Seen(running="running" in state, waits_for=waiting.get("reason") or _condition(status))


def _check_waiting(waiting: dict[str, Any]) -> None:
    reason, said = waiting.get("reason", ""), waiting.get("message", "")
    if reason in _NO_IMAGE:
        raise StepFailed(
            f"there is no such image to be had ({reason}): {said}; check its name, and whether the "
            "cluster may fetch it",
            code="image_not_found",
        )
    if reason in _NOT_TO_BE_MADE:
        unknown = "secret" in said.lower() or "couldn't find key" in said.lower()
        code = "secret_unknown" if unknown else "container_refused"
        raise StepFailed(f"the container cannot be made ({reason}): {said}", code=code)


def _condition(status: dict[str, Any]) -> str:
    for condition in status.get("conditions") or []:
        if condition.get("type") == "PodScheduled" and condition.get("status") == "False":
            return f"{condition.get('reason', '')}: {condition.get('message', '')}"
    return str(status.get("phase", ""))


def _without_pod(job: dict[str, Any]) -> Seen:
    status = job.get("status", {})
    for condition in status.get("conditions") or []:
        if condition.get("type") == "Complete" and condition.get("status") == "True":
            ended = status.get("completionTime")  # its pod was removed, and its logs with it
            return Seen(exit_code=0, started_at=status.get("startTime"), finished_at=ended)
        if condition.get("type") == "Failed" and condition.get("status") == "True":
            said = f"{condition.get('reason', '')} {condition.get('message', '')}".strip()
            failed = StepFailed(f"the Job failed: {said}", code="job_failed", retryable=True)
            return Seen(failed=failed)
    return Seen(waits_for="a pod")


async def _logs(engine: EngineClient, pod: dict[str, Any], started: Started) -> bytes:
    meta = pod["metadata"]
    path = f"/api/v1/namespaces/{meta['namespace']}/pods/{meta['name']}/log"
    query = {"container": _CONTAINER, "tailLines": str(started.log_lines)}
    text, read = bytearray(), 0
    async with engine.stream("GET", path, params=query) as response:
        async for chunk in response.aiter_bytes():
            text += chunk
            read += len(chunk)
            del text[: max(0, len(text) - 2 * LOGS_LIMIT_BYTES)]
            if read > LOGS_READ_BYTES:
                break
    return bytes(text)


def _refused(error: EngineRefused) -> Exception:
    if error.status >= 500:  # noqa: PLR2004 - HTTP
        return TransientError(str(error), code="engine_failed")
    if error.status in {401, 403}:
        return StepFailed(
            f"{error}; the agent's service account needs create, get and delete of jobs, and get "
            "and list of pods and pods/log",
            code="not_permitted",
        )
    return StepFailed(str(error), code="container_refused")


def _gone(error: EngineRefused, started: Started) -> Exception:
    if error.status != _NOT_FOUND:
        return _refused(error) if error.status in {401, 403} else TransientError(str(error))
    return StepFailed(
        f"the Job {started.name} ({started.image}) is not there any more: somebody deleted it, or "
        "it ended longer ago than STARLINGS_CONTAINER_KEEP_S",
        code="container_gone",
    )
