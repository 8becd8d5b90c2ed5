"""A made-up table as the text of a MySQL dump: its definition and its rows."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import date, datetime
from decimal import Decimal

Cell = None | int | str | Decimal | date | datetime
Rows = list[tuple[Cell, ...]]


@dataclass(frozen=True)
class Made:
    """One table and its rows."""

    name: str
    rows: Rows
    columns: str
    """Separated by ", ": each is `name id` (the primary key), `name -> table` (a foreign key; `or nothing` after it
    allows NULL), or `name` with a MySQL type and what follows it."""

    def text(self) -> str:
        """The statements that make and fill it."""
        rows = ",\n".join(f"({','.join(map(_literal, row))})" for row in self.rows)
        return (
            f"CREATE TABLE `{self.name}` (\n  {self._definition()}\n) ENGINE=InnoDB "
            "DEFAULT CHARSET=utf8mb4 COLLATE=utf8mb4_general_ci;\n"
            f"INSERT INTO `{self.name}` VALUES\n{rows};\n"
        )

    def _definition(self) -> str:
        lines, keys = [], []
        for column in self.columns.split(", "):
            name, kind = column.split(" ", 1)
            if kind == "id":
                lines.append(f"`{name}` int NOT NULL AUTO_INCREMENT")
                keys.append(f"PRIMARY KEY (`{name}`)")
            elif kind.startswith("-> "):
                target = kind.split()[1]
                lines.append(f"`{name}` int {'DEFAULT' if kind.endswith('or nothing') else 'NOT'} NULL")
                key = f"{self.name}_{name.removesuffix('_id')}"
                keys += [
                    f"KEY `{key}` (`{name}`)",
                    f"CONSTRAINT `{key}` FOREIGN KEY (`{name}`) REFERENCES `{target}` (`{target}_id`)",
                ]
            else:
                lines.append(f"`{name}` {kind}" + ("" if "NULL" in kind else " DEFAULT NULL"))
        return ",\n  ".join(lines + keys)


def _literal(cell: Cell) -> str:
    if cell is None:
        return "NULL"
    if isinstance(cell, (int, Decimal)):
        return str(cell)
    return "'" + str(cell).replace("'", "\\'") + "'"
