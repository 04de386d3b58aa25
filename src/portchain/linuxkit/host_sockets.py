"""The sockets that services offer to the host, as annotations and as the file that the host's daemon reads. Pure."""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Iterator, Mapping

from ..ports.forward import Endpoint, Forward

ANNOTATION = "io.portchain.host-sockets"
_PREFIX = "io.portchain."
FILE = "containers/host-sockets.json"  # below the guest's folder of state on the host
_FOLDER = "/run/guest-services"
_NAME = re.compile(r"[a-z0-9][a-z0-9-]{0,63}")
_HOST_OWN = ("control", "docker")


def parse(text: str) -> dict[str, str]:
    """Parse an annotation: ``NAME`` for a socket of that name in /run/guest-services, or ``NAME=ENDPOINT``.

    Several are separated by blanks; return the endpoint in the guest of each name. Raise ValueError.
    """
    sockets: dict[str, str] = {}
    for item in text.split():
        name, equals, target = item.partition("=")
        if not _NAME.fullmatch(name) or name in sockets:
            raise ValueError(
                f"{item!r}: not NAME or NAME=ENDPOINT, each name once, of lower-case letters, digits and -"
            )
        if name in _HOST_OWN:
            raise ValueError(f"{name}.sock is the host's own")
        endpoint = Endpoint.parse(target if equals else f"unix:{_FOLDER}/{name}.sock")
        if endpoint.protocol == "udp":
            raise ValueError(f"{item!r}: a socket of the host leads to a tcp or unix endpoint, not to udp")
        sockets[name] = str(endpoint)
    return sockets


def check_annotations(services: Iterable[tuple[str, Mapping[str, str]]]) -> Iterator[tuple[int, str]]:
    """Yield what is wrong with the annotations of ``services`` (name, annotations), by the number of the service."""
    owners: dict[str, str] = {}
    for number, (service, own) in enumerate(services):
        for unknown in own:
            if unknown.startswith(_PREFIX) and unknown != ANNOTATION:
                yield number, f"unknown annotation {unknown}; there is: {ANNOTATION}"
        try:
            names = parse(own.get(ANNOTATION, ""))
        except ValueError as error:
            yield number, f"{ANNOTATION}: {error}"
            continue
        for name in names:
            if name in owners:
                yield number, f"{ANNOTATION}: {name}.sock is offered by {owners[name]} already"
            owners.setdefault(name, service)


def dump(services: Iterable[Mapping[str, str]]) -> str:
    """Return the text of the file with the sockets of all services, given the annotations of each."""
    offered: dict[str, str] = {}
    for own in services:
        offered |= parse(own.get(ANNOTATION, ""))
    return json.dumps(offered, indent=2, sort_keys=True) + "\n"


def forwards(text: str, run_dir: str) -> list[Forward]:
    """Parse the file; return a forward for each socket, from ``run_dir`` on the host. Raise ValueError."""
    offered = json.loads(text)
    if not isinstance(offered, dict):
        raise ValueError("not an object of socket names and endpoints")
    return [
        Forward(Endpoint("unix", f"{run_dir}/{name}.sock"), Endpoint.parse(str(target)))
        for name, target in offered.items()
        if _NAME.fullmatch(name) and name not in _HOST_OWN
    ]
