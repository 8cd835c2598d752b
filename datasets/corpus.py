"""Texts as sequences of numbers: one stream of ids a split, and the tokens that they stand for.

A text is read once. Its ids are kept beside it, in a folder `cache`, as plain .npy files that are mapped into memory
after that; where that folder is not to be written, in the user's cache folder. What is kept there is found by the
checksums of the texts, so that another text never gets the ids of an old one; sizes and times of change, where they are
as they were, stand for the checksums. Several processes may read the same text at once: one does the work.

Texts are streamed: memory is needed for the vocabulary, not for the text.
"""

from __future__ import annotations

import codecs
import json
import re
import shutil
import sys
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, suppress
from dataclasses import dataclass
from functools import cached_property
from hashlib import sha256
from itertools import chain
from pathlib import Path
from typing import Any, NamedTuple, get_args

import numpy as np
import numpy.typing as npt

from datasets import catalogue, checksums
from datasets.folders import command, data_folder, no_folder
from datasets.storage import locked, replacing, respect, sync_folder
from datasets.task import Split
from datasets.verify import other_form
from minigrad.errors import InputError

Ids = npt.NDArray[np.integer[Any]]

END, UNKNOWN = "<eos>", "<unk>"
"""The tokens of the end of a line, and of a word that is in no vocabulary."""

VERSION = 1
"""Of what is kept: a change of how texts are read gets another number."""

BLOCK = 1 << 20
"""Bytes of a text that are read at once; no token is longer."""

LARGE = 50_000_000
"""Bytes of a text from which on it is said that it takes a while."""

INDEX, LOCK = "index.json", ".lock"

SPLITS: tuple[Split, ...] = get_args(Split)


@dataclass(frozen=True, eq=False)
class Corpus:
    """A text in three splits."""

    name: str
    """For people."""
    train: Ids
    """Ids [N] from 0 below the size of the vocabulary; uint16 where they fit, otherwise int32; read only."""
    valid: Ids
    test: Ids
    vocabulary: tuple[str, ...]
    """The token of each id."""

    @cached_property
    def fingerprint(self) -> str:
        """16 hexadecimal digits that stand for the vocabulary and its order: for a checkpoint to keep."""
        return _digest(self.vocabulary)

    def split(self, split: Split) -> Ids:
        """The ids of a split, [N]; InputError for an unknown one."""
        if split not in SPLITS:
            raise InputError(f"unknown split {split!r}: there are {', '.join(SPLITS)}")
        ids: Ids = getattr(self, split)
        return ids

    def require(self, split: Split, tokens: int) -> None:
        """Raise InputError unless a split has so many tokens."""
        there = len(self.split(split))
        if there < tokens:
            raise InputError(
                f"{self.name}: {split} has {there:,} tokens, {tokens:,} are needed: use a longer text, or a smaller "
                "batch or length"
            )


class _Source(NamedTuple):
    """A text before its ids are known."""

    name: str
    files: tuple[Path, ...]
    rule: Mapping[str, Any]
    """All that decides the ids, besides the text."""
    scan: Callable[[], _Scan]
    """Reads the text once."""


class _Scan(NamedTuple):
    """What is known of a text that was read once."""

    vocabulary: Sequence[str]
    sizes: Mapping[Split, int]
    ids: Callable[[Split], Iterator[Ids]]
    """Reads the text again: ids of a split, in blocks."""


# --- the kinds of texts ---


def words(files: Mapping[Split, Path], *, skip_blank: bool = False) -> Corpus:
    """A text of tokens between single blanks, in a file a split; each line ends with the token `<eos>`.

    Empty runs between blanks are skipped; an empty line is an `<eos>`. The vocabulary has every token, in the order of
    first appearance in train, then valid, then test. This reads word files and files of characters that were separated
    by blanks beforehand.

    Args:
        files: one for each split.
        skip_blank: leave out lines that are exactly one blank, such as the empty ones of WikiText. The published
            counts of WikiText are with them.

    Raises:
        InputError: if a file is missing, empty or not UTF-8.

    Source: the released code of Wiseman et al. 2017 (with `skip_blank`) and of Kag & Saligrama 2021.
    """
    missing = [split for split in SPLITS if split not in files]
    if missing:
        raise InputError(f"a corpus needs a file for each split: none is given for {', '.join(missing)}")
    paths = tuple(Path(files[split]) for split in SPLITS)
    name = f"{paths[0].parent.name}/{paths[0].name}"
    rule = {"kind": "words", "skip_blank": skip_blank}
    return _load(_Source(name, paths, rule, lambda: _scan_words(dict(zip(SPLITS, paths, strict=True)), skip_blank)))


def characters(file: Path, *, valid: int = 5_000_000, test: int = 5_000_000) -> Corpus:
    """A text by characters, in one file: the last `test` of them are held out for testing, those before for validation.

    The defaults split text8 into 90, 5 and 5 million, as is usual. The vocabulary has every character, in the order of
    first appearance.

    Raises:
        InputError: if the file is missing, empty, not UTF-8 or too short.

    Source: the split of text8 is that of Mikolov et al. 2012, Subword language modeling with neural networks.
    """
    rule = {"kind": "characters", "valid": valid, "test": test}
    return _load(_Source(_name(file), (Path(file),), rule, lambda: _scan_characters(Path(file), valid, test)))


def rare_words(file: Path, *, valid: int = 500_000, test: int = 500_000, least: int = 10) -> Corpus:
    """A text of words in one file without lines, as text8: rare words become `<unk>`.

    The last `test` bytes are held out for testing, those before for validation; both cuts are moved to the next word.
    A word that training shows fewer than `least` times is `<unk>`, which has id 0; the others follow in the order of
    first appearance in the training split.

    No paper at hand says how its text8 was cut and counted. That the last million characters are held out, and that
    words seen fewer than ten times are `<unk>`, is the convention of Mikolov et al. 2014, Learning longer memory in
    recurrent neural networks. Ours are: to cut the million into halves, for validation and for testing; to count in the
    training split alone; no `<eos>`, since text8 has no lines.

    Raises:
        InputError: if the file is missing, empty, not UTF-8 or too short.
    """
    rule = {"kind": "rare words", "valid": valid, "test": test, "least": least}
    return _load(_Source(_name(file), (Path(file),), rule, lambda: _scan_rare_words(Path(file), valid, test, least)))


def _scan_words(files: Mapping[Split, Path], skip_blank: bool) -> _Scan:
    seen: Counter[bytes] = Counter()
    sizes: dict[Split, int] = {}
    for split, path in files.items():
        before = seen.total()
        for tokens in _lines(path, skip_blank):
            seen.update(tokens)
        sizes[split] = seen.total() - before
        if not sizes[split]:
            raise InputError(f"{path} holds no tokens: use another file")
    numbers = {token: number for number, token in enumerate(seen)}

    def ids(split: Split) -> Iterator[Ids]:
        for tokens in _lines(files[split], skip_blank):
            yield np.fromiter(map(numbers.__getitem__, tokens), np.int32, len(tokens))

    return _Scan([token.decode() for token in seen], sizes, ids)


def _scan_rare_words(path: Path, valid: int, test: int, least: int) -> _Scan:
    size = path.stat().st_size
    _need_length(path, size, valid, test, "bytes")
    cuts = [0, _next_word(path, size - valid - test), _next_word(path, size - test), size]
    ranges = {split: cuts[n : n + 2] for n, split in enumerate(SPLITS)}
    sizes: dict[Split, int] = {}
    seen: Counter[bytes] = Counter()
    for split, (start, stop) in ranges.items():
        sizes[split] = 0
        for tokens in _words(path, start, stop):
            sizes[split] += len(tokens)
            if split == "train":
                seen.update(tokens)
        if not sizes[split]:
            raise InputError(f"{path} has no words for {split}: hold out more of it, or use another file")
    unknown = UNKNOWN.encode()
    kept = [unknown, *(token for token, times in seen.items() if times >= least and token != unknown)]
    numbers = {token: number for number, token in enumerate(kept)}

    def ids(split: Split) -> Iterator[Ids]:
        for tokens in _words(path, *ranges[split]):
            yield np.array([numbers.get(token, 0) for token in tokens], np.int32)

    return _Scan([token.decode() for token in kept], sizes, ids)


def _scan_characters(path: Path, valid: int, test: int) -> _Scan:
    numbers = np.full(sys.maxunicode + 1, -1, np.int32)
    vocabulary: list[str] = []
    total = 0
    for points in _code_points(path):
        total += len(points)
        unseen, places = np.unique(points[numbers[points] < 0], return_index=True)
        for point in unseen[np.argsort(places)].tolist():
            numbers[point] = len(vocabulary)
            vocabulary.append(chr(point))
    _need_length(path, total, valid, test, "characters")
    cuts = [0, total - valid - test, total - test, total]
    ranges = {split: cuts[n : n + 2] for n, split in enumerate(SPLITS)}

    def ids(split: Split) -> Iterator[Ids]:
        start, stop = ranges[split]
        place = 0
        for points in _code_points(path):
            yield numbers[points[max(start - place, 0) : max(stop - place, 0)]]
            place += len(points)

    return _Scan(vocabulary, {split: stop - start for split, (start, stop) in ranges.items()}, ids)


def _name(file: Path) -> str:
    return f"{Path(file).parent.name}/{Path(file).name}"


def _need_length(path: Path, there: int, valid: int, test: int, unit: str) -> None:
    if min(valid, test) < 1:
        raise InputError(f"valid and test must be at least 1, got {valid} and {test}")
    if there <= valid + test:
        raise InputError(
            f"{path} has {there:,} {unit}, of which {valid + test:,} are to be held out: use a longer text"
        )


# --- reading ---


def _lines(path: Path, skip_blank: bool) -> Iterator[list[bytes]]:
    """The tokens of a file, in blocks, `<eos>` at the ends of lines."""
    begins = True
    for text in _blocks(path, 0, path.stat().st_size):
        kept = _without_blank_lines(text, begins) if skip_blank else text
        begins = text.endswith(b"\n")
        yield [token for token in kept.replace(b"\n", f" {END} ".encode()).split(b" ") if token]


def _words(path: Path, start: int, stop: int) -> Iterator[list[bytes]]:
    """The words of a part of a file, in blocks; ends of lines are blanks."""
    for text in _blocks(path, start, stop):
        yield [token for token in text.replace(b"\n", b" ").split(b" ") if token]


def _without_blank_lines(text: bytes, begins: bool) -> bytes:
    """A block without the lines that are one blank; `begins`: whether a line begins with it."""
    return re.sub(rb"(?<=\n) \n", b"", b"\n" + text)[1:] if begins else re.sub(rb"(?<=\n) \n", b"", text)


def _blocks(path: Path, start: int, stop: int) -> Iterator[bytes]:
    """A part of a file in blocks that end with a line or, where lines are longer than that, after a blank.

    The last line is ended where the file does not, unless nothing but blanks is in it.

    Raises:
        InputError: if it is not UTF-8, or a token is longer than a block.
    """
    rest, is_open = b"", False  # whether a line with tokens was begun
    for block in _raw(path, start, stop):
        text = rest + block
        cut = text.rfind(b"\n")
        if cut < 0 and len(text) >= BLOCK:
            cut = text.rfind(b" ")
            if cut < 0 and len(text) > BLOCK:
                raise InputError(f"{path} has no blank in {BLOCK:,} bytes from byte {start:,} on: use a text of tokens")
        text, rest = text[: cut + 1], text[cut + 1 :]
        _check_utf8(path, text, start)
        start += len(text)
        if text:
            yield text
            is_open = not text.endswith(b"\n") and (is_open or bool(text.strip(b" ")))
    _check_utf8(path, rest, start)
    if is_open or rest.strip(b" "):
        yield rest + b"\n"


def _code_points(path: Path) -> Iterator[Ids]:
    """The characters of a file as numbers, in blocks."""
    decoder, done = codecs.getincrementaldecoder("utf-8")(), 0
    for block in chain(_raw(path, 0, path.stat().st_size), [b""]):
        pending = len(decoder.getstate()[0])
        try:
            text = decoder.decode(block, final=not block)
        except UnicodeDecodeError as error:
            raise _not_utf8(path, done - pending + error.start) from None
        done += len(block)
        yield np.frombuffer(text.encode("utf-32-le"), np.dtype("<u4"))


def _raw(path: Path, start: int, stop: int) -> Iterator[bytes]:
    """The bytes of a part of a file, in blocks."""
    with path.open("rb") as file:
        file.seek(start)
        while start < stop and (block := file.read(min(BLOCK, stop - start))):
            start += len(block)
            yield block


def _next_word(path: Path, start: int) -> int:
    """Where the first word that does not begin before `start` begins, or the file ends."""
    with path.open("rb") as file:
        file.seek(start - 1)
        text = file.read(BLOCK)
    return start + min((place for place in map(text.find, (b" ", b"\n")) if place >= 0), default=len(text) - 1)


def _check_utf8(path: Path, text: bytes, start: int) -> None:
    try:
        text.decode()
    except UnicodeDecodeError as error:
        raise _not_utf8(path, start + error.start) from None


def _not_utf8(path: Path, place: int) -> InputError:
    return InputError(f"{path} is not UTF-8 at byte {place:,}: convert it, or use another file")


# --- what is kept ---


def _load(source: _Source) -> Corpus:
    """The corpus of a text: what is kept of it, or else made and kept.

    Raises:
        InputError: if a file is missing or wrong, what is kept is damaged, or nothing can be kept anywhere.
    """
    stamps = _stamps(source)
    places = [source.files[0].absolute().parent / "cache", data_folder(None) / "cache"]
    for place in places:
        kept = _index(place).get(stamps)
        if kept is not None and (place / kept).is_dir():
            return _open(source, place / kept)
    name = f"{source.files[0].name}-{_digest([VERSION, source.rule, _checksums(source)])}"
    home = next((place for place in places if (place / name).is_dir()), None) or _make(source, name, places)
    if _stamps(source) != stamps:
        raise _changed(source)
    # A mere short cut: without it, checksums are computed every time.
    with suppress(OSError), locked(home / LOCK), replacing(home / INDEX) as file:
        file.write(json.dumps(_index(home) | {stamps: name}).encode())
    return _open(source, home / name)


def _make(source: _Source, name: str, places: Sequence[Path]) -> Path:
    """Read a text and keep its ids in the first place that can be written; that place."""
    faults = []
    for place in places:
        with ExitStack() as stack:
            try:
                respect(place.parent)
                place.mkdir(parents=True, exist_ok=True)
                stack.enter_context(locked(place / LOCK, lambda: _say(f"another process is reading {source.name}")))
            except OSError as error:
                faults.append(f"{place}: {error.strerror}")
                continue
            if faults:
                _say(
                    f"the ids of {source.name} are kept in {place}, since another place cannot be written: {faults[0]}"
                )
            if not (place / name).is_dir():  # otherwise another process was faster
                _write(source, place / name)
            return place
    raise InputError(f"the ids of {source.name} cannot be kept ({'; '.join(faults)}): make one of these writable")


def _write(source: _Source, folder: Path) -> None:
    """Read a text and keep its ids in a folder that appears when it is whole."""
    if sum(file.stat().st_size for file in source.files) > LARGE:
        _say(f"reading {source.name}, which happens once ...")
    temporary = folder.with_name(f".{folder.name}.tmp")
    shutil.rmtree(temporary, ignore_errors=True)
    try:
        temporary.mkdir()
        scan = source.scan()
        for split in SPLITS:
            _write_ids(temporary / f"{split}.npy", scan, split, source)
        kept = {"vocabulary": scan.vocabulary, "sizes": scan.sizes, "fingerprint": _digest(scan.vocabulary)}
        told = {"version": VERSION, "rule": source.rule, "sha256": _checksums(source)}
        with replacing(temporary / "corpus.json") as file:
            file.write(json.dumps(told | kept).encode())
        temporary.rename(folder)
        sync_folder(folder.parent)
    except KeyError:  # a token that was not there when the vocabulary was made
        raise _changed(source) from None
    except OSError as error:
        raise InputError(
            f"the ids of {source.name} cannot be kept in {folder.parent} ({error.strerror}): make room there"
        ) from None
    finally:
        shutil.rmtree(temporary, ignore_errors=True)


def _write_ids(path: Path, scan: _Scan, split: Split, source: _Source) -> None:
    """Keep the ids of a split as a .npy file; written, not mapped: a full disk is an error then, and no signal."""
    kind = np.dtype("<u2" if len(scan.vocabulary) <= 1 << 16 else "<i4")
    header = {"descr": kind.str, "fortran_order": False, "shape": (scan.sizes[split],)}
    written = 0
    with replacing(path) as file:
        np.lib.format.write_array_header_1_0(file, header)
        for ids in scan.ids(split):
            file.write(ids.astype(kind).tobytes())
            written += len(ids)
    if written != scan.sizes[split]:
        raise _changed(source)


def _open(source: _Source, folder: Path) -> Corpus:
    """The corpus that is kept in a folder.

    Raises:
        InputError: if it is damaged.
    """
    try:
        told = json.loads((folder / "corpus.json").read_text())
        vocabulary = tuple(told["vocabulary"])
        ids = {split: np.load(folder / f"{split}.npy", mmap_mode="r", allow_pickle=False) for split in SPLITS}
        corpus = Corpus(source.name, **ids, vocabulary=vocabulary)
        fits = corpus.fingerprint == told["fingerprint"] and all(
            ids[split].shape == (told["sizes"][split],) for split in SPLITS
        )
    except (OSError, ValueError, KeyError, TypeError):
        fits = False
    if not fits:
        raise InputError(f"{folder} is damaged: delete it, and it is made anew")
    return corpus


def _stamps(source: _Source) -> str:
    """What shows at a glance whether a text is the same as before."""
    try:
        states = [(str(file.absolute()), file.stat()) for file in source.files]
    except OSError as error:
        raise _unreadable(error) from None
    return json.dumps(
        [VERSION, source.rule, [(path, state.st_size, state.st_mtime_ns, state.st_ctime_ns) for path, state in states]]
    )


def _checksums(source: _Source) -> list[str]:
    try:
        return [checksums.measured(file, "sha256", False)[0] for file in source.files]
    except OSError as error:
        raise _unreadable(error) from None


def _index(place: Path) -> dict[str, str]:
    """Which folder of a place is for which stamps; a mere short cut, so that a missing or damaged one is empty."""
    try:
        index: dict[str, str] = dict(json.loads((place / INDEX).read_text()))
    except (OSError, ValueError, TypeError):
        return {}
    return index


def _unreadable(error: OSError) -> InputError:
    if isinstance(error, FileNotFoundError):
        return InputError(f"there is no file {error.filename}: {_way_to(Path(error.filename))}")
    if isinstance(error, NotADirectoryError):
        return InputError(f"cannot read {error.filename}: {no_folder(Path(error.filename))}")
    return InputError(f"cannot read {error.filename} ({error.strerror}): make it readable")


def _way_to(path: Path) -> str:
    """How to come by a file that is missing."""
    elsewhere = "--data-dir chooses another folder"
    if (packed := other_form(path)).exists():
        return f"unpack {packed.name}, which lies there: texts are read bare"
    known = catalogue.at(path)
    if known is None:
        return f"put it there, or {elsewhere}"
    item, _ = known
    folder = path.parents[1]
    if item.by_hand:
        return f"{item.by_hand} into {path.parent}; {elsewhere}"
    return f"run {command('fetch', item.name, folder)}; {elsewhere}"


def _changed(source: _Source) -> InputError:
    return InputError(f"{source.name} changed while it was read: wait until it is complete, and start again")


def _digest(value: Any) -> str:
    return sha256(json.dumps(value).encode()).hexdigest()[:16]


def _say(line: str) -> None:
    print(line, file=sys.stderr, flush=True)
