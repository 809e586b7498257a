"""The manifests of deploy/kubernetes/: as the API has them, and as the code needs them."""

import re
from typing import Any

import kubernetes_validate  # type: ignore[import-untyped]
import pytest

from handlers import reading
from tests import runbook
from tests.deploy import kustomize, stops
from worker.queues.storage.queue import URGENT
from worker.settings import Settings
from worker.settings_rules import Use
from worker.telemetry import setup

FOLDER = kustomize.FOLDER
VERSIONS = ("1.31", "1.37")
CUSTOM = {"ScaledObject", "TriggerAuthentication", "Kustomization"}
ACS_KEY = "endpoint=https://acs.communication.azure.com/;accesskey=a2V5"
USES = {"webhook": Use.WEBHOOK, "consume": Use.CONSUME}


OBJECTS = [
    each
    for each in kustomize.read(*sorted(FOLDER.rglob("*.yaml")))
    if each["kind"] != "Component"
]


def of_kind(kind: str) -> dict[str, dict[str, Any]]:
    """By name."""
    return {each["metadata"]["name"]: each for each in OBJECTS if each["kind"] == kind}


def one(kind: str, name: str) -> dict[str, Any]:
    return of_kind(kind)[name]


def pods() -> dict[str, dict[str, Any]]:
    """Each template of a pod, by the name of what makes it."""
    found = {
        name: each["spec"]["template"] for name, each in of_kind("Deployment").items()
    }
    return found | {
        name: each["spec"]["jobTemplate"]["spec"]["template"]
        for name, each in of_kind("CronJob").items()
    }


every_pod = pytest.mark.parametrize("name", ["webhook", "consumer", "check", "verify"])


def container_of(name: str) -> dict[str, Any]:
    (container,) = pods()[name]["spec"]["containers"]
    found: dict[str, Any] = container
    return found


def environ_of(name: str) -> dict[str, str]:
    """What the process will find."""
    container = container_of(name)
    (source,) = container["envFrom"]
    shared = one("ConfigMap", source["configMapRef"]["name"])["data"]
    own = {
        each["name"]: each.get("value", ACS_KEY) for each in container.get("env", [])
    }
    return {**shared, **own}


@pytest.mark.parametrize("version", VERSIONS)
def test_every_object_is_as_the_interface_has_it(version: str) -> None:
    """Strictly: a property that there is not is found."""
    checked = [each for each in OBJECTS if each["kind"] not in CUSTOM]

    assert len(checked) > 15
    for each in checked:
        kubernetes_validate.validate(each, version, strict=True)


def test_property_that_there_is_not_is_found() -> None:
    """A check that takes anything would prove nothing."""
    wrong = {**one("Service", "webhook"), "specification": {}}

    with pytest.raises(kubernetes_validate.ValidationError):
        kubernetes_validate.validate(wrong, VERSIONS[0], strict=True)


def test_every_file_is_applied_and_every_object_is_in_the_namespace() -> None:
    (kustomization,) = (each for each in OBJECTS if each["kind"] == "Kustomization")
    files = {path.name for path in FOLDER.glob("*.yaml")} - {"kustomization.yaml"}
    namespaces = {
        each["metadata"].get("namespace")
        for each in OBJECTS
        if each["kind"] not in {"Namespace", "Kustomization"}
    }

    assert set(kustomization["resources"]) == files
    assert namespaces == {kustomization["namespace"]} == set(of_kind("Namespace"))
    images = {container_of(name)["image"].partition("@")[0] for name in pods()}
    assert images == {each["name"] for each in kustomization["images"]}


@every_pod
def test_settings_of_every_process_are_whole(name: str) -> None:
    """The code itself reads them."""
    verb = container_of(name)["args"][0]

    settings = Settings.load(environ_of(name), use=USES.get(verb, Use.READ))

    assert settings.archive_place is not None
    assert settings.queue_place is not None


@every_pod
def test_commands_are_ours(name: str) -> None:
    """The image's entrypoint is the program."""
    container = container_of(name)

    assert "command" not in container
    runbook.check(" ".join(container["args"]), is_whole=True)


@every_pod
def test_pods_are_restricted(name: str) -> None:
    """As the namespace enforces it, and a little more."""
    spec = pods()[name]["spec"]
    container = container_of(name)

    assert spec["enableServiceLinks"] is False
    assert spec["automountServiceAccountToken"] is False
    assert spec["securityContext"]["runAsNonRoot"] is True
    assert spec["securityContext"]["seccompProfile"] == {"type": "RuntimeDefault"}
    assert container["securityContext"] == {
        "allowPrivilegeEscalation": False,
        "readOnlyRootFilesystem": True,
        "capabilities": {"drop": ["ALL"]},
    }
    enforced = one("Namespace", "recordings")["metadata"]["labels"]
    assert enforced["pod-security.kubernetes.io/enforce"] == "restricted"


@every_pod
def test_pods_have_an_identity(name: str) -> None:
    pod = pods()[name]
    account = one("ServiceAccount", pod["spec"]["serviceAccountName"])

    assert pod["metadata"]["labels"]["azure.workload.identity/use"] == "true"
    assert "azure.workload.identity/client-id" in account["metadata"]["annotations"]
    assert account["automountServiceAccountToken"] is False


def test_no_service_account_is_shared_with_the_public_half() -> None:
    accounts = {name: pod["spec"]["serviceAccountName"] for name, pod in pods().items()}

    assert accounts == {
        "webhook": "webhook",
        "consumer": "consumer",
        "check": "checker",
        "verify": "checker",
    }


@every_pod
def test_memory_holds_what_the_settings_allow(name: str) -> None:
    """Buffers, and as much again for the rest of the process."""
    limits = container_of(name)["resources"]["limits"]
    settings = Settings.load(environ_of(name), use=Use.READ)
    buffers = settings.memory_mib if name == "consumer" else 256

    assert mebibytes(limits["memory"]) >= 2 * buffers


def mebibytes(text: str) -> int:
    assert text.endswith("Mi")
    return int(text.removesuffix("Mi"))


@every_pod
def test_stop_leaves_more_time_than_it_takes(name: str) -> None:
    """With what the hook before it takes. The jobs drain nothing: they send what is left."""
    settings = Settings.load(environ_of(name), use=Use.READ)
    grace = pods()[name]["spec"]["terminationGracePeriodSeconds"]
    hook = container_of(name).get("lifecycle", {}).get("preStop")
    before = int(hook["exec"]["command"][-1]) if hook else 0
    takes = (
        stops.longest_seconds(settings.drain_seconds)
        if name in {"webhook", "consumer"}
        else setup.FLUSH_SECONDS + stops.SETTLING_SECONDS
    )

    assert grace >= before + takes


def test_probes_ask_where_the_processes_listen() -> None:
    webhook, consumer = container_of("webhook"), container_of("consumer")
    ports = {
        name: {
            each["name"]: each["containerPort"] for each in container_of(name)["ports"]
        }
        for name in ("webhook", "consumer")
    }
    listen = Settings.load(environ_of("webhook"), use=Use.WEBHOOK).listen
    admin = Settings.load(environ_of("consumer"), use=Use.CONSUME).admin_listen

    assert admin is not None
    assert ports == {
        "webhook": {"events": listen.port, "admin": admin.port},
        "consumer": {"admin": admin.port},
    }
    assert webhook["livenessProbe"]["httpGet"] == {"path": "/livez", "port": "events"}
    assert webhook["readinessProbe"]["httpGet"] == {"path": "/readyz", "port": "events"}
    assert consumer["livenessProbe"]["httpGet"] == {"path": "/livez", "port": "admin"}


def test_webhook_never_stands_alone_while_nodes_are_drained() -> None:
    webhook = one("Deployment", "webhook")["spec"]
    budget = one("PodDisruptionBudget", "webhook")["spec"]

    assert webhook["replicas"] == 2
    assert webhook["strategy"]["rollingUpdate"]["maxUnavailable"] == 0
    assert budget["minAvailable"] == 1


@pytest.mark.parametrize("name", ["webhook", "consumer"])
def test_selectors_find_their_pods(name: str) -> None:
    labels = pods()[name]["metadata"]["labels"].items()
    selectors = [
        one("Deployment", name)["spec"]["selector"]["matchLabels"],
        one("PodDisruptionBudget", name)["spec"]["selector"]["matchLabels"],
        *(
            each["labelSelector"]["matchLabels"]
            for each in pods()[name]["spec"]["topologySpreadConstraints"]
        ),
    ]

    for each in selectors:
        assert each.items() <= labels
    if name == "webhook":
        assert one("Service", name)["spec"]["selector"].items() <= labels


def test_consumer_scales_by_both_queues_with_an_identity() -> None:
    """KEDA's resources have no schema at hand: their structure."""
    spec = one("ScaledObject", "consumer")["spec"]
    queue = Settings.load(environ_of("consumer"), use=Use.CONSUME).queue_place
    identity = one("TriggerAuthentication", "consumer")["spec"]["podIdentity"]

    assert queue is not None
    assert spec["scaleTargetRef"]["name"] in of_kind("Deployment")
    assert "replicas" not in one("Deployment", "consumer")["spec"]
    assert spec["minReplicaCount"] == 0
    assert {each["metadata"]["queueName"] for each in spec["triggers"]} == {
        queue.name,
        f"{queue.name}{URGENT}",
    }
    for each in spec["triggers"]:
        assert each["type"] == "azure-queue"
        assert each["metadata"]["queueLengthStrategy"] == "all"
        assert each["authenticationRef"]["name"] in of_kind("TriggerAuthentication")
    assert identity["provider"] == "azure-workload"


def test_network_is_shut_but_for_deliveries_metrics_names_and_https() -> None:
    policies = {name: each["spec"] for name, each in of_kind("NetworkPolicy").items()}
    inwards = {
        name: {port["port"] for rule in each["ingress"] for port in rule["ports"]}
        for name, each in policies.items()
        if "ingress" in each
    }
    outwards = {
        port["port"] for rule in policies["out"]["egress"] for port in rule["ports"]
    }

    assert policies["nothing"] == {
        "podSelector": {},
        "policyTypes": ["Ingress", "Egress"],
    }
    assert inwards == {
        "deliveries": {8080},
        "metrics": {8081},
        "certificates": {8089},
    }
    assert outwards == {53, 443}
    for name in inwards:
        assert all(rule["from"] for rule in policies[name]["ingress"])


def test_deletion_is_off_until_somebody_says_otherwise() -> None:
    assert environ_of("consumer")["WORKER_DELETE_SOURCE"] == "never"


def test_check_looks_every_15_minutes_and_a_failure_is_one() -> None:
    spec = one("CronJob", "check")["spec"]

    assert spec["schedule"] == "*/15 * * * *"
    assert spec["jobTemplate"]["spec"]["backoffLimit"] == 0
    assert pods()["check"]["spec"]["restartPolicy"] == "Never"


@pytest.mark.parametrize("name", ["check", "verify"])
def test_jobs_are_found_by_the_label_that_the_runbook_asks_for(name: str) -> None:
    """A job has the labels of its template, not those of what schedules it."""
    template = one("CronJob", name)["spec"]["jobTemplate"]

    assert template["metadata"]["labels"]["app.kubernetes.io/component"] == name


def test_every_service_account_is_told_how_it_is_believed() -> None:
    """By itself no identity trusts a cluster: a manifest can't say that it does."""
    text = (FOLDER / "settings.yaml").read_text(encoding="utf-8")
    told = set(
        re.findall(r"recordings-(\w+) +system:serviceaccount:recordings:(\w+)", text)
    )

    assert "az identity federated-credential create" in text
    assert told == {(name, name) for name in of_kind("ServiceAccount")}
    assert ":keda-operator" in text


def test_recordings_of_others_are_not_taken() -> None:
    """As in the template: events of another resource are none of ours."""
    topic = re.compile(
        r"/subscriptions/[^/]+/resourceGroups/[^/]+"
        r"/providers/Microsoft\.Communication/communicationServices/[^/]+"
    )
    settings = Settings.load(environ_of("webhook"), use=Use.WEBHOOK)

    assert len(settings.event_topics) == 1
    assert topic.fullmatch(settings.event_topics[0])
    assert Settings.load(environ_of("consumer"), use=Use.CONSUME).event_topics


def test_every_value_to_fill_in_has_a_place_that_it_is_from() -> None:
    """What the outputs of the template tell, what az tells, and what is typed."""
    head = (
        (FOLDER / "settings.yaml")
        .read_text(encoding="utf-8")
        .partition("\napiVersion")[0]
    )
    bicep = (FOLDER.parent / "main.bicep").read_text(encoding="utf-8")
    outputs = {"storageAccountName", "acsId"}
    outputs |= {f"{name}ClientId" for name in of_kind("ServiceAccount")}
    placeholders = {
        each
        for path in FOLDER.rglob("*.yaml")
        for each in re.findall(r"YOUR\w*", path.read_text(encoding="utf-8"))
    } - {"YOUR", "YOURGROUP"}

    assert outputs <= set(re.findall(r"^output (\w+) ", bicep, re.MULTILINE))
    for each in outputs | placeholders | {"runsOn = 'cluster'"}:
        assert each in head


def test_secret_of_the_consumer_is_made_as_the_guide_says() -> None:
    guide = (FOLDER.parent / "README.md").read_text(encoding="utf-8")
    (reference,) = (
        each["valueFrom"]["secretKeyRef"]
        for each in container_of("consumer")["env"]
        if "valueFrom" in each
    )

    assert f"generic {reference['name']} --namespace recordings" in guide
    assert f"--from-literal {reference['key']}=" in guide


@pytest.mark.parametrize("name", kustomize.components())
def test_base_says_how_a_component_is_switched_on(name: str) -> None:
    """Components and no overlays: a base that holds its overlay is a cycle to kustomize."""
    (component,) = kustomize.read(FOLDER / name / "kustomization.yaml")
    base = (FOLDER / "kustomization.yaml").read_text(encoding="utf-8").splitlines()

    assert component["kind"] == "Component"
    assert any(line.startswith(kustomize.switched_off(name)) for line in base)


def test_ingress_takes_every_delivery_that_the_webhook_takes() -> None:
    """NGINX's own bound is 1 MiB, and Event Grid never sends again what is answered 413."""
    ingress = one("Ingress", "webhook")
    annotations = ingress["metadata"]["annotations"]
    bounds = {name: each for name, each in annotations.items() if "body-size" in name}

    assert set(bounds) == {
        "nginx.ingress.kubernetes.io/proxy-body-size",
        "nginx.org/client-max-body-size",
    }
    assert set(bounds.values()) == {f"{reading.MAX_BODY_BYTES // 1024**2}m"}


def test_ingress_leads_to_the_webhook_by_tls() -> None:
    """The doctor asks /readyz there, too."""
    ingress = one("Ingress", "webhook")
    (tls,) = ingress["spec"]["tls"]
    (rule,) = ingress["spec"]["rules"]
    (path,) = rule["http"]["paths"]
    service = one("Service", path["backend"]["service"]["name"])

    assert tls["hosts"] == [rule["host"]]
    assert "cert-manager.io/cluster-issuer" in ingress["metadata"]["annotations"]
    assert (path["path"], path["pathType"]) == ("/", "Prefix")
    ports = [each["name"] for each in service["spec"]["ports"]]
    assert path["backend"]["service"]["port"]["name"] in ports


def test_certificate_can_be_had_through_the_same_ingress() -> None:
    """The pod that answers an HTTP-01 challenge is in our namespace, which is shut.

    https://github.com/cert-manager/cert-manager/blob/master/pkg/apis/acme/v1/types.go
    """
    solver = one("NetworkPolicy", "certificates")["spec"]
    (let_in,) = solver["ingress"]
    (deliveries,) = one("NetworkPolicy", "deliveries")["spec"]["ingress"]

    assert solver["podSelector"] == {
        "matchLabels": {"acme.cert-manager.io/http01-solver": "true"}
    }
    assert let_in["from"] == deliveries["from"]
