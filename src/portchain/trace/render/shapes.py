"""The shapes of a picture, and its columns. Positions are in pixels, from the top left."""

from __future__ import annotations

from dataclasses import dataclass, field, replace

from .text_width import elide, plain, width

# Sizes of text.
LARGE = 14.0
SIZE = 12.0
SMALL = 11.0
TINY = 10.5


@dataclass(frozen=True)
class Column:
    """A column of the picture."""

    left: float
    width: float

    @property
    def right(self) -> float:
        """The column's right edge."""
        return self.left + self.width


HOST = Column(22, 132)
RELAY = Column(184, 112)
LISTENER = Column(352, 132)
RULE = Column(506, 184)
BRIDGE = Column(722, 132)
VETH = Column(892, 128)
BOX = Column(1058, 258)
PORT = Column(BOX.left + 8, 112)
HOST_ZONE = Column(12, 294)
GUEST_ZONE = Column(340, 988)
WIDTH = 1340.0


@dataclass(frozen=True)
class Rect:
    """A box; ``looks`` are its CSS classes, ``title`` is its tooltip."""

    left: float
    top: float
    width: float
    height: float
    looks: str
    title: str = ""
    radius: float = 4

    @property
    def right(self) -> float:
        """The box's right edge."""
        return self.left + self.width

    @property
    def bottom(self) -> float:
        """The box's lower edge."""
        return self.top + self.height


@dataclass(frozen=True)
class Text:
    """One line that begins, or with ``end`` ends, at ``x`` on baseline ``y``; ``title`` is all of it if shortened."""

    x: float
    y: float
    text: str
    looks: str = ""
    title: str = ""
    size: float = SIZE
    end: bool = False

    @property
    def box(self) -> Rect:
        """The rectangle that the text takes."""
        text_width = width(self.text, self.size, self.looks)
        return Rect(self.x - (text_width if self.end else 0), self.y - self.size * 0.8, text_width, self.size, "")

    def within(self, room: float) -> Text:
        """Return the text shortened to ``room``, with control characters made visible."""
        text = plain(self.text)
        return replace(self, text=elide(text, room, self.size, self.looks), title=text)


@dataclass(frozen=True)
class Wire:
    """A line from left to right, bent where the heights differ; ``looks`` is wire, hand, link, broken or skipped."""

    x: float
    y: float
    to_x: float
    to_y: float
    looks: str
    head: bool = False


Shape = Rect | Text | Wire


@dataclass
class DrawnChain:
    """A chain's own shapes; ``listen`` is where the host listens, ``title`` describes the chain."""

    listen: str
    protocol: str
    state: str
    title: str
    shapes: list[Shape] = field(default_factory=list)

    @property
    def port(self) -> str:
        """The host's port."""
        return self.listen.rpartition(":")[2]


@dataclass
class Drawing:
    """The shapes in drawing order: those ``below`` the chains, the chains, those ``above`` them."""

    title: str
    description: str
    height: float = 0
    below: list[Shape] = field(default_factory=list)
    chains: list[DrawnChain] = field(default_factory=list)
    above: list[Shape] = field(default_factory=list)

    @property
    def shapes(self) -> list[Shape]:
        """All shapes."""
        return [*self.below, *(shape for chain in self.chains for shape in chain.shapes), *self.above]
