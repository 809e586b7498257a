"""The component of deploy/kubernetes/inbox/: no webhook, and the consumer reads the inbox."""

import kubernetes_validate  # type: ignore[import-untyped]

from tests.deploy import kustomize, plan, test_bicep, test_kubernetes
from worker.settings import Settings
from worker.settings_rules import Use


def applied() -> kustomize.Named:
    return kustomize.applied("inbox")


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
