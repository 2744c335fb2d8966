PYTHON ?= python3
BIN := .venv/bin
DEMO := runs/demo
READY := .venv/installed
NB := $(wildcard notebooks/*.ipynb)
# The oldest x86-64 arithmetic: the first variable reaches torch's own kernels, the second convolutions.
OLDEST := ATEN_CPU_CAPABILITY=default ONEDNN_MAX_CPU_ISA=SSE41

.PHONY: demo test quick soak faults execute lab site lock predictors clean

$(READY): requirements.lock pyproject.toml
	$(PYTHON) -m venv .venv
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -r requirements.lock
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --no-deps --editable .
	touch $(READY)

demo: $(READY)  ## show translations of a shipped model, then train on the known world
	mkdir -p $(DEMO)
	$(BIN)/python -m tools.demo_page $(DEMO)/shipped_model.html
	$(BIN)/papermill notebooks/09_training.ipynb $(DEMO)/09_training.ipynb --cwd notebooks --kernel python3 \
	    --log-output --no-progress-bar -p out ../$(DEMO)/run \
	    -p results ../$(DEMO)/results.json
	$(BIN)/jupyter nbconvert --log-level WARN --to html --template classic $(DEMO)/09_training.ipynb
	@echo
	@echo "executed notebook  $(DEMO)/09_training.ipynb"
	@echo "as a page          $(DEMO)/09_training.html"
	@echo "sample sheets      $(DEMO)/run/samples/"
	@echo "metrics            $(DEMO)/results.json"

test: export OMP_NUM_THREADS = 1
test: $(READY)  ## everything that must hold
	$(BIN)/ruff check
	$(BIN)/ruff format --check
	$(BIN)/oxlint --deny-warnings site/static munit_lite/course/explorers
	$(BIN)/mypy
	$(BIN)/pytest -n 2 --dist loadfile --cov --cov-report term
	$(OLDEST) $(BIN)/pytest -n 2 --dist loadfile -m "numerical and not processes"
	MUNIT_LITE_FAST=1 PYTHONPATH=tests $(BIN)/pytest -p no:cacheprovider -p nbval_numbers --nbval --nbval-current-env \
	    --nbval-cell-timeout 300 -n 2 --dist loadscope notebooks

quick: export OMP_NUM_THREADS = 1
quick: $(READY)  ## linters and the tests that are not slow, in two minutes
	$(BIN)/ruff check
	$(BIN)/ruff format --check
	$(BIN)/oxlint --deny-warnings site/static munit_lite/course/explorers
	$(BIN)/mypy
	$(BIN)/pytest -n 2 --dist loadfile -m "not slow"

soak: export MUNIT_LITE_KILLS = 20
soak: $(READY)  ## kill a run at twenty random moments; each must go on to the very same weights
	$(BIN)/pytest -n 2 tests/test_training.py -k bit_identical

faults: $(READY)  ## ten bugs, one at a time: do the notebooks notice?
	$(BIN)/python tests/seeded_faults.py

execute: export OMP_NUM_THREADS = 1
execute: $(READY)  ## run notebooks again and store them in normal form; one with NB=notebooks/04_adain_decoder.ipynb
	$(BIN)/jupyter nbconvert --log-level WARN --to notebook --execute --inplace --coalesce-streams \
	    --ExecutePreprocessor.record_timing=False --ExecutePreprocessor.timeout=1200 $(NB)
	$(BIN)/nbstripout --keep-output --keep-count --keep-id \
	    --extra-keys "metadata.widgets metadata.papermill metadata.language_info cell.metadata.execution" $(NB)

lab: $(READY)  ## open the course
	$(BIN)/jupyter lab notebooks

site: $(READY)  ## the course as a book: build/site/index.html
	$(BIN)/sphinx-build --quiet --fail-on-warning --keep-going --builder html --conf-dir site . build/site
	@echo "the book  build/site/index.html"

lock: $(READY)  ## resolve the newest versions into requirements.lock and environment.yml
	$(BIN)/uv pip compile --quiet --upgrade --universal --python-version 3.11 --no-header --no-annotate \
	    --no-emit-index-url --extra notebooks --extra dev --extra site -o requirements.lock pyproject.toml
	printf 'name: munit-lite\nchannels:\n  - conda-forge\ndependencies:\n  - python=3.11\n  - pip\n  - pip:\n' > environment.yml
	sed 's/.*/      - "&"/' requirements.lock >> environment.yml

predictors: $(READY)  ## train the attribute predictors again (about ten minutes)
	$(BIN)/python -m tools.train_predictors

clean:
	rm -rf .venv build *.egg-info .mypy_cache .pytest_cache .ruff_cache .coverage $(DEMO)
	find . -name __pycache__ -type d -prune -exec rm -rf {} +
