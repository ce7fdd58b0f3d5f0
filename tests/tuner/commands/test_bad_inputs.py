"""Bad input of every kind: exit code 2, one line that names the thing and the remedy, nothing
started, nothing written, and no waiting."""

import hashlib
import io
import os
import shlex
import subprocess
import sys
from dataclasses import dataclass, field

import numpy as np
import pytest
import torch

from analysis.cli import main as analysis
from search_spaces import grid
from search_spaces.reading import studies
from tests.support.paths import ROOT
from tests.support.synthetic import Bulk, large_study
from tests.tuner.commands.test_cli import SMALL
from tuner import cli
from tuner.cluster import connection

NPZ = '"downstream.0.dataset={name: npz, path: own.npz, size: 16}"'
IMAGES = '"downstream.0.dataset={name: folder, path: own, size: 16}"'
WEIGHTS = '"source.pretrainings={{standard: {{load: {{format: {}, {}}}}}}}"'
LOADED = f"--data . --set {WEIGHTS.format('state_dict', 'path: w.pt')}"
NOBODY = "http://me:hidden@127.0.0.1:9"


def arrays(x=None, y=None, channels=1):
    """The content of an npz data set."""
    if x is None:
        x = np.zeros((8, 8, 8, channels), np.uint8)
    if y is None:
        y = np.arange(len(x)) % 2
    file = io.BytesIO()
    np.savez(file, train_x=x, train_y=y, test_x=x, test_y=y)
    return file.getvalue()


def torch_file(content):
    file = io.BytesIO()
    torch.save(content, file)
    return file.getvalue()


class Runs:
    """What a pickle from outside would do when it is read."""

    def __reduce__(self):
        return (os.mkdir, ("executed",))


@dataclass(frozen=True)
class Bad:
    """A command line; what its one line must name, and the remedy that it must hold. `files`: name
    -> content (None: a folder) of what lies in the working folder beside small.yaml."""

    line: str
    thing: str
    remedy: str
    files: dict = field(default_factory=dict)
    env: dict = field(default_factory=dict)


def own(text):
    return {"own.yaml": text}


BOMB = "a: &a [1, 2]\n" + "".join(f"a{n}: &a{n} [*a{n - 1}, *a{n - 1}]\n" for n in range(1, 40))
BOMB = BOMB.replace("a: &a ", "a0: &a0 ", 1)

YAML = [
    Bad("run own.yaml", "own.yaml: not valid YAML", "expected", own("name: [1")),
    Bad("run own.yaml", "aliases written out", "make it smaller", own(BOMB)),
    Bad("run own.yaml", "more than 100000 characters", "make it shorter", own("#" * 200_000)),
    Bad("run own.yaml", "nested more than 50 deep", "make it flatter", own("[" * 100)),
    Bad("plan own.yaml", "*a is used within", "write it out", own("name: &a [*a]")),
    Bad("plan own.yaml", "could not determine a constructor", "python", own("!!python/name:os.x")),
    Bad("plan own.yaml", "own.yaml", "not a UTF-8 text file", {"own.yaml": b"\xff\xfe\x00"}),
    Bad("status own.yaml", "own.yaml: a study is a YAML mapping", "with name, source", own("- 1")),
    Bad("status own.yaml", "own.yaml: name", "required", own("source: {}")),
    Bad("search own.yaml", "field name is written twice", "line 1", own("name: a\nname: b")),
    Bad("simulate own.yaml", "own.yaml: cannot be read", "Is a directory", {"own.yaml": None}),
    Bad("evidence gone.yaml", "gone.yaml", "No such file"),
    Bad("data quikstart", "study quikstart: unknown", "did you mean quickstart?"),
    Bad("evidence quikstart", "study quikstart: unknown", "did you mean quickstart?"),
    Bad("simulate quikstart", "study quikstart: unknown", "did you mean quickstart?"),
    Bad("plan --against quikstart", "study quikstart: unknown", "did you mean quickstart?"),
]
FIELDS = [
    ("pruning.imp.rounds=1000000", "pruning.imp.rounds", "less than or equal to 60"),
    ("pruning.imp.rate=1", "pruning.imp.rate", "less than 1"),
    ("pruning.imp.method=magic", "pruning.imp.method", "imp, one_shot, random, snip, "),
    ("pruning={}", "downstream.0.levels: level 2", "add rounds or drop the level"),
    ("downstream.0.seeds=[]", "downstream.0.seeds", "at least 1 item"),
    ("downstream.0.seeds=[99999999999]", "downstream.0.seeds.0", "less than 4294967296"),
    ("downstream.0.fractions=[1.5]", "downstream.0.fractions.0", "less than or equal to 1"),
    ("downstream.0.regimes={}", "downstream.0.regimes", "at least 1 item"),
    ("evaluation.attack.epsilon=.inf", "evaluation.attack.epsilon", "a finite number"),
    ("evaluation.attack.epsilon=1/0", "evaluation.attack.epsilon", "a valid number"),
    ("evaluation.attack.kind=fgms", "evaluation.attack.kind", "fgsm, n_fgsm, pgd, or your own"),
    ("source.model.width=100000", "source.model.width", "less than or equal to 1024"),
    ("source.dataset.name=cifar11", "source.dataset.name", "cifar10, cifar100"),
    ("source.dataset.path=x", "mnist-mini comes with the program", "leave path: out"),
    ("source.dataset.size=1e9", "source.dataset.size", "a valid integer"),
    (
        "source.model.normalisation={mean: [0, 0, 0], std: [1, 1, 1]}",
        "source.model.normalisation: has numbers for 3 colour channels",
        "write one for each",
    ),
    ("source.model.normalisation={mean: [0], std: [0]}", "normalisation.std.0", "greater than 0"),
    ("name=../x", "name", "match pattern"),
]
FIELDS = [Bad(f'run small.yaml --set "{field}"', *words) for field, *words in FIELDS]
FRAGMENTS = [
    Bad("run --with gone.yaml", "--with gone.yaml: cannot be read", "No such file"),
    Bad("search --with own.yaml", "own.yaml: must map paths", "as in downstream", own("[1]")),
    Bad("plan --with own.yaml", "own.yaml: not valid YAML", "line 1", own("a: [1")),
    Bad("status --with own.yaml", "own.yaml: name.x: name", "a single value", own("name.x: 1")),
    Bad("evidence --with own.yaml", "own.yaml: a.b: no field a", "(known: name", own("a.b: 1")),
]
DATA = [
    Bad(f"run small.yaml --data . --set {NPZ}", "own.npz not there", "write arrays train_x"),
    Bad(
        f"run small.yaml --data . --set {NPZ}",
        "own.npz: File is not a zip file",
        "write arrays train_x",
        {"own.npz": "no zip"},
    ),
    Bad(
        f"run small.yaml --data . --set {NPZ}",
        "train_x is float64",
        "not uint8 (N, H, W, 1 or 3)",
        {"own.npz": arrays(np.zeros((8, 8, 8, 1)))},
    ),
    Bad(
        f"search small.yaml --data . --set {NPZ}",
        "labels count from 1000000",
        "count from 0",
        {"own.npz": arrays(y=np.full(8, 10**6))},
    ),
    Bad(
        f"run small.yaml --data . --set {NPZ}",
        "Object arrays cannot be loaded",
        "write arrays train_x",
        {"own.npz": arrays(y=np.array([Runs()] * 8))},
    ),
    Bad(
        f"run small.yaml --data . --set {NPZ}",
        "npz has 3 colour channels, the source mnist-mini has 1",
        "tickets need the same number",
        {"own.npz": arrays(channels=3)},
    ),
    Bad(f"run small.yaml --data . --set {IMAGES}", "own/train not there", "SPLIT/CLASS/FILE"),
    Bad(
        f"run small.yaml --data . --set {IMAGES}",
        "own/val not there",
        "SPLIT/CLASS/FILE",
        {"own/train/cat/1.png": "x"},
    ),
    Bad(
        'run small.yaml --set "downstream.0.dataset={name: imagenet, size: 32}"',
        "imagenet/train not there",
        "get ILSVRC2012",
    ),
    Bad("data --data taken", "data folder taken", "choose another --data", {"taken": "mine"}),
    Bad(f"run small.yaml --data {'x' * 300} --set {NPZ}", "File name too long", "correct --data"),
]
CHECKPOINTS = [
    Bad(f"run small.yaml {LOADED}", "no weights file", "correct path:, or put the file there"),
    Bad(f"run small.yaml {LOADED}", "w.pt", "cut off", {"w.pt": b"PK\x03\x04 cut"}),
    Bad(
        f"run small.yaml {LOADED}",
        "more than tensors",
        "python -m trainables.checkpoints.convert",
        {"w.pt": torch_file({"state_dict": Runs()})},
    ),
    Bad(
        f"run small.yaml {LOADED}",
        "w.pt for resnet8: it does not fit",
        "choose a model",
        {"w.pt": torch_file({"conv1.weight": torch.zeros(1)})},
    ),
    Bad(
        f"run small.yaml --data . --set {WEIGHTS.format('robustness', 'path: w.pt')}",
        "w.pt for resnet8: it does not fit",
        "choose a model",
        {"w.pt": torch_file({"conv1.weight": torch.zeros(1)})},
    ),
    Bad(
        "run small.yaml --data . --set "
        + WEIGHTS.format("state_dict", f"path: w.pt, sha256: '{'a' * 64}'"),
        "w.pt has sha256",
        "correct the study",
        {"w.pt": b"other"},
    ),
    Bad(
        f"run small.yaml --set {WEIGHTS.format('torchvision', 'weights: NOPE')}",
        "torchvision has weights for",
        "choose such a model",
    ),
    Bad(
        f"run small.yaml --set {WEIGHTS.format('safetensors', 'path: w.pt')}",
        "load.format",
        "'torchvision', 'timm', ",
    ),
    Bad(
        f"run small.yaml --set {WEIGHTS.format('state_dict', 'path: ~nobody-here/w')}",
        "path ~nobody-here/w",
        "correct path:",
    ),
]
TRANSFER = next(cell for cell in grid.transfers(studies.validate(studies.parse(SMALL, ""), "")))
DAMAGED = f"results/transfers/{TRANSFER.key}"
STORAGE = [
    *(
        Bad(
            line + " --storage taken",
            "taken: cannot be",
            "choose another --storage",
            {"taken": "x"},
        )
        for line in ("status", "plan --no-measure", "search", "evidence", "simulate --recorded")
    ),
    Bad("run --storage /dev/null", "storage /dev/null", "choose another --storage"),
    Bad(f"run --storage {'x' * 300}", "File name too long", "choose another --storage"),
    Bad(
        "simulate small.yaml --recorded",
        f"{DAMAGED}: result.json is damaged",
        "remove this folder",
        {f"{DAMAGED}/result.json": "{"},
    ),
    Bad(
        "simulate small.yaml --recorded",
        f"{DAMAGED}: result.json is damaged or gone",
        "remove this folder",
        {DAMAGED: None},
    ),
    Bad("evidence", "nothing finished in results", "python -m tuner run quickstart"),
    Bad("simulate --recorded", "no curve of two levels", "run it first"),
]
TRACKING = [
    Bad(
        "run",
        "MLflow at http://127.0.0.1:9: does not answer",
        "set MLFLOW_TRACKING_URI",
        env={"MLFLOW_TRACKING_URI": NOBODY},
    ),
    Bad("run", "MLflow store mlflow.db: is no database", "move it away", {"mlflow.db": "words"}),
    Bad("search", "MLflow store mlflow.db", "set MLFLOW_TRACKING_URI", {"mlflow.db": None}),
    Bad("ui", "MLflow store mlflow.db: is no database", "move it away", {"mlflow.db": "words"}),
    Bad(
        "ui",
        "MLFLOW_TRACKING_URI http://127.0.0.1:9: is a server",
        "open it in a browser",
        env={"MLFLOW_TRACKING_URI": NOBODY},
    ),
    Bad(
        "run",
        "MLflow at nonsense://x",
        "set MLFLOW_TRACKING_URI",
        env={"MLFLOW_TRACKING_URI": "nonsense://me:hidden@x"},
    ),
    Bad(
        "analysis extreme",
        "tracking store http://127.0.0.1:9: cannot be read",
        "",
        env={"MLFLOW_TRACKING_URI": NOBODY},
    ),
]
RESOURCES = [
    Bad("evidence --cpus-per-trial 9999", "--cpus-per-trial 9999: the cluster has", "ask for less"),
    Bad("evidence --gpus-per-trial 9999", "--gpus-per-trial 9999: the cluster has", "ask for less"),
    Bad("search --workers 9999", "--workers 9999: the cluster has", "ask for less"),
    Bad("search --journal absent/x.journal", "--journal absent/x.journal", "make it first"),
    Bad("run --cpus-per-trial 1.5", "--cpus-per-trial 1.5", "only whole numbers"),
    Bad("run --address 127.0.0.1:9", "--address 127.0.0.1:9: nobody listens", "ray start --head"),
    Bad("search --address head:99999", "--address head:99999: nobody listens", "correct it"),
    Bad("evidence --address ray://head:10001", "--address ray://head:10001", "takes HOST:PORT"),
    Bad("run --address local", "--address local: takes HOST:PORT", "or auto"),
    Bad("run", "PRECISION=fp8", "takes float32 or bf16", env={"DOUBLE_WIN_PRECISION": "fp8"}),
    Bad("search", "COMPILE=yes", "takes off, default", env={"DOUBLE_WIN_COMPILE": "yes"}),
]
ARGUMENTS = [
    Bad("run --settle=3", "--settle", "does not take a value"),
    Bad("simulate --runs 5", "--runs", "greater than or equal to 10"),
    Bad("simulate --seed -1", "--seed", "greater than or equal to 0"),
    Bad("simulate --budget x", "--budget", "a valid integer"),
    Bad("evidence --levels 0,x", "--levels 0,x", "as in 0,4,9"),
    Bad("evidence --levels 0 --all", "--levels and --all", "say one of the two"),
    Bad("evidence --points 10", "--points 10", "must be odd"),
    Bad("evidence --points 100001", "--points 100001", "3 to 101"),
    Bad("evidence --images 0", "--images", "greater than or equal to 1"),
    Bad("evidence --reattack -1", "--reattack", "greater than or equal to 0"),
    Bad("evidence --autoattack-images -1", "--autoattack-images", "greater than or equal to 0"),
    Bad("ui --port 99999", "--port", "less than or equal to 65535"),
    Bad("ui --host 0.0.0.0", "No such option: --host", "--port"),
]
QUERIES = [
    ("figure fig9", "'fig9'", "'fig3', 'fig4'"),
    ("figure fig6", "fig6: no evidence yet", "python -m tuner evidence small"),
    ("figure a10 --level 0", "--level", "greater than or equal to 1"),
    ("figure fig3 --level 9", "--level 9", "leave it out for fig3"),
    ("figure fig3 --out small.yaml", "--out small.yaml: cannot be written", "File exists"),
    ("table extrem", "'extrem'", "'extreme', 'levels'"),
    ("table ticks --level 99", "--level 99: no ticket", "there are 1, 9"),
    ("table ticks --sparsity nan", "--sparsity nan", "there are 20.00"),
    ("table extreme --level 9", "--level 9: only ticks takes it", "leave it out"),
    ("table extreme --format xml", "'xml'", "'csv', 'json'"),
    ("report --out report.pdf", "--out report.pdf: is a web page", "must end in .html"),
    ("compare abc abc", "key abc: too short", "write 4 or more"),
    ("compare natural/imp/9", "Missing argument", "b"),
    ("show natural/nope/9", "natural/nope/9: no such ticket", "did you mean"),
    ("show zzzzzz", "key zzzzzz", ""),
    ("trials --group-by teta", "no column teta", "did you mean theta?"),
    ("trials --group-by theta --agg avg", "--agg avg", "there are mean, std"),
    ("trials --where \"theta == 'a' * 1000000000\"", "no arithmetic on 'text'", "compare it"),
    (f"trials --where '{'not ' * 9000}SA'", "longer than 1000 characters", "make it shorter"),
    ("trials --where 'SA[0] > 1'", "Subscript is not allowed", "compare column names"),
    ("extreme --rule best", "'best'", "'one-std', 'non-inferiority'"),
    ("extreme --study ''", "study : not in", "it holds small"),
    ("search", "study small: has no search:", "add one to its YAML"),
    ("collapse --out x.gif", "x.gif", "must end in one of .png"),
    ("curves --tracking-uri sqlite:///gone.db", "there is no such file", "pass --tracking-uri"),
]
QUERIES = [Bad(f"analysis {line}", *words) for line, *words in QUERIES]
NETWORK = "evaluate --weights w.pt --arch resnet8 --dataset digits"
STRANGERS = [
    Bad("evaluate --arch resnet8 --dataset digits", "evaluate: name a STUDY", "--weights"),
    Bad(NETWORK, "no weights file", "put the file there"),
    Bad(NETWORK, "which is not read", "convert", {"w.pt": torch_file({"a": Runs()})}),
    Bad(NETWORK, "does not fit", "choose a model", {"w.pt": torch_file({"a": torch.ones(2)})}),
    Bad(f"{NETWORK} --epsilon 2", "attack: epsilon", "less than or equal to 1"),
    Bad(f"{NETWORK} --norm l1", "attack: norm", "'linf' or 'l2'"),
    Bad(f"{NETWORK} --steps 0", "attack: steps", "greater than or equal to 1"),
    Bad(f"{NETWORK} --mean 0", "--mean and --std", "give both"),
    Bad(f"{NETWORK} --mean 0,0,0 --std 1", "--mean 0,0,0", "one for all"),
    Bad(f"{NETWORK} --model 8", "--model 8", "map fields to values"),
    Bad(f"{NETWORK} --model '{{widht: 8}}'", "network: widht", "unknown field"),
    Bad(f"{NETWORK} --json gone/out.json", "there is no folder gone", "make it first"),
    Bad(f"{NETWORK} --format timm", "format timm: resnet8", "choose timm:NAME"),
    Bad("evaluate --weights w.pt --arch resnet9 --dataset digits", "resnet9", "takes resnet8"),
    Bad("evaluate --weights w.pt --arch resnet8 --dataset gone", "data gone", "none of mnist-mini"),
]
TABLE = [
    *(YAML + FIELDS + FRAGMENTS + DATA + CHECKPOINTS),
    *(STORAGE + TRACKING + RESOURCES + ARGUMENTS + QUERIES + STRANGERS),
]


@pytest.fixture(scope="module")
def uri(tmp_path_factory):
    """A store that holds a finished study `small`."""
    bulk = Bulk(tmp_path_factory.mktemp("store"))
    bulk.add(large_study("small", levels=[0, 1, 9], fractions=[1.0], seeds=[0, 1, 2]))
    return bulk.uri


@pytest.fixture(scope="module")
def cache(tmp_path_factory):
    """Where libraries keep what they may."""
    return str(tmp_path_factory.mktemp("cache"))


def prepare(folder, bad):
    """Puts the row's files into the folder."""
    (folder / "small.yaml").write_text(SMALL)
    for name, content in bad.files.items():
        path = folder / name
        if content is None:
            path.mkdir(parents=True)
            continue
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content if isinstance(content, bytes) else content.encode())


def content(folder):
    """Everything in a folder: name -> digest, or None for a folder."""
    return {
        str(path.relative_to(folder)): None
        if path.is_dir()
        else hashlib.sha256(path.read_bytes()).hexdigest()
        for path in folder.rglob("*")
    }


def assert_refused(bad, code, out, err):
    assert (code, out) == (2, ""), err
    assert err.startswith("error: ") and err.splitlines() == [err.rstrip("\n")]
    assert bad.thing in err and bad.remedy in err
    assert "Traceback" not in err and "hidden" not in err


def command(line):
    """The module and its arguments."""
    first, *rest = shlex.split(line)
    return ("analysis", rest) if first == "analysis" else ("tuner", [first, *rest])


@pytest.mark.parametrize("bad", TABLE, ids=lambda bad: bad.line[:60])
def test_bad_input_is_refused(bad, uri, cache, tmp_path, monkeypatch, capfd):
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    monkeypatch.setenv("XDG_CACHE_HOME", cache)
    for name in (connection, "connect"), (os, "execve"):
        monkeypatch.setattr(*name, lambda *_, **__: pytest.fail("something was started"))
    module, arguments = command(bad.line)
    store = {"MLFLOW_TRACKING_URI": uri} if module == "analysis" else {}
    for name, value in {**store, **bad.env}.items():
        monkeypatch.setenv(name, value)
    prepare(tmp_path, bad)
    before = content(tmp_path)
    if module == "analysis":
        code = analysis(arguments)
    else:
        monkeypatch.setattr(sys, "argv", ["tuner", *arguments])
        with pytest.raises(SystemExit) as ended:
            cli.main()
        code = ended.value.code
    assert_refused(bad, code, *capfd.readouterr())
    assert content(tmp_path) == before


SEPARATE = [YAML[1], DATA[4], CHECKPOINTS[2], STORAGE[3], TRACKING[1], ARGUMENTS[4], QUERIES[3]]


@pytest.mark.parametrize("bad", SEPARATE, ids=lambda bad: bad.line[:60])
def test_bad_input_ends_a_process_with_code_2(bad, uri, cache, tmp_path):
    """As a user runs it: start-up included, and everything that it leaves behind."""
    prepare(tmp_path, bad)
    before = content(tmp_path)
    module, arguments = command(bad.line)
    environment = {**os.environ, "XDG_CACHE_HOME": cache, "PYTHONDONTWRITEBYTECODE": "1"}
    environment |= {"PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"}
    environment.pop("MLFLOW_TRACKING_URI", None)
    if module == "analysis":
        environment["MLFLOW_TRACKING_URI"] = uri
    done = subprocess.run(
        [sys.executable, "-m", module, *arguments],
        capture_output=True,
        text=True,
        cwd=tmp_path,
        env=environment | bad.env,
    )
    assert_refused(bad, done.returncode, done.stdout, done.stderr)
    assert content(tmp_path) == before


def test_the_table_is_large_and_says_each_thing_once():
    rows = [(bad.line, bad.thing) for bad in TABLE]
    assert len(rows) >= 60 and len(set(rows)) == len(rows)
