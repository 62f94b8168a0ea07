"""``structure``: the structural health (PAS) of a source tree; needs no daemon.

The measuring is :mod:`geoosd.structure`'s, the look of it :mod:`geoosctl.structure_report`'s.
"""

from __future__ import annotations

import contextlib
import gc
import os
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Final

import click

from geoosctl import output, structure_report
from geoosctl.cli import Verb, settings
from geoosd.errors import GeoosError, reason_of
from geoosd.structure import baseline, churn
from geoosd.structure.analysis import Analysis, analyze
from geoosd.structure.cache import Cache
from geoosd.structure.facts import Facts
from geoosd.structure.layout import SourceFile

_EXIT: Final = {"healthy": 0, "warning": 1, "critical": 2, "unknown": 3}
_WORSE: Final = 2
_FILES_A_WORKER: Final = 150
"""With fewer files a process more costs more than it saves."""
_MOST_WORKERS: Final = 8
_GIT_SECONDS: Final = 20.0


@dataclass(frozen=True)
class _Options:
    check: bool
    debug: bool
    baseline: Path | None
    write_baseline: bool
    fresh: bool


@click.command(
    cls=Verb,
    examples=[
        "geoosctl structure",
        "geoosctl structure --check --debug ~/src/project",
        "geoosctl structure --baseline baseline.json",
    ],
)
@click.argument("path", default=".", type=click.Path(exists=True, file_okay=False, path_type=Path))
@click.option("--check", is_flag=True, help="Exit 0 healthy, 1 warning, 2 critical, 3 unknown.")
@click.option("--debug", is_flag=True, help="Show all that was counted, and every offender.")
@click.option(
    "--baseline",
    metavar="FILE",
    type=click.Path(dir_okay=False, path_type=Path),
    help="Exit 2 if a count is worse than there, whatever the score.",
)
@click.option("--write-baseline", is_flag=True, help="Write the counts to the baseline's FILE.")
@click.option("--fresh", is_flag=True, help="Read every file again; without, what changed.")
def structure(path: Path, **options: object) -> int:
    """Measure the structure of a source tree: its PAS score.

    PAS is the mean of symmetry, integrity, stability and consistency of the tree at PATH.
    docs/health.md has the formula. Nothing of the tree is run.
    """
    chosen = _Options(**options)  # type: ignore[arg-type]  # click has checked them
    if chosen.write_baseline and chosen.baseline is None:
        raise click.UsageError("--write-baseline needs --baseline FILE.")
    began = time.perf_counter()
    with _collector_paused():
        analysis, cache = _look(path, chosen.fresh)
    seconds = time.perf_counter() - began
    report = analysis.report
    if chosen.baseline is not None and chosen.write_baseline:
        baseline.write(report, chosen.baseline)
    changes = None if chosen.baseline is None else baseline.compare(report, chosen.baseline)
    hot = _hot(path, analysis) if chosen.debug or settings().json else []
    if settings().json:
        output.print_json(
            {
                **report.as_dict(),
                "churn": [{**asdict(each), "heat": each.heat} for each in hot],
                "cache": {"hits": cache.hits, "misses": cache.misses},
                "seconds": round(seconds, 3),
                "baseline": None if changes is None else [asdict(each) for each in changes],
            }
        )
    else:
        lines = structure_report.lines(report, changes, debug=chosen.debug)
        if chosen.debug:
            lines += structure_report.debug_lines(report, hot, cache.hits, cache.misses, seconds)
        for line in lines:
            output.echo(line)
    worse = _WORSE if changes and any(each.worse for each in changes) else 0
    return max(worse, _EXIT[report.status] if chosen.check else 0)


@contextlib.contextmanager
def _collector_paused() -> Iterator[None]:
    """Syntax trees have no cycles; looking for some would take a fifth of the time."""
    enabled = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if enabled:
            gc.enable()


def _look(path: Path, fresh: bool) -> tuple[Analysis, Cache]:
    """The analysis, and the cache as it was used; a cache that cannot be kept costs time alone."""
    folder = _cache_folder()
    try:
        cache = Cache(folder, path)
        if not fresh:
            cache.load()
        analysis = analyze(path, cache, _in_processes)
    except OSError as error:
        where = f" {error.filename}" if error.filename else ""
        raise GeoosError(f"cannot look at {path}: {reason_of(error)}{where}") from None
    try:
        cache.save(time.time())
    except OSError as error:
        output.echo(f"geoosctl: cannot keep a cache in {folder}: {reason_of(error)}", err=True)
    return analysis, cache


def _in_processes(
    read: Callable[[SourceFile], Facts], files: Sequence[SourceFile]
) -> Iterable[Facts]:
    """Read *files*, many of them on all cores."""
    workers = min(_MOST_WORKERS, len(os.sched_getaffinity(0)), len(files) // _FILES_A_WORKER)
    if workers < 2:
        return map(read, files)
    import multiprocessing
    from concurrent.futures import ProcessPoolExecutor

    # fork: this process has one thread, and what a child needs is loaded already.
    context = multiprocessing.get_context("fork")
    with ProcessPoolExecutor(workers, mp_context=context) as pool:
        return list(pool.map(read, files, chunksize=32))


def _cache_folder() -> Path:
    """The user's cache folder (XDG base directory specification)."""
    named = Path(os.environ.get("XDG_CACHE_HOME", ""))
    root = named if named.is_absolute() else Path("~/.cache").expanduser()
    return root / "geoos" / "structure"


def _hot(path: Path, analysis: Analysis) -> list[churn.Hot]:
    """Churn times size from git's history of the tree; nothing where there is none."""
    import subprocess

    try:
        answer = subprocess.run(
            churn.COMMAND, cwd=path, capture_output=True, timeout=_GIT_SECONDS, check=True
        )
    except (OSError, subprocess.SubprocessError):
        return []
    return churn.hottest(answer.stdout, analysis.lines)
