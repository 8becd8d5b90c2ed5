"""A made-up world for questions of our own: countries, rivers, towns, people and what they founded, built and wrote.

Everything follows from the seed. A name belongs to one split by its hash, so worlds of different splits share
no names, and within a world every title is unique. Years fit together: nobody writes before they are born.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from random import Random

from envs import hotpotqa_names as names

HELD_OUT_SHARE = 5
"""One name in so many belongs to the held-out splits."""


@dataclass(eq=False)
class Entity:
    """One page of the world: `facts` hold text, whole numbers or other entities, by name."""

    kind: str
    title: str
    name: str
    facts: dict[str, str | int | Entity | None] = field(default_factory=dict)

    def __str__(self) -> str:
        return self.name

    def year(self, key: str) -> int:
        value = self.facts[key]
        assert isinstance(value, int)
        return value

    def other(self, key: str) -> Entity:
        value = self.facts[key]
        assert isinstance(value, Entity)
        return value


def is_held_out(name: str) -> bool:
    """Whether a name belongs to the held-out splits (every split but `train`)."""
    return hashlib.sha256(name.encode()).digest()[0] % HELD_OUT_SHARE == 0


def make_world(seed: int, is_for_training: bool) -> list[Entity]:
    """Make about 150 entities, related to each other."""
    maker = _Maker(seed, is_for_training)
    maker.make_places()
    maker.make_companies()
    maker.make_works()
    maker.make_structures()
    maker.marry()
    return maker.entities


class _Maker:
    """Draws names and relations. Methods must be called in the order of `make_world`."""

    def __init__(self, seed: int, is_for_training: bool) -> None:
        self.dice = Random(f"hotpotqa world {seed} {is_for_training}")  # noqa: S311 - reproducible, not secret
        self.is_for_training = is_for_training
        self.entities: list[Entity] = []
        self.used: set[str] = set(names.REAL_PLACES)

    def name(self, draw: Callable[[], str]) -> str:
        """Draw until the name is new and of this split."""
        return self._draw(draw, lambda drawn: is_held_out(drawn) != self.is_for_training)

    def derived(self, draw: Callable[[], str]) -> str:
        """Draw until the name is new; for names around another one, which settles the split."""
        return self._draw(draw, lambda drawn: True)

    def _draw(self, draw: Callable[[], str], fits: Callable[[str], bool]) -> str:
        for _ in range(10_000):
            drawn = draw()
            if fits(drawn) and drawn.casefold() not in self.used:
                self.used.add(drawn.casefold())
                return drawn
        raise RuntimeError(f"no unused name is left that is like {drawn!r}")

    def joined(self, fronts: Sequence[str], backs: Sequence[str]) -> Callable[[], str]:
        return lambda: names.join(self.dice.choice(fronts), self.dice.choice(backs))

    def add(self, kind: str, name: str, title: str | None = None, **facts: str | int | Entity | None) -> Entity:
        entity = Entity(kind, title or name, name, dict(facts))
        self.entities.append(entity)
        return entity

    def all(self, kind: str) -> list[Entity]:
        return [entity for entity in self.entities if entity.kind == kind]

    def pick(self, kind: str, excluding: Entity | None = None) -> Entity:
        return self.dice.choice([entity for entity in self.all(kind) if entity is not excluding])

    # Places

    def make_places(self) -> None:
        for _ in range(3):
            name = self.name(self.joined(names.PLACE_FRONTS, names.COUNTRY_BACKS))
            self.add("country", name, adjective=names.adjective(name))
        seas = [self.name(self.joined(names.PLACE_FRONTS, [" Sea", " Bay", " Gulf"])) for _ in range(3)]
        hills = [self.name(self.joined(names.PLACE_FRONTS, [" Hills", " Mountains", " Plateau"])) for _ in range(4)]
        for number in range(7):
            name = self.name(self.joined(names.RIVER_FRONTS, names.RIVER_BACKS))
            self.add(
                "river",
                name,
                f"{name} (river)",
                country=self.all("country")[number % 3],
                source=self.dice.choice(hills),
                mouth=self.dice.choice(seas),
                length=self.dice.randrange(48, 790),
                fish=self.dice.choice(names.FISH),
            )
        for number in range(16):
            self._make_town(self.all("river")[number % 7])
        for country in self.all("country"):
            towns = [town for town in self.all("town") if town.other("country") is country]
            country.facts |= {
                "capital": self.dice.choice(towns),
                "currency": self.name(self.joined(names.RIVER_FRONTS, ["el", "ak", "on", "it"])).lower(),
                "area": f"{self.dice.randrange(21, 240)},{self.dice.randrange(100, 999)}",
                "independence": self.dice.randrange(1802, 1925),
            }

    def _make_town(self, river: Entity) -> None:
        self.add(
            "town",
            self.name(self.joined(names.PLACE_FRONTS, names.TOWN_BACKS)),
            river=river,
            country=river.other("country"),
            population=f"{self.dice.randrange(4, 190)},{self.dice.randrange(100, 999)}",
            founded=self.dice.randrange(1108, 1640),
            festival=self.name(lambda: f"{self.dice.choice(names.ADJECTIVES)} {self.dice.choice(names.FESTIVALS)}"),
            month=self.dice.choice(names.MONTHS),
            trade=self.dice.choice(names.TRADES),
        )

    # People

    def person(self, occupation: str, born: int) -> Entity:
        """A person, in one case of five a namesake of somebody else."""
        is_woman = self.dice.random() < 0.5
        people = self.all("person")
        surname = (
            str(self.dice.choice(people).facts["surname"])
            if people and self.dice.random() < 0.2
            else self.name(self.joined(names.SURNAME_FRONTS, names.SURNAME_BACKS))
        )
        firsts = names.WOMEN if is_woman else names.MEN
        full = self.derived(lambda: f"{self.dice.choice(firsts)} {surname}")
        town = self.pick("town")
        return self.add(
            "person",
            full,
            surname=surname,
            he="she" if is_woman else "he",
            his="her" if is_woman else "his",
            occupation=occupation,
            birthplace=town,
            country=town.other("country"),
            born=born,
            birthday=f"{self.dice.randrange(1, 29)} {self.dice.choice(names.MONTHS)}",
            nickname=self.name(lambda: f"the {self.dice.choice(names.ADJECTIVES)} {self.dice.choice(names.BEASTS)}")
            if self.dice.random() < 0.6
            else None,
            hobby=self.dice.choice(names.HOBBIES),
            parent=self.dice.choice(names.PARENTS),
        )

    def maker_of(self, occupation: str, year: int) -> Entity:
        """Somebody of the occupation who was between 24 and 50 in that year, or a new person."""
        fitting = [
            person
            for person in self.all("person")
            if person.facts["occupation"] == occupation and 24 <= year - person.year("born") <= 50
        ]
        if fitting and self.dice.random() < 0.45:
            return self.dice.choice(fitting)
        return self.person(occupation, year - self.dice.randrange(26, 44))

    def credit(self, person: Entity, work: Entity) -> None:
        """The first work of a person is what the person is best known for."""
        person.facts.setdefault("work", work)

    def marry(self) -> None:
        single = self.all("person")
        self.dice.shuffle(single)
        for one, two in zip(single[::2], single[1::2], strict=False):
            is_fitting = one.facts["he"] != two.facts["he"] and abs(one.year("born") - two.year("born")) <= 12
            if is_fitting and one.facts["surname"] != two.facts["surname"]:
                one.facts["spouse"], two.facts["spouse"] = two, one

    # Companies and institutions

    def make_companies(self) -> None:
        for trade, count, first, last in names.COMPANY_TRADES:
            for _ in range(count):
                self._make_company(trade, self.dice.randrange(first, last))
        for town in self.dice.sample(self.all("town"), 5):
            self._make_university(town)

    def _make_company(self, trade: str, founded: int) -> None:
        founder = self.maker_of("industrialist", founded)
        company = self.add(
            trade,
            self.name(lambda: self._company_name(founder, self.dice.choice(names.COMPANY_BACKS[trade]))),
            founder=founder,
            founded=founded,
            town=self.pick("town"),
            workers=f"{self.dice.randrange(1, 9)},{self.dice.randrange(100, 999)}",
            symbol=f"{self.dice.choice(names.ADJECTIVES)} {self.dice.choice(names.BEASTS)}".lower(),
        )
        self.credit(founder, company)

    def _make_university(self, town: Entity) -> None:
        founded = self.dice.randrange(1780, 1910)
        founder = self.maker_of(self.dice.choice(names.SCHOLARS), founded)
        backs = ["College", "Institute", "University"]
        university = self.add(
            "university",
            self.derived(lambda: f"{self.dice.choice(names.COLLEGE_FRONTS)} {self.dice.choice(backs)} of {town}"),
            town=town,
            founder=founder,
            founded=founded,
            students=f"{self.dice.randrange(1, 14)},{self.dice.randrange(100, 999)}",
            subject=self.dice.choice(names.SUBJECTS),
        )
        self.credit(founder, university)

    def _company_name(self, founder: Entity, back: str) -> str:
        if self.dice.random() < 0.6:
            return f"{founder.facts['surname']} {back}"
        return f"{names.join(self.dice.choice(names.PLACE_FRONTS), self.dice.choice(['or', 'on', 'is']))} {back}"

    # Books, films, records, ships

    def make_works(self) -> None:
        for count, make in (
            (12, self._make_book),
            (11, self._make_film),
            (8, self._make_band),
            (10, self._make_ship),
        ):
            for _ in range(count):
                make()

    def _make_book(self) -> None:
        year = self.dice.randrange(1898, 1985)
        author = self.maker_of("novelist", year)
        publishers = [p for p in self.all("publisher") if p.year("founded") < year]
        self._work(
            "book",
            "novel",
            author,
            author=author,
            year=year,
            publisher=self.dice.choice(publishers),
            hero=self.dice.choice(names.HEROES),
            setting=self.pick("town"),
            pages=self.dice.randrange(140, 620),
        )

    def _make_film(self) -> None:
        year = self.dice.randrange(1938, 2004)
        director = self.maker_of("film director", year)
        books = [b for b in self.all("book") if b.year("year") < year and "film" not in b.facts]
        book = self.dice.choice(books) if books and self.dice.random() < 0.6 else None
        film = self._work(
            "film",
            "film",
            director,
            director=director,
            year=year,
            studio=self.pick("studio"),
            star=self.maker_of("actor", year),
            minutes=self.dice.randrange(78, 171),
            book=book,
            genre=self.dice.choice(names.GENRES),
            place=self.pick("town"),
        )
        self.credit(film.other("star"), film)
        if book:
            book.facts["film"] = film

    def _make_ship(self) -> None:
        year = self.dice.randrange(1884, 1962)
        yards = [yard for yard in self.all("shipyard") if yard.year("founded") < year]
        captain = self.maker_of("sea captain", year)
        ship = self.add(
            "ship",
            self.name(lambda: f"{self.dice.choice(['SS', 'MV', 'RMS'])} {names.thing(self.dice)}"),
            builder=self.dice.choice(yards),
            launched=year,
            captain=captain,
            length=self.dice.randrange(61, 214),
            port=self.pick("town"),
            fate=self.dice.choice(names.FATES),
            fate_year=year + self.dice.randrange(6, 40),
            cargo=self.dice.choice(names.CARGOES),
        )
        self.credit(captain, ship)

    def _work(self, kind: str, suffix: str, maker: Entity, **facts: str | int | Entity | None) -> Entity:
        name = self.name(lambda: names.work_title(self.dice))
        work = self.add(kind, name, f"{name} ({suffix})" if self.dice.random() < 0.4 else name, **facts)
        self.credit(maker, work)
        return work

    def _make_band(self) -> None:
        formed = self.dice.randrange(1961, 2009)
        singer = self.maker_of("singer", formed)
        labels = [label for label in self.all("label") if label.year("founded") < formed]
        band = self.add(
            "band",
            self.name(lambda: names.band_name(self.dice)),
            singer=singer,
            formed=formed,
            town=self.pick("town"),
            label=self.dice.choice(labels),
            style=self.dice.choice(names.STYLES),
            instrument=self.dice.choice(names.INSTRUMENTS),
        )
        self.credit(singer, band)
        year = formed + self.dice.randrange(2, 9)
        self._work(
            "album",
            "album",
            singer,
            band=band,
            year=year,
            tracks=self.dice.choice(names.COUNTS),
            producer=self.maker_of("record producer", year),
            studio_town=self.pick("town"),
        )

    # Bridges, clubs, awards, newspapers

    def make_structures(self) -> None:
        for _ in range(8):
            self._make_bridge(self.pick("town"))
        for town in self.dice.sample(self.all("town"), 6):
            self._make_club(town)
        for town in self.dice.sample(self.all("town"), 5):
            self._make_newspaper(town)
        for _ in range(5):
            self._make_award()

    def _make_bridge(self, town: Entity) -> None:
        opened = self.dice.randrange(1846, 1978)
        engineer = self.maker_of("engineer", opened)
        bridge = self.add(
            "bridge",
            self.name(lambda: f"{names.thing(self.dice)} Bridge"),
            town=town,
            river=town.other("river"),
            engineer=engineer,
            opened=opened,
            length=self.dice.randrange(74, 890),
            material=self.dice.choice(names.MATERIALS),
        )
        self.credit(engineer, bridge)

    def _make_club(self, town: Entity) -> None:
        manager = self.maker_of("football manager", self.dice.randrange(1950, 2005))
        club = self.add(
            "club",
            self.derived(lambda: f"{town} {self.dice.choice(names.CLUB_BACKS)}"),
            town=town,
            founded=self.dice.randrange(1876, 1934),
            colours=self.dice.choice(names.COLOURS),
            nickname=f"the {self.dice.choice(names.BEASTS)}s",
            stadium=self.name(lambda: f"{self.dice.choice(names.PLACE_FRONTS)} Park"),
            manager=manager,
        )
        self.credit(manager, club)

    def _make_newspaper(self, town: Entity) -> None:
        founded = self.dice.randrange(1860, 1970)
        editor = self.maker_of("journalist", founded)
        paper = self.add(
            "newspaper",
            self.derived(lambda: f"The {town} {self.dice.choice(names.PAPER_BACKS)}"),
            town=town,
            editor=editor,
            founded=founded,
            rhythm=self.dice.choice(names.RHYTHMS),
            copies=f"{self.dice.randrange(6, 90)},000",
        )
        self.credit(editor, paper)

    def _make_award(self) -> None:
        scholar = self.person(self.dice.choice(names.SCHOLARS), self.dice.randrange(1800, 1885))
        award = self.add(
            "award",
            self.derived(lambda: f"{scholar} {self.dice.choice(names.AWARD_BACKS)}"),
            namesake=scholar,
            first_given=scholar.year("born") + self.dice.randrange(85, 120),
            town=self.pick("town"),
            field=self.dice.choice(names.SUBJECTS),
            prize=self.dice.choice(names.PRIZES),
        )
        self.credit(scholar, award)
