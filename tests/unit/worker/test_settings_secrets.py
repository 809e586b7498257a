"""A setting that is secret is one everywhere: masked when shown, and known to the log."""

from typing import Any

import pytest
from pydantic import SecretStr

from worker.settings_described import described
from worker.settings_fields import Fields

SECRET = {
    name: field
    for name, field in Fields.model_fields.items()
    if "SecretStr" in str(field.annotation)
}
SHAPED = {
    "connection_strings": "endpoint=https://calls.communication.azure.com/;accesskey=a2V5",
    "storage_connection_string": "AccountName=acc;AccountKey=a2V5;EndpointSuffix=core.windows.net",
}


@pytest.mark.parametrize("name", SECRET)
def test_secret_setting_is_known_to_the_log(name: str) -> None:
    """Redaction blanks what it is given, and nothing else."""
    secret = SecretStr(SHAPED.get(name, "hunter2"))
    is_one = "tuple" not in str(SECRET[name].annotation)
    values: dict[str, Any] = {name: secret if is_one else (secret,)}

    chosen = Fields.model_construct(**values)

    assert secret.get_secret_value() in chosen.secrets


def test_secret_setting_is_masked_when_shown() -> None:
    """`config` prints every setting."""
    masked = {setting.variable for setting in described() if setting.is_secret}

    assert masked == {str(field.validation_alias) for field in SECRET.values()}
