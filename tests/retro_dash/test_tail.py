"""Following the store: every event once and in order, wherever one stands, from memory or from the store."""

from __future__ import annotations

import threading
from pathlib import Path

from curation_examples import NOW, fill, make_episode

from data.events import Event, MetricsLogged
from data.store import Store
from retro_dash.tail import AT_ONCE, KEPT, Tail


def log(store: Store, run: str, start: int, count: int) -> None:
    store.append(
        [
            Event(run_id=run, seq=number, at=NOW, body=MetricsLogged(step=number, values={"loss": 1.0}))
            for number in range(start, start + count)
        ]
    )


def follow(tail: Tail, cursor: int, run: str | None = None, episode: str | None = None) -> list[tuple[str, int]]:
    """Run and number of every event from `cursor` to the end."""
    found: list[tuple[str, int]] = []
    while True:
        news = tail.after(cursor, run, episode)
        found += [(one.event.run_id, one.event.seq) for one in news.messages]
        if news.messages:
            cursor = news.messages[-1].event.position
        if len(news.messages) < AT_ONCE:
            return found


def test_who_follows_from_anywhere_hears_everything_once_and_in_order(tmp_path: Path):
    with Store.open(tmp_path) as store:
        fill(store, make_episode("e1"))
        log(store, "a", 0, 700)
        tail = Tail(store)  # What is before it comes from the store.
        log(store, "b", 0, 1200)
        everything = [("r-e1", 0), *(("a", n) for n in range(700)), *(("b", n) for n in range(1200))]
        assert follow(tail, 0) == everything
        last_of_a = store.events_since(0, run_id="a")[-1].position
        assert follow(tail, last_of_a) == everything[701:]
        assert follow(tail, store.last_position()) == []
        assert follow(tail, 0, run="b") == everything[701:]
        assert follow(tail, last_of_a, run="a") == []
        assert follow(tail, 0, episode="e1") == everything[:1]


def test_a_watcher_behind_what_is_remembered_misses_nothing(tmp_path: Path):
    with Store.open(tmp_path) as store:
        tail = Tail(store)
        log(store, "a", 0, KEPT + 300)
        newest = store.last_position()
        assert [seq for _, seq in follow(tail, newest - 10)] == list(range(KEPT + 290, KEPT + 300))
        assert len(follow(tail, 0)) == KEPT + 300
        log(store, "a", KEPT + 300, 50)
        assert len(follow(tail, newest)) == 50
        assert len(follow(tail, 100)) == KEPT + 250


def test_what_many_hear_is_put_into_words_once(tmp_path: Path):
    with Store.open(tmp_path) as store:
        tail = Tail(store)
        start = store.last_position()
        log(store, "a", 0, 3)
        first, second = tail.after(start), tail.after(start)
        assert [id(one.text) for one in first.messages] == [id(one.text) for one in second.messages]
        assert first.reached == store.last_position()
        assert first.messages[0].text.startswith(f"id: {start + 1}\ndata: {{")


def test_nothing_is_heard_twice_while_others_write(tmp_path: Path):
    with Store.open(tmp_path) as store:
        tail = Tail(store)
        writer = threading.Thread(target=lambda: [log(store, "a", number, 1) for number in range(150)])
        writer.start()
        heard: list[int] = []
        cursor, late = 0, store.last_position()
        while writer.is_alive() or cursor < store.last_position():
            news = tail.after(cursor)
            heard += [one.event.seq for one in news.messages]
            cursor = max(cursor, news.reached)
        writer.join()
        assert heard == list(range(150))
        assert [one.event.seq for one in tail.after(late).messages] == list(range(150))  # As one who comes late.


def test_memory_alone_answers_who_is_up_to_date_and_says_so_when_it_does_not_know_all(tmp_path: Path):
    with Store.open(tmp_path) as store:
        log(store, "a", 0, 10)
        tail = Tail(store)
        newest = store.last_position()
        log(store, "b", 0, 3)
        assert tail.remembered(newest) is None  # Nobody has read it from the store yet.
        assert tail.remembered(newest) is None
        heard = tail.after(newest)
        assert tail.remembered(newest) == heard
        assert [one.event.seq for one in heard.messages] == [0, 1, 2]
        assert tail.remembered(newest - 5) is None  # Further back than memory reaches.
        nothing = tail.remembered(store.last_position())
        assert nothing is not None
        assert nothing.messages == []
