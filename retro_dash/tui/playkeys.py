"""The keys of Play, those of the page."""

from __future__ import annotations

from textual.binding import Binding, BindingType

from retro_dash.tui.reading import UNFOLD

PLAY_KEYS: list[BindingType] = [
    Binding("s", "press('step')", "Step", tooltip="One turn: think, act, observe"),
    Binding("r", "press('run_trial')", "Run trial", tooltip="Turns until this trial ends"),
    Binding("R", "press('run_episode')", "Run episode", tooltip="Trials and reflections until it is solved"),
    Binding("e", "press('hold')", "Hold", tooltip="The planner writes its turn and waits, so that you can change it"),
    Binding("f", "press('reflect')", "Reflect", tooltip="The reflector looks back at the failed trial"),
    Binding("n", "press('next_trial')", "Next trial", tooltip="Start again with what was learned"),
    Binding("x", "press('stop')", "Stop", tooltip="Stop what is running; when nothing runs, end the episode"),
    Binding("E", "edit_reflection", "Edit reflection", show=False),
    Binding("N", "no_reflection", "Use no reflection", show=False),
    Binding("F", "fork", "Fork before the marked turn", show=False),
    Binding("o", "new_episode", "New episode with the chosen task", show=False),
    Binding("t", "panel('setup')", "Task and agents", show=False),
    Binding("w", "panel('world')", "World", show=False),
    Binding("slash", "filter_tasks", "Filter tasks", show=False, key_display="/"),
    Binding("d", "random_task", "Random task", show=False),
    Binding("a", "next_live", "The next episode that is live", show=False),
    Binding("p", "presenter", "Presenter view", show=False),
    Binding("h,left", "turn(-1)", "Previous turn", show=False),
    Binding("l,right", "turn(1)", "Next turn", show=False),
    Binding("j,down", "scroll(1)", "Scroll down", show=False),
    Binding("k,up", "scroll(-1)", "Scroll up", show=False),
    Binding("G", "newest", "Newest turn", show=False),
    UNFOLD,
    Binding("escape", "leave", "Leave a field or the presenter view", show=False),
]
