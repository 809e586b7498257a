"""Application Insights, and nobody else: its exporter phones nowhere by itself."""

import os

from worker.errors import ConfigError
from worker.settings_process import APPLICATION_INSIGHTS

INSTALL = "pip install 'recording-worker[azure-monitor]'"
SWITCHES = (
    "APPLICATIONINSIGHTS_STATSBEAT_DISABLED_ALL",
    "APPLICATIONINSIGHTS_CONTROLPLANE_DISABLED",
    "APPLICATIONINSIGHTS_SDKSTATS_DISABLED",
)
"""The exporter reads these from the environment alone: usage statistics to Microsoft (and for
them a question to the machine's metadata service), its settings from Microsoft, and its own
statistics among the user's. Off, unless somebody says `false`.
https://learn.microsoft.com/azure/azure-monitor/app/statsbeat
"""


def switch_off_its_own() -> None:
    """Before the exporter is made, which asks once."""
    for name in SWITCHES:
        os.environ.setdefault(name, "true")


def lacking() -> ConfigError:
    """Its package is not there."""
    why = f"{APPLICATION_INSIGHTS}: needs azure-monitor-opentelemetry"
    return ConfigError([why], hint=INSTALL)


def malformed() -> ConfigError:
    """It can't be a connection string, which is a secret: none of it is told."""
    why = f"{APPLICATION_INSIGHTS}: is not a connection string"
    return ConfigError([why])
