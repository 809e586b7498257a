"""Where the global host sent us for an object, so that the next range goes there at once."""

from collections import OrderedDict

from yarl import URL

MOST_ROUTES = 1024
OBJECT_SEGMENTS = 4
"""`/v1/objects/ID`: content and metadata of one object live in one region."""


class RegionalHosts:
    """Remembered redirects that changed nothing but the host; least recently used go."""

    def __init__(self, most: int = MOST_ROUTES) -> None:
        self._most = most
        self._origins: OrderedDict[tuple[str, str], str] = OrderedDict()

    def shortcut(self, url: URL) -> str:
        """Return the location to ask instead of `url`; `url` itself if none is known."""
        key = _key(url)
        origin = self._origins.get(key)
        if origin is None:
            return str(url)
        self._origins.move_to_end(key)
        return origin + url.raw_path_qs

    def learn(self, url: URL, answered: URL) -> None:
        """Remember that `url` was answered by `answered`."""
        if url.raw_path_qs != answered.raw_path_qs or _origin(url) == _origin(answered):
            return
        self._origins[_key(url)] = _origin(answered)
        while len(self._origins) > self._most:
            self._origins.popitem(last=False)

    def forget(self, url: URL) -> None:
        """Ask the global host again next time."""
        self._origins.pop(_key(url), None)


def _origin(url: URL) -> str:
    return f"{url.scheme}://{url.raw_authority}"


def _key(url: URL) -> tuple[str, str]:
    segments = url.raw_path.split("/")[:OBJECT_SEGMENTS]
    return _origin(url), "/".join(segments)
