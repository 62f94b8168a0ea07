"""Structural health of a source tree: symmetry, integrity, stability, consistency (PAS).

A library without I/O beyond reading the files of the tree, and its own cache where the caller wants
one. It runs nothing of the tree and imports nothing of it;
docs/health.md has the formula, version 1; ``geoosctl structure`` is the command.

::

    layout          which files are source, which are tests, which subsystem each belongs to
    python_source   one Python file -> Facts          rust_source   one Rust file -> Facts
    cache           Facts kept between two runs, keyed by name, size and time
    python_imports  Facts of all -> who imports whom  rust_imports  the same
    graph           cycles, and how far a change reaches
    contracts       the import contracts that the tree itself declares
    measure         counts, offenders and the four dimensions
    advice          recommendations that follow from them
    analysis        all of it in order: where a caller begins
    baseline        counts that must not get worse
    churn           what git says of the same files; shown, never scored
"""
