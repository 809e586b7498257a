"""The settings: the only reader of the environment.

All problems are reported at once, by the name of the variable, never with a secret. Fields
are in worker/settings_fields.py, rules over several of them in worker/settings_rules.py.
"""

import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pydantic import ValidationError
from pydantic_core import ErrorDetails

from worker import settings_rules, settings_sources
from worker.clock import SystemClock
from worker.errors import ConfigError
from worker.settings_fields import Fields
from worker.settings_rules import Use
from worker.settings_sources import EMPTY, NamedTexts, Texts

VARIABLES = {str(f.validation_alias): name for name, f in Fields.model_fields.items()}
"""Names of all variables, with the field that each one sets."""


class Settings(Fields):
    """What an operator chose, whole and checked; made by `load`."""

    @classmethod
    def load(
        cls,
        environ: Mapping[str, str],
        env_file: Path | None = None,
        *,
        use: Use = Use.SERVE,
    ) -> "Settings":
        """Settings from a mapping and a file; raises ConfigError with all problems."""
        return inspect(environ, env_file, use=use).require()


@dataclass(frozen=True, slots=True, kw_only=True)
class Inspection:
    """What the environment says, good or bad; `settings` only where all is good."""

    texts: Texts
    settings: Settings | None
    problems: tuple[str, ...]
    warnings: tuple[str, ...]

    @property
    def secrets(self) -> tuple[str, ...]:
        """Every secret text that is known here, for the redaction of logs."""
        ours = self.settings.secrets if self.settings else ()
        return (*ours, *settings_sources.foreign_secrets(self.texts.all()))

    def require(self) -> Settings:
        """Return the settings, or raise ConfigError with all problems."""
        if self.settings is None:
            raise ConfigError(list(self.problems))
        return self.settings


def inspect_process(
    env_file: Path | None, *, use: Use, overrides: Mapping[str, str] = EMPTY
) -> Inspection:
    """Inspect the environment of this process, the only place that reads it.

    `overrides` count more; an empty one unsets its variable.
    """
    return inspect(os.environ, env_file, use=use, overrides=overrides)


def inspect(
    environ: Mapping[str, str],
    env_file: Path | None = None,
    *,
    use: Use,
    overrides: Mapping[str, str] = EMPTY,
) -> Inspection:
    """Find all problems at once. Raises ConfigError only when the file can't be read."""
    texts = settings_sources.read_texts(environ, env_file, overrides=overrides)
    named = texts.all()
    settings, invalid = _validated(named)
    problems = (
        *settings_sources.name_problems(named, VARIABLES),
        *(problem for _, problem in invalid),
        *settings_rules.problems(
            settings, use=use, invalid={field for field, _ in invalid}
        ),
    )
    return Inspection(
        texts=texts,
        settings=None if problems else settings,
        problems=problems,
        warnings=(
            *settings_sources.name_warnings(named, VARIABLES),
            *settings_sources.unread(texts, VARIABLES),
            *settings_rules.signature_warnings(settings, now=SystemClock().now()),
        ),
    )


def _validated(texts: Mapping[str, str]) -> tuple[Settings, list[tuple[str, str]]]:
    """Settings from what is valid, defaults for the rest; and what is not, by field."""
    try:
        return _settings_from(texts), []
    except ValidationError as error:
        details = error.errors(include_url=False, include_input=False)
    invalid = [(str(detail["loc"][0]), _words_for(detail)) for detail in details]
    wrong = {variable for variable, _ in invalid}
    good = {name: text for name, text in texts.items() if name not in wrong}
    problems = [(VARIABLES[name], f"{name}: {words}") for name, words in invalid]
    return _settings_from(good), problems


def _settings_from(texts: Mapping[str, str]) -> Settings:
    source = NamedTexts(Settings, texts)
    given: dict[str, Any] = {"_build_sources": ((source,), {})}
    return Settings(**given)


_WORDS = {
    "int_parsing": "must be a whole number",
    "greater_than_equal": "must be at least {ge}",
    "less_than_equal": "must be at most {le}",
    "literal_error": "must be {expected}",
    "string_pattern_mismatch": "must match {pattern}",
    "value_error": "{error}",
}


def _words_for(detail: ErrorDetails) -> str:
    words = _WORDS.get(detail["type"], "is not valid")
    _, *entry = detail["loc"]
    # By its number: what is not valid here may be a secret that belongs elsewhere.
    which = f"entry {int(entry[0]) + 1} " if entry else ""
    return which + words.format(**detail.get("ctx", {}))
