"""The command line: parse, build, call."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from experiments import exits, options, process
from minigrad import __version__
from minigrad.errors import InputError, unknown

if TYPE_CHECKING:
    from experiments.run.loop import Result
    from experiments.run.settings import Settings

HELP = """\
usage: python cli.py COMMAND [ARGUMENTS]

Train recurrent networks with and without backpropagation through time.

commands:
{commands}

`python cli.py COMMAND --help` lists the arguments of a command; `python cli.py --version` prints the version.
Results go to standard output, progress and errors to standard error.

exit codes: 0 finished (whether solved or not), 1 a check failed, or runs of several, 2 bad input, 3 diverged,
            130 interrupted (`python cli.py resume RUN` goes on)
environment: MINIGRAD_KERNELS=reference|fused|auto chooses the kernels, MINIGRAD_THREADS their threads (default: 1),
             OPENBLAS_NUM_THREADS the threads of NumPy's matrix products (default here: 1), NO_COLOR turns colours off\
"""


def train(method: str, config: Any, settings: Settings, *, json: bool = False) -> int:
    """Train a network with METHOD (see `python cli.py list`; default: tptt) until it solves its task.

    Args:
        json: Print nothing but one JSON object, on one line, on standard output.
    """
    import algorithms
    from experiments import display
    from experiments.run import effect, loop

    settings.require_one_budget()
    effect.require_used(algorithms.method(method), config)
    return _trained(loop.train(settings, method, config, display.suited()), json)


def resume(
    run: Path,
    /,
    *,
    max_iterations: int | None = None,
    device: str | None = None,
    data_dir: Path | None = None,
    json: bool = False,
) -> int:
    """Go on with a run from its last checkpoint, as if it had never stopped.

    Args:
        run: Directory of the run.
        max_iterations: Go on beyond the budget that the run used up, in a copy of it with this one.
        device: Where to compute from now on: cpu, cuda or cuda:N; None: where the run began.
        data_dir: Folder of downloaded data; None: that of the run.
        json: Print nothing but one JSON object, on one line, on standard output.
    """
    from experiments import display
    from experiments.run import loop

    places: dict[str, Any] = {"device": device, "data_dir": data_dir}
    if max_iterations is None:
        return _trained(loop.resume(run, display.suited(), **places), json)
    return _trained(loop.extend(run, max_iterations, display.suited(), **places), json)


def evaluate(
    run: Path,
    /,
    *,
    checkpoint: Literal["last", "best"] = "last",
    split: Literal["valid", "test"] = "test",
    size: int = 10_000,
    length: int | None = None,
    device: str | None = None,
    data_dir: Path | None = None,
    dynamic: bool = False,
    lr: float | None = None,
    lam: float | None = None,
    eps: float | None = None,
    window: int | None = None,
    statistics_batch: int | None = None,
    statistic: Literal["sum", "mean"] | None = None,
    json: bool = False,
) -> int:
    """Score a trained network on sequences that it has not seen.

    Args:
        run: Directory of the run.
        checkpoint: Which of its networks.
        split: Which sequences.
        size: How many sequences.
        length: Their length, in steps; None: as in training.
        device: Where to compute: cpu, cuda or cuda:N; None: as in training.
        data_dir: Folder of downloaded data; None: that of the run.
        dynamic: Of a text: go on learning from each window once it is scored (Krause et al. 2018), which takes long;
            size counts these windows.
        lr: With dynamic: learning rate; None: 0.002.
        lam: With dynamic: rate of the decay towards the trained parameters (lambda); None: 0.02.
        eps: With dynamic: added to the root of the squared gradients; None: 0.001.
        window: With dynamic: tokens of a window; None: 5.
        statistics_batch: With dynamic: streams in which the training text is gone through for the squared gradients;
            None: 100.
        statistic: With dynamic: their sum over windows or their mean; None: sum.
        json: Print nothing but one JSON object, on one line, on standard output.
    """
    from algorithms.dynamic import Config
    from experiments import display
    from experiments.run import evaluate

    options: dict[str, Any] = {"lr": lr, "lam": lam, "eps": eps, "window": window}
    options |= {"statistics_batch": statistics_batch, "statistic": statistic}
    given = {name: value for name, value in options.items() if value is not None}
    if given and not dynamic:
        raise InputError(f"--{next(iter(given)).replace('_', '-')} belongs to a dynamic evaluation: add --dynamic")
    adapting: dict[str, Any] = {"dynamic": Config(**given), "display": display.suited()} if dynamic else {}
    places: dict[str, Any] = {"length": length, "device": device, "data_dir": data_dir}
    display.print_scores(evaluate.evaluate(run, checkpoint, split, size, **places, **adapting), json)
    return exits.FINISHED


def trace(method: str, /, *, fixture: Path, out: Path) -> int:
    """Run one step of METHOD on given numbers, in float64, and write every number it computes.

    Args:
        method: Name of the method.
        fixture: Arrays and configuration to start from (.npz).
        out: File to write (.npz).
    """
    from experiments import trace

    trace.trace(method, fixture, out)
    return exits.FINISHED


def check(method: str | None = None, /, *, json: bool = False) -> int:
    """Test the mathematical claims of the papers on random networks, a line each: ok, no (refuted) or FAILED.

    Each line states the claim: `ok` where it holds, `no` where it does not hold as published, which a counterexample
    shows; what is true instead may follow in brackets. FAILED: the test found neither.

    Args:
        method: Test only the claims about this method and the general ones.
        json: Print nothing but one JSON object, on one line, on standard output.
    """
    from experiments import claims

    return claims.check(method, json)


def list_(*, cite: str | None = None, json: bool = False) -> int:
    """Name the methods, tasks and cells.

    Args:
        cite: Print the BibTeX entry of this method's paper instead.
        json: Print nothing but one JSON object, on one line, on standard output.
    """
    from experiments import catalogue

    if cite is None:
        catalogue.show(json)
    else:
        catalogue.cite(cite, json)
    return exits.FINISHED


def data(
    action: Literal["list", "fetch", "verify"],
    names: tuple[str, ...] = (),
    /,
    *,
    data_dir: Path | None = None,
    json: bool = False,
) -> int:
    """List the published data, fetch some, or compare what is there with what was published.

    Args:
        action: list: what there is, and what of it is here; fetch: download and check; verify: compare checksums (exit
            code 1 if a file is damaged).
        names: Data sets, such as wikitext-2 mnist, or tasks that read them; none: all of them (fetch needs a name).
        data_dir: Folder of downloaded data; None: the user's cache folder.
        json: Print nothing but one JSON object, on one line, on standard output.
    """
    from experiments import data_command

    return data_command.data(action, names, data_dir, json)


def doctor(*, json: bool = False) -> int:
    """Say whether this machine has what is needed: versions, processor, kernels, GPU, folders.

    Args:
        json: Print nothing but one JSON object, on one line, on standard output.
    """
    from experiments import doctor

    return doctor.examine(json)


def bench(
    rows: tuple[str, ...] = (),
    /,
    *,
    threads: int = 1,
    runs: int | None = None,
    peers: tuple[str, ...] = (),
    out: Path | None = None,
    json: bool = False,
) -> int:
    """Measure how fast this program is beside PyTorch, JAX and others that compute the same, some minutes for all rows.

    Args:
        rows: Names of the rows to measure, all where none is named: tptthx-iteration, tptt-iteration,
            bptt-iteration, fptt-update, fptt-steps, words-iteration, words-default, srn-forward, srn-forward-1000,
            lstm-784, lstm-100, lstm-70, gru-784, gru-100, gru-70, antisymmetric-100, srn-backward, srn-targets,
            srn-backward-1000, srn-targets-1000, readout, embedding, graph, nag-srn, adam-srn, nag-lstm, adam-lstm.
        threads: Threads that each contestant gets, at most as many as there are cores.
        runs: Rounds of a row; None: as many as fit into three seconds, at least five.
        peers: Compare with these alone, of torch, jax, numpy, autograd and mygrad; none named: those that are
            installed (pip install '.[bench]').
        out: File to keep all figures, settings and versions in (.json).
        json: Print nothing but one JSON object, on one line, on standard output.
    """
    from benchmarks import command

    return command.bench(command.Request(rows, peers, threads, runs, out, json))


def reproduce(
    tables: tuple[str, ...] = (),
    /,
    *,
    preset: str = "quick",
    rows: tuple[str, ...] = (),
    entrants: tuple[str, ...] = (),
    seeds: tuple[int, ...] = (),
    jobs: int | None = None,
    runs_dir: Path = Path("runs"),
    data_dir: Path | None = None,
    device: str = "cpu",
    population: int = 1,
    out: Path | None = None,
    show: bool = False,
    json: bool = False,
) -> int:
    """Run a table or figure of a paper and put ours beside theirs; without a name, list them with the time they take.

    Runs that are finished are not repeated: stop it at any moment, and the same command goes on.

    Args:
        tables: Names, such as manchev-2 manchev-figure-5; none: list all.
        preset: How much of it: quick, paper, or another that the list names.
        rows: Rows to compute; none: all of the preset.
        entrants: Methods and controls to compute; none: all of the preset.
        seeds: Seeds; none: those of the preset.
        jobs: Processes side by side; None: one a core, with a GPU one.
        runs_dir: Folder in which runs are kept and looked for.
        data_dir: Folder of downloaded data; None: the user's cache folder.
        device: Where to compute: cpu, cuda or cuda:N; what was computed elsewhere does not count.
        population: Runs that a process trains side by side: on a GPU one step for all of them, on a CPU a thread each.
        out: Folder for the figures; None: that of the runs.
        show: Compute nothing, show what there is.
        json: Print one JSON object a table, and nothing else, on standard output.
    """
    from experiments.papers import reproduce
    from experiments.parallel import pool

    return reproduce.reproduce(
        reproduce.Request(
            tables,
            preset,
            rows,
            entrants,
            seeds,
            pool.workers(jobs if jobs is not None or device == "cpu" else 1),
            runs_dir,
            data_dir,
            device,
            population,
            out,
            show,
            json,
        )
    )


def sweep(
    method: str,
    config: Any,
    settings: Settings,
    *,
    grid: tuple[str, ...] = (),
    seeds: tuple[int, ...] = (),
    sample: int | None = None,
    sample_seed: int | None = None,
    first: int | None = None,
    eta: int | None = None,
    jobs: int | None = None,
    population: int = 1,
    out: Path | None = None,
    json: bool = False,
) -> int:
    """Train METHOD with every combination of some options, side by side, and rank them by their validation error.

    Runs that are finished are not repeated: stop it at any moment, and the same command goes on.

    Args:
        grid: Options that vary, such as alpha_i=0.1,0.01 alpha_f=1e-4..1e-1 (powers of ten)
            optimizer=nag,adam frozen='[],["W_hh"]' (JSON, for options of several words).
        seeds: Seeds of every point; none: that of --seed.
        sample: Take this many points of the grid, drawn at random; None: all.
        sample_seed: Seed of that draw; None: 0.
        first: Successive halving: iterations after which the first points are given up; None: train all to the end.
        eta: With halving, one point in so many goes on, for so many times the iterations; None: 3.
        jobs: Processes side by side; None: one a core, with a GPU one.
        population: Runs that a process trains side by side: on a GPU one step for all of them, on a CPU a thread each.
        out: File to keep the ranking of all points in (.json).
        json: Print nothing but one JSON object, on one line, on standard output.
    """
    from experiments.parallel import pool
    from experiments.sweeps import command

    return command.sweep(
        command.Request(
            method,
            config,
            settings,
            grid,
            seeds or (settings.seed,),
            sample,
            sample_seed,
            first,
            eta,
            pool.workers(jobs if jobs is not None or settings.device == "cpu" else 1),
            population,
            out,
            json,
        )
    )


def report(runs: tuple[Path, ...] = (), /, *, out: Path = Path("report.html"), json: bool = False) -> int:
    """Write one HTML page about many runs: what they show of the papers, their curves, and what it takes to run them.

    Args:
        runs: Run directories, or folders that hold some, such as runs.
        out: The page; it needs no network.
        json: Print nothing but one JSON object, on one line, on standard output.
    """
    from experiments.report import command

    return command.report(runs, out, json)


def _trained(result: Result, json: bool) -> int:
    """Say how training ended; its exit code."""
    from experiments import display

    display.print_result(result, json)
    return {"diverged": exits.DIVERGED, "interrupted": exits.INTERRUPTED}.get(result.status, exits.FINISHED)


COMMANDS: dict[str, options.Command] = {
    "train": train,
    "resume": resume,
    "evaluate": evaluate,
    "trace": trace,
    "check": check,
    "list": list_,
    "reproduce": reproduce,
    "sweep": sweep,
    "report": report,
    "data": data,
    "doctor": doctor,
    "bench": bench,
}
"""Every command by its name: a function whose signature holds its arguments and whose docstring is its help."""


def main(argv: list[str]) -> int:
    """Run one command line (without the program's name) and return its exit code."""
    process.limit_blas_threads()
    name = f"cli.py {argv[0]}" if argv and argv[0] in COMMANDS else "cli.py"
    return exits.guard(name, lambda: run(argv))


def run(argv: list[str]) -> int:
    """Find the command, bind its arguments, call it."""
    if not argv:
        raise InputError(f"missing command (there are: {', '.join(COMMANDS)}; see: python cli.py --help)")
    name, *arguments = argv
    if name in ("-h", "--help", "help"):
        print(usage())
        return exits.FINISHED
    if name == "--version":
        print(f"minigrad-lab {__version__}")
        return exits.FINISHED
    if name not in COMMANDS:
        kind, known = ("option", ["--help", "--version"]) if name.startswith("-") else ("command", COMMANDS)
        raise InputError(unknown(kind, name, known))
    command = options.bind(COMMANDS[name], name, arguments)
    process.keep_memory()
    return command()


def usage() -> str:
    """The text of --help."""
    commands = [f"  {name:<9} {(function.__doc__ or '').splitlines()[0]}" for name, function in COMMANDS.items()]
    return HELP.format(commands="\n".join(commands))


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
