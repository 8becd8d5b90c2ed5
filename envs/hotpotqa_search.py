"""The local searcher: which of a question's own paragraphs does a query mean? Pure and lexical, no model.

RetroAct ranks the ten titles by the likeness of sentence embeddings. Here a title is ranked by whether it is
the query, then by the rare words they share and the likeness of their letters; the words of the paragraph only
break near ties.
"""

from __future__ import annotations

import math
import re
import unicodedata
from collections.abc import Sequence
from dataclasses import dataclass
from difflib import SequenceMatcher
from functools import lru_cache

QUERY_LIMIT = 300
"""Characters of a query that are looked at."""

_WORD = re.compile(r"\w+")
_SUFFIX = re.compile(r"\s*\([^()]*\)\s*$")
_FILLER = frozenset(
    {"a", "an", "the", "of", "in", "on", "at", "by", "to", "and", "or", "for", "with", "is", "was", "were", "are"}
    | {"who", "what", "which", "where", "when"}
)


@dataclass(frozen=True)
class Paragraph:
    """One title with its sentences."""

    title: str
    sentences: tuple[str, ...]

    @property
    def text(self) -> str:
        return " ".join(sentence.strip() for sentence in self.sentences)


@lru_cache(maxsize=8192)
def plain(text: str) -> str:
    """Lower case without accents and punctuation, single spaces."""
    bare = "".join(c for c in unicodedata.normalize("NFKD", text.casefold()) if not unicodedata.combining(c))
    return " ".join(_WORD.findall(bare))


def unbracketed(title: str) -> str:
    """A title without the part in brackets that tells it from others."""
    return _SUFFIX.sub("", title)


def find_title(query: str, paragraphs: Sequence[Paragraph]) -> int | None:
    """Index of the paragraph whose title the query spells out (a part in brackets may be left out), or None."""
    wanted = plain(query[:QUERY_LIMIT])
    for titles in ([p.title for p in paragraphs], [unbracketed(p.title) for p in paragraphs]):
        for index, title in enumerate(titles):
            if wanted and plain(title) == wanted:
                return index
    return None


def rank_paragraphs(query: str, paragraphs: Sequence[Paragraph]) -> list[int]:
    """Indices of the paragraphs, best first. Ties keep the order of the paragraphs."""
    query = query[:QUERY_LIMIT]
    titles = [set(plain(p.title).split()) for p in paragraphs]
    texts = [set(plain(p.text).split()) | title for p, title in zip(paragraphs, titles, strict=True)]
    asked = set(plain(query).split())
    asked = (asked - _FILLER) or asked
    exact = find_title(query, paragraphs)
    weights = _word_weights(asked, texts)

    def likeness(index: int) -> float:
        letters = SequenceMatcher(None, plain(query), plain(paragraphs[index].title), autojunk=False).ratio()
        in_title = _share(asked, titles[index], weights)
        covered = len(asked & titles[index]) / max(1, len(titles[index] - _FILLER))
        in_text = _share(asked, texts[index], weights)
        return 10.0 * (index == exact) + 2.0 * in_title + min(1.0, covered) + letters + 0.8 * in_text

    return sorted(range(len(paragraphs)), key=lambda index: (-likeness(index), index))


def _word_weights(words: set[str], texts: Sequence[set[str]]) -> dict[str, float]:
    """A word weighs more the fewer paragraphs have it (inverse document frequency)."""
    return {word: math.log(1 + len(texts) / (1 + sum(word in text for text in texts))) for word in words}


def _share(words: set[str], found_in: set[str], weights: dict[str, float]) -> float:
    """How much of the words' weight is found, in [0, 1]. Sorted so that the sum has one order everywhere."""
    total = sum(weights[word] for word in sorted(words))
    return sum(weights[word] for word in sorted(words & found_in)) / total if total else 0.0
