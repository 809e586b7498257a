"""Application Insights, and nobody else: its exporter phones nowhere by itself."""

import os
from collections.abc import Iterator
from contextlib import contextmanager

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


@contextmanager
def making() -> Iterator[None]:
    """While one of its exporters is imported and made, from a connection string that is a
    secret: none of it is told. Raises ConfigError.
    """
    for name in SWITCHES:
        os.environ.setdefault(name, "true")
    try:
        yield
    except ImportError:
        why = f"{APPLICATION_INSIGHTS}: needs azure-monitor-opentelemetry"
        raise ConfigError([why], hint=INSTALL) from None
    except ValueError:
        why = f"{APPLICATION_INSIGHTS}: is not a connection string"
        raise ConfigError([why]) from None
