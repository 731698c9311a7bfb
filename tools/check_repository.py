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
MAX_PARAMETERS = 7
MAX_ROOT_MODULES = 1

PACKAGE = "src/protoanomalyncd/"
PRIVATE_OF_OTHERS = {"_pos_embed", "_mmap", "_version", "_forward_hooks", "_forward_pre_hooks"}
"""Of timm, numpy and torch modules, where they offer nothing public; tests pin what they do."""
WITH_THE_WHOLE_CONFIG = ("config", "pipeline", "estimator", "cli")

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
REVISION = r"[0-9a-f]{7,40}\b"
REVISIONS = re.compile(rf"\brevisions?\s+(?:of\s+)?({REVISION}(?:(?:,|\s+and)\s+{REVISION})*)")
MEASURED = re.compile(r"<!-- measured: (.+?) -->")


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

    def git(self, *arguments: str, given: str | None = None) -> str | None:
        """What a git command prints; None where it fails."""
        done = subprocess.run(
            ["git", *arguments],
            cwd=self.root,
            capture_output=True,
            text=True,
            check=False,
            input=given,
        )
        return done.stdout if done.returncode == 0 else None

    @cached_property
    def has_history(self) -> bool:
        """Whether old revisions can be looked at."""
        return (self.git("rev-parse", "--is-shallow-repository") or "").strip() == "false"

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
    for file, text in _pages(repository):
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


def _pages(repository: Repository) -> Iterator[tuple[str, str]]:
    """(file, text) of README and docs."""
    for file in repository.files:
        if file == "README.md" or (file.startswith("docs/") and file.endswith(".md")):
            yield file, repository.text(file) or ""


def _revisions(text: str) -> Iterator[tuple[int, str]]:
    """(position, revision) of all that a page names."""
    for found in REVISIONS.finditer(text):
        for one in re.finditer(REVISION, found[1]):
            yield found.start(1) + one.start(), one[0]


def known_revisions(repository: Repository) -> Problems:
    """A revision that a page names can be checked out."""
    if not repository.has_history:
        return
    pages = [(file, text, *one) for file, text in _pages(repository) for one in _revisions(text)]
    names = "".join(f"{revision}^{{commit}}\n" for *_, revision in pages)
    answers = (repository.git("cat-file", "--batch-check", given=names) or "").splitlines()
    for (file, text, position, revision), answer in zip(pages, answers, strict=True):
        if answer.endswith((" missing", " ambiguous")):
            line = text.count("\n", 0, position) + 1
            yield Problem(file, line, f"names revision {revision}, which the history lacks")


def outdated_figures(repository: Repository) -> Problems:
    """Figures are those of the code beside them, where a page says which code that is.

    ``<!-- measured: PATH PATH -->`` on a page stands before the revision of the measurement. Text
    that does nothing (comments, docstrings, layout) may change.
    """
    if not repository.has_history:
        return
    for file, text in _pages(repository):
        for found in MEASURED.finditer(text):
            line = text.count("\n", 0, found.start()) + 1
            revision = next((name for at, name in _revisions(text) if at > found.end()), None)
            if revision is None:
                yield Problem(file, line, "expected a revision after this mark, found none")
            elif changed := _changed_since(repository, revision, found[1].split()):
                rule = f"figures of revision {revision}, but {', '.join(changed[:3])}"
                yield Problem(file, line, f"{rule} changed since ({len(changed)}); measure again")


def _changed_since(repository: Repository, revision: str, paths: list[str]) -> list[str]:
    """Files under the paths that do something else now than at a revision."""
    names = repository.git("diff", "--name-only", "--no-renames", revision, "--", *paths) or ""
    changed = []
    for name in names.splitlines():
        old = repository.git("show", f"{revision}:{name}")
        new = repository.text(name) if name in repository.files else None
        if not (name.endswith(".py") and old and new and _meaning(old) == _meaning(new)):
            changed.append(name)
    return changed


def _meaning(text: str) -> str | None:
    """A module without comments, docstrings and layout."""
    tree = _parse(text)
    for node in ast.walk(tree) if tree else ():
        body = getattr(node, "body", None)
        if isinstance(body, list):
            node.body = [  # type: ignore[attr-defined]
                one
                for one in body
                if not (isinstance(one, ast.Expr) and isinstance(one.value, ast.Constant))
            ]
    return ast.dump(tree) if tree else None


def old_figures(repository: Repository) -> Problems:
    """Pages that do not say which code they measured, and how much has changed: a warning only."""
    for file, text in _pages(repository) if repository.has_history else ():
        if MEASURED.search(text):
            continue
        for revision in sorted({name for _, name in _revisions(text)}):
            count = (
                repository.git("rev-list", "--count", f"{revision}..", "--", "src") or ""
            ).strip()
            if count not in ("", "0"):
                commits = f"{count} commit{'s' if count != '1' else ''} to src since"
                yield Problem(file, 0, f"figures of revision {revision}; {commits}")


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


def parameter_counts(repository: Repository) -> Problems:
    """What belongs together travels together."""
    for file, tree in repository.modules("src/"):
        for node in ast.walk(tree):
            if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
                names = [one.arg for one in _parameters(node) if one.arg not in ("self", "cls")]
                if len(names) > MAX_PARAMETERS:
                    rule = f"{node.name}: {len(names)} parameters, expected at most"
                    yield Problem(
                        file, node.lineno, f"{rule} {MAX_PARAMETERS}; make a record of some"
                    )


def _parameters(node: ast.FunctionDef | ast.AsyncFunctionDef) -> list[ast.arg]:
    """All but *args and **kwargs."""
    return [*node.args.posonlyargs, *node.args.args, *node.args.kwonlyargs]


def root_modules(repository: Repository) -> Problems:
    """The package's root holds the facade; all else has a room."""
    found = [file for file, _ in repository.modules(PACKAGE) if file.count("/") == 2]
    own = [file for file in found if not file.endswith(("__init__.py", "__main__.py"))]
    for file in own[MAX_ROOT_MODULES:]:
        yield Problem(file, 0, f"beside {own[0]} at the root of the package; give it a room")


def whole_config(repository: Repository) -> Problems:
    """A function takes the part of the settings that it needs."""
    for file, tree in repository.modules(PACKAGE):
        if _room(file) in WITH_THE_WHOLE_CONFIG:
            continue
        for node in ast.walk(tree):
            if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
                for one in _parameters(node):
                    if one.annotation and re.search(r"\bConfig\b", ast.unparse(one.annotation)):
                        rule = f"{node.name}: {one.arg} is the whole Config; take the part needed"
                        yield Problem(file, node.lineno, rule)


def _room(file: str) -> str:
    """The folder of the library, or of research, in which a module lies; the module at a root."""
    parts = PurePosixPath(file.removeprefix("src/")).with_suffix("").parts
    return parts[1] if file.startswith("src/") else ".".join(parts[:2])


def private_names(repository: Repository) -> Problems:
    """What begins with an underscore is used in its own room only."""
    modules = [*repository.modules(PACKAGE, "research/")]
    own: dict[str, set[str]] = {}
    for file, tree in modules:
        own.setdefault(_room(file), set()).update(_private_definitions(tree))
    for file, tree in modules:
        room = _room(file)
        for node in ast.walk(tree):
            found: list[str] = []
            if isinstance(node, ast.ImportFrom) and node.level == 0:
                module = (node.module or "").split(".")
                home = module[1:2] if module[0] == "protoanomalyncd" else [".".join(module[:2])]
                if home != [room]:
                    found = [*module, *(alias.name for alias in node.names)]
            elif isinstance(node, ast.Attribute) and node.attr not in own[room]:
                found = (
                    [] if _owner(node.value) in ("self", "cls", "super", "torch") else [node.attr]
                )
            for name in found:
                if _private(name) and name not in PRIVATE_OF_OTHERS:
                    rule = f"{name} is private to another package; name it, or move what needs it"
                    yield Problem(file, getattr(node, "lineno", 0), rule)


def _owner(node: ast.expr) -> str:
    """Name at the beginning of ``torch.a.b``; of ``self.a`` nothing, since that is not self."""
    below = node
    while isinstance(below, ast.Attribute):
        below = below.value
    if isinstance(below, ast.Call):
        below = below.func
    name = below.id if isinstance(below, ast.Name) else ""
    return name if name == "torch" or not isinstance(node, ast.Attribute) else ""


def _private(name: str) -> bool:
    return name.startswith("_") and not name.endswith("__") and name != "_"


def _private_definitions(tree: ast.Module) -> Iterator[str]:
    """Private functions, classes, attributes and constants of a module."""
    for node in ast.walk(tree):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
            yield node.name
        elif isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store):
            yield node.id
        elif isinstance(node, ast.Attribute) and isinstance(node.ctx, ast.Store):
            yield node.attr if _owner(node.value) in ("self", "cls") else ""


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
    known_revisions,
    outdated_figures,
    unsafe_loading,
    prints,
    bare_excepts,
    module_lengths,
    function_lengths,
    parameter_counts,
    root_modules,
    whole_config,
    private_names,
    package_docstrings,
)


def main(root: Path) -> int:
    """Print every finding; the exit status says whether there was one."""
    repository = Repository(root)
    problems = [problem for rule in RULES for problem in rule(repository)]
    for problem in problems:
        print(problem)
    for problem in old_figures(repository):
        print(f"warning: {problem}", file=sys.stderr)
    print(
        f"{len(repository.files)} files, {len(RULES)} rules, {len(problems)} problems",
        file=sys.stderr,
    )
    return 1 if problems else 0


if __name__ == "__main__":
    sys.exit(main(Path(sys.argv[1]) if len(sys.argv) > 1 else Path(__file__).resolve().parents[1]))
