"""Lines with kubectl, those too that cannot run here: their syntax, and the names that they count on."""

import json
import re

import pytest

from tests.deployment.manifests import OUR_IMAGE, containers, named, template_of
from tests.deployment.test_network import WITH_DATABASE, WITH_REDIS, selects
from tests.runbook.document import DOCUMENT, Block, blocks
from tests.runbook.kubectl import Wrong, calls, check, made_by, parse

WITH_KUBECTL = [block for block in blocks() if block.language == "bash" and "kubectl" in block.text]


@pytest.mark.parametrize("block", WITH_KUBECTL, ids=lambda block: block.name)
def test_kubectl_and_the_manifests_know_every_line(block: Block) -> None:
    found = list(calls(block.text))
    made = made_by(block.text)
    assert len(found) == block.text.count("kubectl "), "a call was not found in the block"
    for call in found:
        try:
            check(call, made)
        except Wrong as wrong:
            pytest.fail(f"kubectl {' '.join(call)}: {wrong}")


def lines_in_sentences() -> list[str]:
    """What stands between backticks in the text and names its namespace, so that it is there to be copied."""
    text = re.sub(r"^ *```.*?^ *```", "", DOCUMENT.read_text(), flags=re.DOTALL | re.MULTILINE)
    found = [" ".join(span.split()) for span in re.findall(r"`(kubectl [^`]+)`", text)]
    return [line for line in found if " -n " in line]


@pytest.mark.parametrize("text", lines_in_sentences())
def test_lines_in_sentences_are_as_good(text: str) -> None:
    [call] = calls(text)
    try:
        check(call)
    except Wrong as wrong:
        pytest.fail(str(wrong))


def test_a_copy_that_is_asked_reaches_what_it_asks_about_and_is_sent_nobody() -> None:
    """By the labels that it is given: those of a pod would make it one more of its Deployment, and of its Service."""
    copied = [block for block in WITH_KUBECTL if "--copy-to" in block.text]
    assert copied
    for block in copied:
        [labels] = [line.words[2:] for call in calls(block.text) if (line := parse(call)).verb == "label"]
        given = dict(word.split("=") for word in labels)
        assert given["app"] == "id-service"
        assert given["component"] in WITH_DATABASE & WITH_REDIS
        for name, service in named("Service").items():
            assert not selects({"matchLabels": service["spec"]["selector"]}, given["component"]), name


def test_a_pod_that_is_run_by_hand_is_let_in_and_sees_the_backups() -> None:
    """The namespace enforces `restricted`; image and claim are those of the nightly backup."""
    nightly = template_of(named("CronJob")["id-backup"])["spec"]
    found = [
        line for block in WITH_KUBECTL for call in calls(block.text) if (line := parse(call)).verb == "run"
    ]
    assert found
    for line in found:
        spec = json.loads(line.values("--overrides")[0])["spec"]
        [container] = spec["containers"]
        assert spec["securityContext"].items() <= nightly["securityContext"].items()
        assert {"runAsNonRoot", "seccompProfile", "fsGroup"} <= set(spec["securityContext"])
        assert container["securityContext"] == {
            "allowPrivilegeEscalation": False,
            "capabilities": {"drop": ["ALL"]},
        }
        assert container["name"] == line.words[0]
        assert {container["image"], *line.values("--image")} <= {one["image"] for one in containers(nightly)}
        assert all(volume in nightly["volumes"] for volume in spec["volumes"])


@pytest.mark.parametrize("block", WITH_KUBECTL, ids=lambda block: block.name)
def test_a_command_runs_in_a_pod_that_has_its_service(block: Block) -> None:
    made = made_by(block.text)
    for call in calls(block.text):
        line = parse(call)
        if line.verb == "exec" and line.command[0] == "flask" and line.words[0] not in made:
            if line.words[0] == "$POD":  # which an earlier line has found
                service = line.command[2].removeprefix("services.")
                assert f"POD=$(kubectl get pods -n updspace-id -l component={service} " in block.text
                continue
            if "$" in line.words[0]:
                assert line.words[0].replace("deployment/id-", "services.") == line.command[2]
                continue
            deployment = named("Deployment")[line.words[0].partition("/")[2]]
            images = [
                OUR_IMAGE.fullmatch(found["image"]) for found in containers(template_of(deployment)["spec"])
            ]
            assert line.command[2] in {f"services.{image[1]}" for image in images if image}


@pytest.mark.parametrize(
    "text",
    [
        "kubectl frobnicate deployment/id-account -n updspace-id",
        "kubectl scale deployment/id-account -n updspace-id --replica=5",
        "kubectl scale deployment/id-accounts -n updspace-id --replicas=5",
        "kubectl scale hpa/id-account -n updspace-id --replicas=5",
        "kubectl scale deployment/id-account --replicas=5",
        "kubectl get hpa id-service -n updspace-id",
        "kubectl logs -f deployment/id-beat",
        "kubectl logs deployment/id-account -n updspace-id --tail=100",
        "kubectl logs -n updspace-id -l component=account --prefix",
        "kubectl logs -f -n updspace-id -l component=account --tail=10",
        "kubectl logs -n updspace-id -l component=mail --prefix --tail=-1",
        "kubectl get pods -n updspace-id -l app=id",
        "kubectl get pods -n updspace-id -l app=id-service,component=mail",
        "kubectl get pods -n updspace-id -l 'app=id-service,component!=beet'",
        "kubectl get pods -n updspace-id -l component=oidc,component=account",
        "kubectl wait --for=delete pod -n updspace-id -l component=redis,pod-template-hash",
        "kubectl get volcanos -n updspace-id",
        "kubectl exec -it postgres-1 -n updspace-id -- psql",
        "kubectl exec -it deployment/id-account -n updspace-id",
        "kubectl logs deployment/id-gateway -n updspace-id -c apache",
        "kubectl port-forward svc/id-service -n updspace-id 8001:8001",
        "kubectl apply -f k8s/job.yaml",
        "kubectl apply -k k8s/overlays/nowhere",
        "kubectl rollout again deployment/id-account -n updspace-id",
        "kubectl create job --from=cronjob/id-nothing -n updspace-id once",
    ],
)
def test_a_line_that_would_fail_at_night_fails_here(text: str) -> None:
    [call] = calls(text)
    with pytest.raises(Wrong):
        check(call)


@pytest.mark.parametrize(
    "text",
    [
        "A=$(kubectl get secret id-service-secrets -n updspace-id -o jsonpath='{.data}' | base64 -d)",
        "kubectl exec -i postgres-0 -n updspace-id -- psql -U postgres id_account < file.sql",
        "kubectl logs deployment/id-beat -n updspace-id --since=1h --previous",
        "kubectl logs -n updspace-id -l component=gateway -c nginx --prefix --timestamps --tail=-1 --ignore-errors",
        "kubectl logs -f -n updspace-id -l component=account --tail=10 --max-log-requests=10",
        'kubectl label pod "$POD" -n updspace-id app=id-service component=account-worker',
        "kubectl delete job id-account-migrate id-oidc-migrate -n updspace-id",
        "kubectl get deployment,hpa -n updspace-id -o wide",
        "kubectl wait --for=delete pod -n updspace-id -l app=id-service,pod-template-hash --timeout=5m",
        "kubectl get networkpolicies,ingresses -n updspace-id",
        "kubectl cp postgres-0:/tmp/dump ./dump -n updspace-id",
        'for name in $NAMES; do kubectl rollout status "$name" -n updspace-id; done',
        "echo '{}' | kubectl patch secret id-service-secrets -n updspace-id --type=merge --patch-file=/dev/stdin",
        "kubectl set env deployment/id-account deployment/id-oidc -n updspace-id LOG_LEVEL=DEBUG LOG_FORMAT-",
        'kubectl debug "$POD" -n updspace-id -it --copy-to=other --container=account -- sh',
    ],
)
def test_other_ways_to_write_what_is_right_are_understood(text: str) -> None:
    [call] = calls(text)
    check(call)
