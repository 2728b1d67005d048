"""An agent whose steps are jobs of a `job_server`, for tests that interfere with its process."""

from __future__ import annotations

import os
from functools import lru_cache

import httpx
from pydantic import BaseModel

from starlings import JobAgent, JobStatus, StepContext

POLL_S = float(os.environ.get("JOB_POLL_S", "0.2"))


class Job(BaseModel):
    """A handle."""

    id: str


remote = JobAgent[Job](
    "remote",
    description="Runs jobs somewhere else",
    concurrency=32,
    create_timeout_s=60,
    get_timeout_s=30,
    first_poll_s=POLL_S,
    longest_poll_s=POLL_S,
)


@lru_cache(maxsize=1)
def server() -> httpx.AsyncClient:
    return httpx.AsyncClient(base_url=os.environ["JOB_SERVER_URL"], timeout=None)  # noqa: S113


@remote.create
async def create(task: str, ctx: StepContext) -> Job:
    headers = {"idempotency-key": ctx.idempotency_key}
    answer = await server().post("/jobs", headers=headers, json={"task": task})
    return Job.model_validate_json(answer.raise_for_status().content)


@remote.get
async def get(job: Job) -> JobStatus:
    answer = await server().get(f"/jobs/{job.id}")
    told = answer.raise_for_status().json()
    return JobStatus.succeeded(told["output"]) if told["done"] else JobStatus.running()


@remote.delete
async def delete(job: Job) -> None:
    (await server().delete(f"/jobs/{job.id}")).raise_for_status()
