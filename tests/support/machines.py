"""The seed's machine, and one with sixty ports of every kind."""

from __future__ import annotations

from dataclasses import replace

from portchain.ports.forward import Endpoint
from portchain.trace.model import Guest, HostForward, Listener, Machine, Process
from portchain.trace.rules.filter_rules import RuleSet
from support.building import Box, Builder, Net

BRIDGE = Net("bridge", "docker0", "172.17.0", 16)
MINIKUBE = Net("minikube", "br-a22db289b316", "192.168.49")
SHOP = Net("shop_frontend", "br-5d0c7b1e93aa", "172.18.0", 16)
DATA = Net("shop_data", "br-c41f0a77d2e6", "172.19.0", 16)


def _tcp(*ports: tuple[int, int]) -> tuple[tuple[int, int, int, str], ...]:
    """Host and container port; the guest's is the host's."""
    return tuple((host, host, inside, "tcp") for host, inside in ports)


def _random(first: int, *ports: tuple[int, int]) -> tuple[tuple[int, int, int, str], ...]:
    """The same where Docker chose the host's port: the guest's counts up from ``first``."""
    return tuple((host, first + n, inside, "tcp") for n, (host, inside) in enumerate(ports))


def seed() -> Machine:
    """Six ports, nginx and minikube."""
    ports = _random(55000, (49671, 32443), (49673, 8443), (49672, 5000), (49675, 2376), (49674, 22))
    boxes = (
        Box("minikube", ("minikube",), ports, "systemd", "portchain/kicbase"),
        Box("nginx", ("bridge",), _tcp((8080, 8080)), "nginx", "portchain/nginx"),
    )
    return _serving(Builder((BRIDGE, MINIKUBE), boxes).machine(), "minikube", SEED_SERVERS)


SEED_SERVERS = {22: "sshd", 2376: "dockerd", 5000: "registry", 8443: "kube-apiserver", 32443: "kube-proxy"}


def _serving(machine: Machine, name: str, servers: dict[int, str]) -> Machine:
    """With other commands behind the ports of a container."""
    assert machine.guest
    box = machine.guest.container(name)
    assert box and box.space
    listeners = tuple(
        replace(one, processes=(Process(one.processes[0].pid + n, servers[one.at.port]),))
        for n, one in enumerate(box.space.listeners)
    )
    changed = replace(box, space=replace(box.space, listeners=listeners))
    others = tuple(changed if one is box else one for one in machine.guest.containers)
    return replace(machine, guest=replace(machine.guest, containers=others))


_STORE = tuple((7000 + n, 7000 + n, 7000 + n, "tcp") for n in range(16))
BIG = (
    Box("web-1", ("bridge",), _tcp((8080, 80), (8443, 443)), "nginx", "nginx:1.27"),
    Box("web-2", ("bridge",), _tcp((8081, 80), (8444, 443)), "nginx", "nginx:1.27"),
    Box("resolver", ("bridge",), ((5353, 5353, 53, "udp"), (5353, 5353, 53, "tcp")), "unbound", "unbound"),
    Box("mail", ("bridge",), _tcp((2525, 25), (1143, 143), (1993, 993)), "dovecot", "mailserver"),
    Box("a-container-with-a-name-that-is-far-too-long-for-any-box", ("bridge",), _tcp((9999, 9999)), "python3"),
    Box("idle", ("bridge",), (), "", "busybox"),
    Box("minikube", ("minikube",), _random(55000, *((49671 + n, 2376 + n) for n in range(5))), "dockerd", "kicbase"),
    Box("frontend", ("shop_frontend",), _tcp((3000, 3000), (3001, 3001)), "node", "shop/frontend:42"),
    Box("checkout", ("shop_frontend",), _tcp((3010, 8000), (3011, 8001), (3012, 8002)), "gunicorn", "shop/checkout:42"),
    Box("search", ("shop_frontend",), _tcp((9200, 9200), (9300, 9300)), "java", "elasticsearch:8"),
    Box("api", ("shop_frontend", "shop_data"), _tcp((4000, 4000), (4001, 4001)), "api-server", "shop/api:42"),
    Box("postgres", ("shop_data",), _tcp((5432, 5432)), "postgres", "postgres:17"),
    Box("redis", ("shop_data",), _tcp((6379, 6379), (16379, 16379)), "redis-server", "redis:7"),
    Box("broker", ("shop_data",), _tcp((5672, 5672), (15672, 15672), (25672, 25672)), "beam.smp", "rabbitmq:4"),
    Box("store", ("shop_data",), _STORE, "minio", "minio"),
    Box("syslog", ("shop_data",), ((1514, 1514, 514, "udp"), (1515, 1515, 514, "udp")), "rsyslogd", "syslog"),
    Box("game", ("bridge",), tuple((27015 + n, 27015 + n, 27015 + n, "udp") for n in range(5)), "srcds", "game"),
    Box("node-exporter", (), ((9100, 9100, 9100, "tcp"),), "node_exporter", "prom/node-exporter", host=True),
    Box("prometheus", (), ((9090, 9090, 9090, "tcp"),), "prometheus", "prom/prometheus", host=True),
    Box("migrate", ("shop_data",), _tcp((5999, 5999)), "alembic", "shop/api:42", state="exited"),
    Box("sandbox", (), (), "", "busybox"),
)


def big() -> Machine:
    """Sixty ports over twenty-one containers on four networks, four of them broken, each in another way."""
    manual = (
        HostForward(
            Endpoint("tcp", "127.0.0.1", 1081), Endpoint("tcp", "127.0.0.1", 1080), "manual", "manual", "listening"
        ),
        HostForward(
            Endpoint("tcp", "::1", 18080), Endpoint("tcp", "172.17.0.2", 80), "declared", "declared", "listening"
        ),
    )
    taken = "cannot listen on *:5432: address already in use"
    more = tuple(
        HostForward(
            Endpoint("tcp", "", 6000 + n), Endpoint("tcp", "127.0.0.1", 4000), "declared", "declared", "listening"
        )
        for n in range(3)
    )
    whole = Builder((BRIDGE, SHOP, DATA, MINIKUBE), BIG).machine(*manual, *more)
    return _deaf(_unpaired(_untranslated(_taken(whole, 5432, taken), 9200), "mail"), "checkout", 8001)


def _taken(machine: Machine, port: int, error: str) -> Machine:
    """A host port that another process has."""
    daemon = machine.host.forwarder
    assert daemon
    forwards = tuple(
        replace(one, state="failed", error=error) if one.listen.port == port else one for one in daemon.forwards
    )
    listeners = tuple(
        Listener(one.at, (Process(611, "postgres"),)) if one.at.port == port else one for one in machine.host.listeners
    )
    host = replace(machine.host, forwarder=replace(daemon, forwards=forwards), listeners=listeners)
    return replace(machine, host=host)


def _untranslated(machine: Machine, port: int) -> Machine:
    """A port without its nat rule."""
    guest = _guest(machine)
    chains = tuple(
        replace(one, rules=tuple(rule for rule in one.rules if f"--dport {port} " not in rule.text))
        for one in guest.space.rules.chains
    )
    return replace(machine, guest=replace(guest, space=replace(guest.space, rules=RuleSet(chains))))


def _unpaired(machine: Machine, name: str) -> Machine:
    """A container whose veth was taken off its bridge."""
    guest = _guest(machine)
    box = guest.container(name)
    assert box and box.space
    peer = box.space.links[1].peer
    links = tuple(replace(one, master=0) if one.index == peer else one for one in guest.space.links)
    return replace(machine, guest=replace(guest, space=replace(guest.space, links=links)))


def _deaf(machine: Machine, name: str, port: int) -> Machine:
    """A container whose server listens on its own 127.0.0.1 alone."""
    guest = _guest(machine)
    box = guest.container(name)
    assert box and box.space
    listeners = tuple(
        replace(one, at=replace(one.at, address="127.0.0.1")) if one.at.port == port else one
        for one in box.space.listeners
    )
    changed = replace(box, space=replace(box.space, listeners=listeners))
    return replace(
        machine, guest=replace(guest, containers=tuple(changed if one is box else one for one in guest.containers))
    )


def _guest(machine: Machine) -> Guest:
    assert machine.guest
    return machine.guest


BAD = "</text></svg><img src=x onerror=window.taken=1><script>window.taken=1</script>\x1b[31m\x07\u202e"


def hostile() -> Machine:
    """The seed's machine where everything that a guest may name has a name that is to do harm."""
    whole = seed()
    guest = _guest(whole)
    containers = tuple(
        replace(
            one,
            name=f"{BAD}{one.name}",
            image=BAD,
            status=BAD,
            space=replace(
                one.space,
                listeners=tuple(replace(at, processes=(Process(7, BAD),)) for at in one.space.listeners),
                links=tuple(replace(link, name=f"{BAD}{link.name}") for link in one.space.links),
            ),
        )
        for one in guest.containers
        if one.space
    )
    networks = tuple(replace(one, name=f"{BAD}{one.name}") for one in guest.networks)
    services = tuple(replace(one, name=BAD, state=BAD) for one in guest.services)
    spoilt = replace(guest, containers=containers, networks=networks, services=services, problems=(BAD,))
    daemon = whole.host.forwarder
    assert daemon
    forwards = tuple(replace(one, owner=f"{BAD}{one.owner}", error=BAD) for one in daemon.forwards)
    return replace(whole, guest=spoilt, host=replace(whole.host, forwarder=replace(daemon, forwards=forwards)))
