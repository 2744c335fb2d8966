"""Do the notebooks notice a bug in the package? Ten are put in, one at a time, and nbval compares the stored outputs.

Numbers are compared within the tolerance of nbval_numbers.py, as in `make test`.

`python tests/seeded_faults.py`, once per release. The notebooks that teach what a fault breaks run first; if all of
them stay green, all others run, too. Each stops at its first red cell. Cells that show an equation are left out: they
print the source of its function, so any change of it would turn them red. data/results/seeded_faults.json is written
after each fault; a run that was stopped goes on, as long as the commit is the same.
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import nbformat
import tyro
from notebook_files import ROOT, WRITTEN, code, number_of

from munit_lite.experiments.provenance import provenance
from munit_lite.experiments.results import read_results_file, write_results
from munit_lite.paths import RESULTS_DIR

NOTICED = 9  # of ten faults, at least
PLUGINS = ["-p", "no:cacheprovider", "-p", "nbval_numbers"]
NBVAL = [*PLUGINS, "--nbval", "--nbval-current-env", "--nbval-cell-timeout", "300"]  # as the Makefile


@dataclass(frozen=True)
class Fault:
    """A bug that crashes nothing.

    Args:
        name: of the bug.
        breaks: what it does, in words.
        taught_in: the notebooks that ought to notice, as "07".
        file: in munit_lite/.
        old: text that occurs in the file exactly once.
        new: what stands there instead.
    """

    name: str
    breaks: str
    taught_in: tuple[str, ...]
    file: str
    old: str
    new: str

    def put_into(self, source: str) -> str:
        """The source of the file with the bug in it.

        Raises:
            ValueError: the old text does not occur, or more than once.
        """
        if (times := source.count(self.old)) != 1:
            raise ValueError(f"{self.name}: {self.old!r} occurs {times} times in munit_lite/{self.file}, not once")
        return source.replace(self.old, self.new)


FAULTS = (
    Fault(
        "content norm missing",
        "the content encoder's strided convolutions have no Instance Norm",
        ("02",),
        "networks.py",
        "*(ConvBlock(a, b, 4, 2, norm=instance_norm) for a, b in itertools.pairwise(channels)),",
        "*(ConvBlock(a, b, 4, 2) for a, b in itertools.pairwise(channels)),",
    ),
    Fault(
        "AdaIN scale for shift",
        "the MLP's shifts scale the features, and its scales shift them",
        ("04",),
        "networks.py",
        "shift_1, scale_1, shift_2, scale_2 = adain.unbind(dim=1)",
        "scale_1, shift_1, scale_2, shift_2 = adain.unbind(dim=1)",
    ),
    Fault(
        "coarse scales dropped",
        "adversarial losses read the finest scale of the discriminators alone",
        ("07",),
        "losses.py",
        "return list(zip(*upcast, strict=True))",
        "return list(zip(*upcast, strict=True))[:1]",
    ),
    Fault(
        "generator looks fake",
        "the sign in -log D is wrong: the generator is trained towards what the discriminator calls made",
        ("07",),
        "losses.py",
        "return _sum(F.softplus(-f).mean() for (f,) in _scales(fake))",
        "return _sum(F.softplus(f).mean() for (f,) in _scales(fake))",
    ),
    Fault(
        "style target swapped",
        "the style read from a painting is compared with s1, but s2 was decoded",
        ("06",),
        "objective.py",
        '"style_2": losses.style_reconstruction_loss(recon_style_2, s_2),',
        '"style_2": losses.style_reconstruction_loss(recon_style_2, s_1),',
    ),
    Fault(
        "swapped style decoded",
        "paintings are decoded with s1, which was drawn for sketches",
        ("06",),
        "objective.py",
        "image_1_to_2 = model.decode(content_1, s_2, domain=2)",
        "image_1_to_2 = model.decode(content_1, s_1, domain=2)",
    ),
    Fault(
        "uniform prior",
        "styles are drawn from U(-1, 1), not from N(0, I): paintings vary too little",
        ("03", "11"),
        "model.py",
        "style = torch.randn(count, self.config.network.style_dim, generator=generator)",
        "style = 2 * torch.rand(count, self.config.network.style_dim, generator=generator) - 1",
    ),
    Fault(
        "hues turned backwards",
        "red and blue of the known world's paintings are exchanged: a hue goes round the color wheel the wrong way",
        ("01",),
        "world.py",
        "_table([5.0, 3.0, 1.0], hue)",
        "_table([1.0, 3.0, 5.0], hue)",
    ),
    Fault(
        "p-value of zero",
        "a permutation test does not count the sample's own order, so that its p-value can be 0",
        ("11",),
        "theory/two_sample.py",
        "return (1 + len(exceedances)) / (permutations + 1)",
        "return len(exceedances) / permutations",
    ),
    Fault(
        "held-out rows fitted",
        "a read-out is fitted on the rows that score it, too: leaks and codes look better read than they are",
        ("03",),
        "evaluation/statistics.py",
        "_ridge_predictions(kernel[:, :half], targets[:half], ridge)[half:]",
        "_ridge_predictions(kernel, targets, ridge)[half:]",
    ),
)


# ----------------------------------------------------------------------------------------------------- running


def copy_of_the_tree(target: Path) -> None:
    """Copy what git does not ignore."""
    listing = ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"]
    listed = subprocess.run(listing, cwd=ROOT, capture_output=True, text=True, check=True).stdout
    for name in filter(None, listed.split("\0")):
        if (ROOT / name).is_file():  # git lists a deleted one, too
            (target / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(ROOT / name, target / name)


def first_red(tree: Path, notebook: str) -> dict[str, str] | None:
    """Run a notebook of a copy until its first red cell: its id and what nbval says of it; None if all are green.

    Raises:
        ChildProcessError: nbval did not get as far as the cells.
    """
    path = f"notebooks/{notebook}.ipynb"
    cells = code(nbformat.read(tree / path, as_version=4))
    left_out = [f"--deselect={path}::Cell {k}" for k, cell in enumerate(cells) if "equation(" in cell.source]
    settings = {"PYTHONPATH": f"{tree}{os.pathsep}tests", "PYTHONDONTWRITEBYTECODE": "1"}
    settings |= {"MUNIT_LITE_FAST": "1", "OMP_NUM_THREADS": "1"}
    environment = {name: value for name, value in os.environ.items() if name != "MUNIT_LITE_DATA"} | settings
    command = [sys.executable, "-m", "pytest", *NBVAL, *left_out, "-x", "--color=no", path]
    done = subprocess.run(command, cwd=tree, env=environment, capture_output=True, text=True, check=False)
    if done.returncode == 0:
        return None
    number = re.search(rf"^FAILED {re.escape(path)}::Cell (\d+)", done.stdout, flags=re.MULTILINE)
    told = re.search(r"^Cell \d+: (.+)$", done.stdout, flags=re.MULTILINE)
    if not number or not told:
        raise ChildProcessError(f"nbval of {path} ended with {done.returncode}:\n{done.stdout[-2000:]}{done.stderr}")
    return {"cell": cells[int(number[1])].id, "nbval": told[1]}


def run(tree: Path, notebooks: list[str], jobs: int) -> dict[str, dict[str, str] | None]:
    """`first_red` of notebooks, told as they end."""

    def told(notebook: str) -> dict[str, str] | None:
        found = first_red(tree, notebook)
        print(f"  {notebook:30}", f"red in {found['cell']}: {found['nbval']}" if found else "green", flush=True)
        return found

    with ThreadPoolExecutor(jobs) as pool:
        return dict(zip(notebooks, pool.map(told, notebooks), strict=True))


def run_with(fault: Fault, tree: Path, jobs: int) -> dict[str, dict[str, str] | None]:
    """`run` with a fault in the copy: the notebooks that teach it, then all others if none of these is red."""
    file = tree / "munit_lite" / fault.file
    source = file.read_text()
    file.write_text(fault.put_into(source))
    try:
        taught = [name for name in WRITTEN if number_of(name) in fault.taught_in]
        found = run(tree, taught, jobs)
        return found if any(found.values()) else found | run(tree, [n for n in WRITTEN if n not in taught], jobs)
    finally:
        file.write_text(source)


# ----------------------------------------------------------------------------------------------------- the record


def measured_before() -> dict[str, Any]:
    """What was measured at this commit: {"control": notebooks, "faults": {name: {…, "notebooks": notebooks}}}."""
    path = RESULTS_DIR / "seeded_faults.json"
    if path.exists():
        stored = read_results_file(path)
        commits = stored["provenance"]["commit"], provenance({})["commit"]
        if len({commit.removesuffix("+") for commit in commits}) == 1:  # the plus may be the record's own
            return stored["numbers"]
    return {"control": {}, "faults": {}}


def noticed(measured: dict[str, Any]) -> list[str]:
    """The faults that turned a notebook red."""
    return [name for name, found in measured["faults"].items() if any(found["notebooks"].values())]


def table(measured: dict[str, Any]) -> str:
    """Faults × notebooks: red, · for green, empty where it was not run."""
    lines = [f"{'':24}" + "".join(f"{number_of(name):>5}" for name in WRITTEN)]
    rows = {"(no fault)": measured["control"]}
    rows |= {name: found["notebooks"] for name, found in measured["faults"].items()}
    for fault, notebooks in rows.items():
        marks = ("" if name not in notebooks else "red" if notebooks[name] else "·" for name in WRITTEN)
        lines.append(f"{fault:24}" + "".join(f"{mark:>5}" for mark in marks))
    return "\n".join(lines)


def main(only: tuple[str, ...] = (), jobs: int = 2) -> int:
    """Run what is not measured yet.

    Args:
        only: names of faults to measure, again if need be; by default all.
        jobs: notebooks at once.
    """
    if unknown := set(only) - {fault.name for fault in FAULTS}:
        raise ValueError(f"unknown faults {sorted(unknown)}; known: {', '.join(fault.name for fault in FAULTS)}")
    measured = measured_before()

    def write() -> None:
        order = [fault.name for fault in FAULTS if fault.name in measured["faults"]]
        measured["faults"] = {name: measured["faults"][name] for name in order}
        command, columns = "python tests/seeded_faults.py", ("kind", "fault", "detail", "notebook")
        write_results("seeded_faults", measured, {"nbval": " ".join(NBVAL)}, command, columns)

    with TemporaryDirectory() as folder:
        tree = Path(folder)
        copy_of_the_tree(tree)
        if not measured["control"]:
            print("no fault", flush=True)
            measured["control"] = run(tree, WRITTEN, jobs)
            if any(measured["control"].values()):
                print("notebooks are red without any fault: mend or store them first")
                return 1
            write()
        for number, fault in enumerate(FAULTS, 1):
            if fault.name in only or (not only and fault.name not in measured["faults"]):
                print(f"{number}/{len(FAULTS)} {fault.name}: {fault.breaks}", flush=True)
                notebooks = run_with(fault, tree, jobs)
                about = {"file": fault.file, "breaks": fault.breaks, "taught_in": fault.taught_in}
                measured["faults"][fault.name] = about | {"notebooks": notebooks}
                write()
    print(table(measured))
    print(f"{len(noticed(measured))} of {len(measured['faults'])} faults noticed")
    return 0 if len(noticed(measured)) >= NOTICED or only else 1


if __name__ == "__main__":
    sys.exit(tyro.cli(main))
