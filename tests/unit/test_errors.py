"""geoosd.errors: every error is one line and carries what its handler needs."""

import inspect

import pytest

from geoosd import errors


def test_every_error_is_drawn_in_the_docstring():
    classes = [each for _, each in inspect.getmembers(errors, inspect.isclass)]
    mine = [each for each in classes if issubclass(each, errors.GeoosError)]
    assert len(mine) == 8
    for each in mine:
        assert each.__name__ in errors.__doc__
        assert each.__doc__


@pytest.mark.parametrize(
    ("error", "line"),
    [
        (errors.ConfigError("cannot use x: y"), "cannot use x: y"),
        (errors.FrameTooLarge(9, 8), "cannot take a frame of 9 bytes: the limit is 8"),
        (errors.MessageError("invalid", "cannot take n: z", "n"), "cannot take n: z"),
        (errors.UpstreamError("bad_request", "cannot ask: no", 400), "cannot ask: no"),
        (errors.VarlinkError("io.geoos.NotFound", {"reason": "no such thing"}), "no such thing"),
        (errors.VarlinkError("io.geoos.NotFound"), "io.geoos.NotFound"),
        (errors.VarlinkError("io.geoos.NotFound", {"reason": ""}), "io.geoos.NotFound"),
    ],
)
def test_an_error_reads_as_one_line(error, line):
    assert str(error) == line


def test_errors_carry_what_handlers_need():
    assert errors.MessageError("malformed", "cannot").field is None
    assert errors.UpstreamError("upstream_timeout", "cannot").status is None
    given = {"reason": "r"}
    error = errors.VarlinkError("a.b", given)
    given["reason"] = "changed later"
    assert error.parameters == {"reason": "r"}


def test_exit_codes_are_those_of_sysexits():
    assert (errors.EX_USAGE, errors.EX_UNAVAILABLE, errors.EX_SOFTWARE) == (64, 69, 70)
    assert (errors.EX_NOPERM, errors.EX_CONFIG) == (77, 78)


def test_the_systems_reason_ends_a_sentence():
    assert errors.reason_of(FileNotFoundError(2, "No such file or directory")) == (
        "no such file or directory"
    )
    assert errors.reason_of(OSError("Something else")) == "Something else"
