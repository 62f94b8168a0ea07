"""The score is honest: nothing that harms a tree raises it, and names and order mean nothing."""

import random
import tempfile
from dataclasses import dataclass, field, replace
from pathlib import Path

from hypothesis import given
from hypothesis import strategies as st

from geoosd.structure.analysis import analyze
from geoosd.structure.cache import Cache

EPSILON = 1e-12
CONTRACTS = ("independence", "layers", "forbidden")


@dataclass(frozen=True)
class Module:
    """A module of a generated tree; others are named by their index."""

    folder: int
    imports: tuple[int, ...] = ()
    documented: bool = True
    added: tuple[str, ...] = ()
    """Lines at its end; {0} … are the names of modules."""


@dataclass(frozen=True)
class Tree:
    modules: tuple[Module, ...]
    contracts: tuple[tuple[str, int, int], ...] = ()
    names: tuple[str, ...] = field(default=())
    folders: tuple[str, ...] = field(default=())

    def dotted(self, index):
        module = self.modules[index]
        name = self.names[index] if self.names else f"m{index}"
        folder = self.folders[module.folder] if self.folders else f"f{module.folder}"
        return f"app.{folder}.{name}" if module.folder else f"app.{name}"

    def files(self, order):
        """Path and text; *order* shuffles the imports of each module."""
        dotted = [self.dotted(index) for index in range(len(self.modules))]
        found = {"app/__init__.py": ""}
        for name, module in zip(dotted, self.modules, strict=True):
            imports = [f"import {dotted[target]}" for target in module.imports]
            order.shuffle(imports)
            head = ['"""Says what it is."""'] if module.documented else []
            lines = [*head, *imports, *(line.format(*dotted) for line in module.added)]
            path = name.replace(".", "/")
            found[f"{path}.py"] = "\n".join([*lines, ""])
            found.setdefault(f"{path.rpartition('/')[0]}/__init__.py", "")
        found["pyproject.toml"] = "".join(_contract(each, dotted) for each in self.contracts)
        return found


def _contract(contract, dotted):
    kind, one, other = contract
    keys = {
        "independence": ["modules"],
        "layers": ["layers"],
        "forbidden": ["source_modules", "forbidden_modules"],
    }[kind]
    values = [[dotted[one]], [dotted[other]]] if len(keys) == 2 else [[dotted[one], dotted[other]]]
    lists = "".join(f"{key} = {value}\n" for key, value in zip(keys, values, strict=True))
    return f"[[tool.importlinter.contracts]]\nname = 'c'\ntype = '{kind}'\n{lists}"


def measured(tree, seed=0):
    """The report of a tree, whose files are written in an order that *seed* gives."""
    order = random.Random(seed)
    with tempfile.TemporaryDirectory() as folder:
        files = list(tree.files(order).items())
        order.shuffle(files)
        for name, text in files:
            path = Path(folder, name)
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(text, encoding="utf-8")
        return analyze(Path(folder)).report


@st.composite
def trees(draw):
    count = draw(st.integers(1, 7))
    index = st.integers(0, count - 1)
    broken = st.lists(
        st.sampled_from(
            ["import app.gone", "from app import gone", "from . import gone", "import os"]
        ),
        max_size=2,
    )
    parse_error = st.sampled_from([(), (), (), ("(",)])
    modules = [
        Module(
            folder=draw(st.integers(0, 3)),
            imports=tuple(sorted(draw(st.sets(index, max_size=3)))),
            documented=draw(st.booleans()),
            added=(*draw(broken), *draw(parse_error)),
        )
        for _ in range(count)
    ]
    contracts = st.tuples(st.sampled_from(CONTRACTS), index, index)
    declared = draw(st.lists(contracts.filter(lambda each: each[1] != each[2]), max_size=2))
    return Tree(tuple(modules), tuple(declared) if count > 1 else ())


def worsened(tree, index, *lines):
    """The tree with lines more at the end of a module, before what cannot be parsed in it."""
    module = tree.modules[index]
    whole = [line for line in module.added if line != "("]
    end = [line for line in module.added if line == "("]
    changed = replace(module, added=(*whole, *lines, *end))
    return replace(tree, modules=(*tree.modules[:index], changed, *tree.modules[index + 1 :]))


def assert_no_better(before, after):
    assert after.score <= before.score + EPSILON
    for name, dimension in after.dimensions.items():
        assert dimension.value <= before.dimensions[name].value + EPSILON, name


def indexes(data, tree):
    return data.draw(st.integers(0, len(tree.modules) - 1))


@given(trees(), st.data())
def test_adding_a_cycle_never_raises_the_score(tree, data):
    members = data.draw(
        st.lists(st.integers(0, len(tree.modules) - 1), min_size=1, max_size=4, unique=True)
    )
    worse = tree
    for at, member in enumerate(members):
        target = members[(at + 1) % len(members)]
        worse = worsened(worse, member, f"import {{{target}}} as _cycle_{at}")
    assert_no_better(measured(tree), measured(worse))


@given(trees(), st.data())
def test_adding_a_broken_import_never_raises_the_score(tree, data):
    line = data.draw(
        st.sampled_from(
            [
                "import app.nowhere",
                "from app import nowhere",
                "from {0} import nowhere",
                "from ... import x",
            ]
        )
    )
    assert_no_better(measured(tree), measured(worsened(tree, indexes(data, tree), line)))


@given(trees(), st.data())
def test_adding_a_parse_error_never_raises_the_score(tree, data):
    line = data.draw(st.sampled_from(["(", "import (", "x = = 1", "\tx", "'''", "import app.a as"]))
    assert_no_better(measured(tree), measured(worsened(tree, indexes(data, tree), line)))


@given(trees(), st.data())
def test_one_harm_after_the_other(tree, data):
    before = measured(tree)
    for line in data.draw(st.permutations(["(", "import {0} as _a", "from {0} import nowhere"])):
        if "{0} as" in line:
            tree = worsened(tree, 0, f"import {{{len(tree.modules) - 1}}} as _b")
            tree = worsened(tree, len(tree.modules) - 1, line)
        else:
            tree = worsened(tree, indexes(data, tree), line)
        after = measured(tree)
        if "{0} as" not in line or len(tree.modules) > 1:
            assert_no_better(before, after)
        before = after


@given(trees(), st.data())
def test_names_and_order_change_nothing(tree, data):
    name = st.from_regex(r"[a-z][a-z0-9]{0,5}(_[a-z0-9]{1,3})?", fullmatch=True).filter(
        lambda each: each not in _RESERVED and "test" not in each
    )
    count = len(tree.modules)
    names = data.draw(st.lists(name, min_size=count + 4, max_size=count + 4, unique=True))
    renamed = replace(tree, names=tuple(names[:count]), folders=tuple(names[count:]))
    order = data.draw(st.permutations(range(count)))
    before, after = measured(tree), measured(renamed, data.draw(st.integers(0, 1000)))
    turned = measured(_permuted(renamed, order), data.draw(st.integers(0, 1000)))
    for other in (after, turned):
        assert other.score == before.score
        assert other.dimensions == before.dimensions
        assert other.terms == before.terms
        assert other.counts == before.counts
        assert other.label == before.label
        assert sorted(each.files for each in other.subsystems) == sorted(
            each.files for each in before.subsystems
        )


_RESERVED = {
    "as", "if", "in", "is", "or", "def", "del", "for", "not", "and", "try", "else", "elif", "from",
    "pass", "with", "async", "await", "break", "class", "raise", "while", "yield", "import",
    "lambda", "return", "assert", "except", "global", "app", "gone", "nowhere", "os", "build",
    "dist", "target", "venv", "benches", "x", "a",
}  # fmt: skip


def _permuted(tree, order):
    """The same tree with its modules listed otherwise."""
    place = {old: new for new, old in enumerate(order)}
    modules = [
        replace(
            tree.modules[old],
            imports=tuple(place[target] for target in tree.modules[old].imports),
        )
        for old in order
    ]
    contracts = tuple((kind, place[one], place[other]) for kind, one, other in tree.contracts)
    return Tree(tuple(modules), contracts, tuple(tree.names[old] for old in order), tree.folders)


@given(
    st.dictionaries(st.sampled_from(["a.c", "b/x.txt", "tests/t.py", "c/d"]), st.text(max_size=20))
)
def test_a_foreign_tree_is_unknown(files):
    with tempfile.TemporaryDirectory() as folder:
        for name, text in files.items():
            path = Path(folder, name)
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(text, encoding="utf-8")
        report = analyze(Path(folder)).report
    assert (report.status, report.score) == ("unknown", None)


@given(trees())
def test_a_score_is_within_its_bounds(tree):
    report = measured(tree)
    values = [report.score, *(each.value for each in report.dimensions.values())]
    assert all(0.0 <= value <= 1.0 for value in values)


@given(trees())
def test_a_cache_changes_nothing(tree):
    with tempfile.TemporaryDirectory() as folder:
        for name, text in tree.files(random.Random(0)).items():
            path = Path(folder, "tree", name)
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(text, encoding="utf-8")
        reports = []
        for _ in range(2):
            cache = Cache(Path(folder, "cache"), Path(folder, "tree"))
            cache.load()
            reports.append(analyze(Path(folder, "tree"), cache).report.as_dict())
            cache.save(now=4e9)
        assert cache.misses == 0
        assert _plain(reports[0]) == _plain(reports[1])


def _plain(value):
    """Tuples as lists: JSON knows no others."""
    if isinstance(value, dict):
        return {key: _plain(each) for key, each in value.items()}
    return [_plain(each) for each in value] if isinstance(value, (list, tuple)) else value
