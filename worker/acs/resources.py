"""Which ACS resource is meant, of those that the settings name."""

from dataclasses import dataclass, field

from yarl import URL

from worker.acs.trouble import NoResourceError
from worker.settings import Settings
from worker.settings_shapes import acs_resource, connection_parts


@dataclass(frozen=True, slots=True, kw_only=True)
class Resource:
    """One ACS resource that we may ask; without a key by this machine's identity."""

    name: str
    endpoint: str
    """Without a slash at its end, which Call Automation's client would sign as a host."""
    key: str | None = field(default=None, repr=False)

    @property
    def host(self) -> str:
        return URL(self.endpoint).raw_authority


def resource_from(settings: Settings, name: str | None) -> Resource:
    """The resource of that name, or the only one. Raises NoResourceError."""
    known = {each.name: each for each in _resources(settings)}
    listed = ", ".join(sorted(known))
    # An empty name is that of a variable that nobody set.
    if not name and len(known) > 1:
        raise NoResourceError(f"say which resource is meant by --resource: {listed}")
    wanted = name.casefold().partition(".")[0] if name else next(iter(known))
    if wanted not in known:
        raise NoResourceError(f"no such ACS resource is set up here, but {listed}")
    return known[wanted]


def _resources(settings: Settings) -> list[Resource]:
    keys = [connection_parts(s.get_secret_value()) for s in settings.connection_strings]
    told = [(parts["endpoint"], parts["accesskey"]) for parts in keys]
    told += [(endpoint, "") for endpoint in settings.endpoints]
    return [
        Resource(
            name=acs_resource(endpoint),
            endpoint=endpoint.rstrip("/"),
            key=key or None,
        )
        for endpoint, key in told
    ]
