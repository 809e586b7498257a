"""The component of deploy/kubernetes/inbox/: no webhook, and the consumer reads the inbox.

Applied here as kustomize does, as far as ours goes: what is deleted, what is merged, what is
added; where there is a kubectl, it has to make the same of it.
"""

import copy
import re
import shutil
import subprocess
from pathlib import Path
from typing import Any

import kubernetes_validate  # type: ignore[import-untyped]
import pytest
import yaml

from tests.deploy import plan, test_bicep, test_kubernetes
from worker.settings import Settings
from worker.settings_rules import Use

FOLDER = test_kubernetes.FOLDER / "inbox"
COMPONENT = yaml.safe_load((FOLDER / "kustomization.yaml").read_text(encoding="utf-8"))
KUBECTL = shutil.which("kubectl")
Named = dict[tuple[str, str], dict[str, Any]]


def applied() -> Named:
    """All objects, by kind and name."""
    objects = {
        (each["kind"], each.get("metadata", {}).get("name", "")): copy.deepcopy(each)
        for each in test_kubernetes.OBJECTS
    }
    for each in COMPONENT["patches"]:
        patch = yaml.safe_load(each["patch"])
        if isinstance(patch, list):
            _add(objects[each["target"]["kind"], each["target"]["name"]], patch)
            continue
        key = (patch["kind"], patch["metadata"]["name"])
        assert patch["metadata"]["namespace"] == objects[key]["metadata"]["namespace"]
        assert patch["apiVersion"] == objects[key]["apiVersion"]
        if patch.get("$patch") == "delete":
            del objects[key]
        else:
            _merge(objects[key], patch)
    return objects


def _add(into: dict[str, Any], patch: list[dict[str, Any]]) -> None:
    for each in patch:
        *path, last = each["path"].strip("/").split("/")
        assert (each["op"], last) == ("add", "-")
        found: Any = into
        for step in path:
            found = found[step]
        found.append(each["value"])


def _merge(into: dict[str, Any], patch: dict[str, Any]) -> None:
    """Lists by the names in them."""
    for key, value in patch.items():
        if isinstance(value, dict):
            _merge(into[key], value)
        elif isinstance(value, list):
            known = {each["name"]: each for each in into[key]}
            for each in value:
                if each["name"] in known:
                    _merge(known[each["name"]], each)
                else:
                    into[key].append(each)
        else:
            into[key] = value


def test_base_says_how_it_is_switched_on() -> None:
    """A component and no overlay: a base that holds its overlay is a cycle to kustomize."""
    text = (test_kubernetes.FOLDER / "kustomization.yaml").read_text(encoding="utf-8")

    assert COMPONENT["kind"] == "Component"
    assert re.search(rf"^# components: \[{FOLDER.name}\]", text, re.MULTILINE)


def test_nothing_of_the_webhook_is_left() -> None:
    left = applied()

    assert [key for key in left if key[1] in {"webhook", "deliveries"}] == []
    assert ("Deployment", "consumer") in left


def test_consumer_reads_the_inbox_that_the_template_makes() -> None:
    """The code reads its settings, and the address is the one of the plan."""
    consumer = applied()["Deployment", "consumer"]
    (container,) = consumer["spec"]["template"]["spec"]["containers"]
    own = {
        each["name"]: each.get("value", test_kubernetes.ACS_KEY)
        for each in container["env"]
    }
    shared = applied()["ConfigMap", "recording-worker"]["data"]
    made = plan.plan(
        test_bicep.MAIN,
        test_bicep.CLUSTER | {"receive": "inbox", "webhookEndpoint": ""},
    )
    account = str(made.outputs["storageAccountName"])
    filled_in = own["WORKER_INBOX"].replace("YOURACCOUNT", account)

    settings = Settings.load({**shared, **own}, use=Use.CONSUME)

    assert settings.inbox_place is not None
    assert settings.inbox_place.name == "inbox"
    assert filled_in == made.outputs["queue"].replace("/chunks", "/inbox")
    kubernetes_validate.validate(consumer, test_kubernetes.VERSIONS[-1], strict=True)


def test_consumer_is_scaled_by_the_inbox_too() -> None:
    triggers = applied()["ScaledObject", "consumer"]["spec"]["triggers"]
    first, *_, last = triggers

    assert [each["metadata"]["queueName"] for each in triggers] == [
        *("chunks", "chunks-urgent", "inbox"),
    ]
    same = {**first["metadata"], "queueName": "inbox"}
    assert last == {**first, "metadata": same}


@pytest.mark.skipif(KUBECTL is None, reason="takes kubectl")
def test_kustomize_makes_the_same_of_it(tmp_path: Path) -> None:
    """With the line of the base that switches it on."""
    assert KUBECTL is not None
    folder = shutil.copytree(test_kubernetes.FOLDER, tmp_path / "kubernetes")
    base = folder / "kustomization.yaml"
    switched_on = base.read_text().replace(
        "# components: [inbox]", "components: [inbox]"
    )
    base.write_text(switched_on)

    told = subprocess.run(  # noqa: S603 - the one that was found
        [KUBECTL, "kustomize", str(folder)],
        capture_output=True,
        check=True,
        text=True,
        timeout=30,
    )

    made = {
        (each["kind"], each["metadata"]["name"]): each
        for each in yaml.safe_load_all(told.stdout)
    }
    ours = applied()
    assert made.keys() == ours.keys() - {("Kustomization", "")}
    scaled = ("ScaledObject", "consumer")
    assert made[scaled]["spec"] == ours[scaled]["spec"]
    (here,), (there,) = (
        each["Deployment", "consumer"]["spec"]["template"]["spec"]["containers"]
        for each in (made, ours)
    )
    own = [{each["name"]: each for each in one["env"]} for one in (here, there)]
    assert own[0] == own[1]
