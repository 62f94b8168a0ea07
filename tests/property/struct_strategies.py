"""Hypothesis strategies made from msgspec types: every value that their constraints allow."""

from functools import cache, singledispatch

from hypothesis import strategies as st
from msgspec import inspect

LARGEST = 2**63 - 1
TEXT = st.characters(exclude_categories=("Cs",))


@cache
def values_of(kind):
    """All valid values of *kind*, a type that msgspec understands."""
    return of(inspect.type_info(kind))


@singledispatch
def of(info):
    raise TypeError(f"no strategy for {info}")


@of.register
def _(info: inspect.Metadata):
    return of(info.type)


@of.register
def _(_info: inspect.AnyType):
    return st.none()


@of.register
def _(_info: inspect.NoneType):
    return st.none()


@of.register
def _(_info: inspect.BoolType):
    return st.booleans()


@of.register
def _(info: inspect.IntType):
    return st.integers(-LARGEST if info.ge is None else info.ge, info.le or LARGEST)


@of.register
def _(info: inspect.FloatType):
    return st.floats(info.ge, info.le, allow_nan=False, allow_infinity=False)


@of.register
def _(info: inspect.StrType):
    if info.pattern is not None:
        return st.from_regex(info.pattern.replace("$", r"\Z"), alphabet=TEXT)
    return st.text(TEXT, max_size=min(info.max_length or 40, 40))


@of.register
def _(info: inspect.ListType):
    return st.lists(of(info.item_type), min_size=info.min_length or 0, max_size=5)


@of.register
def _(info: inspect.TupleType):
    return st.tuples(*map(of, info.item_types))


@of.register
def _(info: inspect.VarTupleType):
    return st.lists(of(info.item_type), max_size=5).map(tuple)


@of.register
def _(info: inspect.DictType):
    return st.dictionaries(of(info.key_type), of(info.value_type), max_size=4)


@of.register
def _(info: inspect.LiteralType):
    return st.sampled_from(info.values)


@of.register
def _(info: inspect.UnionType):
    return st.one_of(*map(of, info.types))


@of.register
def _(info: inspect.StructType):
    fields = {field.name: of(field.type) for field in info.fields}
    optional = {field.name: fields.pop(field.name) for field in info.fields if not field.required}
    return st.fixed_dictionaries(fields, optional=optional).map(lambda given: info.cls(**given))


JSON = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats(allow_nan=False)
    | st.text(max_size=8)
    | st.sampled_from(["TokenVisualizationUpdate", "message_type", "payload", "oldest"]),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(
            st.sampled_from(["message_type", "timestamp", "payload", "seq", "n", "data", "session"])
            | st.text(max_size=4),
            inner,
            max_size=4,
        )
    ),
    max_leaves=12,
)
"""Anything that JSON can say, with a liking for our own words."""


def outcome(expected_error, function, *arguments):
    """What *function* returns, or the *expected_error* that it raises."""
    try:
        return function(*arguments)
    except expected_error as error:
        return error
