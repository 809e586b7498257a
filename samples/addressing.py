"""Saved events, led to a stand-in: the hosts of ACS in them become its own."""

EVENT_HOSTS = tuple(
    f"{region}storage.asm.skype.com" for region in ("", "us-", "eu-", "as-")
)
"""The hosts that sample events name."""


def addressed(body: bytes, source: str) -> bytes:
    """Rewrite the hosts of ACS to `source`, a scheme and a host (`http://127.0.0.1:9000`)."""
    for host in EVENT_HOSTS:
        body = body.replace(f"https://{host}/".encode(), f"{source}/".encode())
    return body
