"""Settings of how a process is seen: logs, the admin listener, OpenTelemetry.

Of OpenTelemetry's own variables only those that say whether and where are settings; the SDK
reads the others (headers, timeouts, resource attributes) from the environment by itself.
https://opentelemetry.io/docs/specs/otel/configuration/sdk-environment-variables/
"""

from typing import Annotated, Literal

from pydantic import AfterValidator, AliasGenerator, BeforeValidator, Field, SecretStr
from pydantic_settings import BaseSettings, SettingsConfigDict

from worker import settings_shapes, settings_sources
from worker.settings_shapes import Listen

SDK_DISABLED = "OTEL_SDK_DISABLED"
OTLP_ENDPOINT = "OTEL_EXPORTER_OTLP_ENDPOINT"
OTLP_METRICS_ENDPOINT = "OTEL_EXPORTER_OTLP_METRICS_ENDPOINT"
OTLP_TRACES_ENDPOINT = "OTEL_EXPORTER_OTLP_TRACES_ENDPOINT"
METRICS_EXPORTER = "OTEL_METRICS_EXPORTER"
TRACES_EXPORTER = "OTEL_TRACES_EXPORTER"
APPLICATION_INSIGHTS = "APPLICATIONINSIGHTS_CONNECTION_STRING"
CHOICE = BeforeValidator(lambda text: text.strip().casefold())
AdminListenAt = Annotated[
    Listen | None, BeforeValidator(settings_shapes.parse_admin_listen)
]
OtlpUrl = Annotated[str, AfterValidator(settings_shapes.check_http_url)]
Exporter = Annotated[str, CHOICE]
IsTrue = Annotated[bool, BeforeValidator(settings_shapes.is_true)]


def variable(field_name: str) -> str:
    return f"{settings_sources.PREFIX}{field_name.upper()}"


class ProcessFields(BaseSettings):
    """The first fields of Settings; see worker/settings_fields.py."""

    model_config = SettingsConfigDict(
        frozen=True,
        extra="forbid",
        hide_input_in_errors=True,
        alias_generator=AliasGenerator(validation_alias=variable),
    )

    log_level: Annotated[Literal["debug", "info", "warning", "error"], CHOICE] = Field(
        default="info", description="`debug`, `info`, `warning` or `error`"
    )
    log_format: Annotated[Literal["auto", "json", "console"], CHOICE] = Field(
        default="auto", description="`json`, `console`, or `auto`: json off a terminal"
    )
    admin_listen: AdminListenAt = Field(
        default=Listen(host="127.0.0.1", port=8081),
        description="`HOST:PORT` of `/metrics` and `/health`, or `off`",
    )
    sdk_disabled: IsTrue = Field(
        default=False,
        validation_alias=SDK_DISABLED,
        description="`true`: no metrics and no traces, not even at `/metrics`",
    )
    otlp_endpoint: OtlpUrl = Field(
        default="",
        validation_alias=OTLP_ENDPOINT,
        repr=False,
        description="collector that metrics and traces are sent to by OTLP over HTTP, "
        "such as `http://127.0.0.1:4318`; the other `OTEL_*` variables count as everywhere, "
        "from the environment alone",
    )
    otlp_metrics_endpoint: OtlpUrl = Field(
        default="",
        validation_alias=OTLP_METRICS_ENDPOINT,
        repr=False,
        description="the whole URL for metrics, where they go elsewhere",
    )
    otlp_traces_endpoint: OtlpUrl = Field(
        default="",
        validation_alias=OTLP_TRACES_ENDPOINT,
        repr=False,
        description="the same for traces",
    )
    metrics_exporter: Exporter = Field(
        default="otlp",
        validation_alias=METRICS_EXPORTER,
        description="`none` sends no metrics; `/metrics` shows them all the same",
    )
    traces_exporter: Exporter = Field(
        default="otlp",
        validation_alias=TRACES_EXPORTER,
        description="`none` sends no traces",
    )
    application_insights: SecretStr | None = Field(
        default=None,
        validation_alias=APPLICATION_INSIGHTS,
        description="Application Insights to send metrics and traces to; needs "
        "`pip install 'recording-worker[azure-monitor]'`",
    )

    @property
    def metrics_endpoint(self) -> str:
        """Where metrics go by OTLP; empty: nowhere, for nobody is guessed."""
        where = self.otlp_metrics_endpoint or self._below("v1/metrics")
        return "" if self.metrics_exporter == "none" else where

    @property
    def traces_endpoint(self) -> str:
        """The same of traces."""
        where = self.otlp_traces_endpoint or self._below("v1/traces")
        return "" if self.traces_exporter == "none" else where

    def _below(self, path: str) -> str:
        base = self.otlp_endpoint.rstrip("/")
        return f"{base}/{path}" if base else ""
