"""Change bytes and texts that are right, as somebody would who looks for what a parser does not expect."""

from __future__ import annotations

from hypothesis import strategies as st
from hypothesis.strategies import DrawFn, SearchStrategy


def mutated(original: bytes, words: tuple[bytes, ...] = ()) -> SearchStrategy[bytes]:
    """Draw ``original`` with a few pieces replaced, repeated or left out; ``words`` are put in, too."""

    @st.composite
    def draw_mutation(draw: DrawFn) -> bytes:
        data = original
        for _ in range(draw(st.integers(1, 4))):
            start = draw(st.integers(0, len(data)))
            end = min(len(data), start + draw(st.integers(0, 40)))
            piece = draw(st.sampled_from([*words, data[start:end] * 2, b""]) | st.binary(max_size=12))
            data = data[:start] + piece + data[end:]
        return data

    return draw_mutation()


def mutated_text(original: str, words: tuple[str, ...] = ()) -> SearchStrategy[str]:
    """Draw a text as `mutated` draws bytes."""
    changed = mutated(original.encode(), tuple(word.encode() for word in words))
    return changed.map(lambda data: data.decode(errors="replace"))
