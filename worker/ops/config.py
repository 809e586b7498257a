"""The effective settings and where each came from, secrets masked."""

from collections.abc import Mapping
from dataclasses import dataclass

from worker.log import Redaction
from worker.settings import Inspection
from worker.settings_described import Described, described
from worker.settings_fields import CONNECTION_STRING, STORAGE_CONNECTION_STRING
from worker.settings_shapes import connection_parts, why_no_connection
from worker.storage_places import NoPlaceError, parse_connection_string

MASK = "***"


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
    rows = [
        ConfigRow(
            variable=setting.variable,
            value=_shown(setting, texts),
            origin=inspection.texts.origin(setting.variable),
            help=setting.help,
        )
        for setting in described()
    ]
    return ConfigReport(
        settings=tuple(rows),
        problems=inspection.problems,
        warnings=inspection.warnings,
    )


def _shown(setting: Described, texts: Mapping[str, str]) -> str:
    text = texts.get(setting.variable, setting.default)
    if setting.variable == CONNECTION_STRING:
        return " ".join(_masked_connection(part) for part in text.split())
    if setting.variable == STORAGE_CONNECTION_STRING and text:
        return _masked_account(text)
    if setting.is_secret:
        return ",".join(MASK for part in text.split(",") if part.strip())
    # Whoever puts a signed URL where none belongs should not find it in a ticket.
    return Redaction().redacted(text)


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
