"""Go on from a checkpoint: the newest whole one, or one that the command line names."""

from pathlib import Path

from preprocess.errors import WholewordError
from train.engine import checkpoint, universal
from train.run import folder as run_folder
from train.run.run import Run


def resume(run: Run) -> None:
    """Bring the engine to where the newest whole checkpoint is, if there is one."""
    asked = run.options.run.resume_from_checkpoint
    if asked in ("auto", "none"):
        found, skipped = run.ranks.share(
            checkpoint.newest_whole(run.checkpoints) if run.ranks.first else None
        )
        for line in skipped:
            run.console.say(line)
        if found is None:
            if skipped:  # beginning anew would in time write over them
                raise WholewordError(
                    f"{run.checkpoints}: none of its checkpoints can be used; mend what is said "
                    "above, or give another --output-dir to begin anew"
                )
            return
    else:
        found = Path(asked)
        _check_named(run, found)
    was, now = checkpoint.read_progress(found), run.progress
    universal.check(found, was, now)
    if universal.is_same_layout(was, now):
        checkpoint.load(run.engine, found)
    else:
        layouts = (universal.describe_layout(layout) for layout in (was, now))
        run.console.say(f"converts {found} from {' to '.join(layouts)}")
        stages = (was.stage, now.stage)
        universal.load(run.engine, run.model, found, run.checkpoints, stages, run.ranks)
    layout = {"world_size": now.world_size, "stage": now.stage, "settings": now.settings}
    validated = was.step if was.last_validation is None else was.last_validation
    run.progress = was.model_copy(update=layout | {"last_validation": validated})
    run.saved_step = was.step
    run.console.say(f"continues from {found} (step {was.step} of {run.total_steps})")


def _check_named(run: Run, folder: Path) -> None:
    """Check a checkpoint that the command line names."""
    damage = run.ranks.share(checkpoint.find_damage(folder) if run.ranks.first else None)
    if damage:
        raise WholewordError(
            f"{folder}: cannot be used, {damage}; name a whole checkpoint, or auto"
        )
    if run.folder.resolve() not in folder.resolve().parents:
        run.console.say(
            f"{folder} is not of this run: DeepSpeed's files are pickles, which can run code when "
            "they are opened; use only what you trust"
        )
    changes = run_folder.differences(
        checkpoint.read_progress(folder).settings, run.progress.settings
    )
    if changes and not run.options.run.allow_changes:
        raise WholewordError(
            f"{folder}: is of a run with other options ({'; '.join(changes)}); give the old ones, "
            "or --allow-changes"
        )
