"""Four small databases of our own, made from a seed and written as a MySQL dump: a city library, a bike-sharing city,
a health clinic and a music label. All people, books and places in them are made up.

`data/tasks/sql/databases.sql.gz` is `dump()`; `python -m envs.sql_worlds FILE` writes it again.
"""

from __future__ import annotations

import gzip
import sys
from collections.abc import Sequence
from datetime import date, datetime, timedelta
from decimal import Decimal
from pathlib import Path
from random import Random

from envs.sql_made import Made, Rows

SEED = 20260101

FIRST = (
    "Ada", "Amir", "Bela", "Bruno", "Carla", "Chidi", "Dana", "Dmitri", "Elif", "Emil", "Farah", "Felix", "Greta",
    "Hugo", "Ines", "Ivo", "Jana", "Jonas", "Kira", "Kofi", "Lena", "Luca", "Maja", "Marco", "Nadia", "Nils",
    "Olga", "Omar", "Petra", "Quentin", "Rosa", "Ruben", "Sara", "Stefan", "Tara", "Tomas", "Uma", "Viktor",
    "Wanda", "Yusuf", "Zoe",
)  # fmt: skip
LAST = (
    "Abel", "Barros", "Castel", "Dimov", "Ekholm", "Farkas", "Grieg", "Haddad", "Ivanova", "Jansen", "Kaya", "Lindt",
    "Moreau", "Novak", "Okafor", "Petrov", "Quist", "Ricci", "Sorel", "Tanaka", "Ueda", "Varga", "Weiss", "Xavier",
    "Yilmaz", "Zeman",
)  # fmt: skip
DISTRICTS = ("Harbour", "Old Town", "Northfield", "Riverside", "Mill Hill", "Westgate")


def people(dice: Random, count: int) -> list[str]:
    """Different full names."""
    names = [f"{first} {last}" for first in FIRST for last in LAST]
    return dice.sample(names, count)


def day(dice: Random, first: date, last: date) -> date:
    return first + timedelta(days=dice.randrange((last - first).days + 1))


def money(dice: Random, low: float, high: float) -> Decimal:
    return Decimal(str(round(dice.uniform(low, high), 2))).quantize(Decimal("0.01"))


def city_library(dice: Random) -> list[Made]:
    branches: Rows = [
        (n, f"{district} Library", district, dice.randrange(1921, 2015))
        for n, district in enumerate(DISTRICTS[:5], 1)
    ]
    countries = ("Norway", "Brazil", "Japan", "Kenya", "Poland", "Canada", "Egypt")
    authors: Rows = [
        (n, name, dice.choice(countries), dice.randrange(1885, 1991)) for n, name in enumerate(people(dice, 24), 1)
    ]
    adjectives = ("Quiet", "Last", "Paper", "Winter", "Glass", "Distant", "Hidden", "Salt", "Copper", "Seventh")
    things = ("Garden", "Bridge", "Letter", "Harvest", "Compass", "Orchard", "Island", "Clock", "Voyage", "Window")
    titles = dice.sample([f"The {a} {t}" for a in adjectives for t in things], 60)
    genres = ("novel", "mystery", "history", "poetry", "science", "children")
    books: Rows = []
    for n, title in enumerate(titles, 1):
        author = dice.choice(authors)
        born = author[3]
        assert isinstance(born, int)
        books.append((n, title, author[0], dice.choice(genres), dice.randrange(born + 22, min(2024, born + 75)),
                      dice.randrange(48, 720)))  # fmt: skip
    copies: Rows = [
        (n, dice.randrange(1, 57), dice.randrange(1, 6), dice.choice(("new", "good", "worn")), money(dice, 6, 48))
        for n in range(1, 141)
    ]
    kinds = ("adult", "student", "senior", "child")
    members: Rows = [
        (n, name, day(dice, date(2015, 1, 5), date(2024, 6, 30)), dice.choice(kinds), dice.choice(DISTRICTS))
        for n, name in enumerate(people(dice, 48), 1)
    ]
    loans: Rows = []
    for n in range(1, 261):
        start = day(dice, date(2023, 1, 2), date(2024, 12, 20))
        back = start + timedelta(days=dice.randrange(2, 60)) if dice.random() < 0.88 else None
        loans.append((n, dice.randrange(1, 141), dice.randrange(1, 45), start, back))
    return [
        Made("branch", branches, "branch_id id, name varchar(60) NOT NULL, district varchar(40), opened_year int"),
        Made("author", authors, "author_id id, name varchar(80) NOT NULL, country varchar(40), birth_year int"),
        Made("book", books, "book_id id, title varchar(120) NOT NULL, author_id -> author or nothing, "
             "genre varchar(20), published_year int, pages int"),
        Made("copy", copies, "copy_id id, book_id -> book, branch_id -> branch, state varchar(10), "
             "price decimal(8,2)"),
        Made("member", members, "member_id id, name varchar(80) NOT NULL, joined date, category varchar(10), "
             "district varchar(40)"),
        Made("loan", loans, "loan_id id, copy_id -> copy, member_id -> member, loaned_on date NOT NULL, "
             "returned_on date"),
    ]  # fmt: skip


def bike_share(dice: Random) -> list[Made]:
    places = ("Station Square", "Harbour Gate", "City Hall", "North Park", "Museum Quay", "Mill Lane", "University",
              "Market Hall", "West Bridge", "Old Tower", "Concert House", "Stadium")  # fmt: skip
    stations: Rows = [
        (n, name, dice.choice(DISTRICTS), dice.randrange(8, 41, 2), day(dice, date(2017, 3, 1), date(2023, 9, 30)))
        for n, name in enumerate(places, 1)
    ]
    models = ("Swift", "Cargo", "Glide", "Metro")
    bikes: Rows = [
        (n, model, int(model in ("Glide", "Cargo")), day(dice, date(2018, 1, 10), date(2023, 12, 1)))
        for n in range(1, 41)
        for model in (dice.choice(models),)
    ]
    plans = ("yearly", "monthly", "day pass")
    riders: Rows = [
        (n, name, dice.randrange(1950, 2008), dice.choice(plans)) for n, name in enumerate(people(dice, 45), 1)
    ]
    trips: Rows = []
    for n in range(1, 321):
        start = datetime(2024, 1, 1) + timedelta(minutes=dice.randrange(366 * 24 * 60))
        minutes = dice.randrange(4, 95)
        distance = Decimal(str(round(minutes * dice.uniform(0.12, 0.3), 2))).quantize(Decimal("0.01"))
        bike, rider = dice.randrange(1, 38), dice.randrange(1, 43)
        ridden = (dice.randrange(1, 13), dice.randrange(1, 12))
        trips.append((n, bike, rider, *ridden, start, minutes, distance))
    parts = ("brake", "tyre", "chain", "battery", "light", "saddle")
    repairs: Rows = [
        (
            n,
            dice.randrange(1, 35),
            day(dice, date(2023, 1, 4), date(2024, 12, 30)),
            dice.choice(parts),
            money(dice, 8, 190),
        )
        for n in range(1, 91)
    ]
    return [
        Made("station", stations, "station_id id, name varchar(60) NOT NULL, district varchar(40), docks int, "
             "opened date"),
        Made("bike", bikes, "bike_id id, model varchar(20), is_electric tinyint NOT NULL DEFAULT '0', bought date"),
        Made("rider", riders, "rider_id id, name varchar(80) NOT NULL, birth_year int, plan varchar(10)"),
        Made("trip", trips, "trip_id id, bike_id -> bike, rider_id -> rider, from_station -> station, "
             "to_station -> station, started datetime NOT NULL, minutes int, "
             "distance_km decimal(6,2)"),
        Made("repair", repairs, "repair_id id, bike_id -> bike, repaired date, part varchar(20), cost decimal(8,2)"),
    ]  # fmt: skip


def health_clinic(dice: Random) -> list[Made]:
    names = ("Cardiology", "Dermatology", "Paediatrics", "Orthopaedics", "Neurology")
    departments: Rows = [(n, name, dice.randrange(1, 6)) for n, name in enumerate(names, 1)]
    staff = people(dice, 78)
    doctors: Rows = [
        (n, name, dice.randrange(1, 6), dice.randrange(1, 32), dice.randrange(5200, 11800, 50))
        for n, name in enumerate(staff[:18], 1)
    ]
    towns = ("Arlen", "Brook", "Calder", "Dunmore", "Eastholm")
    patients: Rows = [
        (n, name, day(dice, date(1938, 1, 1), date(2019, 12, 31)), dice.choice("FM"), dice.choice(towns))
        for n, name in enumerate(staff[18:], 1)
    ]
    states = ("done", "done", "done", "cancelled", "missed")
    visits: Rows = []
    for n in range(1, 241):
        when = datetime(2024, 1, 2, 8) + timedelta(days=dice.randrange(360), minutes=15 * dice.randrange(36))
        state = dice.choice(states)
        fee = money(dice, 25, 320) if state == "done" else None
        visits.append((n, dice.randrange(1, 56), dice.randrange(1, 18), when, state, fee))
    drugs = ("Alvorin", "Betaxin", "Cordalol", "Dermacal", "Fenozin", "Helixan", "Lumivar", "Neurovan", "Orthagen",
             "Pulmoris")  # fmt: skip
    forms = ("tablet", "syrup", "cream")
    medicines: Rows = [(n, name, dice.choice(forms), money(dice, 3, 64)) for n, name in enumerate(drugs, 1)]
    done = [visit for visit in visits if visit[4] == "done"]
    prescriptions: Rows = [
        (n, dice.choice(done)[0], dice.randrange(1, 10), dice.randrange(3, 31)) for n in range(1, 151)
    ]
    return [
        Made("department", departments, "department_id id, name varchar(40) NOT NULL, floor int"),
        Made("doctor", doctors, "doctor_id id, name varchar(80) NOT NULL, "
             "department_id -> department or nothing, years_of_service int, salary int"),
        Made("patient", patients, "patient_id id, name varchar(80) NOT NULL, born date, sex char(1), "
             "town varchar(40)"),
        Made("appointment", visits, "appointment_id id, patient_id -> patient, doctor_id -> doctor, "
             "starts datetime NOT NULL, state varchar(10), fee decimal(8,2)"),
        Made("medicine", medicines, "medicine_id id, name varchar(40) NOT NULL, form varchar(10), "
             "price decimal(8,2)"),
        Made("prescription", prescriptions, "prescription_id id, appointment_id -> appointment, "
             "medicine_id -> medicine, days int"),
    ]  # fmt: skip


def music_label(dice: Random) -> list[Made]:
    bands = ("Velvet Tram", "The Low Tides", "Paper Foxes", "Nightjar", "Copper Choir", "Blue Signal", "Kite Season",
             "Marble Arcade", "Slow Comet", "Tin Harbour", "Iris & Oak", "The Second Floor", "Glass Rabbit",
             "Northern Static")  # fmt: skip
    lands = ("Iceland", "France", "Ghana", "Chile", "Finland", "India")
    styles = ("rock", "folk", "jazz", "electronic", "pop")
    artists: Rows = [
        (n, name, dice.choice(lands), dice.choice(styles), dice.randrange(1994, 2020))
        for n, name in enumerate(bands, 1)
    ]
    first = ("Silver", "Empty", "Golden", "Broken", "Endless", "Borrowed", "Early", "Electric")
    second = ("Streets", "Rooms", "Hours", "Weather", "Maps", "Summer", "Engines", "Echoes")
    names = dice.sample([f"{a} {b}" for a in first for b in second], 40)
    albums: Rows = [
        (
            n,
            name,
            dice.randrange(1, 13),
            day(dice, date(2005, 1, 14), date(2024, 11, 29)),
            dice.randrange(400, 95000, 10),
        )
        for n, name in enumerate(names, 1)
    ]
    verbs = ("Waiting for", "Falling into", "Letters to", "Leaving", "Dreaming of", "Walking through", "Counting")
    nouns = ("Morning", "the River", "Nobody", "Stars", "the City", "Rain", "Monday", "Silence", "the Sea", "Fire")
    songs = [f"{verb} {noun}" for verb in verbs for noun in nouns]
    tracks: Rows = []
    for album in albums:
        for place, title in enumerate(dice.sample(songs, dice.randrange(3, 8)), 1):
            tracks.append((len(tracks) + 1, album[0], place, title, dice.randrange(95, 480)))
    halls = ("Lantern Hall", "Dockside Arena", "The Cellar", "Opera Garden", "Foundry", "Skyline Stage")
    cities = ("Oslo", "Lyon", "Accra", "Turku", "Pune", "Lyon")
    venues: Rows = [
        (n, name, city, dice.randrange(180, 9000, 20))
        for n, (name, city) in enumerate(zip(halls, cities, strict=True), 1)
    ]
    concerts: Rows = [
        (n, dice.randrange(1, 14), dice.randrange(1, 7), day(dice, date(2022, 2, 1), date(2024, 12, 15)),
         dice.randrange(60, 5000, 10), money(dice, 12, 85))
        for n in range(1, 96)
    ]  # fmt: skip
    return [
        Made("artist", artists, "artist_id id, name varchar(60) NOT NULL, country varchar(40), "
             "style varchar(20), founded int"),
        Made("album", albums, "album_id id, title varchar(80) NOT NULL, artist_id -> artist, released date, "
             "copies_sold int"),
        Made("track", tracks, "track_id id, album_id -> album, position int, title varchar(80) NOT NULL, "
             "seconds int"),
        Made("venue", venues, "venue_id id, name varchar(60) NOT NULL, city varchar(40), capacity int"),
        Made("concert", concerts, "concert_id id, artist_id -> artist, venue_id -> venue, held_on date, "
             "tickets_sold int, ticket_price decimal(6,2)"),
    ]  # fmt: skip


WORLDS = {
    "city_library": city_library,
    "bike_share": bike_share,
    "health_clinic": health_clinic,
    "music_label": music_label,
}


def dump() -> str:
    """The four databases as the text of a MySQL dump; always the same."""
    parts = ["-- Made by envs/sql_worlds.py; all names are made up.\nSET FOREIGN_KEY_CHECKS=0;\n"]
    for name, make in WORLDS.items():
        parts.append(f"CREATE DATABASE IF NOT EXISTS `{name}`;\nUSE `{name}`;\n")
        parts += [table.text() for table in make(Random(f"{SEED}:{name}"))]  # noqa: S311 - reproducible, not secret
    return "\n".join(parts)


def main(arguments: Sequence[str]) -> None:
    Path(arguments[0]).write_bytes(gzip.compress(dump().encode(), mtime=0))


if __name__ == "__main__":
    main(sys.argv[1:])
