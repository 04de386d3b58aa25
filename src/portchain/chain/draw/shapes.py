"""The shapes of a picture, and where its columns are. Pixels, from the top left."""

from __future__ import annotations

from dataclasses import dataclass, field, replace

from .text import elide, plain, width

# Sizes of text.
LARGE = 14.0
SIZE = 12.0
SMALL = 11.0
TINY = 10.5


@dataclass(frozen=True)
class Column:
    """A part of the picture's width."""

    left: float
    width: float

    @property
    def right(self) -> float:
        """Its right edge."""
        return self.left + self.width


HOST = Column(22, 132)
FORWARDER = Column(236, 84)
LISTENER = Column(352, 132)
RULE = Column(506, 184)
BRIDGE = Column(722, 132)
VETH = Column(892, 128)
BOX = Column(1058, 258)
PORT = Column(BOX.left + 8, 112)
HOST_ZONE = Column(12, 152)
GUEST_ZONE = Column(224, 1104)
WIDTH = 1340.0


@dataclass(frozen=True)
class Rect:
    """A box; ``looks`` are its CSS classes, ``title`` what is said of it on request."""

    left: float
    top: float
    width: float
    height: float
    looks: str
    title: str = ""
    radius: float = 4

    @property
    def right(self) -> float:
        """Its right edge."""
        return self.left + self.width

    @property
    def bottom(self) -> float:
        """Its lower edge."""
        return self.top + self.height


@dataclass(frozen=True)
class Text:
    """One line that begins, or with ``end`` ends, at ``x`` and stands on ``y``; ``title`` is all of it if shortened."""

    x: float
    y: float
    text: str
    looks: str = ""
    title: str = ""
    size: float = SIZE
    end: bool = False

    @property
    def box(self) -> Rect:
        """The room that it takes."""
        across = width(self.text, self.size, self.looks)
        return Rect(self.x - (across if self.end else 0), self.y - self.size * 0.8, across, self.size, "")

    def within(self, room: float) -> Text:
        """As much of the text as has room, control characters made visible."""
        text = plain(self.text)
        return replace(self, text=elide(text, room, self.size, self.looks), title=text)


@dataclass(frozen=True)
class Wire:
    """A line from left to right, bent where the heights differ. ``looks``: wire, hand, link, broken or skipped."""

    x: float
    y: float
    to_x: float
    to_y: float
    looks: str
    head: bool = False


Shape = Rect | Text | Wire


@dataclass
class Drawn:
    """A chain's own shapes. ``place`` is where the host listens, ``title`` the chain in words."""

    place: str
    protocol: str
    state: str
    title: str
    shapes: list[Shape] = field(default_factory=list)

    @property
    def port(self) -> str:
        """The host's port."""
        return self.place.rpartition(":")[2]


@dataclass
class Picture:
    """Everything, in the order in which it is drawn: ``below`` the chains, the chains, ``above`` them."""

    title: str
    description: str
    height: float = 0
    below: list[Shape] = field(default_factory=list)
    chains: list[Drawn] = field(default_factory=list)
    above: list[Shape] = field(default_factory=list)

    @property
    def shapes(self) -> list[Shape]:
        """All of them."""
        return [*self.below, *(shape for one in self.chains for shape in one.shapes), *self.above]
