"""Values of an inventory, good and bad, against what the roles' argument_specs say they must be."""

from __future__ import annotations

import datetime
from typing import Any

import pytest

from support.described_guests import OPTIONS, problems

# For each variable or nested key, good values and bad ones. A key of a list's elements follows a dot.
SMALL_NUMBERS = (-1, 10**30, True, None, "", "3 ", "٣", [1], {"a": 1}, float("nan"), float("inf"), "1e3", "x")
NOT_TEXT = (None, "", True, 5, 1.5, ["x"], {"x": "y"}, "a\0b")
NAMES = ("bad name", "-a", "ümlaut", "a/b", "x" * 300, *NOT_TEXT)
PATHS = ("relative", "~/a", "/a/../b", *NOT_TEXT)
SOCKETS = ("/" + "x" * 107, *PATHS)
PLACES = ("80", "elsewhere:80", ":70000", "127.0.0.1:", "unix:relative", *NOT_TEXT)
NETWORKS = ("fd00::/64", "192.168.65.0/x", "10.0.0.0/33", "240.0.0.0/8", *NOT_TEXT)
MACS = ("02:42:ac:11:00", "03:42:ac:11:00:02", "02-42-ac-11-00-02", "zz:42:ac:11:00:02", *NOT_TEXT)
ADDRESSES = ("10.0.0", "10.0.0.256", "10.0.0.0/24", "::1", "host", *NOT_TEXT)
WORDS = (True, None, ["x"], {"a": 1}, "a\0b")
CASES: dict[str, tuple[tuple[Any, ...], tuple[Any, ...]]] = {
    "docker_engine_timeout": ((1, 60, "60", 2.5), (0, 3601, *SMALL_NUMBERS)),
    "docker_engine_report_boot": ((True, "no"), ("perhaps", None, [])),
    "docker_networks_networks.name": (("minikube", "a.b-c_d"), NAMES),
    "docker_networks_networks.subnet": (
        ("192.168.49.0/24", "10.0.0.0/8"),
        ("192.168.49.1/24", "10.0.0.0/31", "127.0.0.0/24", "0.0.0.0/0", *NETWORKS),
    ),
    "docker_networks_networks.gateway": (("192.168.49.1",), ADDRESSES),
    "docker_networks_networks.options": (
        ({}, {"a": "b", "c": ""}),
        ({"a": 1}, {"a": True}, {"a": None}, [], "x", None),
    ),
    "docker_networks_networks.labels": (({"a": "b"},), ({"a": 1.0}, {"a": ["b"]}, "a=b")),
    "docker_networks_socket": (("/run/x.sock",), SOCKETS),
    "guest_allowlist": (
        ([], ["quay.io", "*.docker.io", "10.0.0.0/8", "::1"]),
        (["quay.io:443"], ["a b"], [""], [1], "quay.io", None, [["x"]]),
    ),
    "guest_cpus": ((1, 0.5, "2", 4096), (0, 0.01, 4097, *SMALL_NUMBERS)),
    "guest_data_size": (("20g", "64m", "1.5t", 2**40), ("1k", "0", "20 q", "17t", "-1g", "9" * 400, 5, *WORDS, "")),
    "guest_dns_search": (([], ["."], ["corp.example", "lan."]), (["a b"], [""], "lan", [None])),
    "guest_dns_servers": (([], ["127.0.0.53", "2001:db8::53"]), (["dns.example"], ["fe80::1"], "10.0.0.53", [1])),
    "guest_driver": (("namespace",), ("qemu", "", None, True, 1, ["namespace"])),
    "guest_host_access": (
        ([], [80, "443", "8000-8100"]),
        ([0], ["80-70"], [70000], [-1], [True], [None], "80", 80, [1.5]),
    ),
    "guest_engine": (
        ("debian-12", "debian-13", "debian-forky"),
        ("debian-14", "trixie", "26.1", "", None, 13, ["debian-13"]),
    ),
    "guest_hostname": (
        ("linuxkit", "a", "a.b-c", "x" * 63),
        ("bad name!", "-a", "a-", "a..b", "x" * 64, "a_b", "münchen", *NOT_TEXT),
    ),
    "guest_http_proxy": (("", "http://u:p@proxy:3128", "socks5://h:1"), ("https://p", "http://", 1, True, None, [])),
    "guest_image_cache": (("/var/cache/x",), PATHS),
    "guest_image_engine": (
        ("debian-12", "debian-13", "debian-forky"),
        ("debian-14", "trixie", "26.1", "", None, 13, ["debian-13"]),
    ),
    "guest_image_suites": (
        ({}, {"services": "trixie", "probe": "sid"}),
        ({"services": "stable"}, {"services": ""}, {"services": None}, {"services": ["sid"]}, "trixie", [], None),
    ),
    "guest_image_names": ((["guest", "services"],), (["Guest"], ["a b"], ["../guest"], [""], [1], "guest", None)),
    "guest_memory": (("4g", "512m", "1073741824", 2**30), (4, "4", "10m", "lots", "1e9", "65t", "-4g", *WORDS, "")),
    "guest_no_proxy": (([], ["", "*", "localhost", ".corp.example", "10.0.0.0/8"]), (["a b"], "localhost", [1], None)),
    "guest_pids": ((4096, "4096", 4194304), (3, 0, 4194305, 4096.5, *SMALL_NUMBERS)),
    "guest_root": (("", "/srv/root"), PATHS[: -len(NOT_TEXT)]),
    "guest_bundles_changed": ((True, False, "yes"), ("perhaps", None, [])),
    "guest_service_images": (({}, {"docker": "/srv/docker"}), ({"docker": "docker"}, {"docker": None}, [], None)),
    "guest_services_cache": (("/var/cache/x",), PATHS),
    "guest_services_hostname": (("linuxkit",), ("bad name!", *NOT_TEXT)),
    "guest_services_images": (
        ({}, {"x": {"path": "/x", "reference": "x:1"}}),
        ({"x": "y"}, {"x": {"path": "/x"}}, [], None),
    ),
    "guest_shares": (
        ([], ["~", "/srv/data", "/opt/x:ro", "~/site:user=33", "/opt/y:ro,user=65535"]),
        (["srv"], ["/srv:rox"], ["/srv:user=65536"], ["/etc"], ["/"], ["/a/../b"], [""], [None], "/srv", None, [1]),
    ),
    "guest_ssh_agent": (("", "/tmp/agent.sock", "~/.ssh/agent.sock"), ("agent.sock", "~me/a", True, None, ["/a"], 1)),
    "guest_state": (("started", "stopped", "restarted", "absent"), ("up", "", "Started", True, None, ["started"])),
    "guest_subnet": (
        ("192.168.65.0/24", "10.1.0.0/29"),
        (
            "192.168.65.0/30",
            "192.168.65.3/24",
            "127.0.0.0/24",
            "169.254.1.0/24",
            "224.0.0.0/24",
            "0.0.0.0/0",
            *NETWORKS,
        ),
    ),
    "guest_uid_base": ((65536, "1000000", 10**9), (0, 5, 65535, 2**32, 1.5e6 + 0.5, *SMALL_NUMBERS)),
    "guest_uid_count": ((65536, 10**6), (0, 1, 65535, 2**32, *SMALL_NUMBERS)),
    "guest_uplink": ((True, False, "yes", "no", "true", 0, 1), ("maybe", "", None, 2, [True], 1.5, "trüe")),
    "guest_services_yaml": (("", "/srv/guest.yml"), ("guest.yml", "~/guest.yml", None, True, 1, ["/x"])),
    "host_forwarder_bind": (
        ([], ["*:1024-65535", "127.0.0.0/8:80", "[::1]:*"]),
        (["80"], ["*:0"], ["*:70000"], ["host:80"], [""], [80], "*:80", None),
    ),
    "host_forwarder_context": (
        ("", "portchain", "a.b+c-d_e"),
        ("default", "x", "a b", "../x", None, True, 1, ["portchain"]),
    ),
    "host_forwarder_forwards.listen": ((":8080", "127.0.0.1:8080", "[::1]:8080"), PLACES),
    "host_forwarder_forwards.target": (("127.0.0.1:80", "unix:/run/x"), PLACES),
    "host_forwarder_forwards.protocol": (("tcp", "udp"), ("sctp", "", None, True, 6)),
    "host_forwarder_forwards.proxy_protocol": (("", "v1", "v2"), ("v3", None, 2, True)),
    "host_forwarder_guest_uid": ((65536, "1000000"), (0, 65535, 2**32, *SMALL_NUMBERS)),
    "host_forwarder_memory": (("1g", "512m", 2**30), (4, "4", "10m", "lots", "1e9", "65t", "-4g", *WORDS, "")),
    "host_forwarder_package": (("/srv/portchain",), PATHS),
    "host_forwarder_host_network": ((True, "no"), ("perhaps", None, [])),
    "host_forwarder_privileged_ports": ((True, "no"), ("perhaps", None, [])),
    "host_forwarder_random_address": (("", "*", "127.0.0.1", "::1"), ("localhost", "10.0.0.0/8", None, True, 1)),
    "host_forwarder_random_ports": (("49152-65535", "50000"), ("0", "5-4", "1-70000", "a", *NOT_TEXT)),
    "host_forwarder_relay_uid": ((65536, "1999999"), (0, 65535, 2**32, *SMALL_NUMBERS)),
    "host_forwarder_state": (("started", "stopped", "absent"), ("restarted", "", None, False)),
    "portchain_guest": (("linuxkit", "a-1_b"), ("Linuxkit", "../x", "x" * 33, *NAMES)),
    "portchain_machine": (("localhost", "server-1.example"), WORDS),
    "portchain_owner": (("root", "Jane.Doe", "x_1"), ("a b", "-x", "a:b", "jörg", *NOT_TEXT)),
    "reachability_containers": (([], [{"name": "web", "ports": ["80"]}]), (["web"], [{"ports": []}], {}, None)),
    "reachability_forwards": (([], [{"listen": ":1", "target": ":2"}]), ([":1"], [{"listen": ":1"}], {}, None)),
    "reachability_expect.address": (("127.0.0.1", "::1"), ("*", "localhost", "10.0.0.0/8", *NOT_TEXT)),
    "reachability_expect.container_port": ((1, "8080", 65535), (0, 65536, *SMALL_NUMBERS)),
    "reachability_expect.target": (("127.0.0.1:80", "unix:/run/x"), PLACES),
    "reachability_expect.port": ((1, "8080", 65535), (0, 65536, *SMALL_NUMBERS)),
    "reachability_expect.protocol": (("tcp", "udp"), ("icmp", None)),
    "reachability_expect.guest": (("0.0.0.0:8080",), PLACES),
    "reachability_expect.to": (("172.17.0.2:80",), PLACES),
    "reachability_expect.network": (("bridge",), NAMES),
    "reachability_expect.bridge": (("docker0",), WORDS),
    "reachability_expect.container": (("nginx",), NAMES),
    "reachability_probe": ((True, "off"), ("x", None)),
    "reachability_timeout": ((0, 30, "30"), (-1, 3601, True, None, "x", float("nan"))),
    "workloads_containers.name": (("nginx", "a.b"), ("a", *NAMES)),
    "workloads_containers.image": (
        ("quay.io/a/b:v1", "localhost:5000/x", "x@sha256:" + "0" * 64),
        ("Nginx", "a b", "a:b:c", "-x", "a//b", "x" * 256, "ä", *NOT_TEXT),
    ),
    "workloads_containers.command": (([], ["sleep", 60, ""]), (["a", True], [None], "sleep 60", [["a"]], None)),
    "workloads_containers.hostname": (("web",), ("bad name!", *NOT_TEXT)),
    "workloads_containers.env": (({"A": "1", "B": ""},), ({"A": 1}, {"A": True}, {"A": None}, ["A=1"], "A=1")),
    "workloads_containers.privileged": ((True, False), ("x", None)),
    "workloads_containers.tty": ((True,), ("x", 2)),
    "workloads_containers.security_opts": ((["seccomp=unconfined"],), ("seccomp=unconfined", [True])),
    "workloads_containers.tmpfs": ((["/run", "/tmp:size=64m"],), (["run"], "/run", [None], [""])),
    "workloads_containers.volumes": (
        (["data:/d", "/etc/hosts:/h:ro", "/anonymous"],),
        (["data"], ["data:d"], ["x y:/d"], [":/d"], [""], [{"a": "b"}], "a:/b", None),
    ),
    "workloads_containers.networks.name": (("bridge",), NAMES),
    "workloads_containers.networks.ipv4_address": (("10.0.0.9",), ADDRESSES),
    "workloads_containers.networks.ipv6_address": (("fd00::9",), ("10.0.0.9", "x", *NOT_TEXT)),
    "workloads_containers.networks.aliases": ((["db"],), (["a b"], "db", [1])),
    "workloads_containers.networks.links": ((["db:database"],), ("db", [True])),
    "workloads_containers.networks.mac_address": (("02:42:ac:11:00:02",), MACS),
    "workloads_containers.mac_address": (("02:42:AC:11:00:02",), MACS),
    "workloads_containers.ports": (
        (["80", "8080:80", "127.0.0.1::53/udp", "[::1]:8080:80"],),
        ([1342], ["8o:80"], ["1-2:3-5"], ["80/icmp"], [""], ["host:1024:80"], ["0"], [None], "80", [{"target": 80}]),
    ),
    "workloads_containers.labels": (({"a": "b"},), ({"a": 1}, ["a=b"])),
    "workloads_containers.restart_policy": (("no", "always"), (False, "never", None, "")),
    "workloads_containers.ready": ((["true"],), ("true", [True])),
    "workloads_containers.credentials": (("/var/lib/x",), PATHS),
    "workloads_credentials": (("/srv/x",), PATHS),
    "workloads_images": (
        ({}, {"x": {"path": "/x", "reference": "x:1"}}),
        ({"x": "y"}, {"x": {"path": "/x"}}, [], None),
    ),
    "workloads_socket": (("/run/x.sock",), SOCKETS),
    "workloads_tries": ((1, "60"), (0, 3601, 1.5, *SMALL_NUMBERS)),
}
REQUIRED = {
    "docker_networks_networks": {"name": "n", "subnet": "10.9.0.0/24", "gateway": "10.9.0.1"},
    "host_forwarder_forwards": {"listen": ":8080", "target": "127.0.0.1:80"},
    "reachability_expect": {"port": 80},
    "workloads_containers": {"name": "web", "image": "nginx"},
    "networks": {"name": "n"},
}


def nested(path: list[str], value: Any) -> dict[str, Any]:
    """A variable with ``value`` at ``path``, all that is required beside it."""
    *above, name = path
    if not above:
        return {name: value}
    return nested(above, [REQUIRED[above[-1]] | {name: value}])


def all_paths(options: Any, above: str = "") -> list[str]:
    """Each variable and key that has a value of its own."""
    return [
        path
        for name, option in options.items()
        for path in (all_paths(option.options, f"{above}{name}.") if option.options else [f"{above}{name}"])
    ]


def test_each_variable_has_values_here() -> None:
    assert sorted(all_paths(OPTIONS)) == sorted(CASES)


@pytest.mark.parametrize("path", CASES)
def test_good_values_are_no_problem(path: str) -> None:
    for value in CASES[path][0]:
        found = problems(**nested(path.split("."), value))
        assert not [problem for problem in found if "policy of the host" not in problem], value


@pytest.mark.parametrize("path", CASES)
def test_a_bad_value_is_named_with_the_guest_the_variable_and_what_is_allowed(path: str) -> None:
    variable, *keys = path.split(".")
    for value in CASES[path][1]:
        found = [one for one in problems(**nested(path.split("."), value)) if "policy of the host" not in one]
        assert len(found) == 1, (value, found)
        assert found[0].startswith(f"guest a: {variable}"), found
        assert all(key in found[0] for key in keys)
        assert " must be " in found[0] or "there is no value; give one" in found[0], found
        assert len(found[0]) < 420


@pytest.mark.parametrize(
    ("variables", "problem"),
    [
        ({"guest_memory": "10m"}, "guest_memory: '10m' must be a size from 192m to 64t, such as 2g"),
        ({"guest_cpus": 0}, "guest_cpus: 0 must be a number from 0.1 to 4096"),
        ({"guest_driver": "qemu"}, "guest_driver: 'qemu' must be namespace"),
        (
            {"guest_engine": "debian-11"},
            "guest_engine: 'debian-11' must be one of debian-12, debian-13, debian-forky",
        ),
        (
            {"guest_image_suites": {"services": "trixe"}},
            "guest_image_suites: services: 'trixe' must be a Debian suite, such as trixie: the suites are bookworm",
        ),
        ({"guest_uplink": "maybe"}, "guest_uplink: 'maybe' must be true or false"),
        ({"guest_shares": "/srv"}, "guest_shares: '/srv' must be a list, such as ['/srv']"),
        ({"guest_memroy": "2g"}, "no variable guest_memroy; did you mean guest_memory?"),
        ({"guest_http_proxy": "ftp://me:secret@p"}, "guest_http_proxy: 'ftp://***@p' must be a proxy's URL or empty"),
        (
            {"workloads_containers": [{"name": "web", "imgae": "x"}]},
            "workloads_containers web: no key imgae; did you mean image?",
        ),
        ({"workloads_containers": [{"image": "x"}]}, "workloads_containers[0]: the key name is missing"),
        ({"workloads_containers": ["web"]}, "workloads_containers[0]: 'web' must be a mapping of name, image, "),
        ({"workloads_containers": {"web": {}}}, "workloads_containers: {'web': {}} must be a list"),
        (
            {"workloads_containers": [{"name": "web", "image": "x", "restart_policy": False}]},
            "workloads_containers web: restart_policy: False must be one of no, always, on-failure, unless-stopped; "
            "YAML reads yes, no, on and off as False: put them in quotes",
        ),
        (
            {"workloads_containers": [{"name": "web", "image": "x", "ports": ["80", 1342]}]},
            "workloads_containers web: ports[1]: 1342 must be a publication in quotes",
        ),
        (
            {"workloads_containers": [{"name": "web", "image": "x", "networks": [{"name": "n", "ip": "10.0.0.2"}]}]},
            "workloads_containers web: networks n: no key ip; there are name, ipv4_address",
        ),
        (
            {"guest_hostname": datetime.date(2026, 1, 1)},
            "guest_hostname: datetime.date(2026, 1, 1) must be a host name",
        ),
    ],
)
def test_what_a_problem_says(variables: dict[str, Any], problem: str) -> None:
    assert problems(**variables)[0].startswith(f"guest a: {problem}")


def test_all_that_is_wrong_is_told_at_once() -> None:
    containers = [{"name": "a b", "image": "X"}, {"name": "web", "image": "x", "ports": ["8o:80", "80:80"]}]
    found = problems(guest_memory=4, guest_cpus=0, guest_pid=3, workloads_containers=containers)
    assert [text.split(": ")[1] for text in found] == [
        "no variable guest_pid; did you mean guest_pids?",
        "guest_memory",
        "guest_cpus",
        "workloads_containers a b",
        "workloads_containers a b",
        "workloads_containers web",
        "workloads_containers web",
    ]
