"""`python -m worker.probe`: is the worker in this container alive? For HEALTHCHECK, without curl.

It asks the webhook's `/livez`, or, where none listens, the admin listener's: whichever half
runs here. Exit 0 if it is, 1 if it isn't. It imports nothing of ours, for it runs often.
"""

import os
import sys
from collections.abc import Mapping
from http import HTTPStatus
from http.client import HTTPConnection, HTTPException

DEFAULTS = {"WORKER_LISTEN": "127.0.0.1:8080", "WORKER_ADMIN_LISTEN": "127.0.0.1:8081"}
"""The settings that say where, in the order in which they are asked."""
PATH = "/livez"
TIMEOUT_SECONDS = 4.0
_ANYWHERE = {"0.0.0.0": "127.0.0.1", "[::]": "::1", "::": "::1"}  # noqa: S104 - no listener


def main(environment: Mapping[str, str]) -> int:
    """Ask, and say on stderr what is wrong."""
    for name, default in DEFAULTS.items():
        where = environment.get(name) or default
        try:
            status = _status(where)
        except ConnectionRefusedError:
            continue
        except (OSError, HTTPException, ValueError) as error:
            sys.stderr.write(f"error: {name}: {type(error).__name__}\n")
            return 1
        if status != HTTPStatus.OK:
            sys.stderr.write(f"error: {name}: {PATH} answers {status}\n")
        return int(status != HTTPStatus.OK)
    sys.stderr.write(f"error: nobody listens at {' or '.join(DEFAULTS)}\n")
    return 1


def _status(where: str) -> int:
    """Ask the listener directly: no proxy of the environment has a part in it."""
    host, _, port = where.strip().rpartition(":")
    host = _ANYWHERE.get(host, host.strip("[]"))
    connection = HTTPConnection(host, int(port), timeout=TIMEOUT_SECONDS)
    try:
        connection.request("GET", PATH)
        return connection.getresponse().status
    finally:
        connection.close()


if __name__ == "__main__":
    sys.exit(main(os.environ))
