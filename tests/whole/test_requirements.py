"""requirements.txt declares all that is imported, and nothing in it may jump to a release that breaks."""

from __future__ import annotations

import ast
import re
import sys
from importlib.metadata import packages_distributions, version
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
NOT_INSTALLED = {"gradio"}  # which demo.py asks for: it would hold Pillow back for all else
CODE = [ROOT / name for name in ("dataExtraction", "training", "tests")]


def normalised(name):
    """A distribution's name as pip compares it (PEP 503)."""
    return re.sub(r"[-_.]+", "-", name).lower()


def read_requirements(text):
    """The version bounds of each distribution, such as {"pillow": [(">=", (12, 3)), ("<", (14,))]}."""
    found = {}
    for line in text.splitlines():
        if requirement := line.partition("#")[0].strip():
            name, bounds = re.fullmatch(r"([\w.-]+)\s*([^\w\s].*)?", requirement).groups()
            pairs = re.findall(r"(==|>=|<=|<|>|~=|!=)\s*([\d.]+)", bounds or "")
            found[normalised(name)] = [(sign, numbers(number)) for sign, number in pairs]
    return found


def numbers(release):
    """2.13.0+cpu -> (2, 13, 0)."""
    return tuple(int(number) for number in re.match(r"\d+(?:\.\d+)*", release).group().split("."))


def uncapped(requirements):
    return [name for name, bounds in requirements.items() if not {"==", "<"} & {sign for sign, _ in bounds}]


def imported_modules(folders):
    """The top-level modules that are imported from outside the project and the standard library, each with a file."""
    files = [path for folder in folders for path in sorted(folder.rglob("*.py"))]
    ours = {path.stem for path in files} | {path.parent.name for path in files}
    found = {}
    for path in files:
        for node in ast.walk(ast.parse(path.read_text(encoding="utf8"))):
            names = [alias.name for alias in node.names] if isinstance(node, ast.Import) else []
            if isinstance(node, ast.ImportFrom) and not node.level:
                names = [node.module]
            found |= {name.partition(".")[0]: path for name in names}
    return {name: path for name, path in found.items() if name not in ours and name not in sys.stdlib_module_names}


def undeclared(modules, requirements):
    distributions = packages_distributions()
    return {
        module: path
        for module, path in modules.items()
        if not {normalised(name) for name in distributions.get(module, [module])} & requirements.keys()
    }


@pytest.fixture(scope="module")
def requirements():
    return read_requirements((ROOT / "requirements.txt").read_text(encoding="utf8"))


def test_every_import_is_declared(requirements):
    modules = imported_modules(CODE)
    assert {"torch", "PIL", "cairocffi", "requests"} <= modules.keys()
    assert undeclared(modules, requirements).keys() == NOT_INSTALLED


def test_every_dependency_is_capped(requirements):
    assert len(requirements) > 15
    assert uncapped(requirements) == []


def test_what_is_installed_is_what_is_declared(requirements):
    for name, bounds in requirements.items():
        installed = numbers(version(name))
        for sign, bound in bounds:
            holds = {"==": installed[: len(bound)] == bound, ">=": installed >= bound, "<": installed < bound}
            assert holds[sign], name


def test_an_undeclared_import_and_a_missing_cap_are_noticed(tmp_path, requirements):
    (tmp_path / "code.py").write_text("import numpy.linalg, json\ndef f():\n    from yaml import safe_load\n")
    assert set(undeclared(imported_modules([tmp_path]), requirements)) == {"yaml"}
    assert uncapped(read_requirements("a>=1  # <2\nb>=1,<2\nc==3\nd\n")) == ["a", "d"]
