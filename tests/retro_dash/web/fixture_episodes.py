"""Episodes for page tests: a kitchen, a question, SQL, a shell, hostile text, a trial of 1,000 turns."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

from data.types import Episode, EpisodeState, Reflection, StopReason, Task, Trial, Turn

NOW = datetime.now(UTC).replace(microsecond=0)

HOSTILE = (
    "<script>window.pwn=1</script>",
    "<img src=x onerror=window.pwn=1>",
    "<iframe srcdoc='<script>parent.pwn=1</script>'></iframe>",
    "<svg onload=window.pwn=1>",
    "javascript:window.pwn=1",
    "![](http://127.0.0.2:9/beacon.png)",
    "<style>*{display:none}</style>",
    "${window.pwn=1} {{window.pwn=1}} {{{window.pwn=1}}}",
    "</textarea></script><script>window.pwn=1</script>",
    "<a href=javascript:window.pwn=1 autofocus onfocus=window.pwn=1>x</a>",
    '"><form action=http://127.0.0.2:9/><input autofocus onfocus=window.pwn=1>',
    "<math><mtext><table><mglyph><style><img src=x onerror=window.pwn=1>",
    "\u202egnp.exe \u0000 \x1b[31mred",
)

KITCHEN = [
    "cabinet 1",
    "cabinet 2",
    "countertop 1",
    "diningtable 1",
    "drawer 1",
    "fridge 1",
    "microwave 1",
    "shelf 1",
]


def turn(index: int, thought: str, action: str, seen: str, reward: float = 0.0, **more: Any) -> Turn:
    return Turn(index=index, thought=thought, action=action, observation=seen, reward=reward, **more)


def kitchen_view(place: str | None, seen: dict[str, list[str]], carrying: str | None = None) -> dict[str, Any]:
    """As `envs.alfworld` shows it."""
    opens = ("cabinet", "drawer", "fridge", "microwave")
    return {
        "receptacles": [
            {
                "name": name,
                "state": "current" if name == place else "visited" if name in seen else "unseen",
                "is_open": name == place if name in seen and name.split()[0] in opens else None,
                "contents": seen.get(name),
            }
            for name in KITCHEN
        ],
        "inventory": [carrying] if carrying else [],
        "location": place,
        "admissible": [f"go to {name}" for name in KITCHEN if name != place] + ["inventory", "look"],
        "turns_left": 7,
        "won": False,
    }


def kitchen_turns(places: list[str], last: list[Turn]) -> list[Turn]:
    seen: dict[str, list[str]] = {}
    turns = []
    for index, place in enumerate(places, start=1):
        found = {"countertop 1": ["bread 1", "knife 1"], "shelf 1": ["apple 1"], "fridge 1": ["egg 2"]}.get(place, [])
        seen[place] = found
        shown = ", and ".join(f"a {name}" for name in found) or "nothing"
        text = f"You arrive at {place}. On the {place}, you see {shown}."
        thought = f"An apple is often kept near the {place.split()[0]}; I have not looked there yet."
        turns.append(turn(index, thought, f"go to {place}", text, view=kitchen_view(place, dict(seen))))
    return turns + [item.model_copy(update={"index": len(turns) + 1 + n}) for n, item in enumerate(last)]


OPENING = (
    "You are in the middle of a room. Looking quickly around you, you see "
    + ", ".join(f"a {name}" for name in KITCHEN)
    + ".\nYour task is to: put a hot apple in fridge."
)


def trial(index: int, turns: list[Turn], stop: StopReason | None, at: datetime = NOW, **more: Any) -> Trial:
    return Trial(
        index=index,
        prompt=f"You act in a household.\n{OPENING}",
        opening=more.pop("opening", OPENING),
        turns=tuple(turns),
        reward=turns[-1].reward if turns else 0.0,
        success=stop is StopReason.SOLVED,
        stop_reason=stop,
        view=kitchen_view(None, {}),
        started_at=at,
        finished_at=at + timedelta(seconds=20) if stop else None,
        **more,
    )


def solving_turns() -> list[Turn]:
    hot = kitchen_view("fridge 1", {"shelf 1": [], "fridge 1": ["apple 1", "egg 2"], "microwave 1": []})
    return [
        turn(
            1,
            "My reflection says that the apple is on shelf 1.",
            "go to shelf 1",
            "You arrive at shelf 1. On the shelf 1, you see a apple 1.",
            view=kitchen_view("shelf 1", {"shelf 1": ["apple 1"]}),
        ),
        turn(
            2,
            "Here it is.",
            "take apple 1 from shelf 1",
            "You pick up the apple 1 from the shelf 1.",
            view=kitchen_view("shelf 1", {"shelf 1": []}, "apple 1"),
        ),
        turn(
            3,
            "It must be hot.",
            "go to microwave 1",
            "You arrive at microwave 1. The microwave 1 is closed.",
            view=kitchen_view("microwave 1", {"shelf 1": []}, "apple 1"),
        ),
        turn(4, "", "heat apple 1 with microwave 1", "You heat the apple 1 using the microwave 1."),
        turn(5, "Now the fridge.", "go to fridge 1", "You arrive at fridge 1. The fridge 1 is closed."),
        turn(6, "", "open fridge 1", "You open the fridge 1. The fridge 1 is open. In it, you see a egg 2."),
        turn(7, "", "move apple 1 to fridge 1", "You move the apple 1 to the fridge 1.", 1.0, view=hot),
    ]


KITCHEN_REFLECTION = (
    "I searched the cabinets and the drawer twice and ran out of turns before I reached shelf 1, where the apple is. "
    "Next time I go straight to shelf 1, take apple 1, heat it with microwave 1 and then put it in fridge 1."
)


def kitchen_episode(id_: str = "ep-kitchen", at: datetime = NOW, **more: Any) -> Episode:
    search = ["cabinet 1", "cabinet 2", "countertop 1", "drawer 1", "diningtable 1"]
    first = kitchen_turns(
        search,
        [
            turn(1, "Let me look once more.", "go to cabinet 1", "Nothing happens.", is_valid=False),
            turn(1, "Maybe I overlooked it.", "go to cabinet 1", "Nothing happens.", is_valid=False),
        ],
    )
    task = Task(
        id="kitchen-017",
        env="alfworld",
        split="valid_unseen",
        instruction="put a hot apple in fridge",
        turn_limit=7,
        metadata={"type": "pick_heat_then_place"},
    )
    reflection = Reflection(after_trial=1, text=KITCHEN_REFLECTION, author="expert", gain=1.0, created_at=at)
    fields: dict[str, Any] = {
        "id": id_,
        "task": task,
        "planner": "expert",
        "reflector": "expert",
        "seed": 7,
        "trials": (trial(1, first, StopReason.TURN_LIMIT, at), trial(2, solving_turns(), StopReason.SOLVED, at)),
        "reflections": (reflection,),
        "state": EpisodeState.SOLVED,
        "run_id": "run-play",
        "created_at": at,
    }
    return Episode(**{**fields, **more})


QUESTION = "Which river runs through the city where the designer of the Lantern Bridge was born?"
PARAGRAPHS = [
    {
        "title": "Lantern Bridge",
        "sentences": [
            "The Lantern Bridge is a footbridge in Morrowvale.",
            "It was designed by Ines Calloway in 1931.",
        ],
        "supporting": [1],
    },
    {
        "title": "Ines Calloway",
        "sentences": ["Ines Calloway was an engineer.", "She was born in Port Sable."],
        "supporting": [1],
    },
    {
        "title": "Port Sable",
        "sentences": ["Port Sable is a harbour city on the river Ettle.", "It has a population of 81,000."],
        "supporting": [0],
    },
]


def question_view(read: int, over: bool = False, answer: str = "") -> dict[str, Any]:
    """As `envs.hotpotqa` shows it."""
    paragraphs = [
        {
            "title": paragraph["title"],
            "is_read": n < read,
            "is_current": n == read - 1,
            "sentences": paragraph["sentences"] if n < read or over else [],
            "supporting": paragraph["supporting"] if over else [],
        }
        for n, paragraph in enumerate(PARAGRAPHS)
    ]
    right = answer == "Ettle"
    return {
        "dialect": "retroact",
        "question": QUESTION,
        "paragraphs": paragraphs,
        "last_search": {
            "query": str(PARAGRAPHS[read - 1]["title"]),
            "found": PARAGRAPHS[read - 1]["title"],
            "similar": [],
        },
        "turns_left": 3,
        "result": {"answer": answer, "gold": "Ettle", "exact_match": float(right), "f1": float(right)}
        if over
        else None,
    }


def question_episode(id_: str = "ep-question", at: datetime = NOW) -> Episode:
    task = Task(
        id="q-0042", env="hotpotqa", split="dev", instruction=QUESTION, metadata={"type": "bridge", "level": "hard"}
    )

    def search(n: int, name: str, seen: int) -> Turn:
        text = " ".join(PARAGRAPHS[seen - 1]["sentences"])
        return turn(n, f"I need to find {name}.", f"Search[{name}]", text, view=question_view(seen))

    one = [
        search(1, "Lantern Bridge", 1),
        search(2, "Ines Calloway", 2),
        turn(
            3,
            "She was born in Port Sable.",
            "Finish[Port Sable]",
            "Answer is INCORRECT",
            0.0,
            view=question_view(2, True, "Port Sable"),
        ),
    ]
    two = [
        search(1, "Lantern Bridge", 1),
        search(2, "Ines Calloway", 2),
        search(3, "Port Sable", 3),
        turn(
            4,
            "The river is the Ettle, I think the bridge is over it.",
            "Finish[the Sable]",
            "Answer is INCORRECT",
            0.0,
            view=question_view(3, True, "Ettle"),
        ),
    ]
    three = [
        search(1, "Port Sable", 3),
        turn(
            2,
            "The river is the Ettle.",
            "Finish[Ettle]",
            "Answer is CORRECT",
            1.0,
            view=question_view(3, True, "Ettle"),
        ),
    ]
    opening = f"Question: {QUESTION}"
    return Episode(
        id=id_,
        task=task,
        planner="smollm2-135m-instruct",
        reflector="smollm2-135m-instruct",
        seed=3,
        run_id="run-collect-4",
        trials=tuple(
            trial(n, turns, stop, at, opening=opening)
            for n, (turns, stop) in enumerate(
                [(one, StopReason.FAILED), (two, StopReason.FAILED), (three, StopReason.SOLVED)], start=1
            )
        ),
        reflections=(
            Reflection(
                after_trial=1,
                text="The question asks for a river, and I answered with the city. I must look up Port "
                "Sable and answer with its river.",
                author="reflector",
                gain=0.0,
                created_at=at,
            ),
            Reflection(
                after_trial=2,
                text="I read the right paragraph and then wrote the wrong name. The paragraph says: "
                "«on the river Ettle». Go to Port Sable at once and finish with Ettle.",
                author="human",
                edited_from="Try again and read better.",
                gain=1.0,
                created_at=at,
            ),
        ),
        state=EpisodeState.SOLVED,
        created_at=at,
    )


def hostile_episode(id_: str = "ep-hostile", at: datetime = NOW) -> Episode:
    def view(text: str) -> dict[str, Any]:
        place = {"name": text, "state": "current", "is_open": True, "contents": [text]}
        return {
            "receptacles": [place],
            "inventory": [text],
            "location": text,
            "admissible": [text],
            "truth": {text: [text]},
        }

    turns = [turn(n, text, text, text, view=view(text)) for n, text in enumerate(HOSTILE, start=1)]
    everything = " ".join(HOSTILE)
    task = Task(id=HOSTILE[0], env="alfworld", split="zz <b>split</b>", instruction=everything)
    return Episode(
        id=id_,
        task=task,
        planner=HOSTILE[1],
        reflector=HOSTILE[3],
        run_id="r",
        created_at=at,
        state=EpisodeState.ERROR,
        trials=(
            trial(1, turns, StopReason.MODEL_ERROR, at, opening=everything, error=everything),
            trial(2, turns[:3], StopReason.FAILED, at),
        ),
        reflections=(
            Reflection(after_trial=1, text=everything, author="human", edited_from=everything, created_at=at),
        ),
    )


def long_episode(id_: str = "ep-long", turns: int = 1000, at: datetime = NOW) -> Episode:
    def one(detour: int) -> list[Turn]:
        places = [f"drawer {n}" if n % detour == 0 else f"shelf {n % 97}" for n in range(1, turns + 1)]
        seen = "On it you see a book 1. "
        return [
            turn(
                n,
                f"Step {n}: keep looking.",
                f"go to {place}",
                f"You arrive at {place}. " + seen * (40 if n % 50 == 0 else 1),
            )
            for n, place in enumerate(places, start=1)
        ]

    task = Task(id="long-1", env="alfworld", split="stress", instruction="look at every shelf", turn_limit=turns)
    return Episode(
        id=id_,
        task=task,
        planner="scripted",
        reflector="scripted",
        run_id="r",
        created_at=at,
        state=EpisodeState.FAILED,
        trials=(trial(1, one(9), StopReason.TURN_LIMIT, at), trial(2, one(7), StopReason.TURN_LIMIT, at)),
        reflections=(
            Reflection(after_trial=1, text="Count in threes.", author="reflector", gain=0.0, created_at=at),
        ),
    )


def running_episode(id_: str = "ep-running", at: datetime = NOW) -> Episode:
    return kitchen_episode(
        id_,
        at,
        state=EpisodeState.RUNNING,
        reflections=(),
        planner="smollm2-135m-instruct",
        trials=(trial(1, kitchen_turns(["cabinet 1", "cabinet 2"], []), None, at),),
    )


def many_episodes(count: int = 130) -> list[Episode]:
    special = [
        kitchen_episode(at=NOW - timedelta(minutes=2)),
        question_episode(at=NOW - timedelta(minutes=31)),
        running_episode(at=NOW - timedelta(minutes=1)),
        hostile_episode(at=NOW - timedelta(hours=3)),
        long_episode(at=NOW - timedelta(hours=5)),
    ]
    return special + [_numbered(n) for n in range(count - len(special))]


def _numbered(n: int) -> Episode:
    at = NOW - timedelta(hours=6 + n)
    if n % 3 == 0:
        return question_episode(f"ep-{n:04d}", at)
    if n % 3 == 1:
        failed = kitchen_episode().trials[0]
        again = failed.model_copy(update={"index": 2})
        return kitchen_episode(
            f"ep-{n:04d}",
            at,
            trials=(failed, again),
            state=EpisodeState.FAILED,
            planner="planner@r12",
            reflector="reflector@r12",
            reflections=(kitchen_episode().reflections[0].model_copy(update={"gain": 0.0}),),
        )
    return kitchen_episode(f"ep-{n:04d}", at)
