"""The floors of the house: who may import whom, so that a change in one room is felt in those above it alone."""

from __future__ import annotations

import ast
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
TRAINING, EXTRACTION = ROOT / "training", ROOT / "dataExtraction"
FLOORS = ("common", "models", "dataset", "planner", "recogniser", "generation", "trainer", "scoring",
          "page")  # lowest first
PACKAGES = [name for name in FLOORS if (TRAINING / name).is_dir()]
COMMANDS = sorted(path.stem for path in TRAINING.glob("*.py"))
MAX_COMMAND_LINES = 70  # a command is its description, its flags and a call


def imported(path: Path) -> Iterator[str]:
    """The modules that a file imports, also within functions, as dotted names."""
    for node in ast.walk(ast.parse(path.read_text(encoding="utf8"))):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module:
            assert node.level == 0, f"{path}: a relative import"
            yield node.module


def ours(path: Path) -> set[str]:
    """The first parts of those that are training's own."""
    return {module.split(".")[0] for module in imported(path)} & {*FLOORS, *COMMANDS}


def test_every_folder_with_code_is_a_floor_with_a_description() -> None:
    folders = {path.parent for path in TRAINING.rglob("*.py")} - {TRAINING}
    assert {folder.relative_to(TRAINING).parts[0] for folder in folders} == set(PACKAGES)
    for folder in folders:
        assert ast.get_docstring(ast.parse((folder / "__init__.py").read_text(encoding="utf8"))), folder


@pytest.mark.parametrize("package", PACKAGES)
def test_a_package_imports_only_packages_below_it(package: str) -> None:
    allowed = set(FLOORS[:FLOORS.index(package) + 1])
    for path in sorted((TRAINING / package).rglob("*.py")):
        assert ours(path) <= allowed, path.relative_to(ROOT)


@pytest.mark.parametrize("command", COMMANDS)
def test_a_command_is_thin_and_imports_no_other_command(command: str) -> None:
    path = TRAINING / f"{command}.py"
    assert not ours(path) & set(COMMANDS)
    code = path.read_text(encoding="utf8")
    assert len(code.splitlines()) - len((ast.get_docstring(ast.parse(code)) or "").splitlines()) <= MAX_COMMAND_LINES
    assert 'if __name__ == "__main__":' in code


@pytest.mark.parametrize("command", ["generate", "evaluate", "demo"])
def test_a_wrong_flag_is_refused_before_the_libraries_load(command: str) -> None:
    """They take seconds. -X importtime prints every module that is loaded."""
    line = [sys.executable, "-X", "importtime", str(TRAINING / f"{command}.py"), "--no_such_flag", "1"]
    ended = subprocess.run(line, capture_output=True, text=True, timeout=120, check=False)
    loaded = {entry.rsplit("|")[-1].strip() for entry in ended.stderr.splitlines() if entry.startswith("import time:")}
    assert ended.returncode == 2 and "--no_such_flag" in ended.stderr
    assert "tyro" in loaded and not loaded & {"torch", "diffusers", "transformers", "gradio"}


def test_the_two_halves_share_files_and_no_code() -> None:
    extraction = {path.stem for path in EXTRACTION.glob("*.py")}
    for path in EXTRACTION.rglob("*.py"):
        modules = {module.split(".")[0] for module in imported(path)}
        assert not modules & {*FLOORS, *COMMANDS, "torch"}, path
    for path in TRAINING.rglob("*.py"):
        assert not {module.split(".")[0] for module in imported(path)} & (extraction - sys.stdlib_module_names), path


def test_the_rule_can_be_broken(tmp_path: Path) -> None:
    """The negative control: imports within functions and from commands are seen."""
    path = tmp_path / "module.py"
    path.write_text("def late():\n    from scoring.report import Report\n    import generate\n    Report, generate\n")
    assert ours(path) == {"scoring", "generate"}
