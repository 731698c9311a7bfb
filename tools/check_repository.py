"""The rules of the house that no linter knows, checked over every file of the repository.

    python tools/check_repository.py [ROOT]

Each rule is one function that yields a `Problem` a finding; `RULES` lists them. Exit status 1 and
one line a finding, ``file:line: rule``, where something slips. Files that git ignores are not read.
"""

from __future__ import annotations

import ast
import re
import subprocess
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path, PurePosixPath

MEGABYTE = 1_000_000
MAX_FILE = 1 * MEGABYTE
MAX_DOCS_IMAGE = 1.5 * MEGABYTE
MAX_WEIGHTS = 16 * MEGABYTE
MAX_MODULE_LINES = 400
MAX_FUNCTION_LINES = 60

WEIGHTS = "src/protoanomalyncd/vit/weights/"
PYTHON_FOLDERS = ("src/", "research/", "tests/", "tools/")
PICTURES = (".png", ".jpg", ".jpeg", ".webp", ".gif", ".svg")
DATA = (".png", ".jpg", ".jpeg", ".bmp", ".tif", ".tiff", ".npy", ".npz")
DATA_FOLDERS = ("docs/", "tests/golden/")

REQUIRED = (
    ".ci/run",
    "CHANGELOG.md",
    "CITATION.cff",
    "CONTRIBUTING.md",
    "LICENSE",
    "Makefile",
    "NOTICE",
    "README.md",
    "requirements.lock",
)
LOCKS_WITH_ADDRESSES = (
    "Pipfile.lock",
    "package-lock.json",
    "pnpm-lock.yaml",
    "poetry.lock",
    "pylock.toml",
    "uv.lock",
    "yarn.lock",
)

# Put together from pieces, so that this file passes its own rules.
REGISTRIES = tuple(
    ".".join(pieces)
    for pieces in (
        ("pypi", "org"),
        ("pythonhosted", "org"),
        ("pypi", "nvidia", "com"),
        ("download", "pytorch", "org"),
        ("anaconda", "org"),
        ("npmjs", "org"),
        ("npmjs", "com"),
        ("yarnpkg", "com"),
        ("crates", "io"),
        ("rubygems", "org"),
        ("proxy", "golang", "org"),
    )
)
INDEX_OPTION = re.compile(r"--(?:extra-)?index-" + r"url\b|--find-" + r"links\b")
UNFINISHED = re.compile(r"\b(?:TO" + r"DO|FIX" + r"ME|XX" + r"X|HA" + r"CK)\b")
MACHINE_PATH = re.compile(r"(?<![\w.~/$})-])/(?:work|root)/|(?<![\w.~/$})-])/home/[a-z]\w*")
WORKPLACE = re.compile(
    r"\b(?:clau" + r"de|anthro" + r"pic|chat" + r"gpt|as an a" + r"i|a" + r"i agent|"
    r"(?:this|previous|next|earlier) ses" + r"sion|context win" + r"dow|issues sh" + r"ow)\b",
    re.IGNORECASE,
)
UNSAFE_MODULES = {"pickle", "cPickle", "dill", "cloudpickle", "joblib", "shelve", "marshal"}
UNSAFE_CALLS = {"torch.load", "torch.save"}

NUMBER = re.compile(
    r"[*_`]*[-+]?\d[\d,]*(?:\.\d+)?(?: ?(?:±|\+/-) ?[\d.]+)?[*_`]* ?%?|[*_`]*[-+]?\.\d+.*"
)
MIN_NUMBERS_OF_A_TABLE = 4
COMMAND = re.compile(r"^\s*(?:\$ )?(?:make|python3?|protoanomalyncd|\.venv/bin/\w+) ", re.MULTILINE)
FENCE = re.compile(r"^```.*?$(.*?)^```", re.MULTILINE | re.DOTALL)


@dataclass(frozen=True)
class Problem:
    """One finding: `line` is 0 where the whole file is meant."""

    file: str
    line: int
    rule: str

    def __str__(self) -> str:
        return f"{self.file}:{self.line}: {self.rule}" if self.line else f"{self.file}: {self.rule}"


Problems = Iterator[Problem]


class Repository:
    """The files under `root` that git does not ignore, each read at most once."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self._texts: dict[str, str | None] = {}
        self._trees: dict[str, ast.Module | None] = {}

    @cached_property
    def files(self) -> tuple[str, ...]:
        """Paths relative to the root, with forward slashes, sorted."""
        if (self.root / ".git").exists():
            command = ["git", "ls-files", "--cached", "--others", "--exclude-standard", "-z"]
            done = subprocess.run(
                command, cwd=self.root, capture_output=True, text=True, check=True
            )
            names = {name for name in done.stdout.split("\0") if (self.root / name).is_file()}
        else:
            paths = (path for path in self.root.rglob("*") if path.is_file())
            names = {path.relative_to(self.root).as_posix() for path in paths}
        return tuple(sorted(names))

    def size(self, file: str) -> int:
        """Bytes."""
        return (self.root / file).stat().st_size

    def text(self, file: str) -> str | None:
        """The file's text; None where it is no UTF-8."""
        if file not in self._texts:
            try:
                self._texts[file] = (self.root / file).read_text(encoding="utf-8")
            except UnicodeDecodeError:
                self._texts[file] = None
        return self._texts[file]

    def lines(self) -> Iterator[tuple[str, int, str]]:
        """(file, number, line) of all text."""
        for file in self.files:
            for number, line in enumerate((self.text(file) or "").split("\n"), 1):
                yield file, number, line

    def modules(self, *folders: str) -> Iterator[tuple[str, ast.Module]]:
        """(file, syntax tree) of the Python files under the folders."""
        for file in self.files:
            if file.endswith(".py") and file.startswith(folders):
                if file not in self._trees:
                    self._trees[file] = _parse(self.text(file) or "")
                tree = self._trees[file]
                if tree is not None:
                    yield file, tree


def _parse(text: str) -> ast.Module | None:
    try:
        return ast.parse(text)
    except SyntaxError:  # ruff reports it
        return None


# --- what is there --------------------------------------------------------------------------------


def required_files(repository: Repository) -> Problems:
    """A newcomer finds the usual papers."""
    for file in REQUIRED:
        if file not in repository.files:
            yield Problem(file, 0, "missing")


def lock_files(repository: Repository) -> Problems:
    """Only locks without download addresses."""
    for file in repository.files:
        if PurePosixPath(file).name in LOCKS_WITH_ADDRESSES:
            yield Problem(
                file, 0, "a lock that records download addresses; `make lock` writes one without"
            )


def file_sizes(repository: Repository) -> Problems:
    """Large files are the embedded weights; pictures in docs may be a little larger."""
    for file in repository.files:
        if file.startswith(WEIGHTS):
            continue
        picture = file.startswith("docs/") and file.endswith(PICTURES)
        limit = MAX_DOCS_IMAGE if picture else MAX_FILE
        if (size := repository.size(file)) > limit:
            yield Problem(
                file, 0, f"{size / MEGABYTE:.1f} MB, expected at most {limit / MEGABYTE:g} MB"
            )


def weights_size(repository: Repository) -> Problems:
    """The embedded weights keep the package small."""
    size = sum(repository.size(file) for file in repository.files if file.startswith(WEIGHTS))
    if size > MAX_WEIGHTS:
        limit = MAX_WEIGHTS / MEGABYTE
        yield Problem(
            WEIGHTS, 0, f"{size / MEGABYTE:.1f} MB together, expected at most {limit:g} MB"
        )


def data_files(repository: Repository) -> Problems:
    """Images, masks and maps of data sets are not ours to pass on."""
    for file in repository.files:
        if file.lower().endswith(DATA) and not file.startswith(DATA_FOLDERS):
            yield Problem(
                file, 0, "an image or array outside docs/ and tests/golden/; generate it instead"
            )


# --- what is written ------------------------------------------------------------------------------


def registry_hosts(repository: Repository) -> Problems:
    """No file says where packages come from: that is the machine's choice."""
    for file, number, line in repository.lines():
        if INDEX_OPTION.search(line):
            yield Problem(
                file, number, "an option that names a package index; leave that to pip's settings"
            )
        elif any(host in line.lower() for host in REGISTRIES):
            yield Problem(file, number, "the host of a package registry; say it in words")


def unfinished(repository: Repository) -> Problems:
    """What is open is in the issues."""
    for file, number, line in repository.lines():
        if found := UNFINISHED.search(line):
            yield Problem(file, number, f"{found[0]}: do it, or open an issue")


def machine_paths(repository: Repository) -> Problems:
    """Paths of one machine mean nothing on another."""
    for file, number, line in repository.lines():
        if found := MACHINE_PATH.search(line):
            yield Problem(file, number, f"a path of one machine: {found[0]}")


def workplace_words(repository: Repository) -> Problems:
    """The repository is about the product, not about how it was made."""
    for file, number, line in repository.lines():
        if found := WORKPLACE.search(line):
            yield Problem(file, number, f"speaks of a workplace, not of the product: {found[0]!r}")


def docs_figures(repository: Repository) -> Problems:
    """A table of figures in README or docs stands beside the command that made it."""
    for file in repository.files:
        if not (file == "README.md" or (file.startswith("docs/") and file.endswith(".md"))):
            continue
        text = repository.text(file) or ""
        if any(COMMAND.search(block) for block in FENCE.findall(text)):
            continue
        for number in _tables_of_numbers(text):
            yield Problem(
                file, number, "a table of figures without the command that makes it (``` block)"
            )


def _tables_of_numbers(text: str) -> Iterator[int]:
    """First line's number of every table in which enough cells are bare numbers."""
    start, count = 0, 0
    for number, line in enumerate([*text.split("\n"), ""], 1):
        if line.lstrip().startswith("|"):
            start = start or number
            count += sum(bool(NUMBER.fullmatch(cell.strip())) for cell in line.split("|"))
            continue
        if count >= MIN_NUMBERS_OF_A_TABLE:
            yield start
        start, count = 0, 0


# --- the Python files -----------------------------------------------------------------------------


def unsafe_loading(repository: Repository) -> Problems:
    """Nothing that runs code from a data file: safetensors, JSON, plain arrays."""
    for file, tree in repository.modules(*PYTHON_FOLDERS):
        for node in ast.walk(tree):
            if found := _unsafe(node):
                yield Problem(
                    file,
                    getattr(node, "lineno", 0),
                    f"{found} can run code from a file; use safetensors or JSON",
                )


def _unsafe(node: ast.AST) -> str | None:
    """Name of what is unsafe in one node."""
    if isinstance(node, ast.Import):
        names = [alias.name for alias in node.names]
    elif isinstance(node, ast.ImportFrom):
        names = [node.module or ""]
    elif isinstance(node, ast.Call):
        allowed = any(
            word.arg == "allow_pickle"
            and not (isinstance(word.value, ast.Constant) and word.value.value is False)
            for word in node.keywords
        )
        called = ast.unparse(node.func)
        return "allow_pickle" if allowed else called if called in UNSAFE_CALLS else None
    else:
        return None
    return next((name for name in names if name.split(".")[0] in UNSAFE_MODULES), None)


def prints(repository: Repository) -> Problems:
    """The library logs; only the command line speaks, through rich."""
    for file, tree in repository.modules("src/"):
        for node in ast.walk(tree):
            if (
                isinstance(node, ast.Call)
                and isinstance(node.func, ast.Name)
                and node.func.id == "print"
            ):
                yield Problem(file, node.lineno, "print in the library; log it, or return it")


def bare_excepts(repository: Repository) -> Problems:
    """A handler names what it handles."""
    for file, tree in repository.modules(*PYTHON_FOLDERS):
        for node in ast.walk(tree):
            if isinstance(node, ast.ExceptHandler) and node.type is None:
                yield Problem(file, node.lineno, "bare except; name the exception")


def module_lengths(repository: Repository) -> Problems:
    """A module fits into a head."""
    for file, _ in repository.modules("src/"):
        count = len((repository.text(file) or "").splitlines())
        if count > MAX_MODULE_LINES:
            yield Problem(
                file, 0, f"{count} lines, expected at most {MAX_MODULE_LINES}; split the module"
            )


def function_lengths(repository: Repository) -> Problems:
    """A function fits on a screen."""
    for file, tree in repository.modules("src/"):
        for node in ast.walk(tree):
            if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
                count = (node.end_lineno or node.lineno) - node.lineno + 1
                if count > MAX_FUNCTION_LINES:
                    rule = f"{node.name}: {count} lines, expected at most {MAX_FUNCTION_LINES}"
                    yield Problem(file, node.lineno, f"{rule}; split the function")


def package_docstrings(repository: Repository) -> Problems:
    """Each room introduces itself in its `__init__`."""
    modules = dict(repository.modules("src/"))
    for folder in sorted({str(PurePosixPath(file).parent) for file in modules} - {"src"}):
        init = f"{folder}/__init__.py"
        if init not in modules:
            yield Problem(init, 0, "missing; each package introduces itself there")
        elif not ast.get_docstring(modules[init]):
            yield Problem(init, 1, "no docstring; say what the package is for")


RULES: tuple[Callable[[Repository], Problems], ...] = (
    required_files,
    lock_files,
    file_sizes,
    weights_size,
    data_files,
    registry_hosts,
    unfinished,
    machine_paths,
    workplace_words,
    docs_figures,
    unsafe_loading,
    prints,
    bare_excepts,
    module_lengths,
    function_lengths,
    package_docstrings,
)


def main(root: Path) -> int:
    """Print every finding; the exit status says whether there was one."""
    repository = Repository(root)
    problems = [problem for rule in RULES for problem in rule(repository)]
    for problem in problems:
        print(problem)
    print(
        f"{len(repository.files)} files, {len(RULES)} rules, {len(problems)} problems",
        file=sys.stderr,
    )
    return 1 if problems else 0


if __name__ == "__main__":
    sys.exit(main(Path(sys.argv[1]) if len(sys.argv) > 1 else Path(__file__).resolve().parents[1]))
