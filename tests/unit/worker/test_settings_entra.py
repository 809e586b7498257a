"""Settings that say whose tokens a delivery may bear."""

import pytest

from worker import settings
from worker.settings import Settings
from worker.settings_rules import Use

TENANT = "11111111-2222-3333-4444-5555555555AA"
APPLICATION = "99999999-8888-7777-6666-5555555555BB"
LOOPBACK = {"WORKER_SOURCE_HOSTS": "127.0.0.1:7700"}
BOTH = {
    "WORKER_WEBHOOK_ENTRA_TENANT": TENANT,
    "WORKER_WEBHOOK_ENTRA_AUDIENCES": APPLICATION,
}


def load(**variables: str) -> Settings:
    return Settings.load(LOOPBACK | BOTH | variables, use=Use.WEBHOOK)


def problems(**variables: str) -> list[str]:
    return list(settings.inspect(LOOPBACK | variables, use=Use.WEBHOOK).problems)


def test_tenant_and_audience_are_enough() -> None:
    """The rest has defaults: Event Grid's applications, and the public authority."""
    chosen = load()

    assert chosen.webhook_entra_tenant == TENANT.lower()
    assert chosen.webhook_entra_audiences == (APPLICATION.lower(),)
    assert chosen.webhook_entra_callers == (
        "4962773b-9cdb-44cf-a8bf-237846a00ab7",
        "54316b56-3481-47f9-8f30-0300f5542a7b",
    )
    assert chosen.webhook_entra_role == ""
    assert chosen.webhook_entra_authority == "https://login.microsoftonline.com"


def test_everything_can_be_said() -> None:
    """Lists between commas; ids in any case; an authority with a slash or without."""
    chosen = load(
        WORKER_WEBHOOK_ENTRA_AUDIENCES=f"{APPLICATION}, api://Calls.example/x,https://a.b/c",
        WORKER_WEBHOOK_ENTRA_CALLERS=f" {APPLICATION} ,{TENANT}",
        WORKER_WEBHOOK_ENTRA_ROLE="AzureEventGridSecureWebhookSubscriber",
        WORKER_WEBHOOK_ENTRA_AUTHORITY="https://Login.MicrosoftOnline.us/",
    )

    assert chosen.webhook_entra_audiences == (
        APPLICATION.lower(),
        "api://calls.example/x",
        "https://a.b/c",
    )
    assert chosen.webhook_entra_callers == (APPLICATION.lower(), TENANT.lower())
    assert chosen.webhook_entra_role == "AzureEventGridSecureWebhookSubscriber"
    assert chosen.webhook_entra_authority == "https://login.microsoftonline.us"


@pytest.mark.parametrize(
    ("name", "text", "words"),
    [
        ("TENANT", "contoso.onmicrosoft.com", "must be a GUID: az account show"),
        ("TENANT", f"{TENANT}/../common", "must be a GUID"),
        ("TENANT", " ", "must be a GUID"),
        ("TENANT", f"{TENANT},{TENANT}", "must be a GUID"),
        ("AUDIENCES", "recordings", "entry 1 is neither the GUID of an application"),
        ("AUDIENCES", f"{APPLICATION},http://a.b", "entry 2 is neither"),
        ("AUDIENCES", "api://", "entry 1 is neither"),
        ("AUDIENCES", "api://a?code=hunter2", "entry 1 is neither"),
        ("AUDIENCES", "api://hunter2@a", "entry 1 is neither"),
        ("CALLERS", "Microsoft.EventGrid", "entry 1 is not the GUID of an application"),
        ("CALLERS", ",", "must have at least one entry"),
        ("ROLE", "two words", "must match"),
        ("AUTHORITY", "login.microsoftonline.us", "must be https://HOST"),
        ("AUTHORITY", "http://login.microsoftonline.us", "must be https://HOST"),
        (
            "AUTHORITY",
            "https://login.microsoftonline.us/common",
            "must be https://HOST",
        ),
        ("AUTHORITY", "https://u:hunter2@a.b", "must be https://HOST"),
        ("AUTHORITY", "https://a.b?sig=hunter2", "must be https://HOST"),
        ("AUTHORITY", "http://127.0.0.1", "must be https://HOST"),
        ("AUTHORITY", "file://127.0.0.1:80", "must be https://HOST"),
    ],
)
def test_malformed_text_is_one_line(name: str, text: str, words: str) -> None:
    """The variable, and what it must be."""
    (problem,) = problems(**BOTH | {f"WORKER_WEBHOOK_ENTRA_{name}": text})

    assert problem.startswith(f"WORKER_WEBHOOK_ENTRA_{name}: ")
    assert words in problem
    assert "hunter2" not in problem


def test_authority_on_this_machine_may_be_plain_http() -> None:
    """For tests; nobody listens in between."""
    for url in ("http://127.0.0.1:7701", "https://localhost:7701"):
        chosen = load(WORKER_WEBHOOK_ENTRA_AUTHORITY=url)

        assert chosen.webhook_entra_authority == url


def test_tenant_alone_names_nobody() -> None:
    """A tenant issues tokens for many: those for this endpoint must be named."""
    (problem,) = problems(WORKER_WEBHOOK_ENTRA_TENANT=TENANT)

    assert problem.startswith("WORKER_WEBHOOK_ENTRA_AUDIENCES: must be set")


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("AUDIENCES", APPLICATION),
        ("CALLERS", APPLICATION),
        ("ROLE", "Subscriber"),
        ("AUTHORITY", "https://login.microsoftonline.us"),
    ],
)
def test_nothing_stands_without_a_tenant(name: str, text: str) -> None:
    """Whoever sets it means to ask for tokens, and none would be asked for."""
    variable = f"WORKER_WEBHOOK_ENTRA_{name}"

    assert problems(**{variable: text}) == [
        f"{variable}: does nothing without WORKER_WEBHOOK_ENTRA_TENANT"
    ]


def test_malformed_tenant_is_one_problem_and_not_two() -> None:
    """The rules wait for a valid one."""
    texts = BOTH | {"WORKER_WEBHOOK_ENTRA_TENANT": "x", "WORKER_LISTEN": "0.0.0.0:80"}

    (problem,) = problems(**texts)

    assert problem.startswith("WORKER_WEBHOOK_ENTRA_TENANT: ")


@pytest.mark.parametrize(
    "guard",
    [
        {"WORKER_WEBHOOK_KEYS": "a-key"},
        BOTH,
        BOTH | {"WORKER_WEBHOOK_KEYS": "a-key"},
        {"WORKER_WEBHOOK_AUTH": "none"},
    ],
)
@pytest.mark.parametrize(
    "listen", ["0.0.0.0:8080", "[::]:8080", "10.1.2.3:80", "web:80"]
)
def test_listening_beyond_loopback_needs_one_guard(
    listen: str, guard: dict[str, str]
) -> None:
    """Keys, a tenant, or the word that neither is wanted."""
    (problem,) = problems(WORKER_LISTEN=listen)

    assert problem.startswith("WORKER_WEBHOOK_KEYS: must be set to listen beyond")
    assert "WORKER_WEBHOOK_ENTRA_TENANT" in problem
    assert "WORKER_WEBHOOK_AUTH=none" in problem
    assert problems(WORKER_LISTEN=listen, **guard) == []
