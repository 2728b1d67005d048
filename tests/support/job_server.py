"""A system that runs jobs, over real HTTP, and counts what it was asked.

    POST   /jobs        with the header Idempotency-Key: the same key is the same job
    GET    /jobs/<id>
    DELETE /jobs/<id>   204, also of one that is not there any more

Jobs run until `finish` or `finish_all`.
"""

from __future__ import annotations

import json
import threading
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any


class JobServer:
    """What the server knows; safe to be read by the test's own thread."""

    def __init__(self) -> None:
        self.url = ""
        self.submissions: Counter[str] = Counter()  # requests by key
        self.jobs: dict[str, str] = {}  # key → id
        self.looks: Counter[str] = Counter()  # by id
        self.deletes: Counter[str] = Counter()  # by id
        self.ended: dict[str, Any] = {}  # id → output
        self.all_ended = False
        self.answers_creates = threading.Event()
        self.answers_creates.set()
        self._lock = threading.Lock()

    def submit(self, key: str) -> str:
        with self._lock:
            self.submissions[key] += 1
            return self.jobs.setdefault(key, f"job-{len(self.jobs)}")

    def look(self, job: str) -> dict[str, Any]:
        with self._lock:
            self.looks[job] += 1
            ended = self.all_ended or job in self.ended
            return {"done": ended, "output": self.ended.get(job, job)}

    def delete(self, job: str) -> None:
        with self._lock:
            self.deletes[job] += 1

    def finish(self, key: str, output: Any = None) -> None:
        with self._lock:
            self.ended[self.jobs[key]] = output

    def looked_at(self) -> int:
        """Count the jobs that have been looked at since `forget_looks`."""
        with self._lock:
            return len(self.looks)

    def forget_looks(self) -> None:
        with self._lock:
            self.looks.clear()


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True
    jobs: JobServer

    def do_POST(self) -> None:
        self.rfile.read(int(self.headers.get("content-length", 0)))
        job = self.jobs.submit(self.headers["idempotency-key"])
        self.jobs.answers_creates.wait(120)
        self._answer(200, {"id": job})

    def do_GET(self) -> None:
        self._answer(200, self.jobs.look(self.path.rpartition("/")[2]))

    def do_DELETE(self) -> None:
        self.jobs.delete(self.path.rpartition("/")[2])
        self._answer(204, None)

    def _answer(self, status: int, value: Any) -> None:
        body = b"" if value is None else json.dumps(value).encode()
        try:
            self.send_response(status)
            self.send_header("content-length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)
        except OSError:
            self.close_connection = True  # whoever asked is dead

    def log_message(self, *_args: object) -> None:
        pass


class _Server(ThreadingHTTPServer):
    daemon_threads = True
    request_queue_size = 256

    def handle_error(self, request: Any, client_address: Any) -> None:
        pass  # connections of processes that were killed


@contextmanager
def job_server() -> Iterator[JobServer]:
    """Serve on loopback for as long as the block lasts."""
    jobs = JobServer()
    server = _Server(("127.0.0.1", 0), type("Handler", (_Handler,), {"jobs": jobs}))
    jobs.url = f"http://127.0.0.1:{server.server_port}"
    thread = threading.Thread(target=server.serve_forever, args=(0.05,), daemon=True)
    thread.start()
    try:
        yield jobs
    finally:
        jobs.answers_creates.set()
        server.shutdown()
        server.server_close()
        thread.join()
