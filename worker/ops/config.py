"""The effective settings and where each came from, secrets masked."""

import re
from collections.abc import Mapping
from dataclasses import dataclass

from worker.log import Redaction
from worker.settings import Inspection
from worker.settings_described import Described, described
from worker.settings_fields import CONNECTION_STRING, STORAGE_CONNECTION_STRING
from worker.settings_shapes import connection_parts, why_no_connection
from worker.storage_places import NoPlaceError, parse_connection_string

MASK = "***"
_IN_CONNECTION = re.compile(
    r"(?i)(?:accesskey|accountkey|sharedaccesssignature)\s*=\s*([^;\s]+)"
)


@dataclass(frozen=True, slots=True, kw_only=True)
class ConfigRow:
    """One setting; part of `config --json`: additions only."""

    variable: str
    value: str
    origin: str
    help: str


@dataclass(frozen=True, slots=True, kw_only=True)
class ConfigReport:
    """All settings; JSON fields of `config --json`: additions only."""

    settings: tuple[ConfigRow, ...]
    problems: tuple[str, ...]
    warnings: tuple[str, ...]


def config_report(inspection: Inspection) -> ConfigReport:
    """Show what was given, good or bad, and defaults for the rest."""
    texts = inspection.texts.all()
    redacted = Redaction(_secrets(texts)).redacted
    rows = [
        ConfigRow(
            variable=setting.variable,
            value=_masked(setting, texts) or redacted(_plain(setting, texts)),
            origin=inspection.texts.origin(setting.variable),
            help=setting.help,
        )
        for setting in described()
    ]
    return ConfigReport(
        settings=tuple(rows),
        problems=tuple(map(redacted, inspection.problems)),
        warnings=tuple(map(redacted, inspection.warnings)),
    )


def _masked(setting: Described, texts: Mapping[str, str]) -> str:
    """What is to be seen of a secret; nothing of another setting."""
    text = _plain(setting, texts)
    if setting.variable == CONNECTION_STRING:
        return " ".join(_masked_connection(part) for part in text.split())
    if setting.variable == STORAGE_CONNECTION_STRING and text:
        return _masked_account(text)
    if setting.is_secret:
        return ",".join(MASK for part in text.split(",") if part.strip())
    return ""


def _plain(setting: Described, texts: Mapping[str, str]) -> str:
    return texts.get(setting.variable, setting.default)


def _secrets(texts: Mapping[str, str]) -> list[str]:
    """All that is secret, valid or not: it may stand where it does not belong as well."""
    found = []
    for setting in described():
        text = texts.get(setting.variable, "") if setting.is_secret else ""
        if setting.variable in {CONNECTION_STRING, STORAGE_CONNECTION_STRING}:
            found += _IN_CONNECTION.findall(text)
        else:
            found += [part.strip() for part in text.split(",")]
    return found


def _masked_account(text: str) -> str:
    """Which account, and by what; the endpoints were checked to hold no signature."""
    try:
        account = parse_connection_string(text)
    except NoPlaceError:
        return MASK
    parts = [f"AccountName={account.account}"] if account.account else []
    for service, endpoint in account.endpoints.items():
        parts += [f"{service.title()}Endpoint={endpoint}"] if endpoint else []
    kind = "AccountKey" if account.key else "SharedAccessSignature"
    return ";".join([*parts, f"{kind}={MASK}"])


def _masked_connection(text: str) -> str:
    parts = connection_parts(text)
    if why_no_connection(parts):
        return MASK
    return f"endpoint={parts['endpoint']};accesskey={MASK}"
