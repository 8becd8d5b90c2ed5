// The keys of Curate as they are before anybody changes them.

import { VERDICTS } from "./marks.js";

/** `acts`: what each does, by id; `on()`: an item is on the screen; `inPair()`: two reflections are. */
export function keysOfCurate({ acts, on, inPair }) {
  return [
    ...VERDICTS.map(([verdict], index) => ({ id: verdict, label: `Verdict: ${verdict}`, keys: String(index + 1), when: on })),
    { id: "step1", label: "Step reward +1, then the next turn", keys: "+ =", when: on }, { id: "step0", label: "Step reward 0", keys: "0", when: on }, { id: "step-1", label: "Step reward −1", keys: "-", when: on },
    { id: "error", label: "First error is this turn; on a trial: none", keys: "!", when: on },
    { id: "accurate", label: "Reflection: accurate, not accurate, unmarked", keys: "a", when: on }, { id: "actionable", label: "Reflection: actionable", keys: "c", when: on }, { id: "followed", label: "Reflection: followed", keys: "f", when: on },
    { id: "rewrite", label: "Rewrite the turn or reflection", keys: "e", when: on }, { id: "note", label: "Note", keys: "m", when: on },
    { id: "undo", label: "Undo, on any item", keys: "u Ctrl+Z" }, { id: "redo", label: "Redo", keys: "Shift+U Ctrl+Shift+Z" },
    { id: "next", label: "Next item", keys: "Enter" }, { id: "forward", label: "Next item", keys: "Shift+L" }, { id: "back", label: "Item before", keys: "Shift+H" },
    { id: "down", label: "Next part: turn, reflection, trial", keys: "j ArrowDown", when: on }, { id: "up", label: "Part before", keys: "k ArrowUp", when: on },
    { id: "trialNext", label: "Next trial", keys: "l ArrowRight", when: on }, { id: "trialBack", label: "Trial before", keys: "h ArrowLeft", when: on },
    { id: "reflection", label: "Next reflection", keys: "r", when: on }, { id: "whole", label: "Whole episode", keys: "g", when: on },
    { id: "filter", label: "Filter of the queue", keys: "/" },
    { id: "auto", label: "Auto-advance on or off", keys: "Shift+A" }, { id: "blind", label: "Blind: outcomes hidden until judged", keys: "Shift+B" },
    { id: "review", label: "Review: agreement, disagreements, the final word", keys: "Shift+R" }, { id: "disputeNext", label: "Next disagreement", keys: "]" }, { id: "disputeBack", label: "Disagreement before", keys: "[" },
    { id: "history", label: "History: who said what of this item, and when", keys: "Shift+Y" }, { id: "tags", label: "Edit the tags", keys: "Shift+T" },
    { id: "datasets", label: "Datasets", keys: "Shift+D" }, { id: "import", label: "Import files", keys: "Shift+I" },
    { id: "keys", label: "Change the keys", keys: "Shift+K" }, { id: "close", label: "Close the panel; else the whole episode", keys: "Escape" },
    { id: "pair", label: "Blind votes: which advice is better?", keys: "Shift+V" },
    { id: "left", label: "Vote: the left one is better", keys: "1 ArrowLeft", when: inPair }, { id: "right", label: "Vote: the right one is better", keys: "2 ArrowRight", when: inPair }, { id: "tie", label: "Vote: equally good", keys: "3 0", when: inPair },
  ].map((action) => ({ run: () => acts[action.id](), ...action }));
}
