"""Locations off the allow-list are refused, however they are dressed."""

import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from yarl import URL

from worker.errors import HostNotAllowedError
from worker.sources.hosts import MAX_LOCATION_CHARS, HostRules, is_loopback

RULES = HostRules(
    [".asm.skype.com", "Exact.example.org", "127.0.0.1:8080", "[::1]:9", "localhost:7"]
)
PATH = "/v1/objects/0-eus-d1-abc/content/video"

ALLOWED = [
    f"https://storage.asm.skype.com{PATH}",
    f"https://us-storage.asm.skype.com{PATH}?a=b&c=%20d?e/f",
    f"https://a.b.asm.skype.com{PATH}",
    f"https://exact.example.org{PATH}",
    "https://storage.asm.skype.com/v1/objects/a%20b/..c/d../...;e=f/%252B",
    f"http://127.0.0.1:8080{PATH}",
    f"https://127.0.0.1:8080{PATH}",
    f"http://[::1]:9{PATH}",
    f"http://localhost:7{PATH}",
]
REFUSED = [
    "",
    "storage.asm.skype.com",
    f"http://storage.asm.skype.com{PATH}",
    f"ftp://storage.asm.skype.com{PATH}",
    f"//storage.asm.skype.com{PATH}",
    f"https:storage.asm.skype.com{PATH}",
    f"https:///storage.asm.skype.com{PATH}",
    "https://storage.asm.skype.com",
    f"https://asm.skype.com{PATH}",
    f"https://.asm.skype.com{PATH}",
    f"https://evilasm.skype.com{PATH}",
    f"https://storage.asm.skype.com.evil.com{PATH}",
    f"https://storage.asm.skype.com.{PATH}",
    f"https://storage..asm.skype.com{PATH}",
    f"https://-a.asm.skype.com{PATH}",
    f"https://evil.com{PATH}",
    f"https://sub.exact.example.org{PATH}",
    f"https://exact.example.org:8443{PATH}",
    f"https://storage.asm.skype.com:80{PATH}",
    f"https://storage.asm.skype.com:0{PATH}",
    f"https://storage.asm.skype.com:99999{PATH}",
    f"https://storage.asm.skype.com:{PATH}",
    f"https://user@storage.asm.skype.com{PATH}",
    f"https://user:word@storage.asm.skype.com{PATH}",
    f"https://storage.asm.skype.com@evil.com{PATH}",
    f"https://evil.com\\@storage.asm.skype.com{PATH}",
    f"https://evil.com#@storage.asm.skype.com{PATH}",
    f"https://evil.com?@storage.asm.skype.com{PATH}",
    f"https://evil.com/@storage.asm.skype.com{PATH}",
    f"https://evil.com%2f.asm.skype.com{PATH}",
    f"https://evil.com%00.asm.skype.com{PATH}",
    f"https://xn--80ak6aa92e.asm.skype.com{PATH}",
    f"https://störage.asm.skype.com{PATH}",
    f"https://storage。asm.skype.com{PATH}",
    f"https://ⓢtorage.asm.skype.com{PATH}",
    f"https://storage_a.asm.skype.com{PATH}",
    f"https://{'a' * 64}.asm.skype.com{PATH}",
    f"https://{'a.' * 130}asm.skype.com{PATH}",
    f"https://storage.asm.skype.com{PATH}#fragment",
    f"https://storage.asm.skype.com{PATH}\n",
    f"https://storage.asm.skype.com{PATH}\r\nX-Evil: 1",
    f"https://storage.asm.skype.com{PATH} x",
    f" https://storage.asm.skype.com{PATH}",
    f"https://storage.asm.skype.com{PATH}\\x",
    f"https://storage.asm.skype.com{PATH}%zz",
    f"https://storage.asm.skype.com{PATH}/é",
    f"https://storage.asm.skype.com{PATH}/\x00",
    "https://storage.asm.skype.com/v1/objects/a/../b",
    "https://storage.asm.skype.com/v1/objects/a/%2e%2E/b",
    "https://storage.asm.skype.com/v1/objects/a%2F..%2Fb",
    "https://storage.asm.skype.com/v1/objects/a/..%5Cb",
    "https://storage.asm.skype.com/./v1",
    "https://storage.asm.skype.com/v1/objects/a/..;/b",
    "https://storage.asm.skype.com/v1/objects/a/..;jsession=1/b",
    "https://storage.asm.skype.com/v1/objects/a/%2e%2e%3b/b",
    "https://storage.asm.skype.com/v1/objects/a/%252e%252e/b",
    "https://storage.asm.skype.com/v1/objects/a%252f..%252fb",
    "https://storage.asm.skype.com/v1/objects/a/%25252e%25252e/b",
    "https://storage.asm.skype.com/v1/objects/a/..%20/b",
    "https://storage.asm.skype.com/v1/objects/a/..%09/b",
    "https://storage.asm.skype.com/v1/objects/a/..%00/b",
    "https://storage.asm.skype.com/v1/objects/a%00b",
    "https://storage.asm.skype.com/v1/objects/a%0d%0aHost:%20evil.com",
    "https://storage.asm.skype.com/v1/objects/a%250ab",
    "https://storage.asm.skype.com/v1/objects/a%2525252525b",
    f"https://storage.asm.skype.com/{'a' * 4096}",
    f"https://127.0.0.1{PATH}",
    f"http://127.0.0.1{PATH}",
    f"http://127.0.0.1:8081{PATH}",
    f"http://127.1:8080{PATH}",
    f"http://2130706433:8080{PATH}",
    f"http://0x7f.0.0.1:8080{PATH}",
    f"http://127.0.0.2:8080{PATH}",
    f"http://[::1]:8080{PATH}",
    f"http://[::ffff:127.0.0.1]:8080{PATH}",
    f"http://localhost:8080{PATH}",
    f"http://localhost.:7{PATH}",
    f"https://8.8.8.8{PATH}",
    f"https://[2001:db8::1]{PATH}",
    f"https://169.254.169.254{PATH}",
    f"https://0251.0376.0251.0376{PATH}",
    f"https://0xa9fea9fe{PATH}",
    f"https://2852039166{PATH}",
    f"https://169.254.43518{PATH}",
    f"https://[::ffff:169.254.169.254]{PATH}",
    f"https://[fe80::1%25eth0]{PATH}",
    f"https://[fd00:ec2::254]{PATH}",
    f"https://169.254.169.254.asm.skype.com@169.254.169.254{PATH}",
]


@pytest.mark.parametrize("location", ALLOWED)
def test_hosts_allow_what_is_listed(location: str) -> None:
    """A plain URL on a listed host passes unchanged."""
    checked = RULES.check(location)

    assert str(checked) == location


@pytest.mark.parametrize("location", REFUSED)
def test_hosts_refuse_everything_else(location: str) -> None:
    """Anything but a plain https URL on a listed host is refused."""
    with pytest.raises(HostNotAllowedError):
        RULES.check(location)


def test_hosts_allow_the_default_port() -> None:
    """Port 443 said outright is the same as none."""
    checked = RULES.check(f"https://a.b.asm.skype.com:443{PATH}")

    assert checked.port == 443


def test_hosts_dial_the_host_in_lower_case() -> None:
    """Case in scheme-less parts is no way around the list, and what is dialled is checked."""
    checked = RULES.check(f"https://US-Storage.ASM.Skype.com{PATH}")

    assert checked.raw_host == "us-storage.asm.skype.com"


def test_hosts_keep_the_encoding_of_the_path() -> None:
    """What is signed and sent is the path as the event had it."""
    checked = RULES.check("https://storage.asm.skype.com/v1/%61/b%2Bc;d?e=%2f")

    assert checked.raw_path_qs == "/v1/%61/b%2Bc;d?e=%2f"


@given(st.text())
@example("https://storage.asm.skype.com/\ud800")
def test_hosts_never_crash_on_text(location: str) -> None:
    """Any text is allowed or refused, and nothing else happens."""
    try:
        RULES.check(location)
    except HostNotAllowedError:
        return


pieces = st.sampled_from(
    (
        *("https://", "http://", "storage", ".asm.skype.com", "evil.com", "é"),
        *("@", "/", "\\", "#", "?", ":", "443", "8080", "%40", "%2f", ".", ".."),
        *(" ", "127.0.0.1", "[::1]"),
    )
)


@given(st.lists(pieces, max_size=10).map("".join))
def test_hosts_agree_with_the_parser_that_dials(location: str) -> None:
    """What passes has, for the client's own parser, a listed host and no login."""
    try:
        checked = RULES.check(location)
    except HostNotAllowedError:
        return

    dialled = URL(str(checked))
    listed = (dialled.host or "").endswith(".asm.skype.com") and dialled.port == 443
    assert listed or (dialled.host, dialled.port) == ("127.0.0.1", 8080)
    assert dialled.user is None
    assert dialled.scheme == "https" or is_loopback(dialled)


@pytest.mark.parametrize("tail", ["a", "?", "%41", "a?", "/", "-"])
@pytest.mark.parametrize("before", ["/", "/?", "/a?b"])
def test_hosts_refuse_a_long_location_in_one_pass(before: str, tail: str) -> None:
    """An event can't hold up the worker with a location that almost matches."""
    start = f"https://eu.asm.skype.com{before}"
    location = start + tail * ((MAX_LOCATION_CHARS - len(start)) // len(tail) - 1)

    assert str(RULES.check(location)).startswith(start)
    with pytest.raises(HostNotAllowedError, match="not a plain https URL"):
        RULES.check(location + " ")


@pytest.mark.parametrize(
    ("where", "shown"),
    [
        ("https://evil.com", "evil.com"),
        ("https://127.0.0.1:8081", "127.0.0.1:8081"),
        ("https://storage.asm.skype.com:8443", "storage.asm.skype.com:8443"),
        ("http://storage.asm.skype.com", "http://storage.asm.skype.com"),
    ],
)
def test_hosts_say_where_but_no_path(where: str, shown: str) -> None:
    """What decided, and the setting; the path, which can hold secrets, stays out of it."""
    with pytest.raises(HostNotAllowedError) as caught:
        RULES.check(f"{where}/v1/objects/secret?sig=secret")

    said = "is not an allowed source host: WORKER_SOURCE_HOSTS lists them"
    assert str(caught.value) == f"{shown} {said}"


@pytest.mark.parametrize(
    "pattern",
    [
        *("", ".", "..com", "a..com", "com", "*.skype.com", "xn--a.com"),
        *("https://a.com", "a.com:8443", "10.0.0.1"),
        *("127.0.0.1", "127.0.0.1:0", "localhost:70000"),
    ],
)
def test_hosts_refuse_bad_patterns(pattern: str) -> None:
    """An entry that is no suffix, host or loopback address with port is a mistake."""
    with pytest.raises(ValueError, match="not a"):
        HostRules([pattern])


def test_hosts_know_when_all_is_loopback() -> None:
    """Defaults that apply only on this machine can ask whether that is so."""
    assert HostRules(["127.0.0.1:1", " LOCALHOST:2 "]).loopback_only
    assert not RULES.loopback_only
    assert not HostRules(["a.example.org"]).loopback_only


def test_hosts_without_rules_refuse_everything() -> None:
    """An empty list allows nothing."""
    with pytest.raises(HostNotAllowedError):
        HostRules([]).check(ALLOWED[0])
