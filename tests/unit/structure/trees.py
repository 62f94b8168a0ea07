"""Source trees written for a test."""

from pathlib import Path

from geoosd.structure.analysis import analyze

DOC = '"""Says what it is."""\n'


def write(folder: Path, files: dict[str, str | bytes]) -> Path:
    """Write *files* (path: content) below *folder*."""
    for name, content in files.items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content.encode() if isinstance(content, str) else content)
    return folder


def report(folder: Path, files: dict[str, str | bytes]):
    """The report of a tree with *files*."""
    return analyze(write(folder, files)).report


def package(*names: str, **contents: str) -> dict[str, str]:
    """A project ``app`` with subsystems; ``b__c="text"`` is the content of ``app/b/c.py``."""
    files = {f"app/{name}.py": DOC for name in names}
    files |= {f"app/{name.replace('__', '/')}.py": DOC + text for name, text in contents.items()}
    folders = {Path(name).parent for name in files} | {Path("app")}
    for folder in folders:
        files.setdefault(f"{folder}/__init__.py", DOC)
    return files
