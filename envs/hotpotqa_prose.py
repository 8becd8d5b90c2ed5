"""Writes a page about an entity of the made-up world: three to six sentences, each of which knows the facts it
states.

A template states facts as `{key}` or `{key.key}`; `{He}` is a capital `{he}`; `a(n)` becomes a or an. A
sentence whose fact is missing is left out. The first group of a kind opens the page, the others follow in any
order; one variant of a group is used.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from random import Random

from envs.hotpotqa_world import Entity

_FIELD = re.compile(r"\{(\w+)(?:\.(\w+))?\}")

_COMPANY = [
    ["It took the {symbol} as its emblem.", "Its emblem is a(n) {symbol}."],
    ["{name} employed {workers} people at its height.", "At its height the company had {workers} workers."],
]

PAGES: dict[str, list[list[str]]] = {
    "country": [
        [
            "{name} is a country whose capital is {capital}.",
            "{name} is a country that is governed from {capital}, its capital.",
        ],
        ["It became independent in {independence}.", "{name} declared its independence in {independence}."],
        ["The currency is the {currency}.", "People pay with the {currency}, which is divided into a hundred parts."],
        ["It covers {area} square kilometres.", "{name} has an area of {area} square kilometres."],
    ],
    "river": [
        ["The {name} is a river in {country}.", "The {name} is one of the main rivers of {country}."],
        ["It rises in the {source}.", "Its source lies in the {source}."],
        ["It flows into the {mouth}.", "After many bends the river reaches the {mouth}."],
        [
            "The {name} is {length} kilometres long.",
            "Over its course of {length} kilometres the {name} drops slowly.",
        ],
        ["Its waters are known for their {fish}.", "Anglers come for the {fish} in its upper reaches."],
    ],
    "town": [
        [
            "{name} is a town in {country} on the {river}.",
            "{name} is a town on the banks of the {river} in {country}.",
        ],
        ["{name} has a population of {population}.", "At the last census {name} had {population} inhabitants."],
        ["The {festival} is held there every {month}.", "Every {month} the town holds the {festival}."],
        ["It received its charter in {founded}.", "It was founded in {founded}."],
        ["The town is known for its {trade}.", "For a long time most people there lived by {trade}."],
    ],
    "person": [
        [
            "{name} (born {birthday} {born} in {birthplace}) was a(n) {country.adjective} {occupation}.",
            "{name}, born in {birthplace} on {birthday} {born}, was a(n) {occupation} from {country}.",
            "{name} was a(n) {country.adjective} {occupation} who was born on {birthday} {born} in {birthplace}.",
        ],
        ["{He} is best known for {deed}.", "{He} owes {his} fame to {deed}.", "{His} name is tied to {deed}."],
        [
            '{He} was nicknamed "{nickname}".',
            'The press called {name} "{nickname}".',
            'Friends knew {name} as "{nickname}".',
        ],
        ["{He} was married to the {spouse.occupation} {spouse}.", "{He} married {spouse}, a(n) {spouse.occupation}."],
        ["{He} was the child of {parent}.", "{His} father was {parent}."],
        ["In later years {he} {hobby}.", "Away from work {he} {hobby}."],
    ],
    "shipyard": [
        [
            "{name} was a shipbuilding company in {town}, founded in {founded} by {founder}.",
            "{name} is a former shipyard that {founder} founded in {founded} in {town}.",
        ],
        *_COMPANY,
        ["It built cargo ships and ferries.", "Most of its hulls were launched sideways."],
    ],
    "publisher": [
        [
            "{name} is a publisher of fiction, founded in {founded} by {founder} and based in {town}.",
            "{name} is a publishing company in {town} that was founded by {founder} in {founded}.",
        ],
        *_COMPANY,
        ["Its first list had only four titles.", "It is known for cheap editions bound in cloth."],
    ],
    "studio": [
        [
            "{name} was a film studio in {town}, set up in {founded} by {founder}.",
            "{name} is a film company that was founded in {founded} by {founder} and has its lot in {town}.",
        ],
        *_COMPANY,
        ["Its first sound stage was a converted tram depot.", "It made newsreels before it turned to feature films."],
    ],
    "label": [
        [
            "{name} is a record label that {founder} founded in {founded} in {town}.",
            "{name} is a record label based in {town}, started in {founded} by {founder}.",
        ],
        *_COMPANY,
        ["It began with dance music on shellac.", "Its early sleeves were printed by hand."],
    ],
    "university": [
        [
            "The {name} was founded in {founded} by {founder}.",
            "The {name} is a university that {founder} founded in {founded}.",
        ],
        ["Its main building stands by the market of {town}.", "It has its campus in {town}."],
        ["It has {students} students.", "About {students} students are enrolled."],
        ["It is best known for its school of {subject}.", "Its chair of {subject} is the oldest in the country."],
    ],
    "book": [
        ["{name} is a novel by {author}, published in {year}.", "{name} is a {year} novel by {author}."],
        ["It was published by {publisher}.", "The first edition was brought out by {publisher}."],
        ["It tells the story of {hero} in {setting}.", "Set in {setting}, the book follows {hero}."],
        ["The first edition has {pages} pages.", "In its first edition the story fills {pages} pages."],
        ["It was filmed as {film}.", "A film of the book came out under the title {film}."],
    ],
    "film": [
        [
            "{name} is a {year} {genre} film directed by {director}.",
            "{name} is a {genre} film of {year}, directed by {director}.",
        ],
        ["It is based on the novel {book}.", "The screenplay follows the novel {book}."],
        ["{star} plays the leading part.", "The film stars {star}."],
        ["It was produced by {studio}.", "The film was made by {studio}."],
        ["{name} runs for {minutes} minutes.", "The released version of {name} is {minutes} minutes long."],
        ["Many scenes were shot in {place}.", "Most of it was filmed on location in {place}."],
    ],
    "band": [
        [
            "{name} is a {style} band formed in {formed} in {town}.",
            "{name} is a {style} group from {town} that formed in {formed}.",
        ],
        ["{singer} is its lead singer.", "The band is fronted by {singer}."],
        ["Its records came out on {label}.", "The group signed with {label} after a single concert."],
        [
            "The band is known for its use of the {instrument}.",
            "A(n) {instrument} can be heard on most of its songs.",
        ],
    ],
    "album": [
        ["{name} is an album by {band}, released in {year}.", "{name} is a {year} album by the band {band}."],
        ["It was produced by {producer}.", "{producer} produced the record."],
        ["It was recorded in {studio_town}.", "The band recorded it in a rented hall in {studio_town}."],
        ["The album has {tracks} songs.", "It holds {tracks} songs and a short coda."],
    ],
    "ship": [
        [
            "{name} was a ship launched in {launched} by {builder}.",
            "{name} was a steamer built by {builder} and launched in {launched}.",
        ],
        ["It {fate} in {fate_year}.", "In {fate_year} the ship {fate}."],
        ["{captain} was its first captain.", "On its first voyage it was commanded by {captain}."],
        ["{name} was {length} metres long.", "With a length of {length} metres {name} was easy to recognise."],
        ["It carried {cargo} out of {port}.", "Its home port was {port}, from where it carried {cargo}."],
    ],
    "bridge": [
        [
            "The {name} is a {material} bridge over the {river} in {town}.",
            "The {name} is a {material} bridge in {town} that crosses the {river}.",
        ],
        ["It was designed by {engineer}.", "{engineer} drew up the plans."],
        ["The {name} was opened in {opened}.", "Traffic began to use the {name} in {opened}."],
        ["The {name} is {length} metres long.", "From bank to bank the {name} measures {length} metres."],
    ],
    "club": [
        [
            "{name} is a football club from {town}, founded in {founded}.",
            "{name} is a football club that was founded in {founded} in {town}.",
        ],
        ["It plays its home matches at {stadium}.", "Its home ground is {stadium}."],
        ["The players wear {colours}.", "Its colours are {colours}."],
        ["{manager} was its longest-serving manager.", "Its best years came under {manager} as manager."],
        ["Supporters call the team {nickname}.", "The team is known as {nickname}."],
    ],
    "newspaper": [
        [
            "{name} is a {rhythm} newspaper founded in {founded}.",
            "{name} is a {rhythm} newspaper that first appeared in {founded}.",
        ],
        ["It is published in {town}.", "Its offices are in {town}."],
        ["Its first editor was {editor}.", "{editor} was its first editor."],
        ["It prints {copies} copies.", "At its best it sold {copies} copies an issue."],
    ],
    "award": [
        [
            "The {name} is a prize in {field} that was first given in {first_given}.",
            "The {name}, first given in {first_given}, honours work in {field}.",
        ],
        ["It is named after {namesake}.", "It bears the name of {namesake}."],
        ["The ceremony takes place in {town}.", "It is presented every other year in {town}."],
        ["The winner receives {prize}.", "With it comes {prize}."],
    ],
}
"""Kind -> groups -> variants."""

DEEDS = {
    "book": "the novel {name}",
    "film": "the film {name}",
    "band": "the band {name}",
    "ship": "the command of {name}",
    "bridge": "the design of the {name}",
    "club": "a long spell as manager of {name}",
    "newspaper": "the early years of {name}",
    "award": "the {name}, which was founded later",
    "university": "the founding of the {name}",
    "album": "the album {name}",
}
"""What a person is known for, by the kind of the work; companies are founded."""


@dataclass(frozen=True)
class Sentence:
    text: str
    states: frozenset[str]
    """Keys of the facts that it states."""


@dataclass(frozen=True)
class Page:
    """One rendered paragraph."""

    entity: Entity
    sentences: tuple[Sentence, ...]

    def find(self, key: str) -> int | None:
        """Index of the first sentence that states the fact, or None."""
        return next((index for index, sentence in enumerate(self.sentences) if key in sentence.states), None)


def write_page(entity: Entity, seed: str) -> Page:
    """Write the page of an entity; the same seed gives the same text."""
    dice = Random(f"{seed} {entity.title}")  # noqa: S311 - reproducible, not secret
    opening, *others = PAGES[entity.kind]
    dice.shuffle(others)
    written = [fill(dice.choice(group), entity) for group in [opening, *others]]
    return Page(entity, tuple(sentence for sentence in written if sentence is not None)[:6])


def fill(template: str, entity: Entity) -> Sentence | None:
    """Put an entity's facts into a template; None when one is missing."""
    states: set[str] = set()
    is_missing = False

    def value(match: re.Match[str]) -> str:
        nonlocal is_missing
        key, inner = match[1].lower(), match[2]
        found: object = _fact(entity, key)
        if inner and isinstance(found, Entity):
            found = _fact(found, inner)
        if found is None:
            is_missing = True
            return ""
        states.add(key)
        text = str(found)
        return text[0].upper() + text[1:] if match[1][0].isupper() else text

    text = _FIELD.sub(value, template)
    text = re.sub(r"\b([Aa])\(n\) (?=([aeiouAEIOU]?))", lambda m: f"{m[1]}{'n' if m[2] else ''} ", text)
    return None if is_missing else Sentence(text[0].upper() + text[1:], frozenset(states))


def _fact(entity: Entity, key: str) -> object:
    if key == "name":
        return entity.name
    if key == "deed":
        work = entity.facts.get("work")
        return (
            None
            if not isinstance(work, Entity)
            else DEEDS.get(work.kind, "the founding of {name}").format(name=work.name)
        )
    return entity.facts.get(key)
