"""The benchmark's records agree with themselves, and none is older than the code that it measured."""

import ast
import subprocess

import pytest

from munit_lite.experiments.benchmark_tables import cost_table, find_inconsistencies, profile_table
from munit_lite.experiments.results import read_results, read_results_file
from munit_lite.paths import REPOSITORY_DIR

RECORDS = ("bench_cpu", "bench_reference")
MEASURED = ("acceleration", "networks.py", "losses.py", "objective.py", "training_step.py")  # below munit_lite
MOVED_FROM = ("training.py",)  # held code that these modules hold now
ROW = {
    "size": 32,
    "batch_size": 8,
    "seconds_per_step": 0.25,
    "images_per_second": 64.0,
    "peak_memory_gib": 1.0,
    "share_of_generator": 0.7,
    "share_of_discriminator": 0.2,
    "share_of_optimizer": 0.1,
    "profiled_seconds_per_step": 0.2,
    "flop_per_step": 2e9,
    "flop_per_second": 1e10,
    "matrix_product_flop_per_second": 4e10,
    "share_of_peak": 0.25,
    "straight_line_seconds_per_step": 0.4,
    "speedup": 1.6,
    "speedup_min": 1.5,
    "speedup_max": 1.7,
    "straight_line_peak_memory_gib": 1.0,
}


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"speedup": 1.56}, "speedup is 1.56, but 1.6 follows from the other numbers"),
        ({"seconds_per_step": 0.2}, "speedup is 1.6, but 2 follows"),
        ({"speedup_max": 1.55}, "speedup 1.600 is outside its range, 1.500 to 1.550"),
        ({"images_per_second": 32.0}, "images_per_second is 32, but 64 follows"),
        ({"share_of_optimizer": 0.2}, "the shares of the step's time add up to 1.100"),
        ({"flop_per_second": 2e10}, "flop_per_second is 2e+10, but 1e+10 follows"),
        ({"share_of_peak": 0.5}, "share_of_peak is 0.5, but 0.25 follows"),
    ],
)
def test_a_record_that_contradicts_itself_is_rejected(changes, message):
    assert find_inconsistencies(ROW) == []
    assert any(message in problem for problem in find_inconsistencies(ROW | changes))


def test_the_tables_show_the_speedup_where_it_was_measured():
    plain = {name: value for name, value in ROW.items() if "straight" not in name and "speedup" not in name}
    first, second = cost_table({"world32": ROW, "plain": plain}).splitlines()[2:]
    assert first == "| `world32` | 32 px | 8 | 0.25 | 64.0 | 1.0 GiB | 1.60 (1.50 to 1.70) | 1.0 GiB |"
    assert second == "| `plain` | 32 px | 8 | 0.25 | 64.0 | 1.0 GiB |"
    assert "speedup" not in cost_table({"plain": plain})
    assert profile_table({"a": ROW}).splitlines()[-1] == "| `a` | 70.0 | 20.0 | 10.0 |  |  |  | 2.0 | 10.0 | 25 % |"


# ------------------------------------------------------------------------------------------- the committed records


def git(*arguments):
    return subprocess.run(["git", *arguments], cwd=REPOSITORY_DIR, capture_output=True, text=True, check=False)


def tree_of(source):
    """The syntax tree without docstrings: a record does not get stale because a comment was corrected."""
    tree = ast.parse(source)
    for node in ast.walk(tree):
        body = getattr(node, "body", None)
        if (
            isinstance(body, list)
            and body
            and isinstance(body[0], ast.Expr)
            and isinstance(body[0].value, ast.Constant)
        ):
            node.body = body[1:]
    return tree


def statements_of(source):
    """The top-level statements, each imported name as one of its own: a definition may move between modules."""
    statements = set()
    for node in tree_of(source).body:
        if isinstance(node, ast.ImportFrom):
            statements |= {f"from {node.module} import {alias.name} as {alias.asname}" for alias in node.names}
        elif not (isinstance(node, ast.Assign) and ast.unparse(node.targets[0]) == "__all__"):
            statements.add(ast.unparse(node))
    return statements


def changed_since(commit):
    """The measured modules that hold a statement which none of them held at a commit."""
    now = {
        str(path.relative_to(REPOSITORY_DIR))
        for name in MEASURED
        for path in (REPOSITORY_DIR / "munit_lite").glob(f"{name}/**/*.py")
    }
    now |= {f"munit_lite/{name}" for name in MEASURED if name.endswith(".py")}
    folders = (f"munit_lite/{name}" for name in MEASURED + MOVED_FROM)
    listed = [name for name in git("ls-tree", "-r", "--name-only", commit, *folders).stdout.split() if ".py" in name]
    then = set().union(*(statements_of(git("show", f"{commit}:{name}").stdout) for name in listed))
    return sorted(name for name in now if statements_of((REPOSITORY_DIR / name).read_text()) - then)


@pytest.mark.parametrize("name", ["bench_cpu", "bench_reference"])
def test_no_committed_record_contradicts_itself(name):
    problems = {preset: find_inconsistencies(row) for preset, row in read_results(name).items()}
    assert not any(problems.values()), problems


@pytest.mark.parametrize("name", ["bench_cpu", "bench_reference"])
def test_no_committed_record_is_older_than_the_code_that_it_measured(name):
    commit = read_results_file(name)["provenance"]["commit"].removesuffix("+")
    if git("rev-parse", "--is-shallow-repository").stdout.strip() != "false":
        pytest.skip("the history is missing: this is no clone, or a shallow one")
    assert git("cat-file", "-e", f"{commit}^{{commit}}").returncode == 0, f"{name} names the unknown commit {commit}"
    changed = changed_since(commit)
    assert not changed, f"{name} is stale: it was measured at {commit}, and since then changed {', '.join(changed)}"


def test_a_changed_docstring_makes_no_record_stale_but_changed_code_does():
    source = 'def f(x):\n    """Double."""\n    return 2 * x  # twice\n'
    assert statements_of(source) == statements_of(
        source.replace("Double", "Return twice the number").replace("# twice", "")
    )
    assert statements_of(source) != statements_of(source.replace("2 *", "3 *"))


def test_a_moved_function_makes_no_record_stale_but_a_changed_constant_or_import_does():
    source = "from a import b, c\nLIMIT = 2\ndef f(x):\n    return b(x)\n"
    assert not statements_of("from a import b\ndef f(x):\n    return b(x)\n") - statements_of(source)
    assert statements_of(source.replace("LIMIT = 2", "LIMIT = 3")) - statements_of(source) == {"LIMIT = 3"}
    assert statements_of(source.replace("from a", "from z")) - statements_of(source)
    assert statements_of(source.replace("b(x)", "c(x)")) - statements_of(source)


def test_the_code_of_the_last_commit_is_not_stale_and_that_of_an_old_one_is():
    if git("rev-parse", "--is-shallow-repository").stdout.strip() != "false":
        pytest.skip("the history is missing: this is no clone, or a shallow one")
    last = git("log", "-1", "--format=%H", "--", *(f"munit_lite/{name}" for name in MEASURED)).stdout.strip()
    if git("diff", "--quiet", last, "--", "munit_lite").returncode == 0:
        assert changed_since(last) == []
    assert changed_since(git("rev-list", "--max-parents=0", "HEAD").stdout.split()[0])
