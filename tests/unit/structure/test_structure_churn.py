"""Churn times size, from what git says."""

import subprocess

from geoosd.structure.churn import COMMAND, Hot, hottest


def test_commits_times_lines():
    log = b"a.py\0b c.py\0\0a.py\0\0\na.py\0gone.py\0b c.py\0"
    lines = {"a.py": 10, "b c.py": 100, "new.py": 1000}
    assert hottest(log, lines) == [Hot("b c.py", 2, 100), Hot("a.py", 3, 10)]
    assert hottest(log, lines)[0].heat == 200


def test_ten_are_shown():
    names = [f"m{at:02}.py" for at in range(20)]
    assert len(hottest("\0".join(names).encode(), dict.fromkeys(names, 1))) == 10


def test_what_git_really_says(tmp_path):
    def git(*arguments):
        name = ("-c", "user.name=a", "-c", "user.email=a@b", "-c", "commit.gpgsign=false")
        subprocess.run(("git", *name, *arguments), cwd=tmp_path, check=True, capture_output=True)

    git("init", "-q")
    (tmp_path / "sub").mkdir()
    for content in ("1", "2", "3"):
        (tmp_path / "sub" / "ü\n.py").write_text(content)
        (tmp_path / "top.py").write_text(content)
        git("add", ".")
        git("commit", "-q", "-m", content)
    (tmp_path / "sub" / "b.py").write_text("")
    git("add", ".")
    git("commit", "-q", "-m", "b")
    answer = subprocess.run(COMMAND, cwd=tmp_path / "sub", capture_output=True, check=True)
    lines = {"ü\n.py": 5, "b.py": 7, "top.py": 1}
    assert hottest(answer.stdout, lines) == [Hot("ü\n.py", 3, 5), Hot("b.py", 1, 7)]
