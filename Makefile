# The two commands a newcomer needs are `make demo` and `make test`; neither needs root.
PYTHON ?= python3
VENV   := .venv
BIN    := $(VENV)/bin
STAMP  := $(VENV)/.stamp
AUDIT  := .cache/audit
ARGS   ?=
MINUTES ?= 1
SEEDS  ?= 200

.PHONY: all setup demo test lint attacks bench reliability fuzz sim proto spa screenshots deb wheel audit sbom soak clean

all: test lint

setup: $(STAMP)

# uv when it is there (seconds), pip otherwise (half a minute): the same hashed pins either way.
$(STAMP): pyproject.toml requirements/dev.txt
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || { echo "Pharos needs Python 3.11 or newer: make PYTHON=python3.13"; exit 1; }
	@test -x $(BIN)/python || $(PYTHON) -m venv $(VENV) || { echo "Python's venv module is missing: apt install python3-venv"; exit 1; }
	@if command -v uv >/dev/null 2>&1; then \
	  uv pip install -q --python $(BIN)/python --only-binary :all: --require-hashes -r requirements/dev.txt && \
	  uv pip install -q --python $(BIN)/python --no-deps --no-build-isolation -e .; \
	else \
	  $(BIN)/python -m pip install -q --disable-pip-version-check --only-binary :all: --require-hashes -r requirements/dev.txt && \
	  $(BIN)/python -m pip install -q --disable-pip-version-check --no-deps --no-build-isolation -e .; \
	fi
	@touch $@

# Without the page the demo is whole but for its address: a machine that cannot build it is told so and goes on.
demo: setup
	@$(BIN)/python packaging/spa.py || echo "the admin page was not built; the demo runs without it"
	@$(BIN)/pharos demo $(ARGS)

test: setup
	@$(BIN)/python -m tests.run $(ARGS)

lint: setup
	@$(BIN)/ruff format --check .
	@$(BIN)/ruff check .
	@$(BIN)/mypy
	@$(BIN)/lint-imports
	@$(BIN)/python packaging/spa.py --check

# Every bench but install, and docs/performance.md of what they measured. ARGS=--quick: a dozen minutes in all;
# ARGS="--quick rpc wire": these; ARGS=--install: packages and bare servers too.
bench: setup
	@$(BIN)/python -m bench $(ARGS)

# The tests that measure a promise, and docs/reliability.md of what they measured.
reliability: setup
	@$(BIN)/python -m bench.reliability $(ARGS)

# MINUTES=60 for an hour, shared by the targets; by coverage where atheris has a wheel, blindly elsewhere.
fuzz: setup
	@$(BIN)/python -c 'import atheris' 2>/dev/null || $(BIN)/python -m pip install -q --disable-pip-version-check \
	  --only-binary :all: --no-deps --require-hashes -r requirements/fuzz.txt || echo "atheris could not be installed"
	@$(BIN)/python -m tests.fuzz --minutes $(MINUTES) $(ARGS)

# A fleet in a storm, on virtual time: a story for each seed. SEED=12 tells one of them again.
sim: setup
	@$(BIN)/python -m tests.sim $(if $(SEED),--seed $(SEED),--seeds $(SEEDS)) $(ARGS)

# The attacks that we claim to withstand, as a table. ARGS="--rows 11,12-16" chooses; ARGS=--json ends with a line of JSON.
attacks: setup
	@$(BIN)/python -m tests.attacks $(ARGS)

# A fleet of real daemons under load and faults for some minutes, as root: make soak MINUTES=30.
soak: setup
	@$(BIN)/python -m tests.soak --minutes $(MINUTES) $(ARGS)

proto: setup
	@$(BIN)/python packaging/gen_proto.py

# The admin page into the package, with the Node on the PATH or the one from the pins.
spa: setup
	@$(BIN)/python packaging/spa.py

# The pictures of README and docs, of a real helm with an invented fleet; ARGS="--only overview" takes one.
screenshots: setup
	@$(BIN)/python -m tests.browser.pictures $(ARGS)

deb: setup
	@$(BIN)/python packaging/build_deb.py --out dist $(ARGS)

# One file for pipx: with the page, and with the agents' packages for helm to put on other machines.
wheel: setup
	@$(BIN)/python -m hatchling build -t wheel -d dist

# The tools of the two below, in a venv of their own.
$(AUDIT)/.stamp: requirements/audit.txt
	@test -x $(AUDIT)/bin/python || $(PYTHON) -m venv $(AUDIT)
	@$(AUDIT)/bin/python -m pip install -q --disable-pip-version-check --only-binary :all: --require-hashes -r requirements/audit.txt
	@touch $@

# Locks, licences, and what is known against the pinned versions.
audit: $(AUDIT)/.stamp
	@$(AUDIT)/bin/python packaging/audit.py $(ARGS)

# What is in the wheel and in each .deb, as CycloneDX.
sbom: $(AUDIT)/.stamp
	@$(AUDIT)/bin/python packaging/sbom.py --out dist $(ARGS)

clean:
	@rm -rf $(VENV) .cache dist build frontend/node_modules frontend/build frontend/.svelte-kit pharos/helm/web/_spa pharos/helm/onboard/_debs
	@find . -name __pycache__ -type d -prune -exec rm -rf {} +
