"""Every floor imports downward only, and light commands load nothing heavy."""

import ast
import os
import subprocess
import sys

import pytest

from tests.support.paths import ROOT

FLOORS = ["search_spaces", "trainables", "tuner", "analysis"]
# What of the project, and what of the heavy libraries, a floor may import.
BELOW = {
    "search_spaces": {"search_spaces"},
    "trainables": {"trainables", "search_spaces"},
    "analysis": {"analysis", "search_spaces"},
    "tuner": {"tuner", "analysis", "trainables", "search_spaces"},
}
RAY_WORKERS = {
    "trainables/jobs/source_worker.py",
    "trainables/jobs/transfer_trial.py",
    "trainables/jobs/search_trial.py",
}
# The rooms of each floor, lowest first: a room may import from those before it.
ROOMS = {
    "search_spaces": [
        *(
            "errors",
            "levels",
            "base",
            "keys",
            "regimes",
            "searches",
            "adaptive",
            "spec",
            "evidence",
        ),
        *("study", "grid", "trials", "reading"),
    ],
    "trainables": [
        *("runtime", "models", "data", "pruning", "training", "store", "checkpoints", "jobs"),
        *("evidence", "estimate", "bench"),
    ],
    "tuner": [
        *("runtime", "cluster", "scheduling", "storage", "tracking", "estimate", "evidence"),
        *("stages", "search", "bench", "commands", "__main__"),
    ],
    "analysis": [
        *("verdict", "tables", "store", "options", "figures", "query", "report", "cli", "__main__"),
    ],
}


def modules(floor):
    return sorted((ROOT / floor).rglob("*.py"))


ALL = [path.relative_to(ROOT) for floor in FLOORS for path in modules(floor)]


def imported(path):
    """Top-level names of all that a file imports, wherever in the file it does."""
    found = set()
    for node in ast.walk(ast.parse((ROOT / path).read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            found |= {alias.name.split(".")[0] for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            found.add(path.parts[0] if node.level else node.module.split(".")[0])
    return found


def test_imports_are_found_wherever_they_stand(tmp_path):
    file = tmp_path / "sample.py"
    file.write_text(
        "import a.b, c\nfrom d.e import f\ndef g():\n    import h\nif x:\n    from i import j\n"
    )
    assert imported(file) == {"a", "c", "d", "h", "i"}


def test_every_floor_has_modules():
    for floor in FLOORS:
        assert len(modules(floor)) > 3


@pytest.mark.parametrize("path", ALL, ids=str)
def test_imports_go_downward(path):
    floor = path.parts[0]
    assert imported(path) & {*FLOORS, "tests", "conftest"} <= BELOW[floor]


def room(module):
    return module.split(".")[1]


def rooms_used(path):
    """Rooms of its own floor that a file imports from, wherever in the file it does."""
    floor = path.parts[0]
    found = set()
    for node in ast.walk(ast.parse((ROOT / path).read_text(encoding="utf-8"))):
        if isinstance(node, ast.ImportFrom) and node.module == floor:
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module.startswith(f"{floor}."):
            found.add(room(node.module))
        elif isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
            found |= {room(name) for name in names if name.startswith(f"{floor}.")}
    return found


@pytest.mark.parametrize("path", [p for p in ALL if len(p.parts) > 1], ids=str)
def test_rooms_import_from_those_before_them(path):
    order = ROOMS[path.parts[0]]
    own = path.parts[1].removesuffix(".py")
    if own == "__init__":
        pytest.skip("a floor's own word")
    assert own in order, "a room that ROOMS does not name"
    assert rooms_used(path) <= {*order[: order.index(own) + 1]}


@pytest.mark.parametrize("floor", FLOORS)
def test_rooms_are_of_a_size_to_look_over(floor):
    folders = [folder for folder in (ROOT / floor).rglob("*") if (folder / "__init__.py").exists()]
    for folder in [ROOT / floor, *folders]:
        files = [path for path in folder.glob("*.py") if path.name != "__init__.py"]
        assert len(files) <= 12, folder
        assert ast.get_docstring(ast.parse((folder / "__init__.py").read_text())), folder


@pytest.mark.parametrize("path", ALL, ids=str)
def test_heavy_libraries_stay_on_their_floor(path):
    refused = {
        "search_spaces": {"torch", "torchvision", "ray", "mlflow", "pandas", "numpy"},
        "trainables": {"mlflow"} | (set() if str(path) in RAY_WORKERS else {"ray"}),
        "analysis": {"ray", "torch", "torchvision"},
        "tuner": set(),
    }
    assert imported(path) & refused[path.parts[0]] == set()


@pytest.mark.parametrize("path", [p for p in ALL if p.parts[0] == "search_spaces"], ids=str)
def test_search_spaces_need_pydantic_and_yaml_alone(path):
    others = imported(path) - sys.stdlib_module_names
    assert others <= {"search_spaces", "pydantic", "yaml"}


def test_the_ray_workers_are_the_ones_that_import_ray():
    found = {str(p) for p in ALL if p.parts[0] == "trainables" and "ray" in imported(p)}
    assert found == RAY_WORKERS


def run_without(blocked, code, cwd):
    """Runs code in a fresh Python in which the blocked libraries can't be imported."""
    block = f"import sys; sys.path.insert(0, {str(ROOT)!r}); "
    block += f"sys.modules.update(dict.fromkeys({blocked!r})); "
    return subprocess.run(
        [sys.executable, "-c", block + code], cwd=cwd, capture_output=True, text=True, timeout=120
    )


def names(floor, without=()):
    """Importable names of a floor's modules; __main__ starts a command line and is left out."""
    paths = [path.relative_to(ROOT) for path in modules(floor) if path.name != "__main__.py"]
    dotted = [path.with_suffix("").parts for path in paths if str(path) not in without]
    return [".".join(part for part in parts if part != "__init__") for parts in dotted]


def import_all(modules):
    return f"import importlib; [importlib.import_module(name) for name in {modules!r}]"


def test_blocked_libraries_cannot_be_imported(tmp_path):
    done = run_without(["torch"], "import torch", tmp_path)
    assert done.returncode == 1
    assert "ModuleNotFoundError" in done.stderr


@pytest.mark.parametrize(
    ("floor", "blocked", "without"),
    [
        ("search_spaces", ["ray", "torch", "torchvision", "mlflow", "pandas", "numpy"], ()),
        ("analysis", ["ray", "torch", "torchvision", "trainables", "tuner"], ()),
        ("trainables", ["ray", "mlflow", "analysis", "tuner"], RAY_WORKERS),
    ],
)
def test_a_floor_stands_without_the_others(floor, blocked, without, tmp_path):
    found = names(floor, without)
    assert floor in found
    assert len(found) > 3
    done = run_without(blocked, import_all(found), tmp_path)
    assert (done.returncode, done.stderr) == (0, "")


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["--help"], "status"),
        (["plan", "--no-measure"], "results complete in results"),
        (["status"], "results complete in results"),
        (["studies"], "quickstart"),
    ],
    ids=lambda value: "" if isinstance(value, str) else value[0],
)
def test_light_commands_load_nothing_heavy(arguments, words, tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", os.devnull)
    code = f"import runpy; sys.argv[1:] = {arguments!r}; "
    code += "runpy.run_module('tuner', run_name='__main__', alter_sys=True)"
    heavy = ["torch", "torchvision", "ray", "mlflow", "pandas", "matplotlib", "sklearn"]
    done = run_without(heavy, code, tmp_path)
    assert (done.returncode, done.stderr) == (0, "")
    assert words in done.stdout
    assert list(tmp_path.iterdir()) == []


def test_the_top_folder_holds_what_is_agreed():
    try:
        command = ["git", "ls-files", "--cached", "--others", "--exclude-standard"]
        listed = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True)
    except (OSError, subprocess.CalledProcessError):
        pytest.skip("no git checkout")
    top = {line.split("/")[0] for line in listed.stdout.splitlines()}
    visible = {name for name in top if not name.startswith(".")}
    papers = {"README.md", "LICENSE", "CITATION.cff", "CHANGELOG.md", "CONTRIBUTING.md", "docs"}
    assert visible <= {*papers, "pyproject.toml", "tests", *FLOORS}
    assert visible >= {"pyproject.toml", "tests", *FLOORS}
