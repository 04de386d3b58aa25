from __future__ import annotations

from hypothesis import example, given
from hypothesis import strategies as st

from portchain.engine.publications import DESKTOP, LABEL, Published, in_turn, labels, plan, read_labels
from portchain.mapping.forward import Endpoint

SEED = (22, 2376, 5000, 8443, 32443)
SEED_GUEST = {22: 55004, 2376: 55003, 5000: 55002, 8443: 55001, 32443: 55000}


def asked(key: str, ip: str = "", port: str = "") -> Published:
    found = Published.read(key, {"HostIp": ip, "HostPort": port})
    assert found
    return found


def places(planned: list[Published]) -> list[str]:
    return [one.guest.place for one in planned]


def test_the_seeds_ports_come_out_of_what_minikube_asks() -> None:
    planned = plan([asked(f"{port}/tcp", "127.0.0.1") for port in SEED], [])
    assert {p.container: p.guest for p in planned} == {
        port: Endpoint("tcp", "127.0.0.1", guest) for port, guest in SEED_GUEST.items()
    }
    assert [p.container for p in in_turn(planned)] == [32443, 5000, 8443, 22, 2376]


def test_an_explicit_port_keeps_its_number_where_the_guest_has_it_free() -> None:
    wanted = [asked("80/tcp", "", "8080"), asked("81/tcp", "127.0.0.1", "81"), asked("53/udp", "", "53")]
    taken = [Endpoint.parse("udp:127.0.0.1:53"), Endpoint.parse("udp:192.168.65.3:53")]
    assert places(plan(wanted, [], taken)) == ["0.0.0.0:8080", "127.0.0.1:81", "127.0.0.1:55000"]


def test_an_address_that_the_guest_lacks_becomes_its_loopback() -> None:
    wanted = [asked("80/tcp", "192.0.2.1", "80"), asked("81/tcp", "::1", "81"), asked("82/tcp", "127.0.0.2", "82")]
    assert places(plan(wanted, [])) == ["127.0.0.1:80", "127.0.0.1:81", "127.0.0.2:82"]


def test_a_range_leaves_the_choice_to_the_host() -> None:
    (planned,) = plan([asked("80/tcp", "", "8000-8010")], [])
    assert (planned.guest.place, planned.explicit) == ("127.0.0.1:55000", None)


def test_containers_that_can_run_together_never_share_a_place() -> None:
    first = plan([asked("80/tcp", "192.0.2.1", "80"), asked("81/tcp")], [])
    second = plan([asked("80/tcp", "192.0.2.2", "80"), asked("81/tcp")], first)
    assert places(second) == ["127.0.0.1:55001", "127.0.0.1:55002"]


def test_a_container_takes_the_place_of_one_it_cannot_run_beside() -> None:
    first = plan([asked("80/tcp", "", "8080")], [])
    assert places(plan([asked("80/tcp", "127.0.0.1", "8080")], first)) == ["127.0.0.1:8080"]


def test_desktops_labels_say_what_was_asked() -> None:
    wanted = [asked("5432/tcp", "", "15432"), asked("80/tcp", "127.0.0.1", "5466"), asked("80/tcp", "::1", "")]
    found = labels(plan(wanted, []))
    assert found[f"{DESKTOP}.scheme"] == "v2"
    assert found[f"{DESKTOP}/5432/tcp"] == ":15432"
    assert found[f"{DESKTOP}/80/tcp"] == "127.0.0.1:5466,[::1]:"


def test_nothing_published_leaves_no_label() -> None:
    assert labels([]) == {}


keys = st.builds("{}/{}".format, st.integers(1, 65535), st.sampled_from(["tcp", "udp"]))
bindings = st.builds(
    asked, keys, st.sampled_from(["", "127.0.0.1", "0.0.0.0", "::1"]), st.sampled_from(["", "0", "80"])
)


@given(st.lists(bindings, max_size=8))
def test_labels_keep_everything(wanted: list[Published]) -> None:
    planned = plan(wanted, [])
    assert read_labels(labels(planned)) == planned


@example("[[0,0,0,0,0]]")
@given(st.text() | st.recursive(st.none() | st.integers() | st.text(), st.lists).map(str))
def test_a_label_of_anyone_elses_is_nothing(text: str) -> None:
    assert all(isinstance(one, Published) for one in read_labels({LABEL: text}))
