from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from portchain.preflight.needs import find_missing
from support.described_guests import guest

from .test_machine_checks import GOOD

MACHINE = replace(
    GOOD,
    homes={"root": "/root", "jane": "/home/jane"},
    folders={"/home/jane": "/home/jane", "/srv": "/srv", "/link": "/srv/data", "/out": "/opt"},
    images={"guest": False, "services": False, "docker": False, "nginx": True, "probe": True},
    absent_suites={"forky": "the package mirror http://mirror.example/debian/ does not have forky (404)"},
    networks={"a": frozenset({"made"})},
)
IMAGES = ["guest", "services", "docker", "nginx"]


def found(*containers: dict[str, Any], **variables: Any) -> list[str]:
    """What is missing for a guest with these containers, each named and with an image unless it says so."""
    named = [{"name": f"web{index}", "image": "portchain/nginx"} | one for index, one in enumerate(containers)]
    given = {"guest_image_names": IMAGES, "workloads_containers": named} | variables
    return list(find_missing(guest("a", **given), MACHINE))


def test_what_is_there_is_no_problem() -> None:
    volumes = ["data:/d", "/srv/x:/x:ro", "/link:/l", "/etc/hosts:/h", "/anonymous"]
    networks = [{"name": name} for name in ("n", "bridge", "made")]
    bridge = {"name": "n", "subnet": "10.9.0.0/24", "gateway": "10.9.0.1"}
    container = {"volumes": volumes, "networks": networks}
    assert not found(container, guest_shares=["/srv"], docker_networks_networks=[bridge])
    assert not found({"volumes": ["~/work:/w"]}, portchain_owner="jane")
    assert not found({"image": "nginx:1"}, {"image": "portchain/nginx"})
    assert not found(guest_engine="debian-13", guest_image_suites={"services": "trixie", "probe": "forky"})


@pytest.mark.parametrize(
    ("container", "variables", "problem"),
    [
        (
            {"image": "portchain/nope"},
            {},
            "workloads_containers web0: image: portchain/nope is not built; of guest_image",
        ),
        (
            {"image": "portchain/nginx:latest"},
            {},
            "workloads_containers web0: image: portchain/nginx:latest is not built",
        ),
        (
            {"image": "portchain/probe"},
            {},
            "workloads_containers web0: image: portchain/probe is not built; of guest_im",
        ),
        ({"image": "portchain/services"}, {}, "workloads_containers web0: image: portchain/services is not built"),
        (
            {"networks": [{"name": "nope"}]},
            {},
            "workloads_containers web0: networks: there is no network nope; docker_",
        ),
        (
            {"volumes": ["/opt/x:/x"]},
            {},
            "workloads_containers web0: volumes[0]: /opt/x is not shared from the host; name",
        ),
        (
            {"volumes": ["/srv2:/x"]},
            {"guest_shares": ["/srv"]},
            "workloads_containers web0: volumes[0]: /srv2 is not sh",
        ),
        (
            {"volumes": ["/out:/x"]},
            {"guest_shares": ["/srv"]},
            "workloads_containers web0: volumes[0]: /out is not shared",
        ),
        ({"volumes": ["~/x:/x"]}, {}, "workloads_containers web0: volumes[0]: /root/x is not shared from the host"),
        ({}, {"guest_shares": ["/nope"]}, "guest_shares: /nope is not a folder of the machine"),
        ({}, {"guest_shares": ["/srv", "/srv:ro"]}, "guest_shares: /srv and /srv:ro are the same folder: share it"),
        ({}, {"portchain_owner": "nobody-here"}, "portchain_owner: the machine has no user nobody-here"),
        ({}, {"guest_image_names": ["guest", "nginx", "nope"]}, "guest_image_names: there is no image nope; there are"),
        ({}, {"guest_image_names": ["nginx"]}, "guest_image_names: guest is missing"),
        (
            {},
            {"guest_engine": "debian-forky"},
            "guest_engine debian-forky: the package mirror http://mirror.example/debian/ does not have forky (404);",
        ),
        (
            {},
            {"guest_image_suites": {"services": "forky"}},
            "guest_image_suites: services: the package mirror http://mirror.example/debian/ does not have forky (404);",
        ),
        ({}, {"guest_image_suites": {"nope": "sid"}}, "guest_image_suites: there is no image nope; there are docker,"),
        (
            {},
            {"guest_image_suites": {"docker": "sid"}},
            "guest_image_suites: docker: its suite follows from guest_engine; set that instead",
        ),
    ],
)
def test_what_is_not_there_is_named(container: dict[str, Any], variables: dict[str, Any], problem: str) -> None:
    [only] = found(container, **variables)
    assert only.startswith(f"guest a: {problem}")
