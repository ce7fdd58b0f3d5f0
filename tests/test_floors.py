"""Every floor imports downward only, its rooms one way; light commands load nothing heavy."""

import ast
import os
import subprocess
import sys

import pytest

from tests.support.paths import ROOT

FLOORS = ["search_spaces", "trainables", "tuner", "analysis", "doublewin"]
# What of the project a floor may import.
BELOW = {
    "search_spaces": {"search_spaces"},
    "trainables": {"trainables", "search_spaces"},
    "analysis": {"analysis", "search_spaces"},
    "tuner": {"tuner", "analysis", "trainables", "search_spaces"},
    "doublewin": {"doublewin", "tuner", "analysis", "trainables", "search_spaces"},
}
# What of the heavy libraries it may not.
REFUSED = {
    "search_spaces": {"torch", "torchvision", "ray", "mlflow", "pandas", "numpy"},
    "trainables": {"ray", "mlflow"},
    "analysis": {"ray", "torch", "torchvision"},
    "tuner": set(),
    "doublewin": {"ray", "mlflow"},
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
            "own",
            "levels",
            "base",
            "keys",
            "networks",
            "regimes",
            "prunings",
            "searches",
            "checks",
            "spec",
            "tasks",
            "finished",
        ),
        *("study", "grid", "trials", "reading"),
    ],
    "trainables": [
        *(
            "runtime",
            "corruptions",
            "models",
            "data",
            "pruning",
            "training",
            "store",
            "checkpoints",
            "judging",
            "jobs",
        ),
        "export",
        *("evidence", "estimate", "bench", "latency"),
    ],
    "tuner": [
        *("runtime", "cluster", "scheduling", "storage", "tracking", "estimate", "evidence"),
        *("stages", "search", "bench", "options", "commands", "cli", "__main__"),
    ],
    "analysis": [
        *("verdict", "tables", "store", "options", "figures", "query", "reproduction"),
        *("report", "commands"),
        *("cli", "__main__"),
    ],
    "doublewin": ["process", "results", "study", "bridges"],
}
TOP = {
    *("README.md", "LICENSE", "CITATION.cff", "CHANGELOG.md", "CONTRIBUTING.md", "pyproject.toml"),
    *("docs", "tests", *FLOORS),
}


def modules(floor):
    """The files of a floor, relative to the checkout."""
    return [path.relative_to(ROOT) for path in sorted((ROOT / floor).rglob("*.py"))]


def imports(path):
    """(module, name) of all that a file imports, wherever in the file; name is empty where a whole
    module is imported."""
    for node in ast.walk(ast.parse((ROOT / path).read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            yield from ((alias.name, "") for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            module = path.parts[0] if node.level else node.module
            yield from ((module, alias.name) for alias in node.names)


def libraries(path):
    """Top-level names of all that a file imports."""
    return {module.split(".")[0] for module, _ in imports(path)}


def rooms_used(path):
    """Rooms of its own floor that a file imports from."""
    dotted = [f"{module}.{name}".split(".") for module, name in imports(path)]
    return {parts[1] for parts in dotted if parts[0] == path.parts[0] and parts[1]}


def test_imports_are_seen_wherever_they_stand(tmp_path):
    file = tmp_path / "sample.py"
    file.write_text(
        "import a.b, c\nfrom d.e import f\ndef g():\n    import h\nif x:\n    from i import j\n"
    )
    assert libraries(file) == {"a", "c", "d", "h", "i"}


@pytest.mark.parametrize("floor", FLOORS)
def test_imports_go_downward(floor):
    above = {*FLOORS, "tests", "conftest"} - BELOW[floor]
    assert {str(path): bad for path in modules(floor) if (bad := libraries(path) & above)} == {}


@pytest.mark.parametrize("floor", FLOORS)
def test_rooms_import_from_those_before_them(floor):
    order, wrong = ROOMS[floor], {}
    for path in modules(floor):
        own = path.parts[1].removesuffix(".py")
        if own == "__init__":
            continue
        assert own in order, f"{path}: a room that ROOMS does not name"
        if later := rooms_used(path) - {*order[: order.index(own) + 1]}:
            wrong[str(path)] = later
    assert wrong == {}


@pytest.mark.parametrize("floor", FLOORS)
def test_rooms_are_of_a_size_to_look_over(floor):
    for init in [ROOT / floor / "__init__.py", *(ROOT / floor).rglob("*/__init__.py")]:
        files = [path for path in init.parent.glob("*.py") if path != init]
        assert len(files) <= 12, init.parent
        assert ast.get_docstring(ast.parse(init.read_text())), f"{init} does not say what it holds"


@pytest.mark.parametrize("floor", FLOORS)
def test_heavy_libraries_stay_on_their_floor(floor):
    wrong = {str(path): bad for path in modules(floor) if (bad := libraries(path) & REFUSED[floor])}
    assert wrong == {worker: {"ray"} for worker in RAY_WORKERS if worker.startswith(floor)}


def test_search_spaces_need_pydantic_and_yaml_alone():
    allowed = {"search_spaces", "pydantic", "yaml", *sys.stdlib_module_names}
    paths = modules("search_spaces")
    assert {str(path): bad for path in paths if (bad := libraries(path) - allowed)} == {}


def run_without(blocked, code, cwd):
    """Runs code in a fresh Python in which the blocked libraries cannot be imported."""
    block = f"import sys; sys.path.insert(0, {str(ROOT)!r}); "
    block += f"sys.modules.update(dict.fromkeys({blocked!r}))\n"
    return subprocess.run(
        [sys.executable, "-c", block + code], cwd=cwd, capture_output=True, text=True, timeout=120
    )


@pytest.mark.parametrize(
    ("floor", "blocked"),
    [
        ("search_spaces", ["ray", "torch", "torchvision", "mlflow", "pandas", "numpy"]),
        ("analysis", ["ray", "torch", "torchvision", "trainables", "tuner"]),
        ("trainables", ["ray", "mlflow", "analysis", "tuner"]),
    ],
)
def test_a_floor_stands_without_the_others(floor, blocked, tmp_path):
    paths = [p for p in modules(floor) if p.name != "__main__.py" and str(p) not in RAY_WORKERS]
    names = [".".join(path.with_suffix("").parts).removesuffix(".__init__") for path in paths]
    code = f"import importlib\nfor name in {names!r}: importlib.import_module(name)"
    done = run_without(blocked, code, tmp_path)
    assert (done.returncode, done.stderr) == (0, "")
    refused = run_without(blocked, f"import {blocked[0]}", tmp_path)
    assert refused.returncode == 1 and "ModuleNotFoundError" in refused.stderr


LIGHT = [["--help"], ["plan", "--no-measure"], ["status"], ["studies"]]
RUN_EACH = """
import runpy
for arguments in {commands!r}:
    sys.argv[1:] = arguments
    try:
        runpy.run_module("tuner", run_name="__main__", alter_sys=True)
    except SystemExit as ended:
        assert not ended.code, (arguments, ended.code)
"""


def test_light_commands_load_nothing_heavy(tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", os.devnull)
    heavy = ["torch", "torchvision", "ray", "mlflow", "pandas", "matplotlib", "sklearn"]
    done = run_without(heavy, RUN_EACH.format(commands=LIGHT), tmp_path)
    assert (done.returncode, done.stderr) == (0, "")
    assert "quickstart" in done.stdout
    assert list(tmp_path.iterdir()) == []


def test_the_top_folder_holds_what_is_agreed():
    try:
        command = ["git", "ls-files", "--cached", "--others", "--exclude-standard"]
        listed = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True)
    except (OSError, subprocess.CalledProcessError):
        pytest.skip("no git checkout")
    top = {line.split("/")[0] for line in listed.stdout.splitlines()}
    visible = {name for name in top if not name.startswith(".")}
    assert {"pyproject.toml", "tests", *FLOORS} <= visible <= TOP
