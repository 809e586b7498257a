"""`python -m worker.probe`: whichever half runs, it is asked; and what is wrong is said."""

import os
import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, HTTPServer
from threading import Thread

import pytest

from worker import probe


@contextmanager
def answering(status: int) -> Iterator[str]:
    """A listener that answers this to `/livez`; yields its port."""

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(status if self.path == "/livez" else 404)
            self.end_headers()

        def log_message(self, *_: object) -> None:
            pass

    with HTTPServer(("127.0.0.1", 0), Handler) as server:
        thread = Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        try:
            yield str(server.server_port)
        finally:
            server.shutdown()
            thread.join()


@pytest.fixture
def nobody() -> Iterator[str]:
    """A port where nobody listens, and nobody else can."""
    with socket.socket() as held:
        held.bind(("127.0.0.1", 0))
        yield f"127.0.0.1:{held.getsockname()[1]}"


def test_webhook_is_asked_first(nobody: str) -> None:
    """It listens anywhere: it is asked on loopback."""
    with answering(200) as port:
        listen = {"WORKER_LISTEN": f"0.0.0.0:{port}", "WORKER_ADMIN_LISTEN": nobody}

        assert probe.main(listen) == 0


def test_consumer_is_asked_where_no_webhook_listens(nobody: str) -> None:
    """A consumer has its admin listener alone."""
    with answering(200) as port:
        listen = {"WORKER_LISTEN": nobody, "WORKER_ADMIN_LISTEN": f"127.0.0.1:{port}"}

        assert probe.main(listen) == 0


def test_worker_that_is_stuck_is_not_alive(
    nobody: str, capsys: pytest.CaptureFixture[str]
) -> None:
    """Its own answer counts."""
    with answering(503) as port:
        listen = {"WORKER_LISTEN": nobody, "WORKER_ADMIN_LISTEN": f"127.0.0.1:{port}"}

        assert probe.main(listen) == 1
    assert "WORKER_ADMIN_LISTEN: /livez answers 503" in capsys.readouterr().err


@pytest.mark.parametrize("where", ["off", "127.0.0.1:none"])
def test_address_that_is_none_is_said(
    where: str, nobody: str, capsys: pytest.CaptureFixture[str]
) -> None:
    """Without an admin listener a consumer can't be asked."""
    listen = {"WORKER_LISTEN": nobody, "WORKER_ADMIN_LISTEN": where}

    assert probe.main(listen) == 1
    assert "error: WORKER_ADMIN_LISTEN: ValueError" in capsys.readouterr().err


def test_command_ends_with_1_where_nobody_listens(nobody: str) -> None:
    """As a process, with nothing of ours imported but itself."""
    environment = {**os.environ, **dict.fromkeys(probe.DEFAULTS, nobody)}
    command = [sys.executable, "-m", "worker.probe"]

    ended = subprocess.run(  # noqa: S603 - our own words
        command, env=environment, capture_output=True, text=True, check=False
    )

    assert ended.returncode == 1
    assert ended.stderr.startswith("error: nobody listens at WORKER_LISTEN")
