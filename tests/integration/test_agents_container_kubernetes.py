"""The agent `container` on a Kubernetes cluster's own answers, recorded, over HTTP.

With `STARLINGS_RECORD_KUBERNETES=http://127.0.0.1:8001` (`kubectl proxy`) the same tests ask a real
cluster, and record its answers anew. Its namespace `jobs` needs a Secret `starlings-container` with
the key `vendor` (`hush-4711`), its nodes the image `registry.local/jobs/box:1` (busybox).
"""

from __future__ import annotations

import asyncio
import base64
import os
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import httpx
import pytest
import yaml
from support.agents import ready
from support.certificates import Authority
from support.exchanges import Exchanges, played, recording
from support.waiting import wait_until

from starlings import StepContext
from starlings.agents.execute import execute
from starlings.messages import ConfigError, StepDone, StepOutcome
from starlings_agents.container import agent, cluster, delete
from starlings_agents.container.cluster import find_cluster
from starlings_agents.container.settings import ContainerSettings
from starlings_agents.container.work import Started, name_of

BOX = "registry.local/jobs/box:1"
RECORD = "STARLINGS_RECORD_KUBERNETES"
JOBS = "/apis/batch/v1/namespaces/jobs/jobs"

Play = Callable[..., Exchanges]


def kubeconfig(path: Path, url: str, **user: Any) -> Path:
    config = {
        "current-context": "here",
        "contexts": [
            {"name": "here", "context": {"cluster": "c", "user": "u", "namespace": "jobs"}}
        ],
        "clusters": [{"name": "c", "cluster": {"server": url}}],
        "users": [{"name": "u", "user": user or {"token": "let-me-in"}}],
    }
    path.write_text(yaml.safe_dump(config))
    return path


@pytest.fixture
def engine(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Play]:
    """Begin to play what is recorded under a name, or what a test says itself."""
    monkeypatch.delenv("KUBERNETES_SERVICE_HOST", raising=False)
    monkeypatch.setenv("STARLINGS_CONTAINER_BACKEND", "kubernetes")
    monkeypatch.setenv("STARLINGS_CONTAINER_IMAGES", "registry.local/jobs/*")
    monkeypatch.setenv("STARLINGS_CONTAINER_CPUS", "0.1")
    with ExitStack() as stack:

        def play(what: str | list[dict[str, Any]]) -> Exchanges:
            chosen = (
                recording(f"kubernetes_{what}", record=RECORD)
                if isinstance(what, str)
                else played(what, upstream=None)
            )
            exchanges = stack.enter_context(chosen)
            path = kubeconfig(tmp_path / "config", exchanges.url)
            monkeypatch.setenv("STARLINGS_CONTAINER_KUBECONFIG", str(path))
            return exchanges

        yield play


async def pause(seconds: float) -> None:
    await asyncio.sleep(seconds if RECORD in os.environ else 0)


def started(step: str) -> Started:
    return Started(name=name_of(f"r1/{step}/1"), backend="kubernetes", image=BOX)


async def run(step_id: str, **work: Any) -> StepDone:
    given = ready(agent="container", step_id=step_id, task="", input={"image": BOX, **work})
    return await execute(agent, given, pause=pause)


async def test_a_job_runs_to_its_end_and_tells_exit_code_and_logs(engine):
    exchanges = engine("good")

    done = await run(
        "good",
        command=["sh", "-c", "echo $WHO; test $KEY = hush-4711 && echo the key is right"],
        env={"WHO": "Ann"},
        secrets={"KEY": "vendor"},
        memory="32Mi",
    )

    assert (done.outcome, done.error) == (StepOutcome.OK, None)
    assert (done.output["exit_code"], done.output["logs"]) == (0, "Ann\nthe key is right\n")
    job = next(body for method, _, body in exchanges.asked if method == "POST")
    pod = job["spec"]["template"]["spec"]
    assert job["metadata"]["name"] == name_of("r1/good/1")
    assert (job["spec"]["backoffLimit"], pod["restartPolicy"]) == (0, "Never")
    assert job["spec"]["activeDeadlineSeconds"] > 600  # where no instance is left to stop it
    assert pod["automountServiceAccountToken"] is False
    limits = pod["containers"][0]["resources"]["limits"]
    assert limits == {"cpu": "100m", "memory": str(32 * 1024**2)}
    assert "hush-4711" not in str(job).replace("test $KEY = hush-4711", "")


@pytest.mark.parametrize(
    ("step", "work", "code", "words"),
    [
        ("bad", {"command": ["sh", "-c", "echo no ink left; exit 3"]}, "exit_code", "no ink left"),
        (
            "oom",
            {"command": ["sh", "-c", "a=x; while :; do a=$a$a; done"], "memory": "32Mi"},
            "resource_exhausted",
            "for want of memory",
        ),
        ("noimage", {"image": "registry.local/jobs/none:1"}, "image_not_found", "jobs/none:1"),
        ("nosecret", {"secrets": {"K": "nosuch"}}, "secret_unknown", "nosuch"),
        ("nocommand", {"command": ["nosuch"]}, "container_refused", "nosuch"),
    ],
)
async def test_what_goes_wrong_is_told_by_its_code(engine, step, work, code, words):
    exchanges = engine(step)

    error = (await run(step, **work)).error

    assert (error.code, error.retryable) == (code, False)
    assert words in error.message
    never_begun = code not in {"exit_code", "resource_exhausted"}
    assert exchanges.count("DELETE", started(step).name) == int(never_begun)


async def test_a_start_that_is_repeated_finds_the_first_job(engine):
    exchanges = engine("twice")

    first = await run("twice", command=["echo", "once"])
    second = await run("twice", command=["echo", "again"])  # the handle of the first was lost

    assert first.output["logs"] == second.output["logs"] == "once\n"
    assert exchanges.count("POST", JOBS) == 2


async def test_a_stopped_step_deletes_its_job_and_may_do_so_again(engine):
    exchanges = engine("stopped")
    job = f"{JOBS}/{started('stopped').name}"
    working = asyncio.create_task(run("stopped", command=["sleep", "300"]))
    await wait_until(lambda: exchanges.count("GET", job) > 2, message="it is looked at")

    working.cancel()
    with pytest.raises(asyncio.CancelledError):
        await working
    await delete(started("stopped"))

    assert exchanges.count("DELETE", job) == 2
    assert all("propagationPolicy=Background" in p for m, p, _ in exchanges.asked if m == "DELETE")


async def test_a_job_that_is_unknown_fails_the_look_and_its_removal_does_not(engine):
    engine("unknown")
    ctx = StepContext(run_id="r1", step_id="unknown", attempt=1, agent="container")

    look = await agent.look(started("unknown").model_dump(), ctx)
    await delete(started("unknown"))

    assert (look.status.error.code, look.unfinished) == ("container_gone", True)


def answer(method: str, path: str, status: int, value: Any) -> dict[str, Any]:
    return {"method": method, "path": path, "status": status, "json": value}


@pytest.mark.parametrize(
    ("status", "code", "retryable"),
    [
        (403, "not_permitted", False),
        (422, "container_refused", False),
        (500, "engine_failed", True),
        (429, "engine_unavailable", True),
    ],
)
async def test_a_cluster_that_refuses_is_quoted(engine, status, code, retryable):
    engine([answer("POST", JOBS, status, {"kind": "Status", "message": "jobs is forbidden"})])

    error = (await run("s1")).error

    assert (error.code, error.retryable) == (code, retryable)
    assert "jobs is forbidden" in error.message
    assert "let-me-in" not in error.model_dump_json()


@pytest.mark.parametrize(
    ("status", "code"),
    [
        ({"phase": "Failed", "reason": "Evicted", "message": "low on disk"}, "pod_failed"),
        (None, "job_failed"),
    ],
)
async def test_a_pod_that_is_lost_may_be_tried_again(engine, status, code):
    name = started("s1").name
    failed = {"type": "Failed", "status": "True", "reason": "DeadlineExceeded"}
    pod = {"metadata": {"name": "p", "creationTimestamp": "2"}, "status": status}
    query = {"labelSelector": f"starlings.job={name}", "limit": "10"}
    selector = str(httpx.URL("/api/v1/namespaces/jobs/pods", params=query))
    engine(
        [
            answer("POST", JOBS, 201, {}),
            answer("GET", f"{JOBS}/{name}", 200, {"status": {"conditions": [failed]}}),
            answer("GET", selector, 200, {"items": [pod] if status else []}),
            answer("DELETE", f"{JOBS}/{name}?propagationPolicy=Background", 200, {}),
        ]
    )

    error = (await run("s1")).error

    assert (error.code, error.retryable) == (code, True)


async def test_a_job_that_is_complete_has_ended_well_though_its_pod_was_removed(engine):
    name = started("s1").name
    complete = {"type": "Complete", "status": "True"}
    status = {"conditions": [complete], "completionTime": "2026-01-01T00:00:09Z"}
    query = {"labelSelector": f"starlings.job={name}", "limit": "10"}
    engine(
        [
            answer("POST", JOBS, 201, {}),
            answer("GET", f"{JOBS}/{name}", 200, {"status": status}),
            answer(
                "GET", str(httpx.URL("/api/v1/namespaces/jobs/pods", params=query)), 200,
                {"items": []},
            ),
        ]
    )  # fmt: skip

    done = await run("s1")

    assert (done.error, done.output["exit_code"], done.output["logs"]) == (None, 0, "")
    assert done.output["finished_at"] == "2026-01-01T00:00:09Z"


def test_credentials_are_those_of_the_pod_unless_a_kubeconfig_is_named(tmp_path, monkeypatch):
    for name, text in {"token": "t1\n", "namespace": "shop\n"}.items():
        (tmp_path / name).write_text(text)
    (tmp_path / "ca.crt").write_bytes(Authority(tmp_path / "ca").cafile.read_bytes())
    monkeypatch.setattr(cluster, "ACCOUNT", tmp_path)
    monkeypatch.setenv("KUBERNETES_SERVICE_HOST", "fd00::1")

    found = find_cluster(ContainerSettings())

    assert (found.url, found.namespace, found.token) == ("https://[fd00::1]:443", "shop", "t1")
    assert "t1" not in repr(found)
    path = kubeconfig(tmp_path / "config", "https://k", token="t2")
    assert find_cluster(ContainerSettings(kubeconfig=str(path))).namespace == "jobs"


def test_a_client_certificate_of_a_kubeconfig_is_used(tmp_path):
    pem = base64.b64encode(Authority(tmp_path / "ca").issue("ann").read_bytes()).decode()
    data = {"client-certificate-data": pem, "client-key-data": pem}
    path = kubeconfig(tmp_path / "config", "https://k", **data)

    assert find_cluster(ContainerSettings(kubeconfig=str(path))).token == ""


@pytest.mark.parametrize(
    ("text", "words"),
    [
        (None, "FileNotFoundError"),
        ("{", "lacks parts"),
        ("contexts: []\ncurrent-context: x", "lacks parts"),
    ],
)
def test_credentials_that_cannot_be_used_are_told(tmp_path, text, words):
    path = tmp_path / "config"
    if text is not None:
        path.write_text(text)

    with pytest.raises(ConfigError, match=f"{words}.*STARLINGS_CONTAINER_KUBECONFIG"):
        find_cluster(ContainerSettings(kubeconfig=str(path)))


def test_credentials_from_a_program_are_refused(tmp_path):
    path = kubeconfig(tmp_path / "config", "https://k", exec={"command": "aws"})

    with pytest.raises(ConfigError, match="from a program"):
        find_cluster(ContainerSettings(kubeconfig=str(path)))
