"""kubectl's command line, as far as the runbook uses it: is this line one that kubectl and k8s/ know?"""

import re
import shlex
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field

from tests.deployment.manifests import K8S, components, containers, named, template_of, workloads
from tests.running import ROOT

NAMESPACE = "updspace-id"
SHELL = {"do", "then", "else", "if", "while", "until", "!", "time"}
"""Words of bash after which a command comes."""
KINDS = {
    "deployment": "Deployment", "deploy": "Deployment", "statefulset": "StatefulSet", "sts": "StatefulSet",
    "job": "Job", "cronjob": "CronJob", "service": "Service", "svc": "Service", "secret": "Secret",
    "configmap": "ConfigMap",
    "hpa": "HorizontalPodAutoscaler", "pdb": "PodDisruptionBudget", "ingress": "Ingress",
    "networkpolicy": "NetworkPolicy", "namespace": "Namespace",
}  # fmt: skip
MADE_BY_KUBERNETES = {"pod", "po", "event", "node", "replicaset", "rs", "pvc", "externalsecret"}
"""What has names of its own, or is in no manifest of k8s/, so that only a kind or a label can be held against these."""


@dataclass(frozen=True)
class Verb:
    """Options that take a value and that take none; least is how many other words there have to be."""

    valued: frozenset[str] = frozenset()
    alone: frozenset[str] = frozenset()
    least: int = 0
    kinds: frozenset[str] = frozenset()
    """The kinds that it works on, where that is not all of them."""


def _verb(valued: str = "", alone: str = "", least: int = 0, kinds: str = "") -> Verb:
    return Verb(frozenset(valued.split()), frozenset(alone.split()), least, frozenset(kinds.split()))


EVERYWHERE = _verb("-n --namespace --context --request-timeout")
ROLLED = "Deployment StatefulSet"
RUNNING = "Deployment StatefulSet Job Service"
VERBS = {
    "apply": _verb("-f --filename -k --kustomize --dry-run -l --selector", "--server-side --prune -R"),
    "delete": _verb(
        "-f --filename -k -l --selector --grace-period --cascade", "--ignore-not-found --wait --now"
    ),
    "diff": _verb("-f -k"),
    "get": _verb("-l --selector -o --output --sort-by --field-selector", "-w --watch --show-labels", 1),
    "describe": _verb("-l --selector", "", 1),
    "logs": _verb(
        "-c --container --tail --since -l --selector --max-log-requests",
        "-f --follow -p --previous --prefix --all-containers --timestamps --ignore-errors",
        0,
        RUNNING,
    ),
    "exec": _verb("-c --container", "-i -t --stdin --tty", 1, RUNNING),
    "port-forward": _verb("--address", "", 2, RUNNING),
    "cp": _verb("-c --container", "", 2),
    "top": _verb("-l --selector --sort-by", "--containers", 1),
    "scale": _verb("--replicas --current-replicas --timeout -l --selector", "--all", 1, ROLLED),
    "patch": _verb("--type -p --patch --patch-file", "", 1),
    "wait": _verb("--for --timeout -l --selector", "--all", 1),
    "create": _verb("--from --from-literal --from-file --cert --key --dry-run -o -f --filename", "", 2),
    "run": _verb("--image --restart --overrides", "", 1),
    "annotate": _verb("", "--overwrite", 2),
    "label": _verb("", "--overwrite", 2),
    "rollout restart": _verb("-l --selector", "", 1, ROLLED),
    "rollout status": _verb("--timeout --revision -w", "", 1, ROLLED),
    "rollout undo": _verb("--to-revision", "", 1, ROLLED),
    "rollout history": _verb("--revision", "", 1, ROLLED),
    "rollout pause": _verb("", "", 1, "Deployment"),
    "rollout resume": _verb("", "", 1, "Deployment"),
    "set image": _verb("", "", 2, ROLLED),
    "set env": _verb("-c --containers --from", "--list", 1, ROLLED),
    "debug": _verb("--copy-to --container -c --image --target --profile", "-i -t", 1),
}
OF_DEPLOYMENTS = "pod-template-hash"
"""A label that Kubernetes gives to the pods of Deployments, and to no other."""
MOST_PODS = 6
"""Of a component, as its autoscaler makes them; during a rollout there is one more."""


class Wrong(AssertionError):
    """What is wrong with a line, as a sentence."""


@dataclass
class Line:
    """One call of kubectl, taken apart."""

    verb: str
    words: list[str] = field(default_factory=list)
    options: list[tuple[str, str]] = field(default_factory=list)
    command: list[str] = field(default_factory=list)
    """What `exec` is to run."""

    def values(self, *names: str) -> list[str]:
        return [value for name, value in self.options if name in names]

    @property
    def files(self) -> list[str]:
        """What -f and -k name; without a value (`logs -f`) they mean something else."""
        return [value for value in self.values("-f", "--filename", "-k", "--kustomize") if value]


def calls(block: str) -> Iterator[list[str]]:
    """The words of each call of kubectl in a block of bash."""
    without_documents = re.sub(r"<<'?(\w+)'?\n.*?^\1$", "", block, flags=re.M | re.S)
    lexer = shlex.shlex(without_documents.replace("\\\n", " "), posix=True, punctuation_chars="();<>|&\n")
    lexer.whitespace = " \t\r"
    lexer.commenters, lexer.whitespace_split = "", True
    call: list[str] = []
    for token in [*lexer, "\n"]:
        if not set(token) <= set("();<>|&\n"):
            call.append(token)
            continue
        while call and (call[0] in SHELL or re.fullmatch(r"\w+=.*", call[0], re.S)):
            call.pop(0)
        if call and call[0] == "kubectl":
            yield call[1:]
        call = []


def parse(arguments: Sequence[str]) -> Line:
    """Take a call apart. Raises Wrong for a verb or an option that is not known."""
    words = list(arguments)
    count = 2 if words[0] in ("rollout", "set") else 1
    line = Line(" ".join(words[:count]))
    verb = VERBS.get(line.verb)
    if verb is None:
        raise Wrong(f"kubectl {line.verb} is not known here")
    rest = iter(words[count:])
    for word in rest:
        if word == "--":
            line.command = list(rest)
        elif not word.startswith("-") or word == "-":
            line.words.append(word)
        else:
            line.options.extend(_options(line.verb, verb, word, rest))
    if len(line.words) < verb.least and not line.files and not line.values("-l"):
        raise Wrong(f"kubectl {line.verb} wants to know of what")
    return line


def _options(name: str, verb: Verb, word: str, rest: Iterator[str]) -> Iterator[tuple[str, str]]:
    option, has_value, value = word.partition("=")
    if option in verb.valued | EVERYWHERE.valued:
        if not has_value:
            value = next(rest, "")
        if not value:
            raise Wrong(f"kubectl {name} {option} wants a value")
        yield option, value
    elif option in verb.alone and not has_value:
        yield option, ""
    elif re.fullmatch(r"-[a-z]{2,}", word) and all(f"-{letter}" in verb.alone for letter in word[1:]):
        yield from ((f"-{letter}", "") for letter in word[1:])
    else:
        raise Wrong(f"kubectl {name} has no option {option}")


def made_by(block: str) -> list[str]:
    """Names of the pods that lines of a block make."""
    lines = [parse(call) for call in calls(block)]
    copies = [name for line in lines for name in line.values("--copy-to")]
    return copies + [line.words[0] for line in lines if line.verb == "run"]


def check(arguments: Sequence[str], made: Sequence[str] = ()) -> None:
    """Raises Wrong with the reason why this line would not do what it says.

    `made` are pods that lines before it have made.
    """
    line = parse(arguments)
    for path in line.files:
        file = ROOT / path
        if not path.startswith("$") and path != "-":
            wanted = file / "kustomization.yaml" if line.values("-k", "--kustomize") else file
            if not (file.is_relative_to(K8S) and wanted.is_file()):
                raise Wrong(f"there is no {path} to be applied")
    if not line.files and line.values("-n", "--namespace") != [NAMESPACE]:
        raise Wrong(f"a line without -n {NAMESPACE} is about another namespace")
    for selector in line.values("-l", "--selector"):
        _check_selector(selector)
    if line.verb == "label":
        _check_selector(",".join(word for word in line.words if "=" in word))
    if line.verb == "logs":
        _check_logs(line)
    for kind, name in targets(line):
        if not (kind == "Pod" and name in made):
            _check_target(line, kind, name)
    if line.verb == "exec" and not line.command:
        raise Wrong("kubectl exec wants -- and a command")


def _check_logs(line: Line) -> None:
    """Whether all is read that is to be: of all pods, and of each from its beginning, or as far back as is said."""
    deployments = [name for kind, name in targets(line) if kind == "Deployment"]
    if set(deployments) & set(named("HorizontalPodAutoscaler")):
        raise Wrong("of a Deployment kubectl logs reads one pod: name all of them by -l")
    if line.values("-l", "--selector") and not line.values("--tail"):
        raise Wrong("with -l and without --tail there are ten lines of each pod")
    is_followed = {"-f", "--follow"} & {name for name, _ in line.options}
    most = int((line.values("--max-log-requests") or ["5"])[0])
    if is_followed and line.values("-l", "--selector") and most <= MOST_PODS:
        raise Wrong("of more pods than --max-log-requests none is followed")


def _check_selector(selector: str) -> None:
    words = [word for word in selector.split(",") if word != OF_DEPLOYMENTS]
    parts = [re.fullmatch(r"([\w./-]+)(!?)==?([\w.-]+)", part) for part in words]
    if not all(parts):
        raise Wrong(f"{selector} is not written as labels are")
    chosen = named("Deployment") if OF_DEPLOYMENTS in selector.split(",") else workloads()
    labels = [template_of(workload)["metadata"]["labels"] for workload in chosen.values()]
    for part in filter(None, parts):
        # A label that nobody has is mistyped, in a condition that excludes, too.
        if not any(found.get(part[1]) == part[3] for found in labels):
            raise Wrong(f"no pod has the label {part[0]}")
    if not any(
        all((found.get(part[1]) == part[3]) != bool(part[2]) for part in filter(None, parts))
        for found in labels
    ):
        raise Wrong(f"no pod has the labels {selector}")


def targets(line: Line) -> Iterator[tuple[str, str]]:
    """Kind and name of what a line is about; no name where all of a kind are meant, kind Pod for a pod's own name."""
    words = list(line.words)
    if line.verb == "create":
        words = line.values("--from")
    elif line.verb == "cp":
        words = [f"pod/{word.partition(':')[0]}" for word in words if ":" in word]
    elif line.verb == "port-forward":
        words = words[:1]
    elif line.verb == "run":
        words = []
    elif line.verb in ("annotate", "label", "set image", "set env"):
        words = [word for word in words if "=" not in word and not word.endswith("-")]
    if words and line.verb in ("exec", "logs", "port-forward", "debug") and "/" not in words[0]:
        yield "Pod", words[0]
        return
    while words:
        word = words.pop(0)
        if word.startswith("$"):
            continue  # whatever an earlier line found
        kind, _, name = word.partition("/")
        if "/" in word:
            yield _kind(kind), name
            continue
        kinds = [_kind(part) for part in kind.split(",")]
        names = [words.pop(0) for _ in list(words) if "/" not in words[0]]
        yield from ((found, name) for found in kinds for name in (names or [""]))


def _kind(word: str) -> str:
    singular = "ingress" if word.startswith("ingress") else word.replace("policies", "policy").rstrip("s")
    for candidate in (word, singular):
        if candidate in KINDS:
            return KINDS[candidate]
        if candidate in MADE_BY_KUBERNETES:
            return "Pod" if candidate in ("pod", "po") else ""
    raise Wrong(f"Kubernetes has no kind {word} here")


def _check_target(line: Line, kind: str, name: str) -> None:
    allowed = VERBS[line.verb].kinds
    if allowed and kind not in {*allowed, "Pod"}:
        raise Wrong(f"kubectl {line.verb} does not work on a {kind}")
    if not kind or not name or "$" in name:
        return
    if kind == "Pod":
        # Only the pods of a StatefulSet have names that can be written down.
        owner, _, number = name.rpartition("-")
        sets = named("StatefulSet")
        if owner not in sets or not number.isdigit() or int(number) >= sets[owner]["spec"]["replicas"]:
            raise Wrong(f"no pod is called {name}")
        workload = sets[owner]
    elif name not in named(kind):
        raise Wrong(f"k8s/ has no {kind} {name}")
    else:
        workload = named(kind)[name]
    if line.verb == "port-forward":
        _check_port(line, kind, workload)
    for container in line.values("-c", "--container"):
        if container not in {found["name"] for found in containers(template_of(workload)["spec"])}:
            raise Wrong(f"{name} has no container {container}")


def _check_port(line: Line, kind: str, workload: dict) -> None:  # type: ignore[type-arg]
    if kind == "Service":
        ports = {port["port"] for port in workload["spec"]["ports"]}
    else:
        pod = components()[template_of(workload)["metadata"]["labels"]["component"]]
        ports = {
            port["containerPort"] for container in pod["containers"] for port in container.get("ports", [])
        }
    for pair in line.words[1:]:
        if not re.fullmatch(r"\d+:\d+", pair) or int(pair.partition(":")[2]) not in ports:
            raise Wrong(f"{line.words[0]} does not listen on what {pair} forwards to")
