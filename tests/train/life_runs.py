"""Runs the trainer through what people do with a run's folder, all in one process.

    python -m tests.train.life_runs FOLDER

Prints {name: {"status", "output", "error", "steps", "final", "validations"}} as its last line.
"""

import contextlib
import errno
import gc
import io
import json
import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any
from unittest import mock

import numpy as np
from safetensors.numpy import load_file
from transformers import AutoModelForMaskedLM, AutoTokenizer, BertConfig, BertModel

from preprocess.files import write_json
from preprocess.write.shards import seal
from tests.preprocess import support
from tests.train import runs
from tests.train.shard_factory import ShardSpec, make_shards
from train import pretrain
from train.engine import checkpoint
from train.report import curves, log
from train.run import folder as run_folder
from train.run import saved_model
from train.run.average import average

COMMON = (
    *("--model", "bert-tiny", "--per-device-train-batch-size", "2", "--logging-steps", "1"),
    *("--config-overrides", "hidden_size=32,intermediate_size=64,num_hidden_layers=1"),
    *("--precision", "fp32", "--learning-rate", "1e-2", "--save-steps", "2", "--max-steps", "4"),
    *("--eval-steps", "0", "--report-to", "none"),
)
CHANGED = "--allow-changes"
HEAD_STAGES = (1, 2, 3)


class Session:
    """A folder of shards and runs, and what every run said."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.found: dict[str, dict[str, Any]] = {}
        for name, rows in (("shards", (100, 60)), ("other", (40, 40)), ("tiny", (4,))):
            make_shards(folder / name, ShardSpec(rows=rows, max_length=32, vocab_size=8000))
            shutil.copytree(runs.ROOT / "samples" / "tokenizer", folder / name / "tokenizer")
        self.manifest("without validation", lambda manifest: manifest["parts"].pop("validation"))

    def run(self, case: str, output: str, *options: str, data: str = "shards") -> None:
        """One run of the trainer into a folder of the session."""
        gc.collect()  # a run that failed holds its folder as long as its process, or its traceback
        folder = self.folder / output
        paths = ("--data", str(self.folder / data)) if data else ()
        paths = (*paths, "--output-dir", str(folder))
        out, err = io.StringIO(), io.StringIO()
        with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
            status = pretrain.main([*paths, *runs.without(COMMON, options), *options])
        saved = checkpoint.checkpoints(folder / "checkpoints")
        note = saved_model.read_note(folder)
        metrics = folder / log.METRICS
        self.found[case] = {
            "status": status,
            "output": out.getvalue(),
            "error": err.getvalue(),
            "saved": checkpoint.read_progress(saved[0]).model_dump() if saved else None,
            "final": note and {"step": note.step, "finished": note.finished},
            "losses": runs.losses(folder) if metrics.exists() else [],
            "files": sorted(path.name for path in folder.iterdir()) if folder.exists() else [],
        }

    def manifest(self, name: str, change: Callable[[dict[str, Any]], Any]) -> None:
        """A copy of the shards with another manifest, checksum made right."""
        shutil.copytree(self.folder / "shards", self.folder / name)
        value = json.loads((self.folder / name / "manifest.json").read_text())
        value.pop("xxh3_128")
        change(value)
        write_json(self.folder / name / "manifest.json", seal(value))


def extended(session: Session) -> None:
    """An extension that does not come to its end leaves an older final model behind."""
    session.run("six", "extended", "--max-steps", "6")
    session.run("six again", "extended", "--max-steps", "6")
    longer = ("--max-steps", "12", CHANGED)
    with stopping_after(1):
        session.run("stopped at seven", "extended", *longer)
    session.run("twelve", "extended", *longer)
    session.run("twelve again", "extended", "--max-steps", "12")
    session.run("back to six", "extended", "--max-steps", "6", CHANGED)


def other_data(session: Session) -> None:
    one = ("--max-steps", "0", "--num-train-epochs", "1", "--eval-steps", "1000")
    session.run("first data", "data", *one)
    session.run("other data refused", "data", *one, data="other")
    session.run("other data", "data", *one, CHANGED, data="other")
    session.run("other data alone", "data alone", *one, data="other")
    more = ("--max-steps", "70", CHANGED)
    session.run("other data, not validated", "data", *more, data="other")


def hyperparameters(session: Session) -> None:
    """The same change of betas and decay on one layout and on another."""
    values = {"betas": [0.9, 0.98], "eps": 1e-6, "weight_decay": 0.01}
    changed = {"betas": [0.5, 0.6], "eps": 1e-4, "weight_decay": 0.3}

    def file(stage: int, params: dict[str, Any], clip: float) -> tuple[str, str]:
        config = json.loads((runs.ROOT / "ds_configs" / f"zero{stage}.json").read_text())
        config["optimizer"]["params"] |= params
        path = session.folder / f"{stage}-{clip}.json"
        path.write_text(json.dumps(config | {"gradient_clipping": clip}))
        return "--deepspeed", str(path)

    longer = ("--max-steps", "8", CHANGED)
    session.run("before", "same", *file(2, values, 1.0))
    shutil.copytree(session.folder / "same", session.folder / "moved")
    shutil.copytree(session.folder / "same", session.folder / "kept")
    shutil.copytree(session.folder / "same", session.folder / "clipped")
    session.run("changes refused", "same", *file(2, changed, 0.05))
    session.run("changes on the same layout", "same", *file(2, changed, 0.05), *longer)
    session.run("changes on another layout", "moved", *file(1, changed, 0.05), *longer)
    session.run("without changes", "kept", *file(2, values, 1.0), *longer)
    session.run("clipped", "clipped", *file(2, values, 0.05), *longer)


def impossible(session: Session) -> None:
    for text in (
        "model_type=modernbert",
        "vocab_size=1000",
        "hidden_size=100,num_attention_heads=3",
        "hidden_act=swishglu",
        "num_hidden_layers=-1",
        "num_attention_heads=0",
        "hidden_size=abc",
        "intermediate_size=1e99",
        "max_position_embeddings=0",
        "nonsense=1",
    ):
        session.run(f"overrides {text}", "overrides", "--config-overrides", text)


def full_disk(session: Session) -> None:
    """No room at one file after the other; then the same command again."""
    places = {
        "options.json": (run_folder, "write_json"),
        "metrics.jsonl": (log.MetricsLog, "_write"),
        "final": (saved_model, "sync_tree"),
        "curves.png": (curves, "written"),
    }
    with mock.patch("train.run.finish.draw_curves", curves.draw_curves):
        for name, (owner, function) in places.items():
            with mock.patch.object(owner, function, no_room):
                session.run(f"full at {name}", f"full-{name}")
            session.run(f"room again at {name}", f"full-{name}")


def tiny_disk(session: Session) -> None:
    """A file system of a few kilobytes, where one may be mounted; then a larger one."""
    disk = session.folder / "disk"
    disk.mkdir()
    logged = ("--report-to", "tensorboard")
    for size in ("4k", "5m"):
        if not mount("mount", "-t", "tmpfs", "-o", f"size={size}", "none", str(disk)):
            continue
        try:
            session.run(f"disk of {size}", "disk/run", *logged)
            assert mount("mount", "-o", "remount,size=64m", str(disk))
            session.run(f"disk of {size}, larger", "disk/run", *logged)
        finally:
            assert mount("umount", "-l", str(disk))


def mount(name: str, *options: str) -> bool:
    """Whether a command about mounts is there, and permitted."""
    path = shutil.which(name, path=os.defpath)
    return path is not None and not subprocess.run([path, *options], capture_output=True).returncode


def other_reading(session: Session) -> None:
    """Changes after which a place in a window of packs means nothing."""
    for name in ("seed", "size", "padded"):
        with stopping_after(2):
            session.run(f"{name} before", name)
    larger = ("--per-device-train-batch-size", "4")
    longer = ("--max-steps", "6")
    session.run("seed changed", "seed", "--seed", "7", *longer, CHANGED)
    epochs = ("--max-steps", "0", "--num-train-epochs", "2")
    session.run("size changed, epochs", "size", *larger, *epochs, CHANGED)
    session.run("size changed", "size", *larger, *longer, CHANGED)
    with mock.patch("train.run.setup.why_padded", lambda *_: "for a test"):
        session.run("padded refused", "padded")
        session.run("padded", "padded", *longer, CHANGED)


def headless(session: Session) -> None:
    """An encoder that was saved without a head for masked tokens."""
    folder = session.folder / "encoder"
    config = BertConfig(vocab_size=8000, hidden_size=32, num_hidden_layers=1, intermediate_size=64)
    config.num_attention_heads = 2
    BertModel(config).save_pretrained(folder)
    shutil.copytree(session.folder / "shards" / "tokenizer", folder, dirs_exist_ok=True)
    AutoTokenizer.from_pretrained(folder).save_pretrained(folder)
    grown = AutoTokenizer.from_pretrained(folder)
    grown.add_tokens(["added1", "added2"])
    spec = ShardSpec(rows=(100,), max_length=32, vocab_size=8002)
    make_shards(session.folder / "grown", spec)
    grown.save_pretrained(session.folder / "grown" / "tokenizer")

    def run(case: str, name: str, stage: int) -> None:
        file = str(runs.ROOT / "ds_configs" / f"zero{stage}.json")
        options = ("--model", str(folder), "--config-overrides", "", "--deepspeed", file)
        options = (*options, "--head-warmup", "0.5", "--save-final-on-stop")
        session.run(f"{case} {stage}", name, *options, data="grown")
        changes = changed_rows(folder, session.folder / name / "final")
        session.found[f"{case} {stage}"]["changed"] = changes

    for stage in HEAD_STAGES:
        run("new head", f"head-{stage}", stage)
        with stopping_after(2):
            run("half", f"half-{stage}", stage)
        if stage == 2:  # on in other stages, which have other parts of the same groups
            for other in (1, 3):
                shutil.copytree(session.folder / "half-2", session.folder / f"half-2-{other}")
                run("half of 2, on in", f"half-2-{other}", other)
        run("other half", f"half-{stage}", stage)


def several_validations(session: Session) -> None:
    """Rows of other shards decide which model is the best."""
    other = ("--eval-steps", "2", "--validation-data", f"law={session.folder / 'other'}")
    law = (*other, "--metric-for-best-model", "law")
    session.run("improving", "improving", *law)
    session.run("worsening", "worsening", *law, "--learning-rate", "9")
    session.run("no rows of its own", "others", *law, data="without validation")
    tiny = ("--eval-steps", "2", "--validation-data", f"tiny={session.folder / 'tiny'}")
    session.run("no other rows", "none", *tiny)
    own = ("--eval-steps", "2", "--metric-for-best-model", "validation")
    session.run("no rows to decide", "none", *own, data="without validation")
    for name in ("improving", "worsening"):
        best, final = (session.folder / name / model for model in ("best", "final"))
        session.found[name]["best"] = json.loads((best / "wholeword.json").read_text())
        weights = [load_file(model / "model.safetensors") for model in (best, final)]
        same = all(np.array_equal(weights[0][key], value) for key, value in weights[1].items())
        session.found[name]["best is final"] = same
        session.found[name]["kinds"] = [
            [record["step"], record["kind"]]
            for record in log.read_metrics(session.folder / name / log.METRICS)
            if record["kind"] != "train"
        ]


def mixed(session: Session) -> None:
    """Two datasets, stopped and continued; then with other weights."""
    options = ("--data", str(session.folder / "shards"), str(session.folder / "other"))
    options = (*options, "--max-steps", "12", "--data-weights")
    session.run("mixed", "mixed", *options, "3", "1", data="")
    with stopping_after(5):
        session.run("mixed, stopped", "mixed-again", *options, "3", "1", data="")
    session.run("mixed, to its end", "mixed-again", *options, "3", "1", data="")
    session.run("other weights", "mixed-again", *options, "1", "1", data="")
    longer = (*options[:-2], "16", "--data-weights", "1", "1", CHANGED)
    session.run("other weights, changed", "mixed-again", *longer, data="")
    records = log.read_metrics(session.folder / "mixed" / log.METRICS)
    session.found["mixed"]["by dataset"] = [
        [r["loss"], r["loss_shards"], r["share_shards"], r["loss_other"], r["share_other"]]
        for r in records
    ]


def grown(session: Session) -> None:
    """Text is added to shards that a run has read."""
    texts = support.zh_text(30_000).splitlines()
    for name, lines in (("a", texts[:20]), ("b", texts[20:])):
        (session.folder / f"{name}.txt").write_text("\n".join(lines), encoding="utf-8")
    build = {"max_length": 32, "validation_fraction": 0.0}
    support.build(session.folder / "growing", session.folder / "a.txt", **build)
    session.run("before text is added", "grown-run", data="growing")
    support.build(session.folder / "growing", session.folder / "b.txt", append=True, **build)
    session.run("text was added, refused", "grown-run", "--max-steps", "7", data="growing")
    session.run("text was added", "grown-run", "--max-steps", "7", CHANGED, data="growing")


def changed_rows(before: Path, after: Path) -> list[str]:
    """The encoder's weights that differ between two models; a vocabulary by its old rows alone."""
    if not after.exists():
        return ["no model"]
    old, new = (load_file(folder / "model.safetensors") for folder in (before, after))
    # An encoder's folder names its weights without the prefix of a model with a head.
    new = {name.removeprefix("bert."): value for name, value in new.items()}
    return [
        name
        for name, value in old.items()
        if "pooler" not in name and not np.array_equal(new[name][: len(value)], value)
    ]


def no_room(*_: Any, **__: Any) -> Any:
    raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))


@contextlib.contextmanager
def stopping_after(steps: int) -> Any:
    """Let the time be over after some steps, as --max-train-time does."""
    over = iter([False] * steps + [True] * 1000)
    clock = mock.PropertyMock(side_effect=lambda: next(over))
    with mock.patch("train.run.timing.Clock.over", clock):
        yield


def types(session: Session) -> None:
    """What a plain `from_pretrained` makes of final/."""
    for stage in (1, 2, 3):
        file = str(runs.ROOT / "ds_configs" / f"zero{stage}.json")
        bf16 = ("--precision", "bf16", "--max-steps", "2", "--deepspeed", file)
        session.run(f"bf16 {stage}", f"bf16-{stage}", *bf16)
        model = AutoModelForMaskedLM.from_pretrained(session.folder / f"bf16-{stage}" / "final")
        session.found[f"bf16 {stage}"]["dtype"] = str(model.dtype)
        compare_checkpoint(session, f"bf16 {stage}", f"bf16-{stage}")
    file = str(runs.ROOT / "ds_configs" / "zero0.json")
    session.run("fp32 0", "fp32-0", "--max-steps", "2", "--deepspeed", file)
    compare_checkpoint(session, "fp32 0", "fp32-0")


def compare_checkpoint(session: Session, case: str, name: str) -> None:
    """The mean of a run's last checkpoint alone is its final model."""
    run, mean = session.folder / name, session.folder / f"{name}-mean"
    average([str(run / "checkpoints" / "step-00000002")], [], mean)
    final, found = (load_file(folder / "model.safetensors") for folder in (run / "final", mean))
    same = final.keys() == found.keys()
    session.found[case]["checkpoint is final"] = same and all(
        np.array_equal(found[key], value) for key, value in final.items()
    )


def damaged_tokenizer(session: Session) -> None:
    def other(manifest: dict[str, Any]) -> None:
        manifest["tokenizer"]["files"] = {"tokenizer.json": "0" * 32}

    session.manifest("checked", other)
    session.run("another tokenizer", "tokenizer", data="checked")


def run_all(folder: Path) -> dict[str, dict[str, Any]]:
    session = Session(folder)
    extended(session)
    often = ("--eval-steps", "2")
    session.run("no validation part", "unvalidated", *often, data="without validation")
    session.run("no validation rows", "unvalidated too", *often, data="tiny")
    patience = (*often, "--early-stopping-patience", "2")
    session.run("patience without rows", "patience", *patience, data="without validation")
    hyperparameters(session)
    other_data(session)
    impossible(session)
    full_disk(session)
    tiny_disk(session)
    other_reading(session)
    headless(session)
    several_validations(session)
    mixed(session)
    grown(session)
    types(session)
    damaged_tokenizer(session)
    with stopping_after(2):
        session.run("stopped with a model", "kept-model", "--save-final-on-stop")
    session.run("its end", "kept-model", "--save-final-on-stop")
    session.run("given twice", "twice", "--masking", "wwm", "--masking=token")
    session.run("intervals", "intervals", "--eval-steps", "500", "--save-steps", "500")
    return session.found


def main(folder: Path) -> dict[str, dict[str, Any]]:
    with runs.many_runs():
        return run_all(folder)


if __name__ == "__main__":
    print(json.dumps(main(Path(sys.argv[1]))))
