"""Tasks by name, and their options as words of a command line."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from datasets import registry
from datasets.registry import make
from minigrad.errors import InputError

ROOT = Path(__file__).parents[2]

LENGTHS = {
    "digits-pixels": 64,
    "mnist-pixels": 784,
    "mnist-permuted": 784,
    "cifar-pixels": 1024,
    "ptb-word": 20,
    "ptb-300": 300,
    "ptb-char": 75,
    "text8-word": 20,
    "text8-char": 75,
    "wikitext-2": 20,
    "wikitext-103": 20,
    "sample-char": 75,
}
"""Of the tasks that have a length of their own."""


@pytest.mark.parametrize("name", registry.names())
def test_every_task_is_found_under_its_name(name: str) -> None:
    task = make(name)
    assert task.name == registry.kind(name).name == name
    assert make(name, task.length) == task
    assert hash(make(name)) == hash(task)
    assert task.length == LENGTHS.get(name, 60)
    assert (task.tokens, task.loss_at) == ((False, "last") if task.streams is None else (True, "every"))
    if task.streams is None:  # the others read their text
        assert 0 < next(iter(task.chance.values())) < 1
        assert task.fingerprint is None


def test_every_task_of_a_family_is_in_the_table() -> None:
    from datasets import images, synthetic, text

    assert {*images.TASKS, *synthetic.TASKS, *text.TASKS} == set(registry.names())


def test_names_are_known_before_a_family_is_imported() -> None:
    code = "import sys; from datasets import registry; registry.names(); "
    code += "print({'datasets.images', 'datasets.text'} & set(sys.modules))"
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "set()"


def test_an_unknown_name_is_met_with_what_is_close() -> None:
    with pytest.raises(InputError, match="did you mean temporal"):
        make("temporl", 20)
    with pytest.raises(InputError, match="adding-sum"):
        make("addingsum", 20)
    with pytest.raises(InputError, match="mnist-pixels"):
        make("mnist-pixel")
    with pytest.raises(
        InputError, match=r"\(there are: temporal, temporal3, adding, permutation, adding-sum, digits-pixels"
    ):
        make("xyz", 20)


@pytest.mark.parametrize(
    ("name", "words", "values"),
    [
        ("adding", {"jitter": "False"}, {"jitter": False}),
        ("temporal", {"t2": "paper"}, {"t2": "paper"}),
        ("digits-pixels", {"train_size": "100", "shuffle": "false"}, {"train_size": 100, "shuffle": False}),
        ("digits-pixels", {"train_size": "none", "scale": "standard"}, {"train_size": None, "scale": "standard"}),
        ("mnist-pixels", {"valid": "test", "shuffle": "true"}, {"valid": "test", "shuffle": True}),
        ("cifar-pixels", {"train_files": "1", "valid": "test"}, {"train_files": 1, "valid": "test"}),
        ("ptb-word", {"layout": "blocks"}, {"layout": "blocks"}),
        ("wikitext-2", {"skip_blank": "true"}, {"skip_blank": True}),
        ("sample-char", {"characters": "5000"}, {"characters": 5000}),
    ],
)
def test_words_are_read_in_the_type_of_the_option(name: str, words: dict[str, str], values: dict[str, Any]) -> None:
    assert make(name, **words) == make(name, **values)


@pytest.mark.parametrize(
    ("name", "options", "words"),
    [
        ("adding", {"jiter": "false"}, "unknown option of task adding 'jiter', did you mean jitter"),
        ("adding", {"size": "2"}, r"unknown option of task adding 'size' \(there are: jitter\)"),
        ("permutation", {"jitter": False}, r"\(there are: none\)"),
        ("permutation", {"length": "12"}, "use --length"),
        ("mnist-pixels", {"data_dir": "here"}, "use --data-dir"),
        ("temporal", {"t2": "book"}, "t2 must be code or paper, got 'book'"),
        ("adding", {"jitter": "no"}, "jitter must be true or false, got 'no'"),
        ("adding", {"jitter": 1}, "jitter must be true or false, got 1"),
        ("digits-pixels", {"train_size": "many"}, "train_size must be a whole number, got 'many'"),
        ("digits-pixels", {"train_size": "0"}, "train_size must be none or a whole number and at least 1, got 0"),
        ("digits-pixels", {"train_size": True}, "train_size must be none or a whole number"),
        ("digits-pixels", {"shuffle": "maybe"}, "shuffle must be true or false"),
        ("digits-pixels", {"shuffle": 0}, "shuffle must be true or false"),
        ("digits-pixels", {"valid": "heldout"}, "valid must be held-out or test, got 'heldout'"),
        ("ptb-word", {"layout": "block"}, "layout must be streams or blocks, got 'block'"),
        ("ptb-char", {"skip_blank": "true"}, r"unknown option of task ptb-char 'skip_blank' \(there are: layout"),
        ("wikitext-103", {"skip_blank": 1}, "skip_blank must be true or false, got 1"),
        ("text8-char", {"data_dir": "here"}, "use --data-dir"),
        ("sample-char", {"characters": "few"}, "characters must be a whole number, got 'few'"),
        ("sample-char", {"characters": "9"}, "characters must be a whole number and at least 10, got 9"),
        ("digits-pixels", {"scale": "255"}, "scale must be unit or standard, got '255'"),
        ("cifar-pixels", {"scale": "rgb"}, "scale must be unit or standard, got 'rgb'"),
        ("cifar-pixels", {"train_files": "all"}, "train_files must be a whole number, got 'all'"),
        ("cifar-pixels", {"train_files": "0"}, "train_files must be a whole number from 1 to 5, got 0"),
        ("cifar-pixels", {"train_files": 6}, "train_files must be a whole number from 1 to 5, got 6"),
        ("cifar-pixels", {"train_files": True}, "train_files must be a whole number from 1 to 5, got True"),
        (
            "mnist-pixels",
            {"train_files": "1"},
            "unknown option of task mnist-pixels 'train_files', did you mean train_size",
        ),
    ],
)
def test_impossible_options_are_refused_in_one_line(name: str, options: dict[str, Any], words: str) -> None:
    with pytest.raises(InputError, match=words) as caught:
        make(name, **options)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("length", [1, 63, 65, 28])
def test_an_image_has_as_many_steps_as_pixels(length: int) -> None:
    with pytest.raises(InputError, match=f"task digits-pixels has 64 time steps: leave the length out, {length} is"):
        make("digits-pixels", length)
