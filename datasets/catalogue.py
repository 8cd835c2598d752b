"""The published data sets: which files, where they come from, how to know them, under which licence.

A checksum stands here only where it is that of the published bytes. Files without one come out of an archive that has
one; the checksum that they had when they came is kept beside them.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from minigrad.errors import InputError, unknown


@dataclass(frozen=True)
class File:
    """A file as it is published."""

    path: str
    """Where it lies in the folder of data, with `/`."""
    size: int | None = None
    """In bytes; None: not known for certain."""
    checksum: str = ""
    """`sha256:...` or `md5:...` of the published bytes; empty: none is published."""
    urls: tuple[str, ...] = ()
    """Where it can be had, the best place first; empty: it comes out of the archive, or cannot be fetched."""
    member: str = ""
    """Its path in the archive, if it comes out of one."""
    elsewhere: tuple[str, ...] = ()
    """Where else it may lie in the folder of data: tasks look there too."""
    holds: str = ""
    """Of a file that is published gzipped: `sha256:...` of what it unpacks to, which follows from the published bytes;
    empty: not known."""

    @property
    def name(self) -> str:
        """Its name without the folder."""
        return self.path.rpartition("/")[2]

    @property
    def content(self) -> str:
        """Its path, bare: what it is known by however it is packed."""
        return self.path.removesuffix(".gz")


@dataclass(frozen=True)
class DataSet:
    """Some files that belong together."""

    name: str
    """By which commands know it."""
    summary: str
    size: str
    """Of what is downloaded, roughly, for people."""
    licence: str
    citation: str
    """BibTeX."""
    tasks: tuple[str, ...]
    """Names of the tasks that read it."""
    files: tuple[File, ...]
    archive: File | None = None
    """What the files come packed in; it is unpacked and then deleted."""
    by_hand: str = ""
    """How to get the files where the licence forbids to fetch them."""


def of_path(path: str) -> tuple[DataSet, File] | None:
    """The file that lies at a path of the folder of data, and the set that it belongs to; None if there is none."""
    return next(((item, file) for item in SETS.values() for file in item.files if file.path == path), None)


def at(path: Path) -> tuple[DataSet, File] | None:
    """The file that belongs at a path, whatever the folder of data is, and its set; None if there is none."""
    return of_path("/".join(path.parts[-2:]))


def find(name: str) -> DataSet:
    """The data set of a name, or the one that the task of that name reads.

    Raises:
        InputError: for an unknown name; says what is close, and what there is.
    """
    if name not in SETS:
        for item in SETS.values():
            if name in item.tasks:
                return item
        raise InputError(unknown("data set", name, SETS))
    return SETS[name]


_MNIST_MIRRORS = (
    "https://ossci-datasets.s3.amazonaws.com/mnist/",
    "https://storage.googleapis.com/cvdf-datasets/mnist/",
)


def _mnist(name: str, size: int, sha256: str, holds: str) -> File:
    urls = tuple(mirror + name for mirror in _MNIST_MIRRORS)
    return File(f"mnist/{name}", size, f"sha256:{sha256}", urls, holds=f"sha256:{holds}")


def _cifar(name: str, sha256: str) -> File:
    member = f"cifar-10-batches-bin/{name}"
    # Who unpacks the archive by hand, where it lies, gets its folder.
    places = (f"cifar10/{member}",)
    return File(f"cifar10/{name}", 30_730_000, f"sha256:{sha256}", member=member, elsewhere=places)


_PTB = DataSet(
    name="ptb",
    summary="Penn Treebank in Mikolov's preprocessing: words (10,000 types), and the same text by characters",
    size="17 MB",
    licence="LDC User Agreement (LDC99T42): not to be redistributed",
    citation="""\
@article{marcus1993building,
  author = {Marcus, Mitchell P. and Santorini, Beatrice and Marcinkiewicz, Mary Ann},
  title = {Building a Large Annotated Corpus of {E}nglish: The {P}enn {T}reebank},
  journal = {Computational Linguistics},
  volume = {19},
  number = {2},
  pages = {313--330},
  year = {1993}
}""",
    tasks=("ptb-word", "ptb-300", "ptb-char"),
    files=(
        File("ptb/ptb.train.txt", 5_101_618, "md5:f26c4b92c5fdc7b3f8c7cdcb991d8420"),
        File("ptb/ptb.valid.txt", 399_782, "md5:aa0affc06ff7c36e977d7cd49e3839bf"),
        File("ptb/ptb.test.txt", 449_945, "md5:8b80168b89c18661a38ef683c0dc3721"),
        # Neither sizes nor checksums of the published character files are known for certain.
        File("ptb/ptb.char.train.txt"),
        File("ptb/ptb.char.valid.txt"),
        File("ptb/ptb.char.test.txt"),
    ),
    by_hand=(
        "its licence forbids to fetch it: get the Penn Treebank from the LDC (https://catalog.ldc.upenn.edu/LDC99T42) "
        "and put the six files ptb.{train,valid,test}.txt and ptb.char.{train,valid,test}.txt of Mikolov's "
        "preprocessing (folder data of his simple-examples.tgz)"
    ),
)

_WIKITEXT_CITATION = """\
@inproceedings{merity2017pointer,
  author = {Merity, Stephen and Xiong, Caiming and Bradbury, James and Socher, Richard},
  title = {Pointer Sentinel Mixture Models},
  booktitle = {International Conference on Learning Representations},
  year = {2017}
}"""


def _wikitext(name: str, sha256: str) -> File:
    archive = f"{name}-v1.zip"
    # The second place is the original one, which has been closed to the public at times.
    places = ("https://wikitext.smerity.com/", "https://s3.amazonaws.com/research.metamind.io/wikitext/")
    return File(f"{name}/{archive}", None, f"sha256:{sha256}", tuple(place + archive for place in places))


_WIKITEXT_2 = DataSet(
    name="wikitext-2",
    summary="WikiText-2: good and featured articles of Wikipedia, 2 million words, 33,278 types",
    size="4.3 MB",
    licence="CC BY-SA",
    citation=_WIKITEXT_CITATION,
    tasks=("wikitext-2",),
    files=(
        File(
            "wikitext-2/train.txt",
            10_797_148,
            "sha256:9e9fa1ad55b1c2c95b08e37dd8e653f638fac2c6de904b79e813611eefbc985f",
            member="wikitext-2/wiki.train.tokens",
        ),
        File(
            "wikitext-2/valid.txt",
            1_121_681,
            "sha256:f0737ed31fc1329026e95cb8b98e19c2a182c39c240ab909dc31abf2f8af58e8",
            member="wikitext-2/wiki.valid.tokens",
        ),
        File(
            "wikitext-2/test.txt",
            1_256_449,
            "sha256:d790b833ef8cf03a90db7bf1271b7520b83c45ce07ba3c1a9699df81e239eca0",
            member="wikitext-2/wiki.test.tokens",
        ),
    ),
    archive=_wikitext("wikitext-2", "92675f1d63015c1c8b51f1656a52d5bdbc33aafa60cc47a218a66e7ee817488c"),
)

_WIKITEXT_103 = DataSet(
    name="wikitext-103",
    summary="WikiText-103: good and featured articles of Wikipedia, 103 million words",
    size="181 MB",
    licence="CC BY-SA",
    citation=_WIKITEXT_CITATION,
    tasks=("wikitext-103",),
    files=tuple(
        File(f"wikitext-103/{split}.txt", member=f"wikitext-103/wiki.{split}.tokens")
        for split in ("train", "valid", "test")
    ),
    archive=_wikitext("wikitext-103", "242ba0f20b329cfdf1ccc61e9e9e5b59becf189db7f7a81cd2a0e2fc31539590"),
)

_TEXT8 = DataSet(
    name="text8",
    summary="text8: the first 100 million characters of a cleaned Wikipedia, letters a to z and blanks",
    size="31 MB",
    licence="text of Wikipedia: CC BY-SA and GFDL",
    citation="""\
@misc{mahoney2011large,
  author = {Mahoney, Matt},
  title = {Large Text Compression Benchmark},
  howpublished = {\\url{http://mattmahoney.net/dc/textdata.html}},
  year = {2011}
}""",
    tasks=("text8-word", "text8-char"),
    files=(
        File(
            "text8/text8",
            100_000_000,
            "sha256:6e890197040d37d85beb962ae1f041ff1d9a9ca8d20c7d99c85027eebf51dca7",
            member="text8",
        ),
    ),
    archive=File(
        "text8/text8.zip",
        31_344_016,
        "sha256:a6640522afe85d1963ad56c05b0ede0a0c000dddc9671758a6cc09b7a38e5232",
        ("http://mattmahoney.net/dc/text8.zip", "https://mattmahoney.net/dc/text8.zip"),
    ),
)

_MNIST = DataSet(
    name="mnist",
    summary="MNIST: 70,000 handwritten digits of 28x28 pixels",
    size="11 MB",
    licence="CC BY-SA 3.0",
    citation="""\
@article{lecun1998gradient,
  author = {LeCun, Yann and Bottou, L{\\'e}on and Bengio, Yoshua and Haffner, Patrick},
  title = {Gradient-Based Learning Applied to Document Recognition},
  journal = {Proceedings of the IEEE},
  volume = {86},
  number = {11},
  pages = {2278--2324},
  year = {1998}
}""",
    tasks=("mnist-pixels", "mnist-permuted"),
    files=(
        _mnist(
            "train-images-idx3-ubyte.gz",
            9_912_422,
            "440fcabf73cc546fa21475e81ea370265605f56be210a4024d2ca8f203523609",
            "ba891046e6505d7aadcbbe25680a0738ad16aec93bde7f9b65e87a2fc25776db",
        ),
        _mnist(
            "train-labels-idx1-ubyte.gz",
            28_881,
            "3552534a0a558bbed6aed32b30c495cca23d567ec52cac8be1a0730e8010255c",
            "65a50cbbf4e906d70832878ad85ccda5333a97f0f4c3dd2ef09a8a9eef7101c5",
        ),
        _mnist(
            "t10k-images-idx3-ubyte.gz",
            1_648_877,
            "8d422c7b0a1c1c79245a5bcf07fe86e33eeafee792b84584aec276f5a2dbc4e6",
            "0fa7898d509279e482958e8ce81c8e77db3f2f8254e26661ceb7762c4d494ce7",
        ),
        _mnist(
            "t10k-labels-idx1-ubyte.gz",
            4_542,
            "f7ae60f92e00ec6debd23a6088c31dbd2371eca3ffa0defaefb259924204aec6",
            "ff7bcfd416de33731a308c3f266cc351222c34898ecbeaf847f06e48f7ec33f2",
        ),
    ),
)

_CIFAR10 = DataSet(
    name="cifar10",
    summary="CIFAR-10: 60,000 colour images of 32x32 pixels in ten classes, binary version",
    size="170 MB",
    licence="none stated; its authors ask to cite the report",
    citation="""\
@techreport{krizhevsky2009learning,
  author = {Krizhevsky, Alex},
  title = {Learning Multiple Layers of Features from Tiny Images},
  institution = {University of Toronto},
  year = {2009}
}""",
    tasks=("cifar-pixels",),
    files=(
        _cifar("data_batch_1.bin", "cee916563c9f80d84e3cc88e17fdc0941787f1244f00a67874d45b261883ada5"),
        _cifar("data_batch_2.bin", "a591ca11fa1708a91ee40f54b3da4784ccd871ecf2137de63f51ada8b3fa57ed"),
        _cifar("data_batch_3.bin", "bbe8596564c0f86427f876058170b84dac6670ddf06d79402899d93ceea26f67"),
        _cifar("data_batch_4.bin", "014e562d6e23c72197cc727519169a60359f5eccd8945ad5a09d710285ff4e48"),
        _cifar("data_batch_5.bin", "755304fc0b379caeae8c14f0dac912fbc7d6cd469eb67a1029a08a39453a9add"),
        _cifar("test_batch.bin", "8e2eb146ae340b09e24670f29cabc6326dba54da8789dab6768acf480273f65b"),
    ),
    archive=File(
        "cifar10/cifar-10-binary.tar.gz",
        170_052_171,
        "md5:c32a1d4ab5d03f1284b67883e8d87530",
        ("https://www.cs.toronto.edu/~kriz/cifar-10-binary.tar.gz",),
    ),
)

SETS: dict[str, DataSet] = {entry.name: entry for entry in (_PTB, _WIKITEXT_2, _WIKITEXT_103, _TEXT8, _MNIST, _CIFAR10)}
"""All of them by name."""
