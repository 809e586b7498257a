"""Run a command as a process of its own would, and tell on stdout whom it called.

Names that it looks up, addresses that it connects to, and what of Application Insights'
exporter calls its maker.
"""

import json
import sys

from worker.__main__ import main

CALLS = {"socket.getaddrinfo": 0, "socket.connect": 1}
"""https://docs.python.org/3/library/audit_events.html"""


def _listen(called: set[str]) -> None:
    def hear(event: str, arguments: tuple[object, ...]) -> None:
        if event in CALLS:
            target = arguments[CALLS[event]]
            called.add(str(target[0] if isinstance(target, tuple) else target))

    sys.addaudithook(hear)


if __name__ == "__main__":
    called: set[str] = set()
    _listen(called)
    code = main(sys.argv[1:])
    from azure.monitor.opentelemetry.exporter._configuration import (
        _state as of_settings,
    )
    from azure.monitor.opentelemetry.exporter.statsbeat import _state as of_statistics

    found: tuple[object, ...] = (
        of_settings._configuration_manager,
        of_statistics._statsbeat_manager,
    )
    makers = [type(each).__name__ for each in found if each is not None]
    sys.stdout.write(
        "\n" + json.dumps({"code": code, "called": sorted(called), "makers": makers})
    )
