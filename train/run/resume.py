"""Go on from a checkpoint: the newest whole one, or one that the command line names."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from preprocess.errors import WholewordError
from train.data.mixture import has_grown
from train.data.windows import Cursor
from train.engine import checkpoint, universal
from train.engine.checkpoint import RunProgress
from train.engine.place import Place
from train.engine.process_group import Ranks
from train.options import Options
from train.run import folder as run_folder
from train.run.run import Run

# Settings that decide how many steps an epoch has.
_STEP_SIZES = (
    *("per_device_train_batch_size", "global_batch_size", "batch_warmup"),
    *("sentence_order", "next_sentence"),
)
# A cursor is an epoch, a window of its rows, and a pack of the window. Another order has other
# windows; other packing, other packs.
_ORDER = {"seed", "draw_layout"}
_PACKING = {"per_device_train_batch_size", "packed", "sentence_order", "next_sentence"}


@dataclass(frozen=True)
class Found:
    """A whole checkpoint to go on from."""

    folder: Path
    progress: RunProgress
    """As it was saved."""
    other_data: bool
    """Whether the run has other shards now: they are read from their beginning."""

    @property
    def data_step(self) -> int:
        """The step at which the present data begins."""
        return self.progress.step if self.other_data else self.progress.data_step


def find_checkpoint(
    options: Options, settings: dict[str, Any], ranks: Ranks, place: Place
) -> tuple[Found | None, list[str]]:
    """The checkpoint to go on from, if there is one, and lines to say; every rank calls this.

    Raises:
        WholewordError: there are some and none can be used, or the one that is named cannot.
    """
    folder = Path(options.run.output_dir)
    asked = options.run.resume_from_checkpoint
    if asked in ("auto", "none"):
        saved = folder / run_folder.CHECKPOINTS
        if place.is_part:
            path, lines = checkpoint.newest_everywhere(saved, place, ranks)
        else:
            path, lines = ranks.on_first(lambda: checkpoint.newest_whole(saved))
        if path is None and lines:  # a new beginning would in time write over them
            raise WholewordError(
                f"{ranks.share(saved)}: none of its checkpoints can be used ({lines[0]}); mend "
                "that, or give another --output-dir to start over"
            )
    else:
        path = Path(asked)
        lines = ranks.together(lambda: _check_named(path, folder, settings, options, place))
    if path is None:
        return None, lines
    progress = checkpoint.read_progress(path)
    return Found(path, progress, progress.settings["shards"] != settings["shards"]), lines


def _check_named(
    path: Path, folder: Path, settings: dict[str, Any], options: Options, place: Place
) -> list[str]:
    """Check a checkpoint that the command line names; lines to say of it."""
    if not place.leads:
        return []
    damage = checkpoint.find_damage(path, place if place.is_part else None)
    if damage:
        raise WholewordError(f"{path}: cannot be used, {damage}; name a whole checkpoint, or auto")
    changes = run_folder.differences(checkpoint.read_progress(path).settings, settings)
    if changes and not options.run.allow_changes:
        raise WholewordError(
            f"{path}: is of a run with other options ({'; '.join(changes)}); give the old ones, "
            "or --allow-changes"
        )
    if folder.resolve() in path.resolve().parents:
        return []
    return [
        f"{path} is not of this run: DeepSpeed's files are pickles, which can run code when "
        "they are opened; use only what you trust"
    ]


def check_length(found: Found, settings: dict[str, Any], total: int, folder: Path) -> None:
    """Refuse a run that would end where its checkpoint is, or before, with other options.

    Raises:
        WholewordError: nothing is left to train.
    """
    step = found.progress.step
    changed = run_folder.differences(found.progress.settings, settings)
    if step > total or (step == total and changed):
        raise WholewordError(
            f"{folder}: holds a run of {step} steps, and these options end at step {total}, so "
            "nothing is left to train; give a larger --max-steps or --num-train-epochs, or another "
            "--output-dir"
        )


def check_reading(
    found: Found, settings: dict[str, Any], packed: bool, options: Options, folder: Path
) -> None:
    """Refuse to read the rest of the same rows in a way that was not asked for.

    Raises:
        WholewordError: the machine wants packs where padded batches were read, or the reverse; or
            epochs would be counted in steps of two sizes.
    """
    was = found.progress
    if found.other_data:
        return
    names = ["padded batches", "packs"]
    other_batches = was.packed not in (None, packed)
    if other_batches and not options.run.allow_changes:
        raise WholewordError(
            f"{folder}: holds a run on {names[not packed]}, and here it would take "
            f"{names[packed]}; go on where it began, or give --allow-changes"
        )
    changed = _changed(was.settings, settings)
    sizes = [name for name in _STEP_SIZES if name in changed]
    if (sizes or other_batches) and not options.optimization.max_steps:
        raise WholewordError(
            f"{folder}: holds a run of {was.step} steps of another size "
            f"({sizes[0] if sizes else names[not packed]}), so --num-train-epochs cannot count its "
            "steps; say where it ends with --max-steps"
        )


def load_checkpoint(run: Run, found: Found) -> None:
    """Bring the engine to where a checkpoint is; every rank calls this."""
    was, now = found.progress, run.progress
    universal.check(found.folder, was, now)
    if universal.is_same_layout(was, now):
        checkpoint.load(run.engine, found.folder)
    else:
        layouts = (universal.describe_layout(layout) for layout in (was, now))
        run.console.say(f"converts {found.folder} from {' to '.join(layouts)}")
        stages = (was.stage, now.stage)
        universal.load(run.engine, run.model, found.folder, run.checkpoints, stages, run.ranks)
    run.progress = _continued(found, now)
    run.saved_step = was.step
    run.console.say(f"continues from {found.folder} (step {was.step} of {run.total_steps})")
    if found.other_data:
        what = "other shards than before; they are"
        if has_grown(run.mixture, was.settings["shards"]):
            what = "text was added to the shards; all rows, old and new, in one new order, are"
        run.console.say(f"changed: {what} read from step {was.step} on")
    elif again := _read_again(was, now):
        run.console.say(f"changed: how rows are read; those of the present {again} come again")


def _continued(found: Found, now: RunProgress) -> RunProgress:
    """The progress of a checkpoint in a run of other settings or another layout."""
    was = found.progress
    validated = was.step if was.last_validation is None else was.last_validation
    update: dict[str, Any] = {
        "world_size": now.world_size,
        "stage": now.stage,
        "packed": now.packed,
        "settings": now.settings,
        "last_validation": validated,
    }
    if found.other_data:
        update |= {
            "cursor": now.cursor,
            "epoch": 0,
            "data_step": was.step,
            "best_loss": None,
            "evaluations_since_best": 0,
            "last_validation": -1,
        }
        return was.model_copy(update=update)
    cursor = Cursor.from_dict(was.cursor, len(now.cursor.get("others", [])) + 1)
    changed = _changed(was.settings, now.settings)
    if "data_weights" in changed:  # else all that was drawn would have to be made up for
        cursor = cursor.uncounted()
    update["cursor"] = cursor.to_dict()
    if again := _read_again(was, now):
        update["cursor"] = cursor.back(to_epoch=again == "epoch").to_dict()
    return was.model_copy(update=update)


def _read_again(was: RunProgress, now: RunProgress) -> str | None:
    """What of the same rows comes again, because its order or its packs are others now."""
    changed = _changed(was.settings, now.settings)
    if was.packed not in (None, now.packed):
        changed.add("packed")
    if changed & _ORDER:
        return "epoch"
    return "window" if changed & _PACKING else None


def _changed(was: dict[str, Any], now: dict[str, Any]) -> set[str]:
    """The settings that differ; what an older version did not write down is passed over."""
    return {name for name in was if was[name] != now.get(name)}
