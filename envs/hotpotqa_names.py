"""Words that the made-up world is named with."""

from __future__ import annotations

from random import Random


def _words(text: str) -> tuple[str, ...]:
    return tuple(text.split())


PLACE_FRONTS = _words(
    "Alder Amber Ash Barrow Beck Birch Bran Brin Cald Carrow Cinder Corv Crane Dall Dren Eld Elm Esk Fallow "
    "Farrow Fenn "
    "Galt Garn Glen Gors Hale Harr Hask Hest Holt Ister Jarrow Kell Kest Kirn Lang Lark Lind Lorn Marl Marrow Mor "
    "Norr Oak Orr Osk Pell Penn Quarr Rask Raven Rook Sarn Sedge Selk Skell Stav Tarn Tev Thorn Tor Ulver Varr "
    "Vel Wald Wether Whin Wolver Yarrow Zell"
)
TOWN_BACKS = _words(
    "haven ford mouth stead wick bridge minster holm burg dale cross moor field port ness by thorpe gate stow ham"
)
COUNTRY_BACKS = ["mark", "land", "ia", "onia", "avia", "mere", "reach"]
RIVER_FRONTS = _words(
    "Av Bel Cam Dov Eb Fer Gal Ith Kel Lav Mel Nev Orl Pol Rin Sav Tam Ul Ven Wim Yst Zar Ard Bril Cor"
)
RIVER_BACKS = _words("ane ava eth ina iss onne or oun una wen eld ise ara enna")
SURNAME_FRONTS = _words(
    "Abel Ander Arm Bal Bart Ben Berg Bor Brand Cal Car Cas Chan Dal Dem Dor Drum Eck Ell Fab Far Fitz Gal Gar Gren "
    "Hal Hart Heid Hol Ing Jan Jor Kal Kar Kor Lam Lav Lem Lind Lor Mac Mal Man Mer Mon Nes Nor Ol Pal Pen Per Ram "
    "Ros Sal San Sel Ser Sol Stan Tal Ter Tol Ur Val Var Ver Vil Wal Wen Zam"
)
SURNAME_BACKS = _words(
    "ström gaard well ton ovic escu mann ley sen by rick dale more ini etti ard eau quist ander brook ell inger low "
    "mond ner olt over ridge shaw son vane wood"
)
WOMEN = _words(
    "Ada Agnes Alma Anneke Beatrix Bridget Carla Cecily Clara Dagny Delia Edith Elena Elsa Esther Flora Frida Greta "
    "Hanna Harriet Helga Ida Ines Iris Judith Karin Laura Lena Leonie Lucia Mabel Magda Marta Mathilde Nadia "
    "Nora Olga "
    "Paula Petra Rosa Ruth Sabine Sonia Sylvia Thea Vera Wanda Zora"
)
MEN = _words(
    "Aldo Anton Arthur August Basil Bruno Caspar Cedric Conrad Daniel Edgar Emil Ernst Felix Ferdinand Frank Gustav "
    "Hector Henrik Hugo Ivan Jasper Jonas Josef Julian Karl Lars Leo Leopold Lucas Magnus Marcus Martin Max "
    "Nils Oscar "
    "Otto Pavel Peter Ralph Rufus Samuel Simon Stefan Theodor Tomas Victor Walter"
)
ADJECTIVES = _words(
    "Amber Bitter Blue Bright Broken Copper Crimson Distant Emerald Empty Faithful Frozen Gentle Gilded Golden Green "
    "Grey Hidden Hollow Iron Ivory Lonely Lost Midnight Northern Pale Patient Quiet Restless Salt Scarlet "
    "Secret Silent "
    "Silver Southern Stolen Velvet Wandering White Winter"
)
NOUNS = _words(
    "Anchor Arrow Bell Candle Carriage Clock Compass Cradle Crown Garden Gate Glass Harbour Harvest Island Kettle "
    "Ladder Lamp Lantern Letter Library Lighthouse Loom Map Meadow Mill Mirror Orchard Organ Paper River Road "
    "Sail Shore "
    "Staircase Star Station Stone Tide Tower Umbrella Valley Violin Window"
)
BEASTS = _words(
    "Badger Bear Crane Falcon Finch Fox Hare Heron Kestrel Lark Lynx Magpie Marten Otter Owl Raven Robin Seal "
    "Sparrow "
    "Stag Stork Swallow Swan Wolf"
)
FESTIVALS = [
    "Lantern Festival",
    "Boat Race",
    "Harvest Fair",
    "Kite Festival",
    "Horse Market",
    "Bell Parade",
    "Song Week",
]
MONTHS = _words("January February March April May June July August September October November December")
REAL_PLACES = frozenset({"moravia", "finland", "ireland", "holland", "cornland"})
"""Places that exist and that the parts above would spell."""
TRADES = [
    "glassblowing", "clockmaking", "paper mills", "salt works", "rope making", "porcelain", "wool weaving",
    "copper mines", "cider", "lace", "boat building", "slate quarries",
]  # fmt: skip
FISH = ["salmon", "pike", "trout", "sturgeon", "eels", "perch", "grayling"]
HOBBIES = [
    "collected barometers", "kept bees", "played the cello", "walked the coast every spring", "painted birds",
    "bred sheepdogs", "corresponded with chess players abroad", "grew orchids", "restored old clocks", "flew "
    "balloons",
]  # fmt: skip
PARENTS = [
    "a schoolteacher", "a ferryman", "a clockmaker", "a baker", "a lighthouse keeper", "a country doctor", "a tailor",
    "a railway clerk", "a miller", "a church organist",
]  # fmt: skip
SCHOLARS = ["botanist", "astronomer", "geologist", "mathematician"]
SUBJECTS = ["astronomy", "botany", "chemistry", "geology", "mathematics", "medicine", "philosophy", "poetry"]
COMPANY_TRADES = (
    ("shipyard", 4, 1848, 1882),
    ("publisher", 4, 1852, 1896),
    ("studio", 3, 1912, 1937),
    ("label", 3, 1934, 1960),
)
"""Kind, how many a world has, and the first and last year of foundation."""
COMPANY_BACKS = {
    "shipyard": ["Shipyard", "& Sons", "Shipbuilding Company", "Marine Works"],
    "publisher": ["Press", "Publishing House", "& Company", "Books"],
    "studio": ["Pictures", "Film Company", "Studios"],
    "label": ["Records", "Recordings", "Music"],
}
COLLEGE_FRONTS = ["Royal", "New", "Old", "Saint Brannoc", "Polytechnic", "Free"]
HEROES = [
    "a widowed cartographer", "two sisters who run an inn", "a young telegraph operator", "a retired smuggler",
    "a village schoolmaster", "an apprentice bell founder", "a disgraced judge", "a travelling piano tuner",
]  # fmt: skip
GENRES = ["drama", "comedy", "thriller", "adventure", "mystery", "romantic", "war"]
STYLES = ["folk rock", "synth-pop", "jazz", "indie rock", "blues", "progressive rock", "chamber pop"]
INSTRUMENTS = ["accordion", "electric organ", "mandolin", "trombone", "hurdy-gurdy", "vibraphone", "musical saw"]
FATES = [
    "ran aground in fog", "was scrapped", "sank after a collision", "was turned into a floating hotel",
    "was lost in a storm", "caught fire in harbour", "was sold to a salvage firm",
]  # fmt: skip
CARGOES = ["timber", "mail", "grain", "coal", "passengers", "iron ore", "wool"]
COUNTS = ["eight", "nine", "ten", "eleven", "twelve", "fourteen"]
MATERIALS = ["stone arch", "steel truss", "suspension", "cast-iron arch", "concrete", "cantilever"]
CLUB_BACKS = ["United", "Rovers", "Athletic", "Wanderers", "Town"]
COLOURS = ["red and white", "blue and gold", "green and black", "claret and sky blue", "orange and white"]
AWARD_BACKS = ["Prize", "Medal", "Award"]
PRIZES = ["a silver medal", "a travel grant", "a bronze statuette", "a year's stipend"]
PAPER_BACKS = ["Courier", "Gazette", "Chronicle", "Observer", "Messenger"]
RHYTHMS = ["daily", "weekly", "fortnightly", "monthly"]


def join(front: str, back: str) -> str:
    """Put two parts together so that no letter comes three times in a row (Ross + son)."""
    return front[:-1] + back if len(front) > 1 and front[-1] == front[-2] == back[0] else front + back


def adjective(country: str) -> str:
    """What belongs to a country: Velmark -> Velmarkian, Norronia -> Norronian."""
    return (
        country + "n"
        if country.endswith("a")
        else country + "ian"
        if not country.endswith("e")
        else country[:-1] + "ian"
    )


def thing(dice: Random) -> str:
    return f"{dice.choice(ADJECTIVES)} {dice.choice([*NOUNS, *BEASTS])}"


def work_title(dice: Random) -> str:
    """A title of a book, a film or an album."""
    noun, adjective_, beast = dice.choice(NOUNS), dice.choice(ADJECTIVES), dice.choice(BEASTS)
    return dice.choice(
        [
            f"The {adjective_} {noun}",
            f"{adjective_} {noun}s" if noun[-1] not in "sry" else f"The {adjective_} {noun}",
            f"The {noun} and the {beast}",
            f"A {noun} for {dice.choice(WOMEN)}" if noun[0] not in "AIOU" else f"An {noun} for {dice.choice(WOMEN)}",
            f"The {beast}'s {noun}",
            f"Beyond the {adjective_} {noun}",
            f"Letters to the {beast}" if noun == "Letter" else f"The {noun} of {dice.choice(MONTHS)}",
        ]
    )


def band_name(dice: Random) -> str:
    adjective_, beast, noun = dice.choice(ADJECTIVES), dice.choice(BEASTS), dice.choice(NOUNS)
    return dice.choice(
        [f"The {adjective_} {beast}s", f"{adjective_} {noun}", f"{noun} Parade", f"{beast} and {noun}"]
    )
