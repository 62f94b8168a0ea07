"""``geoosd compositor --profile-gpu``: the program itself."""

import json
import subprocess
import sys

import pytest

from geoosd.compositor.__main__ import main

QUICK = ["--profile-gpu", "--seconds", "0.01", "--size", "128x128"]
WGPU = ["--set", "compositor.backend=wgpu"]


@pytest.mark.slow
def test_numpy_alone():
    command = [sys.executable, "-m", "geoosd", "compositor", *QUICK, "--json"]
    done = subprocess.run(
        [*command, "--set", "compositor.backend=numpy"],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert (done.returncode, done.stderr) == (0, "")
    report = json.loads(done.stdout)
    assert (report["version"], report["backend"], report["adapter"]) == (1, "numpy", "CPU")
    assert [row["tokens_per_frame"] for row in report["rows"]] == [0, 1, 17, 170, 1000]
    dark, *lit = report["rows"]
    assert dark["live_tiles"] == dark["bandwidth_gb_per_second"] == 0
    for row in lit:
        assert row["frames"] >= 3
        assert 0 < row["mean_ms"] == pytest.approx(1000 / row["fps"])
        assert row["p50_ms"] <= row["p95_ms"] <= row["p99_ms"]
        assert 0 < row["utilisation"] <= 1
        assert row["bandwidth_gb_per_second"] > 0
        assert set(row["stages_ms"]) == {"cpu", "frame"}
    assert report["copy_gb_per_second"] > 0


@pytest.mark.gpu
@pytest.mark.slow
def test_wgpu_beside_numpy(capsys):
    assert main([*QUICK, *WGPU]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert max(map(len, lines)) <= 80
    assert lines[0].startswith("wgpu on ")
    assert [line.split()[0] for line in lines[5:15]] == ["wgpu", "numpy"] * 5
    assert all(len(line.split()) == 12 for line in lines[4:15])


@pytest.mark.parametrize(
    ("options", "code", "words"),
    [
        (["--size", "12"], 64, "cannot use --size 12"),
        (["--size", "9000x10"], 64, "16 to 8192"),
        (["--seconds", "-1"], 64, "cannot use --seconds -1"),
        (["--set", "compositor.fps=0"], 78, "compositor.fps"),
        pytest.param(
            [*WGPU, "--set", "compositor.adapter=quux"], 69, "quux", marks=pytest.mark.slow
        ),
    ],
)
def test_what_cannot_be_measured_is_told_in_a_line(capsys, options, code, words):
    assert main([*QUICK, *options]) == code
    said = capsys.readouterr()
    assert said.out == ""
    assert words in said.err.splitlines()[-1]
