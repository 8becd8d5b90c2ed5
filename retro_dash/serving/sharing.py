"""Which running sequences begin alike. A shared prefix stays while anybody uses it, so its tails stay in place."""

from __future__ import annotations

from collections.abc import Sequence

from retro_dash.serving.cascade import Group, SharedPrefix
from retro_dash.serving.kv_cache import CachedSequence, common_prefix


class Sharing:
    """Remembers the shared prefixes of the last step of every model, and how many bytes they hold."""

    def __init__(self, least_tokens: int) -> None:
        """Shorter common prefixes than `least_tokens` are not worth a group."""
        self.bytes = 0
        """Held for prefixes and tails, beside the sequences' own buffers."""
        self._least = least_tokens
        self._prefixes: dict[int, list[SharedPrefix]] = {}
        self._bytes: dict[int, int] = {}

    def groups(
        self,
        sequences: Sequence[CachedSequence],
        places: Sequence[int],
        token_bytes: int,
        most_bytes: int,
        most_new_bytes: int,
    ) -> list[Group]:
        """Groups of the decoding sequences of one model; `places` are their indices in the batch.

        The groups of all models together hold at most `most_bytes`, and `most_new_bytes` where one needs new room; a
        sequence whose tail has no room stays alone.
        """
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
        found = [(prefix, members[number]) for number, prefix in enumerate(prefixes) if len(members[number]) > 1]
        alone += [members[number][0] for number in members if len(members[number]) == 1]
        found += self._new_groups(sequences, alone)
        self.forget(model)
        used = []
        for prefix, group in found:
            lengths = [sequences[i].computed for i in group]
            most = [(room - self.bytes) // token_bytes for room in (most_bytes, most_new_bytes)]
            kept = _with_room(prefix, group, lengths, *most)
            if kept:
                used.append((prefix, kept))
                self.bytes += prefix.held_tokens * token_bytes
                self._bytes[model] = self._bytes.get(model, 0) + prefix.held_tokens * token_bytes
        if used:
            self._prefixes[model] = [prefix for prefix, _ in used]
        return [Group(prefix, [places[i] for i in group]) for prefix, group in used]

    def leave(self, sequence: CachedSequence) -> None:
        """A sequence goes on in another buffer, or has ended: nothing holds this one any more."""
        for prefix in self._prefixes.get(sequence.model, []):
            if prefix.tails is not None:
                prefix.tails.leave(sequence.kv)

    def forget(self, model: int) -> None:
        self._prefixes.pop(model, None)
        self.bytes -= self._bytes.pop(model, 0)

    def clear(self) -> None:
        for model in list(self._prefixes):
            self.forget(model)

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


def _with_room(
    prefix: SharedPrefix, group: Sequence[int], lengths: Sequence[int], most_tokens: int, most_new_tokens: int
) -> list[int]:
    """The members that fit into so many tokens, in their order; the longest are left out first. Decides the room."""
    shortest = sorted(range(len(group)), key=lambda i: lengths[i])
    had = prefix.room
    while len(shortest) > 1:
        wanted = len(shortest), lengths[shortest[-1]] + 1 - prefix.tokens
        for base in (had, (0, 0)):
            prefix.room = base
            prefix.room = prefix.room_for(*wanted)
            if prefix.held_tokens <= (most_tokens if prefix.room == had else most_new_tokens):
                return [group[i] for i in sorted(shortest)]
        shortest.pop()
    return []
