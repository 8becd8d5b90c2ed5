"""A finished training run, longer: what the new run is told, and which runs cannot go on."""

from __future__ import annotations

from data.errors import BadInput, Refused
from data.types import Run, RunState
from retro_dash.run_config import TrainRunConfig, parse_run_config
from retro_dash.run_folder import RunFolder
from training.folders import newest_whole


def longer_config(run: Run, folder: RunFolder, epochs: int) -> TrainRunConfig:
    """The config of a run that goes on from the last state of `run` for so many more epochs.

    A budget of tokens or seconds grows in the same proportion. The learning rate follows its schedule over the whole
    new length, so it begins higher than it ended. Raises Refused with what to do instead, BadInput for no epochs.
    """
    if epochs < 1:
        raise BadInput(f"A run is extended by at least one epoch, not by {epochs}.")
    config = parse_run_config(run.config, run.id)
    if not isinstance(config, TrainRunConfig):
        raise Refused(f"The run {run.id} trains nothing, so it cannot be extended. Clone it to do it again.")
    if run.state is not RunState.FINISHED:
        raise Refused(f"The run {run.id} is {run.state}. Only a finished run is extended; resume this one.")
    train = config.train
    instead = "Clone it with its adapters as start adapters."
    if config.exploration is not None or train.method == "retroformer":
        what = "exploration" if config.exploration is not None else train.method
        raise Refused(f"A run with {what} has no single last state to go on from. {instead}")
    missing = [job for job in train.jobs if newest_whole(folder.checkpoints / job, "step") is None]
    if missing:
        raise Refused(f"The last state of {', '.join(missing)} was not kept (or not whole) in {run.id}. {instead}")
    grown = (train.batch.epochs + epochs) / train.batch.epochs
    seconds, tokens = train.budget.max_seconds, train.budget.max_tokens
    budget = {
        "max_seconds": seconds and seconds * grown,
        "max_tokens": tokens and round(tokens * grown),
    }
    longer = train.model_copy(
        update={
            "batch": train.batch.model_copy(update={"epochs": train.batch.epochs + epochs}),
            "budget": train.budget.model_copy(update=budget),
        }
    )
    return config.model_copy(update={"train": longer})
