from pathlib import Path

from setuptools import find_packages, setup
from setuptools.command.editable_wheel import editable_wheel

PACKAGES = find_packages(include=["preprocess*", "train*"])
DATA = ["ds_configs", "samples", "samples.en", "samples.tokenizer", "samples.zh"]
INSIDE = "wholeword.inside."
"""Where a wheel has them: off the path, so that it cannot hide a package `train` of anybody's."""


class EditableWheel(editable_wheel):
    """A checkout: its packages keep their places and names."""

    def finalize_options(self):
        self.distribution.packages = ["wholeword", *PACKAGES]
        self.distribution.package_dir = {}
        super().finalize_options()


setup(
    name="wholeword",
    version="0.1.0",
    description="Fast preprocessing and DeepSpeed pretraining of masked language models",
    long_description=Path("README.md").read_text(encoding="utf-8"),
    long_description_content_type="text/markdown",
    license="Apache-2.0",
    python_requires=">=3.11",
    packages=["wholeword", *(INSIDE + name for name in PACKAGES + DATA)],
    package_dir={INSIDE + name: name.replace(".", "/") for name in PACKAGES + DATA},
    package_data={INSIDE + name: ["*.*"] for name in DATA},
    cmdclass={"editable_wheel": EditableWheel},
    entry_points={"console_scripts": ["wholeword = wholeword.__main__:main"]},
    install_requires=[
        "torch>=2.11",  # varlen_attn has taken a scale and a window since then
        "transformers>=5.0,<6",
        "deepspeed>=0.19,<0.20",
        "datasets>=4.0",
        "pyarrow>=20",
        "fsspec>=2024.5",
        "jieba==0.42.1",  # its words are the format's: another version is another dataset
        "numba>=0.61",
        "numpy>=2.0",
        "tokenizers>=0.22",
        "sentencepiece>=0.2",  # to read a folder that holds spm.model alone
        "charset-normalizer>=3.4",
        "orjson>=3.10",
        "safetensors>=0.5",
        "pydantic>=2.0",
        "typer>=0.15",
        "rich>=13",
        "xxhash>=3.5",
        "tensorboard>=2.15",
        "matplotlib>=3.8",
        "scikit-learn>=1.5",
        "psutil>=5.9",
    ],
    extras_require={
        "dev": [
            "accelerate>=1.0",
            "datasketch>=2.0,<3",
            "s3fs>=2024.5",
            "moto[s3]>=5.0",
            "flask>=3.0",
            "flask-cors>=5.0",
            "pytest>=8",
            "pytest-xdist>=3.6",
            "hypothesis>=6.100",
            "ruff>=0.12",
            "mypy>=1.15",
        ],
        "near-dedup": ["datasketch>=2.0,<3"],
        "ray": ["ray>=2.40,<3"],
        "s3": ["s3fs>=2024.5"],
        "gs": ["gcsfs>=2024.5"],
        "wandb": ["wandb>=0.17"],
    },
)
