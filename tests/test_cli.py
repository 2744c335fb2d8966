"""The command as a user types it: in this process for what it does, in one of its own for exit codes and streams."""

import json
import os
import re
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import torch
from notebook_files import markdown, read
from PIL import Image
from tiny import tiny

import munit_lite as ml
from munit_lite import acceleration, cli
from munit_lite import inference as translations
from munit_lite.course import reader_copy
from munit_lite.data.image_files import float_to_uint8, write_png
from munit_lite.evaluation import evaluate as evaluation
from munit_lite.evaluation.metric_names import OLD_CHECK_NAMES
from munit_lite.experiments import benchmark as bench
from munit_lite.experiments.benchmark_tables import find_inconsistencies
from munit_lite.experiments.results import read_results, read_results_file
from munit_lite.paths import NOTEBOOKS_DIR, REPOSITORY_DIR, RESULTS_DIR
from munit_lite.presets import PRESETS
from munit_lite.storage.checkpoints import save_model
from munit_lite.world import World

_SMALL = {
    "base-channels": 4,
    "mlp-width": 8,
    "num-residual-blocks": 1,
    "discriminator-base-channels": 4,
    "batch-size": 2,
    "num-threads": 1,
}
SMALL = [word for name, value in _SMALL.items() for word in (f"--{name}", str(value))]


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    return ml.train(tiny(steps=4), tmp_path_factory.mktemp("run"), callbacks=[]).folder


@pytest.fixture
def sketches(tmp_path):
    folder = tmp_path / "sketches"
    folder.mkdir()
    for k, size in enumerate([(40, 32), (32, 48)]):
        Image.new("L", size, 200).save(folder / f"sketch{k}.png")
    return folder


@pytest.fixture
def command(monkeypatch, capsys):
    """Runs the command in this process; gives its exit code, stdout and stderr."""

    def run(*arguments) -> tuple[int, str, str]:
        monkeypatch.setattr(sys, "argv", ["munit-lite", *map(str, arguments)])
        code = 0
        try:
            cli.main()
        except SystemExit as stop:
            code = stop.code
            if isinstance(code, str):  # what Python itself then does
                print(code, file=sys.stderr)
                code = 1
        out, err = capsys.readouterr()
        return int(code or 0), out, err

    return run


def process(*arguments, **options) -> subprocess.CompletedProcess:
    line = [sys.executable, "-c", "import sys; from munit_lite.cli import main; sys.argv[0] = 'munit-lite'; main()"]
    return subprocess.run([*line, *map(str, arguments)], capture_output=True, text=True, check=False, **options)


def one_object(text: str) -> dict:
    """The one JSON object a text consists of, by the letter of the standard: no NaN."""

    def refuse(constant):
        raise AssertionError(f"{constant} is not JSON")

    value = json.loads(text, parse_constant=refuse)
    assert isinstance(value, dict)
    return value


# ---------------------------------------------------------------------------------------------------- the commands


def test_train_takes_every_field_as_an_option(tmp_path, command):
    code, out, _ = command("train", "world32", "--steps", 2, *SMALL, "--out", tmp_path / "run")
    assert code == 0 and "trained 2 steps" in out
    assert ml.load(tmp_path / "run").config.network.base_channels == 4


@pytest.mark.slow
def test_train_prints_run_and_losses_as_json(tmp_path):
    done = process("train", "world32", "--steps", 2, *SMALL, "--out", tmp_path / "run", "--json")
    assert done.returncode == 0, done.stderr
    result = one_object(done.stdout)
    assert (result["run"], result["preset"], result["steps"]) == (str(tmp_path / "run"), "world32", 2)
    last = json.loads((tmp_path / "run" / "metrics.jsonl").read_text().splitlines()[-1])
    assert result["losses"] == last


NOTEBOOK_LINK = re.compile(r"\]\(([^)#\s]+)")


def test_start_copies_the_course_with_all_that_its_notebooks_link_to(command, tmp_path):
    folder = tmp_path / "new" / "my course"
    code, said, _ = command("start", folder)
    assert code == 0 and f"open them with: jupyter lab '{folder}'" in said and "18 notebooks" in said
    copies = sorted((folder / "notebooks").glob("*.ipynb"))
    originals = sorted(NOTEBOOKS_DIR.glob("*.ipynb"))
    assert [copy.read_bytes() for copy in copies] == [original.read_bytes() for original in originals]
    for copy, original in zip(copies, originals, strict=True):
        for link in NOTEBOOK_LINK.findall(markdown(read(original.stem))):
            assert (copy.parent / link).exists() == (original.parent / link).exists(), f"{copy.name}: {link}"
    assert (folder / "notebooks/../tests/storage/original_state_dict.json").exists()  # which notebook 16 opens
    assert not (folder / "munit_lite").exists()  # it would hide the installed package


def test_start_keeps_the_answers_of_a_reader_unless_asked_to_replace_them(command, tmp_path):
    command("start", tmp_path)
    answered, own = tmp_path / "notebooks/00_start_here.ipynb", tmp_path / "notebooks/own.txt"
    for file in (answered, own):
        file.write_text("my answer")
    code, out, err = command("start", tmp_path)
    assert code == 1 and not out and "already holds notebooks, such as 00_start_here.ipynb" in err
    assert answered.read_text() == "my answer"
    code, out, _ = command("start", tmp_path, "--overwrite", "--json")
    assert code == 0 and str(answered) in one_object(out)["files"]
    assert answered.read_bytes() == (NOTEBOOKS_DIR / answered.name).read_bytes() and own.read_text() == "my answer"


def test_start_counts_notebooks_that_lie_in_the_folder_itself(command, tmp_path):
    (tmp_path / "mine.ipynb").write_text("{}")
    code, _, err = command("start", tmp_path)
    assert code == 1 and "such as mine.ipynb; choose another folder, or use --overwrite" in err
    assert not (tmp_path / "notebooks").exists()


def test_start_refuses_the_repository_and_a_file(command, tmp_path):
    code, _, err = command("start", NOTEBOOKS_DIR.parent, "--overwrite")
    assert code == 1 and "is the repository itself; choose a folder of your own" in err
    (tmp_path / "file").write_text("")
    code, _, err = command("start", tmp_path / "file")
    assert code == 1 and "is a file; choose a folder" in err


def test_start_without_the_repository_says_what_to_install(command, tmp_path, monkeypatch):
    monkeypatch.setattr(reader_copy, "NOTEBOOKS_DIR", tmp_path / "site-packages" / "notebooks")
    code, out, err = command("start", tmp_path / "mine")
    assert code == 1 and not out and err.count("\n") == 1 and not (tmp_path / "mine").exists()
    assert "this installation has no notebooks" in err and "clone the repository" in err


def test_translate_writes_every_style_of_every_image_and_a_sheet(finished, sketches, command, tmp_path):
    out = tmp_path / "painted"
    code, said, _ = command("translate", finished, sketches, out, "--styles", 3)
    assert code == 0 and "wrote 2 × 3 images" in said and "sheet.png with all of them\n" in said
    written = [f"sketch{k}_style{s}.png" for k in (0, 1) for s in (1, 2, 3)]
    assert sorted(p.name for p in out.iterdir()) == ["sheet.png", *written]
    assert Image.open(out / "sketch0_style1.png").size == Image.open(sketches / "sketch0.png").size == (40, 32)


def test_translate_overwrites_only_on_request(finished, sketches, command, tmp_path):
    out = tmp_path / "painted"
    command("translate", finished, sketches, out)
    code, _, err = command("translate", finished, sketches, out)
    assert code == 1 and "sketch0_style1.png already exists (and 8 more); use --overwrite" in err
    assert command("translate", finished, sketches, out, "--overwrite")[0] == 0


def test_translate_takes_the_style_of_an_example(finished, sketches, command, tmp_path):
    example = sketches / "sketch1.png"
    code, *_ = command("translate", finished, sketches / "sketch0.png", tmp_path / "out", "--style-from", example)
    assert code == 0
    assert sorted(p.name for p in (tmp_path / "out").iterdir()) == ["sheet.png", "sketch0_like_sketch1.png"]


def test_translate_passes_every_option_on(finished, sketches, command, tmp_path, monkeypatch):
    given = {}

    def spy(model, images, out, **options):
        given.update(options)
        return real(model, images, out, **options)

    real = translations.translate_files
    monkeypatch.setattr(translations, "translate_files", spy)
    numbers = ["--source", 2, "--styles", 2, "--size", 64, "--crop", "square", "--seed", 5, "--batch-size", 3]
    flags = ["--fresh-styles", "--device", "cpu", "--overwrite"]
    assert command("translate", finished, sketches, tmp_path / "out", *numbers, *flags)[0] == 0
    assert given == {
        "source": 2, "styles": 2, "fresh_styles": True, "size": 64, "crop": "square", "seed": 5, "batch_size": 3,
        "overwrite": True, "style_from": None,
    }  # fmt: skip


@pytest.mark.parametrize(
    ("size", "lines"),
    [
        ((), ["the shorter side was 32 px; the model was trained at 32 px"]),
        (
            ("--size", 64),
            ["the shorter side was 64 px; the model was trained at 32 px", "warning: the model was trained "],
        ),
        (("--size", "native"), ["the images kept their size; the model was trained at 32 px"]),
    ],
)
def test_translate_reports_the_size_and_the_trained_size(finished, command, tmp_path, size, lines):
    sketch = World().images(torch.arange(1), 5, 1, 32, stream="test")[0]
    write_png(tmp_path / "sketch.png", float_to_uint8(sketch))
    _, said, _ = command("translate", finished, tmp_path / "sketch.png", tmp_path / "out", "--styles", 1, *size)
    found = said.splitlines()[1:]
    assert len(found) == len(lines) and all(line.startswith(start) for line, start in zip(found, lines, strict=True))


def test_translate_reports_what_the_sheet_leaves_out(finished, sketches, command, tmp_path):
    _, said, _ = command("translate", finished, sketches, tmp_path / "out", "--styles", 9)
    assert "wrote 2 × 9 images" in said and "sheet.png with the first 2 × 8 of them" in said


def test_the_help_states_the_limits_of_the_sheet(command):
    _, shown, _ = command("translate", "--help")
    text = " ".join(re.sub("[│\n]", " ", shown).split())
    assert f"at most {translations.MAX_PIXELS:,} pixels" in text
    assert f"at most {translations.SHEET_INPUTS} inputs by {translations.SHEET_STYLES} styles" in text


@pytest.mark.slow
def test_translate_prints_every_file_as_json_and_nothing_else_on_stdout(finished, sketches, tmp_path):
    done = process("translate", finished, sketches, tmp_path / "out", "--styles", 2, "--json")
    assert done.returncode == 0, done.stderr
    result = one_object(done.stdout)
    assert [Path(image["output"]).name for image in result["images"]] == [
        f"sketch{k}_style{s}.png" for k in (0, 1) for s in (1, 2)
    ]
    assert all(Path(image["output"]).is_file() for image in result["images"]) and Path(result["sheet"]).is_file()
    assert result["settings"]["seed"] == 0 and result["model"] == str(finished)


def test_evaluate_prints_a_table_and_writes_json(finished, tmp_path, command):
    code, out, _ = command("evaluate", finished, "--count", 20, "--json-file", tmp_path / "numbers.json")
    assert code == 0 and "sketch to painting" in out and "world32" in out.splitlines()[0]
    written = read_results_file(tmp_path / "numbers.json")
    assert 0 <= written["numbers"]["painting to sketch"]["class_accuracy"] <= 1
    assert written["provenance"]["settings"]["count"] == 20


def test_evaluate_reports_every_proposition(finished, tmp_path, command):
    file = tmp_path / "verdicts.json"
    code, out, _ = command("evaluate", finished, "--propositions", "--count", 100, "--json-file", file)
    numbers = read_results(file)
    assert code == 0 and list(numbers) == list(OLD_CHECK_NAMES.values())
    assert all(verdict["summary"] in out for verdict in numbers.values())
    assert numbers["optimality"]["status"] == "fails"
    assert "reconstruction" in numbers["optimality"]["reasons"]  # four steps are few
    measured = {name: verdict["measured"] for name, verdict in numbers.items()}
    assert measured.pop("latent_matching") == "the codes, of content maps the channel means"
    assert measured.pop("cycle_consistency") == "images and codes"
    assert all("predicted attributes" in what for what in measured.values())
    assert "p(c1) = p(c2)" in [finding["name"] for finding in numbers["latent_matching"]["findings"]]


@pytest.mark.slow
def test_evaluate_prints_the_same_numbers_on_stdout_as_in_its_file(finished, tmp_path):
    done = process("evaluate", finished, "--count", 20, "--json", "--json-file", tmp_path / "numbers.json")
    assert done.returncode == 0, done.stderr
    result = one_object(done.stdout)
    written = read_results_file(tmp_path / "numbers.json")
    assert result["numbers"] == written["numbers"]
    assert result["provenance"]["settings"] == written["provenance"]["settings"]


def test_compare_shows_a_run_beside_the_methods_of_a_sweep(command):
    files = [RESULTS_DIR / f"{name}.json" for name in ("world32_seed0", "laboratory")]
    code, out, _ = command("compare", *files, "--metrics", "class_accuracy")
    assert code == 0 and "| world32_seed0 |" in out and "| laboratory: laboratory/munit, 10 seeds |" in out
    code, out, _ = command("compare", *files, "--json")
    accuracy = read_results(files[0])["sketch to painting"]["class_accuracy"]
    assert one_object(out)["world32_seed0"]["sketch to painting: class_accuracy"] == accuracy


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ([], "compare needs one or more results files"),
        ([RESULTS_DIR / "world32.json", "--metrics", "beauty"], "no file has the metric 'beauty'"),
        ([REPOSITORY_DIR / "README.md"], "README.md is not a results file"),
    ],
)
def test_compare_names_what_is_wrong(arguments, message, command):
    code, _, err = command("compare", *arguments)
    assert code == 2 and message in err


def test_a_number_that_is_not_finite_is_null_in_json(finished, command, monkeypatch):
    monkeypatch.setattr(
        evaluation, "evaluate", lambda model, count, seed, images: {"there": {"error": float("nan"), "n": 3}}
    )
    _, out, _ = command("evaluate", finished, "--json")
    assert one_object(out)["numbers"] == {"there": {"error": None, "n": 3}}


def test_what_a_command_prints_goes_to_stderr_when_json_is_asked_for(finished, command, monkeypatch):
    def chatty(model, count, seed, images):
        print("a note")
        return {}

    monkeypatch.setattr(evaluation, "evaluate", chatty)
    _, out, err = command("evaluate", finished, "--json")
    assert one_object(out)["numbers"] == {} and "a note" in err


@pytest.mark.slow
def test_bench_measures_a_step_and_where_its_time_goes_beside_the_straight_line_step(command, tmp_path):
    file = tmp_path / "bench.json"
    code, out, _ = command("bench", "--presets", "world32", "--steps", 1, "--straight-line", "--json-file", file)
    (row,) = read_results(file).values()
    assert code == 0 and out.count("`world32`") == 2
    shares = [value for name, value in row.items() if name.startswith("share_of_") and name != "share_of_peak"]
    assert len(shares) == 6 and sum(shares) == pytest.approx(1) and min(shares) > 0
    assert 0 < row["share_of_peak"] < 1
    assert row["flop_per_step"] > 2e9  # 14 decodings and encodings of 8 images, each above 30 MFLOP, there and back
    assert find_inconsistencies(row) == []
    assert row["straight_line_peak_memory_gib"] > 0.2


def test_bench_measures_every_combination_under_its_own_name(command, monkeypatch):
    numbers = ("size", "batch_size", "seconds_per_step", "images_per_second", "peak_memory_gib")
    split = [f"share_of_{part}" for part in (*bench.STEP_PARTS, "peak")] + ["flop_per_step", "flop_per_second"]
    row = dict.fromkeys((*numbers, *split), 1.0)
    asked = []
    monkeypatch.setattr(bench, "measure", lambda case, steps, straight_line: asked.append(case.config()) or row)
    options = ["--precisions", "32-true", "bf16-mixed", "--batch-sizes", 1, 2, "--compile", "--json"]
    _, out, _ = command("bench", "--presets", "world32", *options)
    found = one_object(out)["numbers"]
    assert len(found) == 8 and found["world32, batch 2, bf16-mixed, compiled"] == row
    assert {(c.precision, c.batch_size, c.compile) for c in asked} == {
        (precision, batch, compiled)
        for precision in ("32-true", "bf16-mixed")
        for batch in (1, 2)
        for compiled in (0, 1)
    }


def test_bench_refuses_an_unknown_preset_before_it_measures(command, monkeypatch):
    monkeypatch.setattr(bench, "measure", lambda *_: pytest.fail("it measured"))
    code, _, err = command("bench", "--presets", "world32", "wrld")
    assert code == 1 and "unknown preset 'wrld'; known: paper256, laboratory, world32" in err


def test_bench_explains_why_a_preset_could_not_be_measured(command, monkeypatch):
    monkeypatch.setattr(bench.sys, "executable", "false")
    code, _, err = command("bench", "--presets", "world32")
    assert code == 1 and "one step of world32 could not be measured" in err


@pytest.mark.slow
@pytest.mark.parametrize("arguments", [["--help"], ["evaluate", "RUN", "--count", "2"]])
def test_a_reader_that_has_gone_is_no_error(arguments, finished):
    arguments = [str(finished) if word == "RUN" else word for word in arguments]
    line = [sys.executable, "-c", "import time; time.sleep(1); from munit_lite.cli import main; main()", *arguments]
    running = subprocess.Popen(line, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    running.stdout.close()
    assert running.wait(timeout=120) == 0 and running.stderr.read() == ""


# ---------------------------------------------------------------------------------------------- mistakes, exit codes


def test_the_name_of_the_preset_is_no_option(command):
    code, _, err = command("train", "world32", "--preset", "mine")
    assert code == 2 and "--preset" in err


@pytest.mark.parametrize(
    ("arguments", "expected_code", "message"),
    [
        (["translate", "no/run", ".", "out"], 1, "no/run is neither a run folder, a file of weights, nor a checkpoint"),
        (["evaluate", "no/run"], 1, "no/run is neither a run folder"),
        (["evaluate", "no/run", "--json-file", "numbers.txt"], 2, "numbers.txt, but its name must end in .json"),
        (
            ["evaluate", "no/run", "--json-file", "/dev/null/x.json"],
            2,
            "but its folder cannot be created",
        ),
        (["evaluate", "no/run", "--count", "1"], 2, "--count is 1, but an interval needs 2 or more"),
        (["evaluate", "fashion32", "--propositions"], 1, "but this is a model of fashion data"),
        (["bench", "--steps", "0"], 2, "--steps is 0, but it must be 1 or more"),
        (["train", "world32", "--steps", "0"], 2, "steps is 0, but it must be a whole number of 1 or more"),
        (
            ["train", "world32", "--image-size", "30", "--num-downsamples", "2"],
            2,
            "image_size 30 is not divisible by 4",
        ),
        (["train", "world32", "--kl-weight", "1"], 1, "the method munit never computes this loss"),
        (["sweep", "plan.yaml", "--results", "numbers.txt"], 2, "numbers.txt, but its name must end in .json"),
    ],
)
def test_a_mistake_is_explained_in_a_sentence_and_gives_its_exit_code(
    arguments, expected_code, message, command, monkeypatch, tmp_path
):
    monkeypatch.chdir(tmp_path)
    code, out, err = command(*arguments)
    assert code == expected_code and err.startswith("munit-lite: ") and err.count("\n") == 1 and message in err
    assert not out and not list(tmp_path.iterdir())


def test_a_value_of_the_wrong_type_is_explained_with_its_option(command):
    code, out, err = command("train", "world32", "--steps", "many")
    assert code == 2 and not out and "--steps" in err and "many" in err and "dummy" not in err


@pytest.fixture(params=["folder64", "apples2citrus_unit"])
def folder_model(request, tmp_path):
    """The method and the weights of a model of two folders, whose photos name no varieties."""
    for k, name in enumerate(("trainA", "trainB", "testA", "testB")):
        (tmp_path / name).mkdir()
        for number in range(2):
            Image.new("RGB", (80, 80), (20 * k, 20 * number, 0)).save(tmp_path / name / f"IMG_{number}.png")
    small = {"base_channels": 4, "mlp_width": 8, "num_residual_blocks": 1, "discriminator_base_channels": 4}
    config = ml.preset(request.param, folder=str(tmp_path), **small)
    save_model(tmp_path / "model.safetensors", ml.build(config), step=1)
    return config.method, tmp_path / "model.safetensors"


def test_evaluate_measures_a_model_of_folders_and_explains_numbers_and_gaps(folder_model, tmp_path, command):
    method, file = folder_model
    code, out, err = command("evaluate", file, "--json-file", tmp_path / "numbers.json")
    assert code == 0 and not err
    assert re.search(r"  cycle error +\d\.\d{3} ± \d\.\d{3}\n", out)
    assert "\nmeaning of the metrics\n  reconstruction error: mean absolute error" in out
    assert "Mode coverage is not measured, because the photos do not name their varieties" in out and "'IMG'" in out
    assert (f"The method {method} generates one output for each input" in out) == (method == "unit")
    written = read_results_file(tmp_path / "numbers.json")["numbers"]["domain 2 to domain 1"]
    assert written["images"] == 2 and (written["style_variance_fraction"] < 1e-6) == (method == "unit")
    code, out, _ = command("evaluate", file, "--json")
    assert code == 0 and one_object(out)["notes"][-1].startswith("Mode coverage is not measured")
    assert one_object(out)["numbers"]["domain 2 to domain 1"].keys() == written.keys()


def test_an_empty_folder_to_translate_is_named(finished, tmp_path, command):
    (tmp_path / "empty").mkdir()
    code, _, err = command("translate", finished, tmp_path / "empty", tmp_path / "out")
    assert code == 1 and "empty contains no images" in err


def test_a_device_that_is_not_there_is_refused(finished, sketches, command, tmp_path):
    missing = next(
        name
        for name, there in (("mps", torch.backends.mps.is_available()), ("cuda", torch.cuda.is_available()))
        if not there
    )
    code, _, err = command("translate", finished, sketches, tmp_path / "out", "--device", missing)
    assert code == 1 and f"device is {missing}, but this machine's torch finds none" in err
    code, _, err = command("train", "world32", "--steps", 1, "--out", tmp_path / "run", "--device", missing)
    assert code == 1 and f"device is {missing}, but this machine's torch finds none" in err
    assert not (tmp_path / "run").exists()
    code, _, err = command("evaluate", finished, "--device", missing)
    assert code == 1 and f"device is {missing}, but this machine's torch finds none" in err


def test_a_model_is_measured_on_the_device_that_is_asked_for(finished, command, monkeypatch):
    asked, seen = [], []

    def measured(model, count, seed, images):
        seen.extend(parameter.device.type for parameter in model.parameters())
        return {"there": {"n": 3}}

    monkeypatch.setattr(acceleration, "find_device", lambda name: asked.append(name) or "meta")
    monkeypatch.setattr(evaluation, "evaluate", measured)
    assert command("evaluate", finished, "--device", "cuda")[0] == 0
    assert asked == ["cuda"] and set(seen) == {"meta"}


def test_a_full_gpu_is_explained_with_a_remedy(finished, command, monkeypatch):
    def full(model, count, seed, images):
        raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate …")

    monkeypatch.setattr(evaluation, "evaluate", full)
    code, _, err = command("evaluate", finished)
    assert code == 1 and "memory is full; use a smaller --batch-size" in err


def test_a_bug_is_shown_whole_and_the_doctor_is_named(finished, command, monkeypatch, capsys):
    def broken(model, count, seed, images):
        raise RuntimeError("a bug")

    monkeypatch.setattr(evaluation, "evaluate", broken)
    with pytest.raises(RuntimeError, match="a bug"):
        command("evaluate", finished)
    assert "`munit-lite doctor`" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("arguments", "meant"),
    [(["trian"], "train"), (["evalute", "runs/a"], "evaluate"), (["train", "wrld32"], "world32")],
)
def test_a_misspelt_command_or_preset_gives_the_near_one(arguments, meant, command):
    code, out, err = command(*arguments)
    assert code == 2 and f"did you mean {meant}?" in err and not out


@pytest.mark.parametrize("arguments", [["zzz"], ["translate"], ["evaluate", "x", "--nonsense"], ["train"]])
def test_other_mistakes_of_usage_exit_with_2_and_guess_nothing(arguments, command):
    code, out, err = command(*arguments)
    assert code == 2 and err and "did you mean" not in err and not out


def test_a_misspelt_option_is_shown_the_near_one(command):
    code, _, err = command("train", "world32", "--stps", 3)
    assert code == 2 and "Perhaps you meant" in err and "--steps" in err


@pytest.mark.slow
@pytest.mark.parametrize(("sent", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_a_stopped_training_saves_and_exits_with_the_signals_code(sent, code, tmp_path):
    line = [sys.executable, "-c", "from munit_lite.cli import main; main()", "train", "world32", *SMALL]
    line += ["--steps", "1000000", "--log-every", "1", "--out", str(tmp_path / "run")]
    running = subprocess.Popen(line, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True)
    deadline = time.monotonic() + 120
    while not (tmp_path / "run" / "metrics.jsonl").exists():
        assert running.poll() is None and time.monotonic() < deadline
        time.sleep(0.05)
    running.send_signal(sent)
    _, err = running.communicate(timeout=120)
    assert running.returncode == code, err
    assert "Traceback" not in err and (tmp_path / "run" / "state.safetensors").exists()


@pytest.mark.parametrize(("sent", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_other_commands_are_stopped_with_the_same_codes(sent, code, finished, command, monkeypatch):
    signal.signal(signal.SIGINT, signal.default_int_handler)  # the background job of a shell ignores it
    before = signal.getsignal(signal.SIGTERM)

    def stopped(model, count, seed, images):
        os.kill(os.getpid(), sent)
        time.sleep(10)
        pytest.fail("it went on")

    monkeypatch.setattr(evaluation, "evaluate", stopped)
    assert command("evaluate", finished)[0] == code
    assert signal.getsignal(signal.SIGTERM) == before


# -------------------------------------------------------------------------------------------- help, version, completion


def test_alone_it_prints_its_help_and_the_exit_codes(command):
    code, out, err = command()
    assert code == 0 and not err
    assert all(name in out for name in cli.COMMANDS)
    assert all(code in out for code in ("0 success", "1 an error", "2 an invalid", "130 stopped", "143 stopped"))
    assert out == command("--help")[1]


@pytest.mark.parametrize("name", [*cli.COMMANDS, *(f"train {preset}" for preset in PRESETS)])
def test_every_option_of_every_command_has_its_line_of_help(name, command):
    code, out, _ = command(*name.split(), "--help")
    assert code == 0
    for option in re.split(r"\n│ (?=--)", out)[1:]:
        text = " ".join(option.replace("│", " ").split())
        assert re.match(r"--[a-z-]+ .*[a-z]{2,}.*\.\)? \(default: .+?\)", text), text


@pytest.mark.slow
def test_help_completion_and_version_do_not_wait_for_torch():
    script = "import sys\nfrom munit_lite.cli import main\nsys.argv = ['munit-lite', *sys.argv[1:]]\n"
    script += "try: main()\nexcept SystemExit: pass\nassert 'torch' not in sys.modules, 'torch was imported'"
    for arguments in (["--help"], ["--version"], ["train", "world32", "--help"], ["--tyro-print-completion", "bash"]):
        done = subprocess.run(
            [sys.executable, "-c", script, *arguments], capture_output=True, text=True, check=False, timeout=60
        )
        assert done.returncode == 0 and done.stdout, done.stderr


def test_the_version_is_the_packages(command):
    assert command("--version")[1] == f"munit-lite {ml.__version__}\n"


@pytest.mark.slow
def test_completion_is_a_script_that_bash_takes_and_that_knows_commands_and_options(tmp_path):
    assert "#compdef munit-lite" in process("--tyro-print-completion", "zsh").stdout
    done = process("--tyro-print-completion", "bash")
    assert done.returncode == 0
    assert all(word in done.stdout for word in ("translate", "world32", "--style-from"))
    script = tmp_path / "completion"
    script.write_text(done.stdout)
    line = f"source {script}; complete -p munit-lite; COMP_WORDS=(munit-lite trans); COMP_CWORD=1; "
    line += "$(complete -p munit-lite | sed 's/.*-F //; s/ .*//'); echo \"<${COMPREPLY[*]}>\""
    completed = subprocess.run(["bash", "-c", line], capture_output=True, text=True, check=False)
    assert "<translate>" in completed.stdout, completed


def test_every_name_of_the_package_can_be_imported():
    assert all(getattr(ml, name) is not None for name in ml.__all__)
    with pytest.raises(AttributeError):
        _ = ml.nonsense
