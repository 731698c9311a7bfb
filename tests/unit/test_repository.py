"""tools/check_repository.py: each rule fires on a small made-up tree, and none on this repository.

What a rule forbids is put together from pieces here, because the rules read this file too.
"""

from __future__ import annotations

import re
import subprocess
import tomllib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import check_repository as house
import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

MODULE = "src/protoanomalyncd/maps.py"
VIT = "src/protoanomalyncd/vit/a.py"
FIELDS = "".join(f"    {name}: int\n" for name in "abcdefghi")
MEGABYTE = 1_000_000

Tree = Callable[..., house.Repository]


@pytest.fixture
def tree(tmp_path: Path) -> Tree:
    """Function that writes files (text, or a size in bytes) and returns their repository."""

    def write(files: dict[str, str | int]) -> house.Repository:
        for name, content in files.items():
            path = tmp_path / name
            path.parent.mkdir(parents=True, exist_ok=True)
            if isinstance(content, int):
                with path.open("wb") as stream:
                    stream.truncate(content)
            else:
                path.write_text(content, encoding="utf-8")
        return house.Repository(tmp_path)

    return write


def lines(count: int) -> str:
    return "x = 1\n" * count


def function(count: int) -> str:
    """A function of so many lines, its `def` included."""
    return "def f():\n" + "    x = 1\n" * (count - 1)


TABLE = "| data | NMI | ARI |\n|---|---|---|\n| a | .41 | 0.32 |\n| b | **.52** | 0.40 ± 0.01 |\n"

# rule, file, content that it refuses, part of the message
FIRES: list[tuple[Any, str, str | int, str]] = [
    (house.lock_files, "uv.lock", "", "addresses"),
    (house.lock_files, "web/package-lock.json", "", "addresses"),
    (house.lock_files, "pylock.toml", "", "addresses"),
    (house.file_sizes, "src/big.json", MEGABYTE + 1, "1.0 MB, expected at most 1 MB"),
    (house.file_sizes, "docs/report.png", 1_600_000, "1.6 MB, expected at most 1.5 MB"),
    (house.file_sizes, "docs/report.html", 1_200_000, "expected at most 1 MB"),
    (house.weights_size, house.WEIGHTS + "a.safetensors", 17 * MEGABYTE, "17.0 MB together"),
    (house.data_files, "tests/data/exp1_num_1.jpg", 10, "generate it"),
    (house.data_files, "tests/unit/map.npy", 10, "generate it"),
    (house.data_files, "src/mask.PNG", 10, "generate it"),
    (house.registry_hosts, "Makefile", "a:\n\tb https://py" + "pi.org/simple\n", "registry"),
    (house.registry_hosts, "README.md", "from Download.Py" + "Torch.org/whl\n", "registry"),
    (house.registry_hosts, "requirements.lock", "--index" + "-url https://a.b\n", "pip's"),
    (house.registry_hosts, "requirements.lock", "--find" + "-links wheels\n", "pip's"),
    (house.unfinished, MODULE, "x = 1  # TO" + "DO: more\n", "open an issue"),
    (house.unfinished, "docs/a.md", "FIX" + "ME\n", "open an issue"),
    (house.machine_paths, MODULE, "p = '/wo" + "rk/shared'\n", "/wo" + "rk/"),
    (house.machine_paths, "Makefile", "a:\n\tls /ro" + "ot/x\n", "/ro" + "ot/"),
    (house.machine_paths, "docs/a.md", "`/ho" + "me/anna/data`\n", "/ho" + "me/anna"),
    (house.workplace_words, "README.md", "Made by Clau" + "de.\n", "workplace"),
    (house.workplace_words, "CHANGELOG.md", "In this ses" + "sion: more.\n", "workplace"),
    (house.docs_figures, "docs/mtd.md", f"# MTD\n\n{TABLE}", "without the command"),
    (house.docs_figures, "README.md", TABLE, "without the command"),
    (house.docs_figures, "docs/a.md", f"```\nx = 1\n```\n\n{TABLE}", "without the command"),
    (house.unsafe_loading, MODULE, "import pick" + "le\n", "run code"),
    (house.unsafe_loading, "tests/a.py", "from job" + "lib import load\n", "run code"),
    (
        house.unsafe_loading,
        "research/pretraining/a.py",
        "x = torch.lo" + "ad('a.pt')\n",
        "torch.load",
    ),
    (
        house.unsafe_loading,
        "research/benchmarks/a.py",
        "np.load(p, allow_pick" + "le=True)\n",
        "run code",
    ),
    (house.prints, MODULE, "print('x')\n", "print in the library"),
    (house.bare_excepts, "tools/a.py", "try:\n    x = 1\nexcept:\n    pass\n", "name the"),
    (house.module_lengths, MODULE, lines(401), "401 lines, expected at most 400"),
    (house.function_lengths, MODULE, function(61), "f: 61 lines, expected at most 60"),
    (house.function_lengths, MODULE, "class A:\n async " + function(61)[:-1], "f: 61 lines"),
    (house.parameter_counts, MODULE, "def f(a, b, c, d, e, f, g, *, h): ...\n", "f: 8 parameters"),
    (
        house.parameter_counts,
        MODULE,
        "class A:\n    def __init__(self, a, b, c, d, e, f, g, h): ...\n",
        "__init__: 8 parameters, expected at most 7",
    ),
    (house.whole_config, VIT, "def f(a: int, c: Config | None): ...\n", "f: c is the whole Config"),
    (house.whole_config, VIT, "def f(*, c: 'config.Config'): ...\n", "c is the whole Config"),
    (house.private_names, VIT, "def f(model): return model._head\n", "_head is private to"),
    (house.private_names, VIT, "class A:\n    def f(self): return self.x._head\n", "_head is"),
    (house.private_names, VIT, "from protoanomalyncd.regions.crops import _cut\n", "_cut is"),
    (house.private_names, VIT, "from protoanomalyncd.regions._crops import cut\n", "_crops is"),
    (house.private_names, "research/benchmarks/a.py", "fit(x)._source.y\n", "_source is"),
    (
        house.private_names,
        "research/benchmarks/a.py",
        "from research.studies.b import _c\n",
        "_c is private",
    ),
    (house.package_docstrings, "src/protoanomalyncd/maps/base.py", "x = 1\n", "missing"),
    (house.package_docstrings, "src/protoanomalyncd/__init__.py", "x = 1\n", "no docstring"),
]

# rule, file, content that it lets pass
SILENT: list[tuple[Any, str, str | int]] = [
    (house.lock_files, "requirements.lock", "numpy==2.0.0\n"),
    (house.file_sizes, "src/small.json", MEGABYTE),
    (house.file_sizes, "docs/report.png", 1_400_000),
    (house.file_sizes, house.WEIGHTS + "a.safetensors", 12 * MEGABYTE),
    (house.weights_size, house.WEIGHTS + "a.safetensors", 16 * MEGABYTE),
    (house.data_files, "docs/report.png", 10),
    (house.data_files, "tests/golden/mebin.npz", 10),
    (house.registry_hosts, "LICENSE", "http://www.apache.org/licenses/\n"),
    (house.unfinished, MODULE, "method = todo_list  # hacksaw\n"),
    (house.machine_paths, "Makefile", "SHARED ?= ../wo" + "rk/data\nb = $(HOME)/ro" + "ot/x\n"),
    (house.machine_paths, "docs/a.md", "`/ho" + "me/<user>` and https://a.b/wo" + "rk/c\n"),
    (house.workplace_words, MODULE, "session = onnxruntime.InferenceSession(path)\n"),
    (house.docs_figures, "docs/mtd.md", f"```\nmake bench-mtd\n```\n\n{TABLE}"),
    (house.docs_figures, "docs/parts.md", "| 1 | patch memory |\n|---|---|\n| 2 | folder |\n"),
    (house.docs_figures, "src/a.md", TABLE),
    (house.unsafe_loading, MODULE, "import json\nnp.load(p, allow_pick" + "le=False)\n"),
    (house.prints, "research/benchmarks/a.py", "print('x')\n"),
    (house.prints, MODULE, "console.print('x')\n"),
    (house.bare_excepts, MODULE, "try:\n    x = 1\nexcept OSError:\n    pass\n"),
    (house.module_lengths, MODULE, lines(400)),
    (house.module_lengths, "tests/a.py", lines(900)),
    (house.function_lengths, MODULE, function(60)),
    (house.parameter_counts, MODULE, "def f(self, a, b, c, d, e, f, g, *h, **i): ...\n"),
    (house.parameter_counts, MODULE, "@dataclass\nclass A:\n" + FIELDS),
    (house.parameter_counts, "research/a.py", "def f(a, b, c, d, e, f, g, h): ...\n"),
    (house.root_modules, "src/protoanomalyncd/estimator.py", ""),
    (house.whole_config, VIT, "def f(c: EmbeddingConfig, d: ConfigLike) -> Config: ...\n"),
    (house.whole_config, "src/protoanomalyncd/pipeline/fit.py", "def f(c: Config): ...\n"),
    (house.whole_config, "src/protoanomalyncd/estimator.py", "def f(c: Config): ...\n"),
    (house.private_names, VIT, "def f(x):\n    for _ in x.__dict__: x._pos_embed()\n"),
    (house.private_names, VIT, "torch.ops.mkldnn._linear_pointwise(x)\nsuper()._a()\n"),
    (house.private_names, VIT, "class A:\n    def f(self, b):\n        self._x = b._x\n"),
    (house.private_names, VIT, "from protoanomalyncd.vit.base import _a\n"),
    (house.private_names, "tests/a.py", "x._y\n"),
    (house.package_docstrings, "src/protoanomalyncd/__init__.py", '"""What it is."""\n'),
]


def case(value: Any) -> str:
    return getattr(value, "__name__", "")


@pytest.mark.parametrize(("rule", "file", "content", "message"), FIRES, ids=case)
def test_the_rule_fires(tree: Tree, rule: Any, file: str, content: str | int, message: str) -> None:
    problems = [str(problem) for problem in rule(tree({file: content}))]
    assert len(problems) == 1
    assert problems[0].startswith((f"{file}:", file.rpartition("/")[0]))
    assert message in problems[0]
    assert "\n" not in problems[0]


@pytest.mark.parametrize(("rule", "file", "content"), SILENT, ids=case)
def test_the_rule_lets_pass(tree: Tree, rule: Any, file: str, content: str | int) -> None:
    assert list(rule(tree({file: content}))) == []


def test_required_files_are_named_one_by_one(tree: Tree) -> None:
    present = tree(dict.fromkeys(house.REQUIRED[1:], ""))
    assert [str(problem) for problem in house.required_files(present)] == [
        f"{house.REQUIRED[0]}: missing"
    ]


def test_weights_count_together(tree: Tree) -> None:
    files: dict[str, str | int] = {house.WEIGHTS + name: 9 * MEGABYTE for name in "ab"}
    assert len(list(house.weights_size(tree(files)))) == 1


def test_one_module_stands_at_the_root_of_the_package(tree: Tree) -> None:
    names = ("__init__.py", "__main__.py", "estimator.py", "fitting.py", "vit/a.py")
    problems = list(house.root_modules(tree({house.PACKAGE + name: "" for name in names})))
    assert [problem.file for problem in problems] == ["src/protoanomalyncd/fitting.py"]


@pytest.fixture
def commit(tree: Tree, tmp_path: Path) -> Callable[..., str]:
    """Function that writes files, commits them and returns the revision."""

    def git(*arguments: str) -> str:
        who = ("-c", "user.name=a", "-c", "user.email=a@b.c")
        command = ["git", "-C", str(tmp_path), *who, *arguments]
        return subprocess.run(command, capture_output=True, text=True, check=True).stdout.strip()

    def write(files: dict[str, str | int]) -> str:
        tree(files)
        git("init", "-q")
        git("add", "-A")
        git("commit", "-qm", "a")
        return git("rev-parse", "--short=7", "HEAD")

    return write


def test_a_revision_on_a_page_must_exist(commit: Callable[..., str], tree: Tree) -> None:
    real = commit({"src/a.py": "x = 1\n"})
    repository = tree({"docs/a.md": f"One.\nAt revisions {real} and 0123456; a revision.\n"})
    assert [str(p) for p in house.known_revisions(repository)] == [
        "docs/a.md:2: names revision 0123456, which the history lacks"
    ]


def test_figures_older_than_their_code_are_found(commit: Callable[..., str], tree: Tree) -> None:
    code = '"""A."""\n\ndef f():\n    return 1\n'
    real = commit({"src/vit/a.py": code, "src/other.py": "x = 1\n"})
    page = f"<!-- measured: src/vit -->\nMeasured at revision {real}.\n"
    tree({"docs/a.md": page, "docs/b.md": f"Measured at revision {real}.\n"})
    assert list(house.outdated_figures(tree({"src/other.py": "x = 2\n"}))) == []
    same = code.replace("A.", "B.").replace("return 1", "return (1)  # one")
    assert list(house.outdated_figures(tree({"src/vit/a.py": same}))) == []
    (problem,) = house.outdated_figures(tree({"src/vit/a.py": code.replace("1", "2")}))
    assert str(problem) == (
        f"docs/a.md:1: figures of revision {real}, but src/vit/a.py changed since (1); "
        "measure again"
    )
    commit({})
    (warning,) = house.old_figures(house.Repository(tree({}).root))
    assert str(warning) == f"docs/b.md: figures of revision {real}; 1 commit to src since"


def test_a_page_that_names_its_code_names_a_revision(
    commit: Callable[..., str], tree: Tree
) -> None:
    commit({"src/a.py": ""})
    (problem,) = house.outdated_figures(tree({"docs/a.md": "<!-- measured: src -->\nFigures.\n"}))
    assert "expected a revision after this mark" in str(problem)


def test_without_history_no_revision_is_looked_up(tree: Tree) -> None:
    page = "<!-- measured: src -->\nMeasured at revision 0123456.\n"
    repository = tree({"docs/a.md": page})
    assert not [*house.known_revisions(repository), *house.outdated_figures(repository)]
    assert list(house.old_figures(repository)) == []


def test_every_rule_has_a_tree_on_which_it_fires() -> None:
    fired = {rule for rule, *_ in FIRES} | {house.required_files, house.root_modules}
    fired |= {house.known_revisions, house.outdated_figures}
    assert fired == set(house.RULES)


def test_a_problem_names_file_and_line(tree: Tree) -> None:
    (problem,) = house.unfinished(tree({"a.txt": "one\ntwo HA" + "CK\n"}))
    assert str(problem).startswith("a.txt:2: ")


def test_binary_files_and_broken_python_are_left_alone(tree: Tree, tmp_path: Path) -> None:
    (tmp_path / "a.bin").write_bytes(b"\xff\xfe\x00/ro" + b"ot/")
    repository = tree({"src/a.py": "def broken(:\n"})
    assert list(house.machine_paths(repository)) == []
    assert list(house.prints(repository)) == []


def test_what_git_ignores_is_not_read(tree: Tree, tmp_path: Path) -> None:
    subprocess.run(["git", "init", "-q", str(tmp_path)], check=True)
    repository = tree({".gitignore": "build/\n", "build/uv.lock": "", "kept.txt": ""})
    assert repository.files == (".gitignore", "kept.txt")


def test_the_command_lists_findings_and_fails(
    tree: Tree, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    tree({"uv.lock": ""})
    assert house.main(tmp_path) == 1
    assert "uv.lock: a lock that records" in capsys.readouterr().out


def test_the_command_is_content_with_an_empty_house(tree: Tree, tmp_path: Path) -> None:
    tree(dict.fromkeys(house.REQUIRED, ""))
    assert house.main(tmp_path) == 0


@pytest.mark.parametrize("rule", house.RULES, ids=case)
def test_this_repository_keeps_the_rule(rule: Any, repository: Path) -> None:
    assert [str(problem) for problem in rule(house.Repository(repository))] == []


def locked(repository: Path) -> dict[str, str]:
    """Package -> version in requirements.lock."""
    text = (repository / "requirements.lock").read_text()
    return dict(re.findall(r"(?m)^([a-z0-9-]+)==(\S+) \\$", text))


def test_the_lock_holds_what_the_package_and_its_build_ask_for(repository: Path) -> None:
    settings = tomllib.loads((repository / "pyproject.toml").read_text())
    project = settings["project"]
    extras = project["optional-dependencies"]
    own, other = f"{project['name']}[", [*extras["dev"]]
    for names in (r.removeprefix(own).rstrip("]") for r in extras["dev"] if r.startswith(own)):
        other += [r for name in names.split(",") for r in extras[name]]
    wanted = [
        *project["dependencies"],
        *(r for r in other if not r.startswith(own)),
        *settings["build-system"]["requires"],
    ]
    pinned = locked(repository)
    for requirement in map(Requirement, wanted):
        version = pinned[canonicalize_name(requirement.name)]
        assert requirement.specifier.contains(version), (
            f"{requirement}, locked {version}: make lock"
        )


def test_every_line_of_the_lock_is_a_pin_a_hash_or_a_comment(repository: Path) -> None:
    allowed = re.compile(r"[a-z0-9-]+==\S+ \\|    --hash=sha256:[0-9a-f]{64}(?: \\)?|#.*|")
    for line in (repository / "requirements.lock").read_text().split("\n"):
        assert allowed.fullmatch(line), line
