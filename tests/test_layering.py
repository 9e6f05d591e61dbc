"""The arrows between the rooms of the package go down only, families stand alone, and heavy packages load lazily.

``python tests/test_layering.py`` prints the rules: who may import whom, and the exemptions.
"""

import ast
import re
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import pytest

from rclicks.registry import Registry
from support import REPOSITORY

PACKAGE = REPOSITORY / "rclicks"
CATALOGUE = ("adapters", "datasets")
MOST_LINES = 450

# Who may import whom. A room is a folder with Python files, or one of the modules at the top that know rooms. Every
# room may import the nouns, which are the other modules at the top, and nouns import nouns only.
TOOLKITS = ("models.early_fusion", "models.promptable", "models.seeded", "models.slicewise")
ALLOWED: dict[str, set[str]] = {
    "metrics": set(),
    "metrics.raters": {"metrics"},
    "data": {"metrics"},
    "data.multirater": {"data"},
    "records": {"data", "metrics.raters"},
    "human_clicks": {"data"},
    "models": set(),
    **{toolkit: {"models"} for toolkit in TOOLKITS},
    "training": {"data", "metrics", "models"},
    "clickability.networks": {"models"},
    # A module of a click model holds its cards and its hooks; `train` imports the training inside the function.
    "clickability": {"clickability.networks", "clickability.training", "human_clicks", "metrics", "models", "training"},
    "clickability.training": {"clickability", "clickability.networks", "human_clicks", "models", "training"},
    "users": {"clickability", "human_clicks", "metrics"},
    "registry": {"clickability", "data", "models", "users"},  # their contracts, inside a function
    "benchmark": {"metrics.raters", "registry"},
    "engine": {
        *(
            "benchmark",
            "clickability",
            "data",
            "metrics",
            "metrics.raters",
            "models",
            "records",
            "registry",
            "training",
        ),
        "users",
    },
    "analysis": {"metrics", "metrics.raters", "records", "registry"},
    "reports": {"analysis", "clickability", "human_clicks", "metrics", "records"},
    "supervoxels": {"data", "engine", "metrics", "models", "registry"},
    "demo": {"data", "data.multirater", "engine", "metrics", "metrics.raters", "models", "registry", "users"},
    "conformance": {"benchmark", "clickability", "data", "engine", "metrics", "models", "registry", "users"},
    "api": {"benchmark", "data", "engine", "models", "records", "registry", "training"},
}
ALLOWED["cli"] = {*ALLOWED} - {"conformance"}
FAMILY = {
    *(
        "clickability",
        "data",
        "data.multirater",
        "human_clicks",
        "metrics",
        "metrics.raters",
        "models",
        "training",
        "users",
    ),
    *TOOLKITS,
}

# Names of families stand in no code of the package, with these exemptions.
SAME_TOOL = "the command for supervoxels, whose published tool consists of these two networks"
NAMED: dict[str, tuple[set[str], str]] = {
    "supervoxels/segment_anything.py": ({"sam", "sam2", "sam2_video"}, SAME_TOOL),
    "cli/supervoxels.py": ({"sam", "sam2"}, SAME_TOOL),
    "cli/subcommands.py": ({"sam", "sam2"}, SAME_TOOL),
    "models/promptable/networks.py": ({"sam"}, "class names of the package segment_anything"),
    "models/promptable/predictor.py": ({"sam"}, "SamModel, the base of all models of that architecture"),
    "metrics/raters/published.py": ({"aespa"}, "a published convention of evaluation that bears the name of its paper"),
    "engine/provenance.py": ({"medsam", "nninteractive", "sam2"}, "names of installed packages, for their versions"),
}

HEAVY = {
    *("torch", "torchvision", "segment_anything", "sam2", "timm", "hydra", "monai", "dynamic_network_architectures"),
    *("nnInteractive", "mmseg", "mmcv", "maxflow", "pycocotools", "matplotlib", "gradio", "httpx"),
    *("nibabel", "SimpleITK", "pydicom", "cc3d"),
}
# Modules that may load heavy packages when they are imported, because all who import them do so inside a function:
# these, and all modules of a family folder but its __init__.py.
LOADS_HEAVY = ("clickability.networks", "clickability.training", "demo._page", "models.layers", "models.promptable")


@dataclass(frozen=True)
class Import:
    """An imported module or name, such as ``rclicks.models.contract``."""

    name: str
    typing: bool = False
    top: bool = False


@cache
def modules() -> dict[str, Path]:
    """Return the modules of the package and of all families: dotted name -> file."""
    found = {}
    for folder, prefix in ((PACKAGE, "rclicks"), *((REPOSITORY / c, f"rclicks.{c}") for c in CATALOGUE)):
        for file in sorted(folder.rglob("*.py")):
            parts = [prefix, *file.relative_to(folder).with_suffix("").parts]
            found[".".join(parts[:-1] if parts[-1] == "__init__" else parts)] = file
    return found


@cache
def imports(module: str) -> tuple[Import, ...]:
    """Return all imports of a module, relative ones with their full names; those of names are the module's too."""
    file = modules()[module]
    package = module if file.name == "__init__.py" else module.rpartition(".")[0]
    tree = ast.parse(file.read_text())
    typing = {id(n) for branch in ast.walk(tree) if is_type_checking(branch) for n in ast.walk(branch)}
    found = []
    for node in ast.walk(tree):
        names = []
        if isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            parents = package.split(".")[: len(package.split(".")) + 1 - node.level] if node.level else []
            base = ".".join([*parents, *filter(None, [node.module])])
            inner = [f"{base}.{alias.name}" for alias in node.names]
            names = inner if all(name in modules() for name in inner) else [base, *(n for n in inner if n in modules())]
        found += [Import(name, id(node) in typing, node in tree.body) for name in names]
    return tuple(found)


def is_type_checking(node: ast.AST) -> bool:
    return isinstance(node, ast.If) and "TYPE_CHECKING" in ast.unparse(node.test)


def room_of(name: str) -> str:
    """Return the room of a module of the package; its own name for modules at the top.

    >>> room_of("rclicks.metrics.raters.matrix"), room_of("rclicks.cards"), room_of("rclicks")
    ('metrics.raters', 'cards', '')
    """
    path, room = PACKAGE, []
    for part in name.split(".")[1:]:
        if not (path / part).is_dir():
            break
        path, room = path / part, [*room, part]
    return ".".join(room) or ".".join(name.split(".")[1:2])


def nouns() -> set[str]:
    return {f.stem for f in PACKAGE.glob("*.py") if not f.stem.startswith("__")} - ALLOWED.keys() | {"__version__"}


def own_modules() -> list[str]:
    return [m for m in modules() if m.split(".")[1:2] != ["__main__"] and not is_family(m)]


def is_family(module: str) -> bool:
    return module.split(".")[1:2] in [[c] for c in CATALOGUE]


def family_modules() -> list[str]:
    return [m for m in modules() if is_family(m)]


def test_every_folder_of_the_package_is_a_room_of_the_table() -> None:
    folders = {".".join(f.parent.relative_to(PACKAGE).parts) for f in PACKAGE.rglob("*/*.py")}
    single = {f.stem for f in PACKAGE.glob("*.py")}
    assert folders == {room for room in ALLOWED if room not in single}
    assert set().union(*ALLOWED.values(), FAMILY) <= ALLOWED.keys()


@pytest.mark.parametrize("module", own_modules())
def test_a_room_imports_only_rooms_below_it(module: str) -> None:
    room = room_of(module)
    allowed = {room, *nouns(), *ALLOWED.get(room, ())}
    for found in imports(module):
        if found.name.split(".")[0] != "rclicks" or found.name == "rclicks":
            continue
        contract = found.typing and found.name.endswith(".contract")  # contracts know each other's types
        if room == "registry" and room_of(found.name) in ALLOWED[room]:
            assert found.name.endswith(".contract"), f"{module} imports {found.name}; of rooms it knows contracts only"
        lazy_api = module == "rclicks" and found.name == "rclicks.api"
        assert room_of(found.name) in allowed or contract or lazy_api, f"{module} imports {found.name}"


def test_there_are_no_circles_of_imports() -> None:
    """Of imports at the top of modules; those inside functions and for types alone close no circle."""
    below = {m: {i.name for i in imports(m) if i.top and i.name in modules() and i.name != m} for m in modules()}

    def reachable(module: str) -> Iterator[str]:
        seen, ahead = set(), [module]
        while ahead:
            for name in below[ahead.pop()] - seen:
                seen.add(name)
                ahead.append(name)
                yield name

    assert [m for m in modules() if m in set(reachable(m))] == []


@pytest.mark.parametrize("module", own_modules())
def test_the_package_neither_imports_nor_names_a_family(module: str) -> None:
    for found in imports(module):
        assert found.name.split(".")[1:2] not in [[c] for c in (*CATALOGUE, "benchmarks")], f"imports {found.name}"
    file = modules()[module]
    named = family_names_in(file)
    allowed, _ = NAMED.get(str(file.relative_to(PACKAGE)), (set(), ""))
    assert set(named) <= allowed, f"{file} names families in its code: {named}"
    assert set(named) == allowed, f"{file} does not need all its exemptions: {sorted(allowed - set(named))}"


@cache
def families() -> frozenset[str]:
    entries = Registry.discover().models.values()
    assert all(e.file.is_relative_to(REPOSITORY / "adapters") for e in entries)
    return frozenset(n for e in entries for n in (e.card.family, e.module.rpartition(".")[2]))


def family_names_in(file: Path) -> dict[str, list[str]]:
    """Return the names of families in identifiers and strings of a file, each with its lines.

    Docstrings, comments and prose (strings with a space, such as help texts and citations) are free to name them.
    """
    tree = ast.parse(file.read_text())
    found: dict[str, list[str]] = {}
    for node in ast.walk(tree):
        for text in words_of(node):
            parts = re.sub(r"[^a-z0-9]+", "_", re.sub(r"([a-z0-9])([A-Z])", r"\1_\2", text).lower())
            for name in families():
                if re.search(rf"(^|_){name}($|_)", parts):
                    found.setdefault(name, []).append(f"line {getattr(node, 'lineno', '?')}: {text}")
    return found


def words_of(node: ast.AST) -> list[str]:
    match node:
        case ast.Constant(value=str(text)) if " " not in text.strip() and "\n" not in text:
            return [text]
        case ast.Name(id=name) | ast.Attribute(attr=name) | ast.arg(arg=name) | ast.FunctionDef(name=name):
            return [name]
        case ast.ClassDef(name=name) | ast.keyword(arg=str(name)):
            return [name]
        case ast.alias(name=name, asname=other):
            return [text for text in (name, other) if text and not text.startswith("rclicks")]
    return []


@pytest.mark.parametrize("module", family_modules())
def test_a_family_imports_the_package_and_itself_only(module: str) -> None:
    own = ".".join(module.split(".")[:3])
    for found in imports(module):
        parts = found.name.split(".")
        if parts[0] == "rclicks" and parts[1:2] in [[c] for c in CATALOGUE]:
            assert found.name == own or found.name.startswith(f"{own}."), f"{module} imports {found.name}"
        elif parts[0] == "rclicks" and len(parts) > 1:
            assert room_of(found.name) in FAMILY | nouns(), f"{module} imports {found.name}"


@cache
def loads_heavy(module: str) -> str:
    """Return the chain of imports by which importing a module loads a heavy package, or ""."""
    for found in imports(module):
        if not found.top or found.typing:
            continue
        if found.name.split(".")[0] in HEAVY:
            return f"{module} -> {found.name}"
        parts = found.name.split(".")
        for parent in (".".join(parts[: k + 1]) for k in range(len(parts))):
            other = parent in modules() and parent != module and not module.startswith(f"{parent}.")
            if other and (chain := loads_heavy(parent)):
                return f"{module} -> {chain}"
    return ""


@pytest.mark.parametrize("module", list(modules()))
def test_heavy_packages_are_imported_lazily(module: str) -> None:
    inner = is_family(module) and module.count(".") > 2
    name = module.partition(".")[2]
    if inner or any(name == heavy or name.startswith(f"{heavy}.") for heavy in LOADS_HEAVY):
        return
    assert loads_heavy(module) == ""


def test_there_is_no_init_in_the_catalogue_folders() -> None:
    for folder in (*CATALOGUE, "benchmarks"):
        assert not (REPOSITORY / folder / "__init__.py").exists()


def test_importing_the_package_is_light() -> None:
    code = "import sys, rclicks; print(','.join(sys.modules))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, cwd=REPOSITORY)
    assert not HEAVY & set(done.stdout.strip().split(","))
    assert "pandas" not in done.stdout.split(",")


def test_no_file_is_too_long() -> None:
    long = {
        str(file.relative_to(REPOSITORY)): lines
        for file in modules().values()
        if (lines := len(file.read_text().splitlines())) > MOST_LINES
    }
    assert long == {}


def ask_at_run_time(module: str) -> list[str]:
    """Return the literal names that a module looks for in objects at run time, and whether it reads signatures.

    Names that are not literals, such as the fields of a settings class in a loop, are left out.
    """
    found = []
    for node in ast.walk(ast.parse(modules()[module].read_text())):
        match node:
            case ast.Call(func=ast.Name(id="hasattr" | "getattr" as name), args=[_, ast.Constant(value=asked), *_]):
                found.append(f"{name} {asked}")
            case ast.Attribute(value=ast.Name(id="inspect"), attr="signature"):
                found.append("inspect.signature")
    return sorted(set(found))


# Where code of the package may look for a name at run time, and why.
ASKS: dict[str, tuple[list[str], str]] = {
    "rclicks.hooks": (["inspect.signature"], "the one place that reads signatures of hooks"),
    "rclicks.models.early_fusion.checkpoint": (["inspect.signature"], "arguments of a class named by a checkpoint"),
    "rclicks.models.precision": (["hasattr conv", "hasattr fp32_precision"], "settings that came with torch 2.9"),
    "rclicks.models.weights": (["getattr shape"], "an entry of a checkpoint may be no tensor"),
    "rclicks.clickability.networks.segnext": (["hasattr gn"], "a layer that only some blocks have"),
    "rclicks.data.multirater.mask_files": (["getattr n_frames"], "Pillow: only formats of several frames have it"),
}


@pytest.mark.parametrize("module", own_modules())
def test_modules_and_objects_are_not_asked_for_names_beside_the_contracts(module: str) -> None:
    assert ask_at_run_time(module) == ASKS.get(module, ([], ""))[0]


def test_the_tests_see_what_they_forbid(tmp_path: Path) -> None:
    names = {i.name for i in imports("rclicks.adapters.ritm.network")}
    assert "rclicks.adapters.ritm.hrnet" in names, "relative imports have full names"
    assert loads_heavy("rclicks.adapters.ritm.network").endswith("-> torch")
    assert Import("rclicks.options", typing=True) in imports("rclicks.models.contract")
    file = tmp_path / "code.py"
    file.write_text(
        '"""About RITM."""\n# and geodesic\nfrom x import ProbunetTask\nname = \'random-walker-3d\'\n'
        "def load_ritm(sam2): return 'Help on aespa', f'{name}/graph_cut.py'\n"
    )
    assert family_names_in(file).keys() == {
        "probunet",
        "random_walker",
        "random_walker_3d",
        "ritm",
        "sam2",
        "graph_cut",
    }


def print_rules() -> None:
    """Print who may import whom, and the exemptions."""
    width = max(map(len, ALLOWED))
    print(f"Every room may import the nouns: {', '.join(sorted(nouns() - {'__version__'}))}.\n")
    print(f"{'room':<{width}}  may also import")
    for room, below in ALLOWED.items():
        words = "all of them but conformance" if room == "cli" else ", ".join(sorted(below)) or "-"
        print(f"{room:<{width}}  {words}")
    print(f"{'a family':<{width}}  {', '.join(sorted(FAMILY))}; never another family")
    print("\nNames of families in code of the package:")
    for file, (names, why) in NAMED.items():
        print(f"  {file}: {', '.join(sorted(names))} ({why})")
    print(
        "\nHeavy packages may load when these are imported: inner modules of a family folder,", ", ".join(LOADS_HEAVY)
    )
    print("\nNames that are looked for at run time:")
    for module, (names, why) in ASKS.items():
        print(f"  {module}: {', '.join(names)} ({why})")
    print(f"\nNo file has more than {MOST_LINES} lines.")


if __name__ == "__main__":
    print_rules()
