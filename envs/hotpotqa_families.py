"""The kinds of questions asked about the made-up world. A text's `{key}` is a fact of the first page."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Bridge:
    """`kind`'s fact `via` is the second page, whose fact `target` is the answer."""

    kind: str
    via: str
    target: str
    level: str
    texts: tuple[str, ...]
    via_kind: str | None = None
    """Kind of the second page where `via` alone does not say it."""


@dataclass(frozen=True)
class Comparison:
    """Which of two pages has the larger (or smaller) number?"""

    kind: str
    key: str
    is_largest: bool
    texts: tuple[str, ...]


@dataclass(frozen=True)
class Sameness:
    """Do two pages agree in a fact? Yes or no."""

    kind: str
    key: str
    texts: tuple[str, ...]


def _named(kind: str, via: str, target: str, *texts: str) -> Bridge:
    return Bridge(kind, via, target, "medium", texts)


def _described(kind: str, via: str, target: str, *texts: str, via_kind: str | None = None) -> Bridge:
    return Bridge(kind, via, target, "hard", texts, via_kind)


def _known_for(work: str, target: str, *texts: str) -> Bridge:
    """A person who is known by a nickname, and the work that made the person known."""
    return _described("person", "work", target, *texts, via_kind=work)


BRIDGES: tuple[Bridge, ...] = (
    _named(
        "film",
        "director",
        "birthplace",
        "In which town was the director of the film {name} born?",
        "The director of {name} was born in what town?",
    ),
    _named("film", "director", "born", "In what year was the director of {name} born?"),
    _named("film", "director", "nickname", "What was the nickname of the director of the film {name}?"),
    _named(
        "film",
        "book",
        "author",
        "Who wrote the novel on which the film {name} is based?",
        "The film {name} is based on a novel by whom?",
    ),
    _named("film", "book", "publisher", "Which company published the novel that the film {name} is based on?"),
    _named("film", "studio", "founder", "Who founded the studio that made the film {name}?"),
    _named("film", "star", "birthplace", "Where was the star of the film {name} born?"),
    _named("film", "star", "spouse", "To whom was the star of {name} married?"),
    _named(
        "book",
        "author",
        "birthplace",
        "The author of the novel {name} was born in what town?",
        "Where was the writer of {name} born?",
    ),
    _named("book", "author", "nickname", "By what nickname was the author of {name} known?"),
    _named("book", "publisher", "founder", "Who founded the company that published the novel {name}?"),
    _named("book", "publisher", "town", "In what town is the publisher of the novel {name} based?"),
    _named("book", "setting", "river", "On which river lies the town in which the novel {name} is set?"),
    _named(
        "ship",
        "builder",
        "founder",
        "Who founded the company that built {name}?",
        "{name} was built by a company that was founded by whom?",
    ),
    _named("ship", "builder", "founded", "In what year was the builder of {name} founded?"),
    _named("ship", "captain", "birthplace", "In what town was the first captain of {name} born?"),
    _named("ship", "port", "festival", "Which festival is held in the home port of {name}?"),
    _named("band", "label", "founder", "Who started the record label of the band {name}?"),
    _named("band", "label", "town", "The band {name} recorded for a label based in what town?"),
    _named("band", "singer", "birthplace", "In which town was the lead singer of {name} born?"),
    _named("band", "town", "river", "The band {name} was formed in a town on which river?"),
    _named("album", "band", "formed", "In what year was the band that recorded {name} formed?"),
    _named("album", "band", "singer", "Who is the lead singer of the band that released the album {name}?"),
    _named("album", "band", "town", "The album {name} is by a band from what town?"),
    _named("album", "band", "instrument", "For which instrument is the band known that made the album {name}?"),
    _named(
        "bridge",
        "river",
        "mouth",
        "The {name} crosses a river that flows into what?",
        "Into what does the river under the {name} flow?",
    ),
    _named("bridge", "river", "source", "Where does the river crossed by the {name} rise?"),
    _named("bridge", "engineer", "birthplace", "Where was the engineer who designed the {name} born?"),
    _named("club", "town", "river", "On which river lies the town of the football club {name}?"),
    _named("club", "manager", "birthplace", "In what town was the longest-serving manager of {name} born?"),
    _named("newspaper", "editor", "nickname", "What nickname did the first editor of {name} have?"),
    _named("newspaper", "editor", "birthplace", "The first editor of {name} was born in which town?"),
    _named(
        "award", "namesake", "occupation", "What was the occupation of the person after whom the {name} is named?"
    ),
    _named("award", "namesake", "birthplace", "The {name} is named after somebody born in what town?"),
    _named("award", "town", "trade", "The {name} is presented in a town known for what?"),
    _named("university", "town", "river", "The {name} stands in a town on which river?"),
    _named("university", "founder", "birthplace", "Where was the founder of the {name} born?"),
    _named("town", "river", "mouth", "Into what does the river of {name} flow?"),
    _named("country", "capital", "river", "On which river lies the capital of {name}?"),
    _named("country", "capital", "festival", "Which festival is held in the capital of {name}?"),
    _named("person", "birthplace", "festival", "What festival takes place in the town where {name} was born?"),
    _named("person", "spouse", "birthplace", "{name} was married to somebody who was born in what town?"),
    _known_for(
        "book", "publisher", 'Which company published the best-known novel of the writer nicknamed "{nickname}"?'
    ),
    _known_for("book", "setting", 'In which town is the best-known novel of the author called "{nickname}" set?'),
    _known_for("bridge", "river", 'The engineer nicknamed "{nickname}" designed a bridge across which river?'),
    _known_for(
        "bridge", "opened", 'In what year was the bridge opened that the engineer known as "{nickname}" designed?'
    ),
    _known_for(
        "ship", "builder", 'Which company built the ship that was commanded by the captain called "{nickname}"?'
    ),
    _known_for(
        "band", "label", 'On which label did the band of the singer nicknamed "{nickname}" release its records?'
    ),
    _known_for(
        "newspaper", "town", 'In which town is the newspaper published that was first edited by "{nickname}"?'
    ),
    _known_for(
        "club", "stadium", 'Where does the football club that was managed by "{nickname}" play its home matches?'
    ),
    _known_for("film", "studio", 'Which studio made the film that "{nickname}" is best known for?'),
    _known_for("university", "subject", 'For which subject is the university known that "{nickname}" founded?'),
    _described("town", "river", "mouth", "The town that holds the {festival} lies on a river that flows into what?"),
    _described("town", "river", "source", "Where does the river rise on which the town of the {festival} lies?"),
    _described(
        "ship", "builder", "town", "The ship that {fate} in {fate_year} was built by a company based in what town?"
    ),
    _described(
        "ship", "captain", "birthplace", "The first captain of the ship that {fate} in {fate_year} was born where?"
    ),
    _described(
        "club", "town", "festival", "Which festival is held in the town whose football club plays at {stadium}?"
    ),
    _described(
        "club",
        "manager",
        "birthplace",
        "The longest-serving manager of the club that plays at {stadium} was born in what town?",
    ),
    _described(
        "publisher",
        "founder",
        "birthplace",
        "The founder of the publisher whose emblem is the {symbol} was born in what town?",
    ),
    _described(
        "shipyard",
        "founder",
        "nickname",
        "What was the nickname of the founder of the shipyard with the {symbol} as emblem?",
    ),
    _described(
        "book", "author", "birthplace", "The {year} novel about {hero} was written by somebody born in what town?"
    ),
    _described(
        "book", "publisher", "founder", "Who founded the company that published the {year} novel about {hero}?"
    ),
    _described(
        "film",
        "director",
        "birthplace",
        "In which town was the director of the {year} {genre} film starring {star} born?",
    ),
    _described(
        "album", "band", "label", "Which label issued the records of the band whose album was produced by {producer}?"
    ),
)

COMPARISONS: tuple[Comparison, ...] = (
    Comparison(
        "film", "year", False, ("Which film came out first, {a} or {b}?", "Which is the older film, {a} or {b}?")
    ),
    Comparison("film", "minutes", True, ("Which film is longer, {a} or {b}?",)),
    Comparison(
        "book",
        "year",
        False,
        ("Which novel was published first, {a} or {b}?", "Of {a} and {b}, which is the earlier novel?"),
    ),
    Comparison("band", "formed", False, ("Which band was formed first, {a} or {b}?",)),
    Comparison("album", "year", True, ("Which album is more recent, {a} or {b}?",)),
    Comparison("ship", "launched", False, ("Which ship was launched earlier, {a} or {b}?",)),
    Comparison("ship", "length", True, ("Which ship was longer, {a} or {b}?",)),
    Comparison("bridge", "length", True, ("Which is longer, the {a} or the {b}?",)),
    Comparison("bridge", "opened", False, ("Which was opened first, the {a} or the {b}?",)),
    Comparison(
        "town",
        "population",
        True,
        ("Which town has more inhabitants, {a} or {b}?", "Which is the larger town, {a} or {b}?"),
    ),
    Comparison("river", "length", True, ("Which river is longer, the {a} or the {b}?",)),
    Comparison("person", "born", False, ("Who was born first, {a} or {b}?", "Who was older, {a} or {b}?")),
    Comparison("club", "founded", False, ("Which football club was founded first, {a} or {b}?",)),
    Comparison("university", "founded", False, ("Which is older, the {a} or the {b}?",)),
    Comparison("award", "first_given", True, ("Which prize was first given later, the {a} or the {b}?",)),
)

SAMENESSES: tuple[Sameness, ...] = (
    Sameness("town", "river", ("Do {a} and {b} lie on the same river?", "Are {a} and {b} on the same river?")),
    Sameness("river", "mouth", ("Do the {a} and the {b} flow into the same waters?",)),
    Sameness(
        "person",
        "occupation",
        ("Did {a} and {b} have the same occupation?", "Were {a} and {b} in the same line of work?"),
    ),
    Sameness("person", "birthplace", ("Were {a} and {b} born in the same town?",)),
    Sameness("book", "publisher", ("Were the novels {a} and {b} brought out by the same publisher?",)),
    Sameness("film", "director", ("Were {a} and {b} directed by the same person?",)),
    Sameness("film", "studio", ("Did the same studio make {a} and {b}?",)),
    Sameness("ship", "builder", ("Were {a} and {b} built by the same company?",)),
    Sameness("band", "label", ("Did {a} and {b} record for the same label?",)),
    Sameness("bridge", "river", ("Do the {a} and the {b} cross the same river?",)),
    Sameness("club", "colours", ("Do {a} and {b} play in the same colours?",)),
)
