"""The settings for people: documents and `config` show the same."""

from dataclasses import dataclass

from pydantic import SecretStr
from pydantic.fields import FieldInfo

from worker.settings_fields import Fields
from worker.settings_process import ProcessFields


@dataclass(frozen=True, slots=True, kw_only=True)
class Described:
    """One setting."""

    variable: str
    default: str
    help: str
    is_secret: bool


def described() -> list[Described]:
    """All settings, in order: what the worker does, then how it is seen."""
    fields = Fields.model_fields
    own = [name for name in fields if name not in ProcessFields.model_fields]
    return [_described(fields[name]) for name in (*own, *ProcessFields.model_fields)]


def _described(field: FieldInfo) -> Described:
    limits = {
        name: getattr(limit, name)
        for limit in field.metadata
        for name in ("ge", "le")
        if hasattr(limit, name)
    }
    between = " ({ge} to {le})".format(**limits) if limits else ""
    return Described(
        variable=str(field.validation_alias),
        default=_default_text(field),
        help=f"{field.description}{between}",
        is_secret=field.annotation in _SECRETS,
    )


_SECRETS = (tuple[SecretStr, ...], SecretStr | None)


def _default_text(field: FieldInfo) -> str:
    if field.default_factory is not None:
        return "HOST-PID"
    if isinstance(field.default, tuple):
        return ",".join(field.default)
    return "" if field.default is None else str(field.default)
