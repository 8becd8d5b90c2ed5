"""How an older store becomes today's. One SQL script a step; step n takes version n to version n + 1.

`schema.sql` is always the newest version; a step is added here in the same change.
"""

from __future__ import annotations

MIGRATIONS: tuple[str, ...] = ()
