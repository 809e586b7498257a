"""URLs and connection strings of Azure Storage: what they say, and what they may not."""

from datetime import UTC, datetime

import pytest
from azure.storage.blob import BlobServiceClient
from hypothesis import given
from hypothesis import strategies as st

from worker import storage_places
from worker.storage_places import NoPlaceError, Service

ACCOUNT = "https://acct.blob.core.windows.net"
EMULATOR = "http://127.0.0.1:10000/devstoreaccount1"
HERE = "http://127.0.0.1:10001/dev"
SAS = "sv=2026-02-06&se=2026-12-01T08%3A00%3A00Z&sp=rw&sig=hunter2%2Babc%3D"
KEY = "aHVudGVyMg=="


@pytest.mark.parametrize(
    ("url", "account_url", "account"),
    [
        (f"{ACCOUNT}/calls", ACCOUNT, "acct"),
        ("https://ACCT.blob.core.windows.net:443/calls/", ACCOUNT, "acct"),
        ("https://acct.blob.core.usgovcloudapi.net/calls", None, "acct"),
        ("https://acct.z01.blob.storage.azure.net/calls", None, "acct"),
        (f"{EMULATOR}/calls", EMULATOR, "devstoreaccount1"),
        ("http://azurite:10000/dev/calls", "http://azurite:10000/dev", "dev"),
        ("https://[::1]:10000/dev/calls", "https://[::1]:10000/dev", "dev"),
        ("http://127.0.0.1:80/dev/calls", "http://127.0.0.1/dev", "dev"),
    ],
)
def test_container_is_read_from_its_url(
    url: str, account_url: str | None, account: str
) -> None:
    """The account is in the host or, with an emulator, first in the path."""
    place = storage_places.parse(url, Service.BLOB)

    assert place.account_url == (account_url or url.removesuffix("/calls"))
    assert (place.account, place.name, place.prefix) == (account, "calls", "")
    assert place.url == f"{place.account_url}/calls"
    assert place.is_plain_http == url.startswith("http:")


def test_prefix_and_signature_are_parts_of_a_place() -> None:
    """The signature is kept apart: neither `url` nor repr show it."""
    place = storage_places.parse(f"{ACCOUNT}/calls/tenant/a?{SAS}", Service.BLOB)

    assert (place.name, place.prefix, place.sas) == ("calls", "tenant/a", SAS)
    assert place.url == f"{ACCOUNT}/calls/tenant/a"
    assert "hunter2" not in repr(place)


@pytest.mark.parametrize(
    ("url", "words"),
    [
        ("calls", "is not https://ACCOUNT.blob"),
        ("ftp://acct.blob.core.windows.net/calls", "is not https://ACCOUNT.blob"),
        ("https:///calls", "is not https://ACCOUNT.blob"),
        ("https://u:hunter2@acct.blob.core.windows.net/calls", "is not https://"),
        (f"{ACCOUNT}:port/calls", "is not https://ACCOUNT.blob"),
        ("https://[::1/calls", "is not https://ACCOUNT.blob"),
        (f"{ACCOUNT}/calls#hunter2", "is not https://ACCOUNT.blob"),
        ("https://a_b.core.windows.net/calls", "has no host name"),
        ("http://acct.blob.core.windows.net/calls", "must be https"),
        ("https://acct.queue.core.windows.net/calls", "is of the queue service"),
        ("https://acct.dfs.core.windows.net/calls", "is of the dfs service"),
        (ACCOUNT, "names no container"),
        (EMULATOR, "names no container"),
        (f"{ACCOUNT}/Calls", "names no container"),
        (f"{ACCOUNT}/ca--lls", "names no container"),
        (f"{ACCOUNT}/{'c' * 64}", "names no container"),
        (f"{ACCOUNT}/calls//a", "prefix with odd characters"),
        (f"{ACCOUNT}/calls/../a", "prefix with odd characters"),
        (f"{ACCOUNT}/calls/a%2fb", "prefix with odd characters"),
        (f"{ACCOUNT}/calls?comp=hunter2", "no shared access signature"),
    ],
)
def test_url_that_leads_nowhere_is_refused(url: str, words: str) -> None:
    """What is wrong is said, and a secret is not."""
    with pytest.raises(NoPlaceError, match=words) as caught:
        storage_places.parse(url, Service.BLOB)

    assert "hunter2" not in str(caught.value)


@pytest.mark.parametrize(
    ("path", "words"),
    [
        ("calls/more", "must end in the queue's name"),
        ("c" * 57, "of 56 characters at most"),
        ("c", "names no queue"),
    ],
)
def test_queue_is_a_name_with_room_behind_it(path: str, words: str) -> None:
    """The poison queue is named after it."""
    with pytest.raises(NoPlaceError, match=words):
        storage_places.parse(f"{EMULATOR}/{path}", Service.QUEUE)

    place = storage_places.parse(f"{EMULATOR}/{'c' * 56}", Service.QUEUE)
    assert len(place.name) == 56


@given(st.text(max_size=80), st.sampled_from(Service))
def test_any_text_is_a_place_or_leads_nowhere(text: str, service: Service) -> None:
    """No text raises anything else."""
    for url in (text, f"https://{text}", f"{ACCOUNT}/{text}", f"{EMULATOR}/{text}"):
        try:
            place = storage_places.parse(url, service)
        except NoPlaceError:
            continue
        again = f"{place.url}?{place.sas}" if place.sas else place.url
        assert storage_places.parse(again, service) == place


@pytest.mark.parametrize(
    ("text", "blob", "queue"),
    [
        (
            f"DefaultEndpointsProtocol=https;AccountName=acct;AccountKey={KEY}",
            ACCOUNT,
            "https://acct.queue.core.windows.net",
        ),
        (
            f"accountname=acct ; accountkey={KEY};BlobEndpoint=https://B.example:443/;",
            "https://b.example",
            "https://acct.queue.core.windows.net",
        ),
        (
            f"AccountName=x;AccountKey={KEY};BlobEndpoint={EMULATOR}/;QueueEndpoint={HERE}",
            EMULATOR,
            HERE,
        ),
    ],
)
def test_connection_string_names_account_and_endpoints(
    text: str, blob: str, queue: str
) -> None:
    """Order and case don't matter; what is not named follows from the account."""
    found = storage_places.parse_connection_string(text)

    assert found.endpoints == {Service.BLOB: blob, Service.QUEUE: queue}
    assert (found.key, found.sas) == (KEY, "")
    assert KEY not in repr(found)


def test_connection_string_may_bear_a_signature() -> None:
    """With a SAS an endpoint alone is enough, and the other service is left out."""
    found = storage_places.parse_connection_string(
        f"BlobEndpoint={ACCOUNT}/;SharedAccessSignature=?{SAS}"
    )

    assert (found.account, found.key, found.sas) == ("", "", SAS)
    assert found.endpoints == {Service.BLOB: ACCOUNT, Service.QUEUE: ""}
    assert "hunter2" not in repr(found)


def test_connection_string_means_what_the_sdk_reads() -> None:
    """The official SDK goes to the same endpoint with the same name."""
    text = f"AccountName=acct;AccountKey={KEY};EndpointSuffix=core.windows.net"
    ours = storage_places.parse_connection_string(text)

    with BlobServiceClient.from_connection_string(text) as theirs:
        assert theirs.url.rstrip("/") == ours.endpoints[Service.BLOB]
        assert theirs.account_name == ours.account


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("hunter2", "has neither AccountKey nor SharedAccessSignature"),
        ("AccountName=acct", "has neither AccountKey nor SharedAccessSignature"),
        (f"AccountKey={KEY}", "has neither AccountName nor BlobEndpoint"),
        (f"BlobEndpoint={ACCOUNT};AccountKey={KEY}", "has an AccountKey but no"),
        ("AccountName=acct;AccountKey=hunter2!", "that is not base64"),
        (f"AccountName=a b;AccountKey={KEY}", "has no URL as BlobEndpoint"),
        (f"AccountName=a;QueueEndpoint=q;AccountKey={KEY}", "no URL as QueueEndpoint"),
        (
            f"BlobEndpoint={ACCOUNT}/?{SAS};SharedAccessSignature={SAS}",
            "has a query in BlobEndpoint",
        ),
    ],
)
def test_bad_connection_string_is_refused_without_showing_it(
    text: str, words: str
) -> None:
    """What is missing is named; key and signature are not."""
    with pytest.raises(NoPlaceError, match=words) as caught:
        storage_places.parse_connection_string(text)

    assert "hunter2" not in str(caught.value)
    assert KEY not in str(caught.value)


def test_key_is_of_its_own_account_alone() -> None:
    """Another account, protocol, port or service is not what the key is for."""
    told = storage_places.parse_connection_string(f"AccountName=acct;AccountKey={KEY}")

    def is_of(url: str, service: Service) -> bool:
        return told.is_of(storage_places.parse(url, service))

    assert is_of(f"{ACCOUNT}/calls", Service.BLOB)
    assert is_of("https://acct.queue.core.windows.net/calls", Service.QUEUE)
    assert not is_of("https://acct2.blob.core.windows.net/calls", Service.BLOB)
    assert not is_of(f"{ACCOUNT}:8443/calls", Service.BLOB)
    assert not is_of("https://acct.blob.evil.example/calls", Service.BLOB)
    assert not is_of("http://127.0.0.1:10000/acct/calls", Service.BLOB)


@pytest.mark.parametrize(
    ("sas", "ends_at"),
    [
        ("se=2026-12-01&sig=x", datetime(2026, 12, 1, tzinfo=UTC)),
        ("se=2026-12-01T08:30Z&sig=x", datetime(2026, 12, 1, 8, 30, tzinfo=UTC)),
        (SAS, datetime(2026, 12, 1, 8, tzinfo=UTC)),
        ("si=policy&sig=x", None),
        ("se=tomorrow&sig=x", None),
        ("", None),
    ],
)
def test_signature_says_when_it_ends(sas: str, ends_at: datetime | None) -> None:
    """A date, a time, or nothing where a stored policy decides."""
    assert storage_places.signature_ends_at(sas) == ends_at


def test_signature_is_known_as_it_stands_and_decoded() -> None:
    """A log may quote a URL, or what was made of it."""
    assert storage_places.signature_texts(SAS) == ("hunter2%2Babc%3D", "hunter2+abc=")
    assert storage_places.signature_texts("SIG=x&se=1") == ("x",)
    assert storage_places.signature_texts("") == ()
