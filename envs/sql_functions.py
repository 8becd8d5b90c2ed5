"""MySQL's functions and its collation for SQLite, in pure Python: what `sql_dialect` leaves for run time.

Imported by the child process by path, so it imports the standard library only. NULL in gives NULL out unless MySQL
says otherwise; a wrong date is NULL, as in MySQL.
"""

from __future__ import annotations

import calendar
import functools
import math
import re
import sqlite3
import unicodedata
from collections.abc import Callable
from datetime import date, datetime, timedelta
from typing import Any

COLLATION = "utf8mb4_general_ci"
FORMATTED_WIDTH_LIMIT = 10_000_000


@functools.lru_cache(maxsize=50_000)
def collation_key(text: str) -> str:
    """Upper case, without accents or trailing blanks: equal keys are equal texts in utf8mb4_general_ci."""
    text = text.rstrip(" ")
    if not text.isascii():
        text = "".join(c for c in unicodedata.normalize("NFD", text) if not unicodedata.combining(c))
    return text.upper()


def compare(left: str, right: str) -> int:
    one, two = collation_key(left), collation_key(right)
    return (one > two) - (one < two)


def text_of(value: Any) -> str:
    if isinstance(value, bytes):
        return value.decode("utf-8", "replace")
    if isinstance(value, float) and value.is_integer() and abs(value) < 1e15:
        return str(int(value))
    return str(value)


def number_of(value: Any) -> float:
    """MySQL's number of a value: the leading number of a text, or 0."""
    if isinstance(value, (int, float)):
        return value
    found = re.match(r"\s*[-+]?(\d+\.?\d*|\.\d+)([eE][-+]?\d+)?", text_of(value))
    return float(found.group()) if found else 0.0


def moment_of(value: Any) -> datetime | None:
    """The date and time that MySQL reads in a value, or None."""
    text = text_of(value).strip()
    found = re.fullmatch(
        r"(\d{4})-(\d{1,2})-(\d{1,2})(?:[ T](\d{1,2}):(\d{1,2})(?::(\d{1,2})(?:\.(\d{1,6}))?)?)?", text
    )
    if not found and re.fullmatch(r"\d{8}(\d{6})?", text):
        found = re.fullmatch(r"(\d{4})(\d\d)(\d\d)(?:(\d\d)(\d\d)(\d\d))?()?", text)
    if not found:
        return None
    year, month, day, hour, minute, second, micro = found.groups()
    try:
        fraction = int((micro or "0").ljust(6, "0"))
        return datetime(int(year), int(month), int(day), int(hour or 0), int(minute or 0), int(second or 0), fraction)
    except ValueError:
        return None


def text_of_moment(moment: datetime, like: Any) -> str:
    """A date stays a date unless a time of day is needed."""
    has_time = moment.time() != datetime.min.time() or ":" in text_of(like)
    return moment.strftime("%Y-%m-%d %H:%M:%S" if has_time else "%Y-%m-%d")


DATE_CODES: dict[str, Callable[[datetime], str]] = {
    "Y": lambda d: f"{d.year:04d}",
    "y": lambda d: f"{d.year % 100:02d}",
    "m": lambda d: f"{d.month:02d}",
    "c": lambda d: str(d.month),
    "d": lambda d: f"{d.day:02d}",
    "e": lambda d: str(d.day),
    "H": lambda d: f"{d.hour:02d}",
    "k": lambda d: str(d.hour),
    "h": lambda d: f"{(d.hour - 1) % 12 + 1:02d}",
    "I": lambda d: f"{(d.hour - 1) % 12 + 1:02d}",
    "l": lambda d: str((d.hour - 1) % 12 + 1),
    "i": lambda d: f"{d.minute:02d}",
    "s": lambda d: f"{d.second:02d}",
    "S": lambda d: f"{d.second:02d}",
    "f": lambda d: f"{d.microsecond:06d}",
    "p": lambda d: "AM" if d.hour < 12 else "PM",
    "T": lambda d: d.strftime("%H:%M:%S"),
    "r": lambda d: f"{(d.hour - 1) % 12 + 1:02d}:{d.minute:02d}:{d.second:02d} {'AM' if d.hour < 12 else 'PM'}",
    "M": lambda d: calendar.month_name[d.month],
    "b": lambda d: calendar.month_abbr[d.month],
    "W": lambda d: calendar.day_name[d.weekday()],
    "a": lambda d: calendar.day_abbr[d.weekday()],
    "w": lambda d: str((d.weekday() + 1) % 7),
    "j": lambda d: f"{d.timetuple().tm_yday:03d}",
    "v": lambda d: f"{d.isocalendar().week:02d}",
    "u": lambda d: f"{d.isocalendar().week:02d}",
    "x": lambda d: str(d.isocalendar().year),
}
PARSE_CODES = {
    "e": "%d",
    "c": "%m",
    "i": "%M",
    "s": "%S",
    "S": "%S",
    "M": "%B",
    "W": "%A",
    "T": "%H:%M:%S",
    "k": "%H",
}


def date_format(value: Any, form: Any) -> str | None:
    moment = moment_of(value)
    if moment is None:
        return None
    return re.sub(
        r"%(.)", lambda m: DATE_CODES[m.group(1)](moment) if m.group(1) in DATE_CODES else m.group(1), text_of(form)
    )


def str_to_date(value: Any, form: Any) -> str | None:
    python_form = re.sub(r"%(.)", lambda m: PARSE_CODES.get(m.group(1), m.group(0)), text_of(form))
    try:
        moment = datetime.strptime(text_of(value).strip(), python_form)
    except ValueError:
        return None
    return moment.strftime("%Y-%m-%d %H:%M:%S" if re.search("%[HhIklisSTrf]", text_of(form)) else "%Y-%m-%d")


def whole_months(start: datetime, end: datetime) -> int:
    if end < start:
        return -whole_months(end, start)
    months = (end.year - start.year) * 12 + end.month - start.month
    return months - ((end.day, end.time()) < (start.day, start.time()))


UNIT_SECONDS = {"SECOND": 1, "MINUTE": 60, "HOUR": 3600, "DAY": 86400, "WEEK": 604800}
UNIT_MONTHS = {"MONTH": 1, "QUARTER": 3, "YEAR": 12}


def timestampdiff(unit: Any, start: Any, end: Any) -> int | None:
    one, two, name = moment_of(start), moment_of(end), text_of(unit).upper()
    if one is None or two is None:
        return None
    if name in UNIT_MONTHS:
        months = whole_months(one, two)
        return int(months / UNIT_MONTHS[name])
    if name == "MICROSECOND":
        return int((two - one).total_seconds() * 1e6)
    return int((two - one).total_seconds() / UNIT_SECONDS[name]) if name in UNIT_SECONDS else None


def date_add(value: Any, amount: Any, unit: Any) -> str | None:
    moment, name, count = moment_of(value), text_of(unit).upper(), number_of(amount)
    if moment is None:
        return None
    try:
        if name in UNIT_MONTHS:
            index = moment.year * 12 + moment.month - 1 + int(count) * UNIT_MONTHS[name]
            year, month = index // 12, index % 12 + 1
            day = min(moment.day, calendar.monthrange(year, month)[1])
            return text_of_moment(moment.replace(year=year, month=month, day=day), value)
        if name not in UNIT_SECONDS:
            return None
        like = "00:00" if name in ("SECOND", "MINUTE", "HOUR") else value
        return text_of_moment(moment + timedelta(seconds=count * UNIT_SECONDS[name]), like)
    except (ValueError, OverflowError):
        return None


def part(take: Callable[[datetime], Any]) -> Callable[[Any], Any]:
    """A function of a date, NULL for what is not one."""

    def function(value: Any) -> Any:
        moment = moment_of(value)
        return None if moment is None else take(moment)

    return function


def datediff(one: Any, two: Any) -> int | None:
    first, second = moment_of(one), moment_of(two)
    return None if first is None or second is None else (first.date() - second.date()).days


def substring_index(value: Any, separator: Any, count: Any) -> str:
    parts, wanted, glue = text_of(value).split(text_of(separator) or "\0"), int(number_of(count)), text_of(separator)
    return glue.join(parts[:wanted] if wanted >= 0 else parts[wanted:])


def pad(value: Any, width: Any, filler: Any, is_left: bool) -> str | None:
    text, wide, fill = text_of(value), int(number_of(width)), text_of(filler)
    if wide < 0 or wide > FORMATTED_WIDTH_LIMIT:
        return None
    if wide <= len(text) or not fill:
        return text[:wide]
    padding = (fill * (wide // len(fill) + 1))[: wide - len(text)]
    return padding + text if is_left else text + padding


def repeat(value: Any, count: Any) -> str | None:
    """NULL above the limit, as MySQL answers above max_allowed_packet."""
    text, times = text_of(value), max(0, int(number_of(count)))
    return text * times if len(text) * times <= FORMATTED_WIDTH_LIMIT else None


def field(value: Any, *choices: Any) -> int:
    keys = [collation_key(text_of(choice)) for choice in choices]
    key = collation_key(text_of(value))
    return keys.index(key) + 1 if value is not None and key in keys else 0


def matches(pattern: Any, value: Any) -> int:
    return int(re.search(text_of(pattern), text_of(value), re.IGNORECASE) is not None)


def locate(needle: Any, hay: Any, start: Any = 1) -> int:
    return text_of(hay).lower().find(text_of(needle).lower(), int(start) - 1) + 1


def truncate(value: Any, digits: Any) -> float:
    scale = 10.0 ** int(digits)
    return math.trunc(number_of(value) * scale) / scale


def comma_format(value: Any, digits: Any) -> str:
    return f"{number_of(value):,.{max(0, min(30, int(number_of(digits))))}f}"


def mysql_number(value: Any) -> float | int:
    """A date as the number MySQL makes of it: 20240131 or 20240131120000."""
    digits = re.sub(r"\D", "", text_of(value))
    return int(digits) if digits else 0


def concat_ws(separator: Any, *values: Any) -> str | None:
    return None if separator is None else text_of(separator).join(text_of(v) for v in values if v is not None)


class Spread:
    """Population or sample variance, or its root."""

    def __init__(self, is_sample: bool, is_root: bool) -> None:
        self.values: list[float] = []
        self.is_sample, self.is_root = is_sample, is_root

    def step(self, value: Any) -> None:
        if value is not None:
            self.values.append(float(number_of(value)))

    def finalize(self) -> float | None:
        count = len(self.values) - self.is_sample
        if count <= 0:
            return None
        mean = math.fsum(self.values) / len(self.values)
        variance = math.fsum((v - mean) ** 2 for v in self.values) / count
        return math.sqrt(variance) if self.is_root else variance


class OnlyRow:
    """The value of a scalar subquery; an error when it has a second row."""

    def __init__(self) -> None:
        self.rows: list[Any] = []

    def step(self, value: Any) -> None:
        self.rows.append(value)
        if len(self.rows) > 1:
            raise ValueError("Subquery returns more than 1 row")

    def finalize(self) -> Any:
        return self.rows[0] if self.rows else None


class AnyValue:
    def __init__(self) -> None:
        self.value: Any = None

    def step(self, value: Any) -> None:
        self.value = value if self.value is None else self.value

    def finalize(self) -> Any:
        return self.value


FUNCTIONS: dict[str, Callable[..., Any]] = {
    "concat": lambda *values: "".join(text_of(v) for v in values),
    "year": part(lambda d: d.year),
    "month": part(lambda d: d.month),
    "day": part(lambda d: d.day),
    "dayofmonth": part(lambda d: d.day),
    "dayofweek": part(lambda d: (d.weekday() + 1) % 7 + 1),
    "dayofyear": part(lambda d: d.timetuple().tm_yday),
    "weekday": part(lambda d: d.weekday()),
    "week": part(lambda d: int(d.strftime("%U"))),
    "weekofyear": part(lambda d: d.isocalendar().week),
    "quarter": part(lambda d: (d.month + 2) // 3),
    "hour": part(lambda d: d.hour),
    "minute": part(lambda d: d.minute),
    "second": part(lambda d: d.second),
    "dayname": part(lambda d: calendar.day_name[d.weekday()]),
    "monthname": part(lambda d: calendar.month_name[d.month]),
    "date_of": part(lambda d: d.strftime("%Y-%m-%d")),
    "time_of": part(lambda d: d.strftime("%H:%M:%S")),
    "last_day": part(lambda d: d.replace(day=calendar.monthrange(d.year, d.month)[1]).strftime("%Y-%m-%d")),
    "to_days": part(lambda d: d.toordinal() + 365),
    "unix_timestamp": part(lambda d: calendar.timegm(d.timetuple())),
    "from_unixtime": lambda s: (datetime(1970, 1, 1) + timedelta(seconds=number_of(s))).strftime("%Y-%m-%d %H:%M:%S"),
    "date_format": date_format,
    "str_to_date": str_to_date,
    "timestampdiff": timestampdiff,
    "date_add_unit": date_add,
    "datediff": datediff,
    "mysql_number": mysql_number,
    "first_characters": lambda s, n: text_of(s)[: max(0, int(number_of(n)))],
    "last_characters": lambda s, n: text_of(s)[-int(number_of(n)) :] if number_of(n) >= 1 else "",
    "substring_index": substring_index,
    "lpad": lambda s, n, fill=" ": pad(s, n, fill, True),
    "rpad": lambda s, n, fill=" ": pad(s, n, fill, False),
    "repeat": repeat,
    "space": lambda n: repeat(" ", n),
    "reverse": lambda s: text_of(s)[::-1],
    "locate": locate,
    "find_in_set": lambda s, items: field(s, *text_of(items).split(",")),
    "elt": lambda n, *items: items[int(n) - 1] if 1 <= int(n) <= len(items) else None,
    "strcmp": lambda a, b: compare(text_of(a), text_of(b)),
    "regexp": matches,
    "truncate": truncate,
    "comma_format": comma_format,
    "char_length": lambda s: len(text_of(s)),
    "bit_length": lambda s: 8 * len(text_of(s).encode()),
    "length": lambda s: len(s) if isinstance(s, bytes) else len(text_of(s).encode()),
    "ascii": lambda s: (text_of(s).encode() or b"\0")[0],
    "greatest": lambda *values: max(values, key=lambda v: v if isinstance(v, (int, float)) else collation_key(v)),
    "least": lambda *values: min(values, key=lambda v: v if isinstance(v, (int, float)) else collation_key(v)),
}
NULL_AWARE: dict[str, Callable[..., Any]] = {"concat_ws": concat_ws, "field": field}
CLOCK: dict[str, Callable[[], str]] = {
    "curdate": lambda: date.today().isoformat(),
    "curtime": lambda: datetime.now().strftime("%H:%M:%S"),
    "mysql_now": lambda: datetime.now().strftime("%Y-%m-%d %H:%M:%S"),
}


def with_null(function: Callable[..., Any]) -> Callable[..., Any]:
    """NULL when any argument is NULL; errors of odd arguments are NULL too, as MySQL only warns."""

    def guarded(*values: Any) -> Any:
        if None in values:
            return None
        try:
            return function(*values)
        except (ValueError, TypeError, OverflowError, IndexError, re.error):
            return None

    return guarded


def register(connection: sqlite3.Connection) -> None:
    """Teach one SQLite connection MySQL's collation and functions."""
    connection.create_collation(COLLATION, compare)
    for name, function in FUNCTIONS.items():
        connection.create_function(name, -1, with_null(function), deterministic=True)
    for name, function in (NULL_AWARE | CLOCK).items():
        connection.create_function(name, -1, function)
    for name, is_sample, is_root in (
        ("std", False, True),
        ("stddev", False, True),
        ("stddev_pop", False, True),
        ("stddev_samp", True, True),
        ("variance", False, False),
        ("var_pop", False, False),
        ("var_samp", True, False),
    ):
        connection.create_aggregate(name, 1, functools.partial(Spread, is_sample, is_root))  # type: ignore[arg-type]
    connection.create_aggregate("only_row", 1, OnlyRow)
    connection.create_aggregate("any_value", 1, AnyValue)
