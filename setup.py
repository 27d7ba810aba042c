"""Packaging of sid_jax."""

import re
from pathlib import Path

from setuptools import find_packages, setup

HERE = Path(__file__).parent
# Read, not imported: a build has none of the dependencies.
VERSION = re.search(r'^__version__ = "(.*)"$', (HERE / "sid_jax" / "__init__.py").read_text(), re.M)[1]

setup(
    name="sid_jax",
    version=VERSION,
    description="Semantic IDs in JAX: from item vectors to short, unique tuples of codes that mean something",
    long_description=(HERE / "README.md").read_text(),
    long_description_content_type="text/markdown",
    license="Apache-2.0",
    license_files=["LICENSE"],
    classifiers=[
        "Development Status :: 4 - Beta",
        "Intended Audience :: Developers",
        "Intended Audience :: Science/Research",
        "License :: OSI Approved :: Apache Software License",
        "Operating System :: POSIX",
        "Programming Language :: Python :: 3",
        "Programming Language :: Python :: 3.11",
        "Programming Language :: Python :: 3.12",
        "Topic :: Scientific/Engineering :: Artificial Intelligence",
        "Typing :: Typed",
    ],
    keywords=["semantic ids", "rq-vae", "vector quantization", "generative retrieval", "recommender systems", "jax"],
    python_requires=">=3.11",
    packages=find_packages(include=["sid_jax", "sid_jax.*"]),
    package_data={"sid_jax": ["py.typed"], "sid_jax.report": ["page/*"]},
    entry_points={"console_scripts": ["sid-jax = sid_jax.cli:main"]},
    install_requires=[
        "absl-py>=2.1",
        "array_record>=0.5.1",
        "bokeh>=3.7",
        "flax>=0.12.0",
        # Orbax depends on it, too.
        "fsspec>=2024.10",
        # tensorflow-datasets imports it without declaring it.
        "importlib_resources",
        "jax>=0.7.2",
        "ml-collections>=1.0.0",
        "ml_dtypes>=0.4",
        "numpy>=1.26",
        "optax>=0.2.5",
        "orbax-checkpoint>=0.11.36",
        "pyarrow>=15",
        "rich>=13",
        "safetensors>=0.8",
        "scipy>=1.11",
        "tensorboardX>=2.6",
        "tensorflow-datasets>=4.9.7",
        "wordllama>=0.3.9",
    ],
    extras_require={
        "azure": ["adlfs>=2024.7"],
        "bert": ["tokenizers>=0.20"],
        "cuda12": ["jax[cuda12]"],
        "cuda13": ["jax[cuda13]"],
        "tpu": ["jax[tpu]"],
        "gcs": ["gcsfs>=2024.10"],
        "onnx": ["onnx>=1.17"],
        # PyTorch is the user's own, for their device.
        "llm": ["transformers>=5"],
        "s3": ["s3fs>=2024.10"],
        "features": ["sentencepiece>=0.2"],
        "ray": ["ray[data]>=2.40"],
        "sweep": ["matplotlib>=3.8", "optuna>=4"],
        "text": ["sentence-transformers>=3"],
        "wandb": ["wandb>=0.31"],
        "bench": ["faiss-cpu", "matplotlib", "semantic-id", "torch==2.13.0", "vector-quantize-pytorch"],
        "test": [
            "faiss-cpu",
            "fastapi>=0.115",
            "httpx",
            "hypothesis",
            "matplotlib>=3.8",
            "mypy",
            "nbclient",
            "ipykernel",
            "onnx>=1.17",
            "onnxruntime>=1.20",
            "optuna>=4",
            "pandas>=2",
            "pytest>=8",
            "pytest-xdist",
            "ray[data]>=2.40",
            "ruff",
            "selenium>=4.20",
            "sentencepiece>=0.2",
            "tokenizers",
            "torch==2.13.0",
            "transformers>=5",
            "wandb>=0.31",
        ],
    },
)
