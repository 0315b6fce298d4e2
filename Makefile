# The two commands of the README, and what keeps the repository in order.
PYTHON ?= $(shell command -v python3.11 || command -v python3)
VENV   := .venv
BIN    := $(VENV)/bin
DATA   ?= examples/art_institute
SERVE  ?= 1

.PHONY: demo stop test compose-test check soak fuzz chaos lock sbom outdated clean

demo: $(VENV)/installed
	$(BIN)/python examples/demo.py "$(DATA)" $(if $(filter 0,$(SERVE)),--no-serve)

stop: $(VENV)/installed
	$(BIN)/python examples/demo.py --stop

# Two processes, a test's file to one of them: files share their fixtures.
test: check
	$(BIN)/pytest --numprocesses 2 --dist loadfile

# docker-compose.yml with a real engine; writes benchmarks/results/compose.json.
compose-test: $(VENV)/installed
	RECORD=1 $(BIN)/pytest tests/compose

# The long versions of tests/test_robustness.py, over what `make demo` made; they write
# benchmarks/results/.
DEMO     = $(firstword $(wildcard demo/art_institute-*))
MODEL    = $(DEMO)/models/demo-1
RELEASES = $(DEMO)/releases
PICTURE  = $(firstword $(wildcard examples/art_institute/test/1890s/*.jpg))
MINUTES ?= 120

soak: $(VENV)/installed
	$(BIN)/python -m benchmarks.soak $(MODEL) $(RELEASES) --minutes $(MINUTES)

fuzz: $(VENV)/installed
	$(BIN)/pip install --quiet 'atheris>=3'
	$(BIN)/python -m benchmarks.fuzz --minutes 10
	$(BIN)/python -m benchmarks.schema $(MODEL) $(RELEASES)

chaos: $(VENV)/installed
	$(BIN)/python -m benchmarks.bad_inputs $(MODEL) $(RELEASES)
	$(BIN)/python -m benchmarks.overload $(MODEL) $(RELEASES) $(PICTURE)
	$(BIN)/python -m benchmarks.chaos $(MODEL) examples/art_institute
	$(BIN)/python -m benchmarks.rebuild_kills $(MODEL)

check: $(VENV)/installed
	$(BIN)/ruff format --check
	$(BIN)/ruff check
	$(BIN)/mypy

$(VENV)/installed: requirements/dev.txt pyproject.toml
	$(PYTHON) -m venv --clear $(VENV)
	$(BIN)/pip install --no-deps --no-compile --require-hashes --requirement requirements/dev.txt
	$(BIN)/pip install --quiet --no-deps --no-build-isolation --editable .
	touch $@

# Resolves the requirements again; the files carry hashes and no address of any index.
LOCK = $(BIN)/uv pip compile --quiet --universal --python-version 3.11 --generate-hashes \
	--no-header --no-emit-index-url --no-emit-find-links --no-config --upgrade pyproject.toml
REQUIREMENTS ?= requirements
lock: $(VENV)/installed
	$(LOCK) --extra serve --extra trace --output-file $(REQUIREMENTS)/serve.txt
	$(LOCK) --extra serve --extra trace --extra train --extra parquet \
		--constraint $(REQUIREMENTS)/serve.txt --output-file $(REQUIREMENTS)/job.txt
	$(LOCK) --extra serve --extra trace --extra train --extra parquet --extra gpu \
		--constraint $(REQUIREMENTS)/job.txt --output-file $(REQUIREMENTS)/gpu.txt
	$(LOCK) --extra serve --extra trace --extra train --extra parquet --extra dev \
		--constraint $(REQUIREMENTS)/job.txt --output-file $(REQUIREMENTS)/dev.txt

# What each image brings, and under which licences: docs/sbom and docs/licences.md.
sbom: $(VENV)/installed
	$(BIN)/python -m tools.sbom

# What `make lock` would change today (pinned | newest), and which pins have known vulnerabilities.
# Changes nothing; fails if there is something of either, or if it cannot be said.
PINS  = grep -hoE '^[a-z0-9.-]+==[^ ]+( ; [^\]+)?'
NEWER = build/outdated
outdated: $(VENV)/installed
	mkdir -p $(NEWER)
	$(MAKE) --no-print-directory lock REQUIREMENTS=$(NEWER)
	$(PINS) requirements/dev.txt requirements/gpu.txt | sort -u > $(NEWER)/pinned
	$(PINS) $(NEWER)/dev.txt $(NEWER)/gpu.txt | sort -u > $(NEWER)/newest
	@status=0; \
	diff --side-by-side --suppress-common-lines $(NEWER)/pinned $(NEWER)/newest || status=1; \
	for file in dev gpu; do \
		$(BIN)/uv tool run --from 'pip-audit>=2.10' pip-audit --strict --disable-pip \
			--require-hashes --progress-spinner off --requirement requirements/$$file.txt \
			|| status=1; \
	done; exit $$status

clean:
	rm -rf $(VENV) build *.egg-info
