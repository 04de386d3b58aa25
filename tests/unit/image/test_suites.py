from __future__ import annotations

import pytest
import yaml

from portchain.image.suites import (
    ENGINES,
    PackageOrigin,
    Source,
    SuiteChoice,
    parse_sources,
    sources_of,
)
from support.described_guests import OPTIONS, PROJECT

TARGETS = """\
Debian\tPackages\thttp://mirror.example/debian/\tstable\tmain\tbookworm
Debian\tPackages\thttp://mirror.example/debian/\tbookworm-updates\tmain\tbookworm-updates
Debian\tTranslations\thttp://mirror.example/debian/\tstable\tmain\tbookworm
Debian\tPackages\thttp://mirror.example/security/\tbookworm-security\tmain\tbookworm-security
Debian Backports\tPackages\thttp://mirror.example/debian/\tbookworm-backports\tmain\tbookworm-backports
Other\tPackages\thttp://other.example/apt/\tany\tmain\tany
"""
DEBIAN = "http://mirror.example/debian/"


def lines(suite: str, targets: str = TARGETS) -> list[str]:
    """The lines of sources.list for a suite, on a machine with these targets."""
    return [source.line for source in sources_of(suite, parse_sources(targets))]


def test_the_machines_own_suite_has_its_sources_as_they_are() -> None:
    assert lines("bookworm") == [
        f"deb {DEBIAN} stable main",
        f"deb {DEBIAN} bookworm-updates main",
        "deb http://mirror.example/security/ bookworm-security main",
    ]


def test_a_release_has_the_machines_sources_with_the_suite_exchanged() -> None:
    assert lines("trixie") == [
        f"deb {DEBIAN} trixie main",
        f"deb {DEBIAN} trixie-updates main",
        "deb http://mirror.example/security/ trixie-security main",
    ]


@pytest.mark.parametrize("suite", ["forky", "sid"])
def test_what_is_not_released_may_have_expired_and_has_nothing_beside_it(suite: str) -> None:
    assert lines(suite) == [f"deb [check-valid-until=no] {DEBIAN} {suite} main"]


def test_sources_of_the_suite_itself_are_preferred() -> None:
    own = "Debian\tPackages\thttp://own.example/debian/\tsid\tmain\tsid\n"
    assert lines("sid", TARGETS + own) == ["deb [check-valid-until=no] http://own.example/debian/ sid main"]


def test_each_component_is_kept_and_none_twice() -> None:
    row = f"Debian\tPackages\t{DEBIAN}\t{{0}}\t{{1}}\t{{0}}\n"
    targets = "".join(row.format(suite, part) for suite in ("bookworm", "bullseye") for part in ("main", "contrib"))
    assert lines("trixie", targets) == [f"deb {DEBIAN} trixie main", f"deb {DEBIAN} trixie contrib"]


def test_a_machine_without_debians_sources_has_none_for_any_suite() -> None:
    assert lines("trixie", "") == []


def test_a_release_begins_with_a_file() -> None:
    assert Source(DEBIAN, "sid", "main", "sid").release_file == f"{DEBIAN}dists/sid/InRelease"


def test_every_engine_may_be_chosen_and_has_its_versions() -> None:
    versions = yaml.safe_load((PROJECT / "tests/data/engines.yml").read_text())
    assert OPTIONS["guest_engine"].choices == OPTIONS["guest_image_engine"].choices == tuple(ENGINES) == tuple(versions)


ENGINE_PACKAGES = ["containerd", "docker.io", "iptables", "runc", "tini"]


@pytest.mark.parametrize(
    ("engine", "packages"),
    [
        ("debian-12", ["containerd", "docker.io", "iptables", "runc", "tini"]),
        ("debian-13", ["containerd", "docker-cli", "docker.io", "iptables", "runc", "tini"]),
        (
            "debian-forky",
            [
                *("containerd/forky", "docker-cli/forky", "docker.io/forky", "iptables", "runc/forky"),
                *("systemd-standalone-sysusers", "tini-static/forky"),
            ],
        ),
    ],
)
def test_an_engines_packages_by_their_names_in_its_suite(engine: str, packages: list[str]) -> None:
    assert ENGINES[engine].packages(ENGINE_PACKAGES) == packages


def test_a_name_holds_for_all_later_suites() -> None:
    assert PackageOrigin("trixie").packages(["qemu-user-static"]) == ["qemu-user", "qemu-user-binfmt"]
    assert PackageOrigin("sid").packages(["tini"]) == ["tini-static"]
    assert PackageOrigin("trixie").packages(["tini"]) == ["tini"]
    assert PackageOrigin("elsewhere").packages(["tini"]) == ["tini"]


def test_a_newer_suite_gives_what_it_is_asked_for_alone() -> None:
    assert ENGINES["debian-forky"].apt_options == ('APT::Default-Release "/^trixie(-updates|-security)?$/"',)
    assert ENGINES["debian-forky"].suites == ("trixie", "forky")
    assert ENGINES["debian-13"].apt_options == ()


def test_the_engine_chooses_for_the_image_docker_alone() -> None:
    choice = SuiteChoice("debian-13", {"services": "forky"})
    assert choice.origin("docker", "bookworm").suite == "trixie"
    assert choice.origin("services", "bookworm").suite == "forky"
    assert choice.origin("guest", "bookworm").suite == "bookworm"
