"""Debian's suites: which of them an image's packages come from, and what the packages are called in each. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field

SUITES = ("bookworm", "trixie", "forky", "sid")  # oldest first
# Their release files expire, and they have no updates beside them.
_UNRELEASED = ("forky", "sid")
_BESIDE = ("", "-updates", "-security")

# What a package of bookworm is called, or has become, from a later suite on.
_SUCCESSORS = {
    "docker.io": ("trixie", ("docker-cli", "docker.io")),
    "qemu-user-static": ("trixie", ("qemu-user", "qemu-user-binfmt")),
    "tini": ("forky", ("tini-static",)),
}


@dataclass(frozen=True)
class PackageOrigin:
    """Where an image's packages come from: ``suite``, but those that are ``ahead`` from ``newer``.

    ``more`` are wanted as well, lest apt takes larger ones for what the newer packages need.
    """

    suite: str
    newer: str = ""
    ahead: frozenset[str] = frozenset()
    more: tuple[str, ...] = ()

    @property
    def suites(self) -> tuple[str, ...]:
        """The suites that the packages come from."""
        return (self.suite, self.newer) if self.newer else (self.suite,)

    @property
    def apt_options(self) -> tuple[str, ...]:
        """The apt options by which only the packages ahead, and what they need, come from the newer suite."""
        return (f'APT::Default-Release "/^{self.suite}(-updates|-security)?$/"',) if self.newer else ()

    def packages(self, wanted: Iterable[str]) -> list[str]:
        """Translate the names that packages have in bookworm into sorted arguments for apt."""
        return sorted([*self.more, *(package for name in wanted for package in self._resolve(name))])

    def _resolve(self, name: str) -> Iterator[str]:
        newest = _called(name, self.suites[-1])
        if self.newer and self.ahead.issuperset(newest):
            return (f"{package}/{self.newer}" for package in newest)
        return iter(_called(name, self.suite))


ENGINE_IMAGE = "docker"
DEFAULT_ENGINE = "debian-12"
ENGINES: Mapping[str, PackageOrigin] = {
    "debian-12": PackageOrigin("bookworm"),
    "debian-13": PackageOrigin("trixie"),
    "debian-forky": PackageOrigin(
        "trixie",
        "forky",
        frozenset({"containerd", "docker-cli", "docker.io", "runc", "tini-static"}),
        ("systemd-standalone-sysusers",),
    ),
}


@dataclass(frozen=True)
class SuiteChoice:
    """What a guest's images are built from: one of ENGINES, and suites of other images by name.

    Any other image is built from the machine's own suite.
    """

    engine: str = DEFAULT_ENGINE
    suites: Mapping[str, str] = field(default_factory=dict)

    def origin(self, image: str, own: str) -> PackageOrigin:
        """Return where the packages of ``image`` come from on a machine of suite ``own``."""
        return ENGINES[self.engine] if image == ENGINE_IMAGE else PackageOrigin(self.suites.get(image, own))


@dataclass(frozen=True)
class Source:
    """An apt source: one component of one release, such as ``bookworm-updates``, at a mirror's ``uri``.

    ``codename`` is the release's own name, where the source calls it ``stable``.
    """

    uri: str
    release: str
    component: str
    codename: str

    @property
    def suite(self) -> str:
        """The suite that the release belongs to."""
        return self.codename.partition("-")[0]

    @property
    def line(self) -> str:
        """The source as a line of sources.list."""
        options = "[check-valid-until=no] " if self.suite in _UNRELEASED else ""
        return f"deb {options}{self.uri} {self.release} {self.component}"

    @property
    def release_file(self) -> str:
        """The URL of the file with which the release begins."""
        return f"{self.uri}dists/{self.release}/InRelease"


# The format of `apt-get indextargets` that `parse_sources` reads.
TARGETS_FORMAT = "\t".join(
    f"$({key})" for key in ("ORIGIN", "CREATED_BY", "REPO_URI", "RELEASE", "COMPONENT", "CODENAME")
)


def parse_sources(targets: str) -> list[Source]:
    """Return the Debian sources in the output of `apt-get indextargets`."""
    rows = (line.split("\t") for line in targets.splitlines())
    return [Source(*row[2:]) for row in rows if row[:2] == ["Debian", "Packages"]]


def sources_of(suite: str, sources: Iterable[Source]) -> list[Source]:
    """Return the sources of ``suite``: the machine's own if it has any, else its others with the suite exchanged."""
    known = list(sources)
    own = [source for source in known if source.suite == suite]
    beside = _BESIDE[:1] if suite in _UNRELEASED else _BESIDE
    exchanged = (
        Source(source.uri, suite + ending, source.component, suite + ending)
        for source in known
        for ending in beside
        if source.codename == source.suite + ending
    )
    return own or list(dict.fromkeys(exchanged))


def _called(name: str, suite: str) -> tuple[str, ...]:
    """Return what a package of bookworm is in ``suite``."""
    since, names = _SUCCESSORS.get(name, ("", ()))
    later = suite in SUITES and since in SUITES and SUITES.index(suite) >= SUITES.index(since)
    return names if later else (name,)
