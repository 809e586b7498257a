"""How the stand-in for ACS is run: paced, late, under TLS, with samples, as a process."""

import asyncio
import json
import os
import signal
import socket
import ssl
import sys
from collections.abc import AsyncIterator
from pathlib import Path

import aiohttp
import pytest
import trustme
from aiohttp.abc import AbstractResolver, ResolveResult

from samples import media_dir
from samples.acs import StandIn, SyntheticContent
from samples.serve import options_from, serve
from tests.signed_client import (
    BODY,
    DEADLINE_S,
    DOC,
    METADATA,
    SignedClient,
    signed_client,
)


class _Loopback(AbstractResolver):
    """Every name is this machine."""

    async def resolve(
        self, host: str, port: int = 0, family: socket.AddressFamily = socket.AF_INET
    ) -> list[ResolveResult]:
        result = ResolveResult(
            hostname=host, host="127.0.0.1", port=port, family=family, proto=0, flags=0
        )
        return [result]

    async def close(self) -> None:
        """Nothing is held."""


@pytest.fixture
async def client() -> AsyncIterator[SignedClient]:
    async with signed_client(StandIn()) as client:
        client.acs.put(DOC, content=BODY, metadata=METADATA)
        yield client


async def test_connection_is_capped() -> None:
    """Requests of one connection share its cap, whatever their size."""
    loop = asyncio.get_running_loop()
    async with signed_client(StandIn(bytes_per_second=10_000_000)) as client:
        client.acs.put(DOC, content=SyntheticContent(1_000_000), metadata=None)
        began = loop.time()

        await client.content()
        await client.content()

        # A fifth of a second, less the credit for a late wake-up.
        assert loop.time() - began >= 0.145


async def test_answers_are_late_by_the_latency() -> None:
    """Every answer comes that much later."""
    loop = asyncio.get_running_loop()
    async with signed_client(StandIn(latency_s=0.05)) as client:
        client.acs.put(DOC, content=b"1", metadata=None)
        began = loop.time()

        await client.content()

        assert loop.time() - began >= 0.05


async def test_file_is_served(client: SignedClient) -> None:
    """A path stands for the bytes of its file."""
    path = media_dir() / "mixed.mp3"
    client.acs.put(DOC, content=path, metadata=path)

    assert (await client.content()).body == path.read_bytes()
    assert (await client.metadata()).body == path.read_bytes()


async def test_every_sample_is_served(client: SignedClient) -> None:
    """Once asked to, the stand-in has every document of the catalogue."""
    client.acs.serve_samples()
    documents = json.loads((media_dir() / "objects.json").read_bytes())

    for document_id, files in documents.items():
        places = client.acs.locations(document_id)
        content = await client.ask("GET", client.regional(places.content))
        metadata = await client.ask("GET", client.regional(places.metadata))

        assert content.body == (media_dir() / files["content"]).read_bytes()
        assert json.loads(metadata.body)["chunkDocumentId"] == document_id


@pytest.mark.parametrize("host", ["storage", "us-storage", "eu-storage", "as-storage"])
async def test_address_leads_an_event_here(client: SignedClient, host: str) -> None:
    """Every host of ACS in an event becomes the global listener; others stay."""
    url = (
        f"https://{host}.asm.skype.com/v1/objects/x https://storage.asm.skype.com@evil/"
    )

    here = client.acs.address(url.encode()).decode()

    assert here == (
        f"http://{client.acs.global_host}/v1/objects/x "
        "https://storage.asm.skype.com@evil/"
    )


async def test_stand_in_takes_tls_names() -> None:
    """Under TLS, URLs and redirects say the given names, and the cap still holds them."""
    names = ("storage.asm.skype.com", "us-storage.asm.skype.com")
    authority = trustme.CA()
    served = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    authority.issue_cert(*names).configure_cert(served)
    trusting = ssl.create_default_context()
    authority.configure_trust(trusting)
    connector = aiohttp.TCPConnector(resolver=_Loopback(), ssl=trusting)

    async with (
        aiohttp.ClientSession(connector=connector) as session,
        StandIn(ssl_context=served, host_names=names, bytes_per_second=1e9) as acs,
    ):
        acs.put(DOC, content=BODY, metadata=None)
        client = SignedClient(acs=acs, session=session)
        moved = await client.ask("GET", acs.locations(DOC).content)
        got = await client.ask("GET", moved.headers["Location"])

    assert acs.locations(DOC).content.startswith("https://storage.asm.skype.com:")
    assert moved.headers["Location"].startswith("https://us-storage.asm.skype.com:")
    assert got.body == BODY


async def test_stand_in_takes_ports() -> None:
    """Both may be said, for whoever has to know them before it starts."""
    ports = [_free_port(), _free_port()]

    async with StandIn(port=ports[0], regional_port=ports[1]) as acs:
        assert [acs.global_port, acs.regional_port] == ports


def _free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as server:
        return int(server.getsockname()[1])


async def test_process_serves_until_told(tmp_path: Path) -> None:
    """Told to serve, it says where it is, serves samples and made-up media, and ends."""
    certificate, key = tmp_path / "cert.pem", tmp_path / "key.pem"
    authority = trustme.CA()
    issued = authority.issue_cert("127.0.0.1")
    issued.cert_chain_pems[0].write_to_path(certificate)
    issued.private_key_pem.write_to_path(key)
    arguments = ["--synthetic", "big=5MiB", "--rate-mib", "500", "--latency-ms", "1"]
    arguments += ["--tls-cert", str(certificate), "--tls-key", str(key)]

    body = await _fetched("big", arguments, authority)

    assert len(body) == 5 * 1024 * 1024
    assert body == SyntheticContent(len(body), mp4=True).read(0, len(body))


async def _fetched(name: str, arguments: list[str], authority: trustme.CA) -> bytes:
    """Serve as the command line says, and fetch one document over TLS."""
    stopping = asyncio.Event()
    announced: asyncio.Future[str] = asyncio.get_running_loop().create_future()
    serving = serve(
        options_from(arguments), stopping=stopping, announce=announced.set_result
    )
    trusting = ssl.create_default_context()
    authority.configure_trust(trusting)
    connector = aiohttp.TCPConnector(ssl=trusting)
    async with asyncio.timeout(DEADLINE_S), asyncio.TaskGroup() as group:
        group.create_task(serving, name="acs")
        ready = json.loads(await announced)
        acs = StandIn(connection_string=ready["connection_string"])
        url = f"https://{ready['regional_host']}/v1/objects/{name}/content/video"
        async with aiohttp.ClientSession(connector=connector) as session:
            got = await SignedClient(acs=acs, session=session).ask("GET", url)
        stopping.set()
    return got.body


@pytest.mark.parametrize("size", ["big", "big=", "big=5GB", "=5"])
def test_size_that_makes_no_sense_is_a_usage_error(
    size: str, capsys: pytest.CaptureFixture[str]
) -> None:
    """A size is a number of bytes, KiB, MiB or GiB."""
    with pytest.raises(SystemExit, match="2"):
        options_from(["--synthetic", size])

    assert "is not like big=512MiB" in capsys.readouterr().err


async def test_module_runs_until_interrupted() -> None:
    """`python -m samples.acs` ends cleanly on SIGINT."""
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "samples.acs", stdout=asyncio.subprocess.PIPE
    )
    assert process.stdout is not None

    async with asyncio.timeout(DEADLINE_S):
        ready = json.loads(await process.stdout.readline())
        os.kill(process.pid, signal.SIGINT)
        code = await process.wait()

    assert ready["global_host"].startswith("127.0.0.1:")
    assert code == 0
