"""Redirects are remembered per object, and forgotten."""

from yarl import URL

from worker.sources.routes import RegionalHosts

CONTENT = URL("https://storage.example.com/v1/objects/a/content/video", encoded=True)
METADATA = URL("https://storage.example.com/v1/objects/a/content/meta", encoded=True)
OTHER = URL("https://storage.example.com/v1/objects/b/content/video", encoded=True)
REGIONAL = URL("https://us.example.com/v1/objects/a/content/video", encoded=True)


def test_route_is_shared_by_the_parts_of_an_object() -> None:
    """What was learned for the content serves the metadata, and no other object."""
    routes = RegionalHosts()

    routes.learn(CONTENT, REGIONAL)

    assert routes.shortcut(CONTENT) == str(REGIONAL)
    assert routes.shortcut(METADATA).startswith("https://us.example.com/v1/objects/a/")
    assert routes.shortcut(OTHER) == str(OTHER)


def test_route_that_changes_the_path_is_not_remembered() -> None:
    """A redirect to elsewhere on the host says nothing about the next request."""
    routes = RegionalHosts()

    routes.learn(CONTENT, URL("https://us.example.com/elsewhere", encoded=True))
    routes.learn(CONTENT, CONTENT)

    assert routes.shortcut(CONTENT) == str(CONTENT)


def test_route_is_forgotten() -> None:
    """After a failure the global host is asked again."""
    routes = RegionalHosts()
    routes.learn(CONTENT, REGIONAL)

    routes.forget(METADATA)
    routes.forget(METADATA)

    assert routes.shortcut(CONTENT) == str(CONTENT)


def test_routes_are_bounded() -> None:
    """The object that was not asked for longest goes first."""
    routes = RegionalHosts(most=2)
    objects = [CONTENT.with_path(f"/v1/objects/{name}/content") for name in "abc"]
    for url in objects[:2]:
        routes.learn(url, url.with_host("us.example.com"))
    routes.shortcut(objects[0])

    routes.learn(objects[2], objects[2].with_host("us.example.com"))

    known = [routes.shortcut(url) != str(url) for url in objects]
    assert known == [True, False, True]
