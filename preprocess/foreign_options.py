"""What other toolkits call their options, and what does the same here.

docs/migrate.md shows these tables, and a test holds it to them. Names are without the leading
dashes, and with underscores as most of those programs spell them.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from difflib import get_close_matches

SHARDS = "build-shards"
TRAINING = "train/pretrain.py"
NOWHERE = ""
_NEAR, _FAR = 0.75, 0.6
"""How alike names are (of difflib): a slip of the pen, and what may be meant."""


@dataclass(frozen=True)
class Answer:
    """What to write instead of another toolkit's option."""

    command: str
    """The command that has the option: `SHARDS`, `TRAINING`, or `NOWHERE`."""
    text: str
    """The option, with its value where it has to be a certain one; for `NOWHERE` a sentence."""
    note: str = ""
    """What is different."""

    def line(self, asked: str = "") -> str:
        """The answer in words, for a person who asked `asked`; empty for a page."""
        if self.command == NOWHERE:
            return self.text
        text = self.text if asked == self.command else f"{self.command} {self.text}"
        return f"{text} ({self.note})" if self.note else text


def _shards(text: str, note: str = "") -> Answer:
    return Answer(SHARDS, text, note)


def _training(text: str, note: str = "") -> Answer:
    return Answer(TRAINING, text, note)


def _leave_out(why: str) -> Answer:
    return Answer(NOWHERE, f"leave it out: {why}")


_MODEL = _training("--model")
_PRESET = _training("--model", "a preset such as bert-base begins from nothing")
_INPUT = _shards("--input", "training reads the shards, named by --data")
_TOKENIZER = _shards("--tokenizer", "a hub id or a folder")
_LENGTH = _shards("--max-length")
_OUTPUT = _training("--output-dir")
_BATCH = _training("--per-device-train-batch-size", "rows of full length, of every GPU")
_EPOCHS = _training("--num-train-epochs")
_EVAL = _training("--eval-steps", "a number of steps; 0 turns validation off")
_SAVE = _training("--save-steps")
_LOG = _training("--logging-steps")
_WARMUP = _training("--warmup-ratio", "a share of the steps")
_PRECISION = _training("--precision", "fp16, bf16 or fp32")
_ZERO = _training("--deepspeed", "ZeRO 0 to 3 are in ds_configs/")
_OVERRIDES = _training(
    "--config-overrides hidden_dropout_prob=0.1", "or attention_probs_...; for presets"
)
_JIEBA = _shards("--segmenter jieba", "words are found in the same pass; there is no second file")
_ADAM = _training("--deepspeed", "betas and eps stand in the file, under optimizer and params")
_PACKED = _leave_out("rows of all lengths are packed without padding")
_LOADER = _leave_out("one thread runs ahead of training; there are no workers to count")
_FRESH = _leave_out("masks are drawn anew in every epoch")
_SENTENCES = _leave_out("rows are filled with whole sentences of one document")
_LAUNCHER = _leave_out("the launcher says it: deepspeed --num_gpus 2 train/pretrain.py ...")
_HEADS = _training("--sentence-order", "or --next-sentence; neither is the default")
_BOUNDED = _leave_out("memory is bounded already")
_ARCHITECTURE = _training("--model", "the architecture is the model's own, or a preset's")
_CHATTER = _leave_out("metrics.jsonl and TensorBoard are in the run's folder")
_HUB = _leave_out("upload the folder final/ yourself: hf upload")
_CACHE = _leave_out("the hub's cache is where HF_HOME says")
_DOWNLOAD = _training("--model", "a folder: hf download NAME --revision R --local-dir FOLDER")

RUN_MLM = {
    "model_name_or_path": _MODEL,
    "model_type": _PRESET,
    "config_name": _PRESET,
    "tokenizer_name": _TOKENIZER,
    "cache_dir": _CACHE,
    "use_fast_tokenizer": _leave_out("fast tokenizers are always used"),
    "model_revision": _DOWNLOAD,
    "token": _leave_out("log in with hf auth login, or set HF_TOKEN"),
    "use_auth_token": _leave_out("log in with hf auth login, or set HF_TOKEN"),
    "torch_dtype": _PRECISION,
    "dataset_name": _shards("--input", "a dataset that save_to_disk wrote"),
    "dataset_config_name": _shards("--input", "a dataset that save_to_disk wrote"),
    "train_file": _INPUT,
    "validation_file": _shards("--validation-input"),
    "validation_split_percentage": _shards("--validation-fraction", "0.05 for 5 percent"),
    "overwrite_cache": _shards("--overwrite"),
    "max_seq_length": _LENGTH,
    "preprocessing_num_workers": _shards("--workers"),
    "line_by_line": _shards("--document-separator line", "the default"),
    "pad_to_max_length": _PACKED,
    "streaming": _leave_out("shards are memory maps"),
    "max_train_samples": _training("--max-steps"),
    "max_eval_samples": _training("--max-eval-rows"),
}
"""Transformers' examples/pytorch/language-modeling/run_mlm.py."""

TRAINER = {
    "do_train": _leave_out("training is what the command does"),
    "do_eval": _EVAL,
    "do_predict": _leave_out("python -m train predict does it"),
    "overwrite_output_dir": _training("--output-dir", "a new folder; the old one continues"),
    "evaluation_strategy": _EVAL,
    "eval_strategy": _EVAL,
    "per_device_eval_batch_size": _leave_out("validation takes the micro-batch of training"),
    "per_gpu_train_batch_size": _BATCH,
    "auto_find_batch_size": _BATCH,
    "warmup_steps": _WARMUP,
    "fp16": _training("--precision fp16"),
    "bf16": _training("--precision bf16"),
    "fp16_opt_level": _leave_out("--precision says it all"),
    "fp16_full_eval": _leave_out("validation computes as training does"),
    "bf16_full_eval": _leave_out("validation computes as training does"),
    "optim": _leave_out("the optimizer is AdamW"),
    "adam_beta1": _ADAM,
    "adam_beta2": _ADAM,
    "adam_epsilon": _ADAM,
    "logging_dir": _CHATTER,
    "logging_strategy": _LOG,
    "disable_tqdm": _leave_out("there is a bar on a terminal only"),
    "save_strategy": _SAVE,
    "load_best_model_at_end": _leave_out("best/ is written wherever there is validation"),
    "greater_is_better": _leave_out("a loss decides, and lower is better"),
    "data_seed": _training("--seed"),
    "dataloader_num_workers": _LOADER,
    "dataloader_pin_memory": _LOADER,
    "group_by_length": _PACKED,
    "remove_unused_columns": _leave_out("shards have no other columns"),
    "ddp_find_unused_parameters": _ZERO,
    "fsdp": _ZERO,
    "label_smoothing_factor": _leave_out("there is no smoothing"),
    "run_name": _OUTPUT,
    "push_to_hub": _HUB,
    "hub_model_id": _HUB,
    "no_cuda": _leave_out("CUDA_VISIBLE_DEVICES= hides the GPUs"),
    "use_cpu": _leave_out("CUDA_VISIBLE_DEVICES= hides the GPUs"),
}
"""Transformers' TrainingArguments, of this and of earlier releases."""

RUN_MLM_WWM = {
    "train_ref_file": _JIEBA,
    "validation_ref_file": _JIEBA,
    "file_name": _INPUT,
    "ltp": _shards("--segmenter package.module:function", "your own function may call LTP"),
    "bert": _TOKENIZER,
    "save_path": _shards("--output"),
    "train_data_file": _INPUT,
    "eval_data_file": _shards("--validation-input"),
    "block_size": _LENGTH,
    "mlm": _leave_out("it is what the command does"),
    "whole_word_mask": _training("--masking wwm", "the default"),
}
"""run_mlm_wwm.py, run_chinese_ref.py and their ancestor run_language_modeling.py."""

UER = {
    "corpus_path": _INPUT,
    "json_format_corpus": _shards("--input", ".jsonl is known by its name"),
    "dataset_path": _shards("--output", "then train/pretrain.py --data"),
    "vocab_path": _shards("--tokenizer", "the folder that holds vocab.txt"),
    "merges_path": _TOKENIZER,
    "spm_model_path": _TOKENIZER,
    "do_lower_case": _leave_out("the tokenizer's folder says it"),
    "processes_num": _shards("--workers"),
    "seq_length": _LENGTH,
    "data_processor": _HEADS,
    "target": _HEADS,
    "dup_factor": _FRESH,
    "dynamic_masking": _FRESH,
    "short_seq_prob": _SENTENCES,
    "full_sentences": _SENTENCES,
    "docs_buffer_size": _BOUNDED,
    "instances_buffer_size": _BOUNDED,
    "whole_word_masking": _training("--masking wwm", "the default"),
    "span_masking": _training("--masking span"),
    "span_geo_prob": _training("--masking span", "always 0.2"),
    "span_max_length": _training("--masking span", "always 10"),
    "pretrained_model_path": _training("--model", "a Hugging Face folder; convert it first"),
    "output_model_path": _OUTPUT,
    "config_path": _PRESET,
    "embedding": _ARCHITECTURE,
    "encoder": _ARCHITECTURE,
    "tie_weights": _ARCHITECTURE,
    "dropout": _OVERRIDES,
    "batch_size": _BATCH,
    "accumulation_steps": _training("--gradient-accumulation-steps"),
    "total_steps": _training("--max-steps"),
    "epochs_num": _EPOCHS,
    "save_checkpoint_steps": _SAVE,
    "report_steps": _LOG,
    "warmup": _WARMUP,
    "scheduler": _training("--lr-scheduler-type"),
    "optimizer": _leave_out("the optimizer is AdamW"),
    "deepspeed_config": _ZERO,
    "enable_zero3": _training("--deepspeed ds_configs/zero3.json"),
    "deepspeed_checkpoint_activations": _training("--gradient-checkpointing"),
    "world_size": _LAUNCHER,
    "gpu_ranks": _LAUNCHER,
    "master_ip": _LAUNCHER,
    "backend": _LAUNCHER,
    "log_path": _CHATTER,
    "log_level": _CHATTER,
}
"""preprocess.py and pretrain.py of UER-py and TencentPretrain."""

PADDLE = {
    "input_path": _INPUT,
    "json_key": _shards("--text-field"),
    "data_format": _shards("--input", "files are known by their names"),
    "doc_spliter": _shards("--document-separator", "line, blank-line or file"),
    "min_doc_length": _shards("--min-chars"),
    "output_path": _shards("--output"),
    "output_prefix": _shards("--output"),
    "model_name": _TOKENIZER,
    "tokenizer_name_or_path": _TOKENIZER,
    "cn_whole_word_segment": _JIEBA,
    "chinese": _JIEBA,
    "cn_seg_func": _shards("--segmenter", "jieba, or package.module:function"),
    "cn_splited": _shards("--segmenter whitespace"),
    "cn_split_dimer": _shards("--segmenter whitespace"),
    "split_sentences": _SENTENCES,
    "append_eos": _leave_out("the model's special tokens are added in training"),
    "data_impl": _leave_out("shards are memory maps"),
    "input_dir": _training("--data"),
    "split": _shards("--validation-fraction", "and --test-input"),
    "continue_training": _MODEL,
    "binary_head": _HEADS,
    "max_seq_len": _LENGTH,
    "micro_batch_size": _BATCH,
    "masked_lm_prob": _training("--mlm-probability"),
    "favor_longer_ngram": _training("--masking ngram", "of 1 to 4 words"),
    "max_ngrams": _training("--masking ngram", "of 1 to 4 words"),
    "max_lr": _training("--learning-rate"),
    "min_lr": _leave_out("schedules end at 0"),
    "min_learning_rate": _leave_out("schedules end at 0"),
    "decay_steps": _leave_out("schedules last as long as the run"),
    "lr_decay_style": _training("--lr-scheduler-type"),
    "warmup_rate": _WARMUP,
    "grad_clip": _training("--max-grad-norm"),
    "checkpoint_steps": _SAVE,
    "logging_freq": _LOG,
    "eval_freq": _EVAL,
    "eval_iters": _training("--max-eval-rows", "a number of rows"),
    "use_amp": _PRECISION,
    "use_recompute": _training("--gradient-checkpointing"),
    "use_sharding": _ZERO,
    "sharding_degree": _ZERO,
    "dp_degree": _LAUNCHER,
    "mp_degree": _leave_out("a model is divided by ZeRO 3, not by tensors"),
    "pp_degree": _leave_out("a model is divided by ZeRO 3, not by layers"),
    "hidden_dropout_prob": _OVERRIDES,
    "attention_probs_dropout_prob": _OVERRIDES,
    "num_workers": _LOADER,
    "device": _LAUNCHER,
    "share_folder": _leave_out("whether all machines see the run's folder is tried at the start"),
}
"""trans_to_json.py, create_pretraining_data.py and run_pretrain.py of PaddleNLP's ERNIE 1.0."""

USUAL = {
    "epochs": _EPOCHS,
    "num_epochs": _EPOCHS,
    "lr": _training("--learning-rate"),
    "train_batch_size": _BATCH,
    "grad_accum": _training("--gradient-accumulation-steps"),
    "max_len": _LENGTH,
    "vocab_file": _shards("--tokenizer", "the folder that holds vocab.txt"),
    "num_gpus": _LAUNCHER,
    "resume": _training("--resume-from-checkpoint"),
}
"""What people try."""

TOOLKITS = {
    "run_mlm.py": RUN_MLM,
    "Trainer": TRAINER,
    "run_mlm_wwm.py": RUN_MLM_WWM,
    "UER-py, TencentPretrain": UER,
    "PaddleNLP ERNIE": PADDLE,
}
"""By the headings of docs/migrate.md."""

OF_SHARDS = (
    *("input", "tokenizer", "segmenter", "user_dict", "max_length", "text_field", "encoding"),
    *("validation_fraction", "validation_input", "test_input", "document_separator", "workers"),
)
"""Options of build-shards that are given to other commands."""
OF_TRAINING = (
    *("model", "masking", "mlm_probability", "learning_rate", "num_train_epochs", "output_dir"),
    *("max_steps", "per_device_train_batch_size", "deepspeed", "precision", "warmup_ratio"),
)
"""Options of training that are given to other commands."""

ANSWERS: dict[str, Answer] = {
    **{name: Answer(SHARDS, f"--{name.replace('_', '-')}") for name in OF_SHARDS},
    **{name: Answer(TRAINING, f"--{name.replace('_', '-')}") for name in OF_TRAINING},
    **USUAL,
    **{name: answer for table in TOOLKITS.values() for name, answer in table.items()},
}


def explain(options: Iterable[str], command: str, own: Iterable[str]) -> str:
    """What a person should write instead of options that a command does not have, in one line.

    Args:
        options: as they were typed, perhaps with `=VALUE`.
        command: the command's name, such as `build-shards` or `train/pretrain.py`.
        own: the command's options, with their dashes.
    """
    names = (_name(spelling) for spelling in own if spelling.startswith("--"))
    known = {name: f"--{name.replace('_', '-')}" for name in names}
    typed = dict.fromkeys(option.partition("=")[0] for option in options)
    return "; ".join(f"{option}: {_explain_one(_name(option), command, known)}" for option in typed)


def _explain_one(name: str, command: str, known: dict[str, str]) -> str:
    if name in ANSWERS and name not in (*OF_SHARDS, *OF_TRAINING):  # compare has --models
        return _answer(ANSWERS[name], command)
    if near := get_close_matches(name, known, 1, _NEAR):
        return f"unknown; did you mean {known[near[0]]}?"
    if near := get_close_matches(name, ANSWERS, 1, _NEAR):
        return _answer(ANSWERS[near[0]], command)
    if near := get_close_matches(name, known, 1, _FAR):
        return f"unknown; did you mean {known[near[0]]}?"
    return "unknown"


def _answer(answer: Answer, command: str) -> str:
    line = answer.line(command)
    return line if answer.command == NOWHERE else f"here it is {line}"


def _name(option: str) -> str:
    return option.lstrip("-").replace("-", "_")
