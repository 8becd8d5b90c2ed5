"""Which running sequences begin alike. A shared prefix stays while anybody uses it, so its tails stay in place."""

from __future__ import annotations

from collections.abc import Sequence

from retro_dash.serving.cascade import Group, SharedPrefix
from retro_dash.serving.kv_cache import CachedSequence, common_prefix


class Sharing:
    """Remembers the shared prefixes of the last step of every model."""

    def __init__(self, least_tokens: int) -> None:
        """Shorter common prefixes than `least_tokens` are not worth a group."""
        self._least = least_tokens
        self._prefixes: dict[int, list[SharedPrefix]] = {}

    def groups(self, sequences: Sequence[CachedSequence], places: Sequence[int]) -> list[Group]:
        """Groups of the decoding sequences of one model; `places` are their indices in the batch."""
        if not sequences:
            return []
        model = sequences[0].model
        prefixes = self._prefixes.get(model, [])
        members: dict[int, list[int]] = {number: [] for number in range(len(prefixes))}
        alone: list[int] = []
        for i, sequence in enumerate(sequences):
            fitting = [number for number, prefix in enumerate(prefixes) if self._fits(sequence, prefix)]
            if fitting:
                members[max(fitting, key=lambda number: prefixes[number].tokens)].append(i)
            else:
                alone.append(i)
        used = [(prefix, members[number]) for number, prefix in enumerate(prefixes) if len(members[number]) > 1]
        alone += [members[number][0] for number in members if len(members[number]) == 1]
        used += self._new_groups(sequences, alone)
        self._prefixes[model] = [prefix for prefix, _ in used]
        return [Group(prefix, [places[i] for i in group]) for prefix, group in used]

    def forget(self, model: int) -> None:
        self._prefixes.pop(model, None)

    def _fits(self, sequence: CachedSequence, prefix: SharedPrefix) -> bool:
        return common_prefix(prefix.ids, sequence.tokens) == prefix.tokens

    def _new_groups(
        self, sequences: Sequence[CachedSequence], alone: Sequence[int]
    ) -> list[tuple[SharedPrefix, list[int]]]:
        found = []
        left = list(alone)
        while len(left) > 1:
            first, rest = left[0], left[1:]
            shared = {i: common_prefix(sequences[first].tokens, sequences[i].tokens) for i in rest}
            alike = [i for i in rest if shared[i] >= self._least]
            if alike:
                tokens = min(shared[i] for i in alike)
                leader = sequences[first]
                found.append((SharedPrefix(leader.ids[:tokens].copy(), leader.kv), [first, *alike]))
            left = [i for i in rest if i not in alike]
        return found
