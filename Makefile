# Everything bootstraps itself from Python 3.11+ and make. `make help` lists the verbs.
PYTHON ?= $(shell for p in python3.13 python3.12 python3.11 python3 python; do \
	command -v $$p >/dev/null 2>&1 && $$p -c 'import sys; sys.exit(sys.version_info < (3, 11))' \
	2>/dev/null && { echo $$p; break; }; done)
VENV := .venv
BIN := $(VENV)/bin
RUN := $(VENV)/.runtime
DEV := $(VENV)/.dev
AZURITE := $(VENV)/azurite
CHECKOV := $(VENV)/checkov
FUZZ_SECONDS ?= 60
export PIP_DISABLE_PIP_VERSION_CHECK = 1

.DEFAULT_GOAL := help
.PHONY: help setup demo demo-stack test test-unit fuzz bench check lint fmt types layers policy docs sbom rules kustomize lock clean

help: ## list the verbs
	@grep -hE '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | awk -F ':.*## ' '{printf "  make %-10s %s\n", $$1, $$2}'

$(RUN): deploy/requirements.txt pyproject.toml
	@test -n "$(PYTHON)" || { echo "error: Python 3.11 or newer is needed" >&2; \
	  echo "hint: make demo PYTHON=/path/to/python3.11" >&2; exit 1; }
	@test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	@echo "setting up the runtime ..."
	@$(BIN)/python -m pip install --quiet --require-hashes -r deploy/requirements.txt
	@$(BIN)/python -m pip install --quiet --no-deps --no-build-isolation --editable .
	@touch $@

$(DEV): tests/requirements.txt $(RUN)
	@echo "setting up the tools of the tests ..."
	@$(BIN)/python -m pip install --quiet --require-hashes -r tests/requirements.txt
	@touch $@

$(AZURITE)/.installed: tests/azurite/package-lock.json tests/azurite/.npmrc $(DEV)
	@echo "setting up Azurite, the emulator of Azure Storage ..."
	@mkdir -p $(AZURITE) && cp tests/azurite/package*.json tests/azurite/.npmrc $(AZURITE)
	@cd $(AZURITE) && PATH="$(CURDIR)/$(BIN):$$PATH" npm ci --silent --omit=optional --ignore-scripts
	@touch $@

$(CHECKOV)/.installed: tests/checkov/requirements.txt $(DEV)
	@echo "setting up checkov, the policy scan of deploy/ ..."
	@test -x $(CHECKOV)/bin/python || $(BIN)/python -m venv --without-pip $(CHECKOV)
	@$(BIN)/python -m pip --python $(CHECKOV)/bin/python install --quiet --require-hashes -r tests/checkov/requirements.txt
	@touch $@

setup: $(DEV) $(AZURITE)/.installed $(CHECKOV)/.installed ## install everything into .venv

demo: $(RUN) ## the main job: sample events in, a proven archive out
	@$(BIN)/recording-worker replay samples/events/demo --simulate

demo-stack: $(AZURITE)/.installed ## webhook, two consumers, Azurite: all samples through, and the metrics move
	@$(BIN)/python -m tests.stack

test: setup ## all tests, with branch coverage
	@rm -f .coverage .coverage.*
	@$(BIN)/python -m pytest --cov --cov-report= -n 2 --dist loadgroup -m "not alone"
	@$(BIN)/python -m coverage report
	@$(BIN)/python -m pytest -m alone

test-unit: $(DEV) ## the unit tests alone
	@$(BIN)/python -m pytest tests/unit

fuzz: $(DEV) ## every parser against odd input, FUZZ_SECONDS=60 for each
	@$(BIN)/python -m tests.fuzz --seconds $(FUZZ_SECONDS)

bench: setup ## speed, memory and acks, each as a ratio or against its bound
	@$(BIN)/python -m tests.bench

check: lint types layers test ## everything that CI runs

lint: $(DEV) ## ruff and codespell
	@$(BIN)/ruff check .
	@$(BIN)/ruff format --check .
	@$(BIN)/codespell

fmt: $(DEV) ## format, and mend what can be mended
	@$(BIN)/ruff check --fix-only --quiet .
	@$(BIN)/ruff format --quiet .

types: $(DEV) ## mypy, strict
	@$(BIN)/mypy

layers: $(DEV) ## who may import whom
	@$(BIN)/lint-imports

policy: $(CHECKOV)/.installed ## checkov over all of deploy/
	@CKV_SKIP_PACKAGE_UPDATE_CHECK=true $(CHECKOV)/bin/checkov --config-file deploy/.checkov.yaml

docs: $(DEV) ## regenerate the tables of settings and metrics
	@$(BIN)/python -m tests.docs

sbom: $(DEV) ## what is deployed, as CycloneDX, into dist/; EXTRAS="export" too
	@$(BIN)/python -m tests.sbom dist/recording-worker.cdx.json $(EXTRAS)
	@echo dist/recording-worker.cdx.json

rules: ## the alert rules by Prometheus' own promtool, where it is installed
	@command -v promtool >/dev/null || { echo "error: promtool is not here" >&2; \
	  echo "hint: apt-get install prometheus" >&2; exit 1; }
	@promtool check rules deploy/monitoring/prometheus-rules.yaml
	@promtool test rules deploy/monitoring/rules-test.yaml

kustomize: $(DEV) ## the manifests of Kubernetes by kubectl, where it is installed
	@command -v kubectl >/dev/null || { echo "error: kubectl is not here" >&2; \
	  echo "hint: https://kubernetes.io/docs/tasks/tools, 1.21 or newer" >&2; exit 1; }
	@$(BIN)/python -m tests.deploy.kustomize

lock: ## resolve the locks anew (needs pip-tools in .venv)
	@$(BIN)/python -m pip install --quiet pip-tools
	@cd deploy && CUSTOM_COMPILE_COMMAND="make lock" ../$(BIN)/pip-compile --quiet --no-strip-extras --generate-hashes \
	  --no-emit-index-url --no-emit-find-links --no-emit-trusted-host --allow-unsafe --output-file requirements.txt requirements.in
	@cd deploy && for extra in export azure-monitor; do CUSTOM_COMPILE_COMMAND="make lock" ../$(BIN)/pip-compile --quiet \
	  --no-strip-extras --generate-hashes --no-emit-index-url --no-emit-find-links --no-emit-trusted-host --allow-unsafe \
	  --output-file requirements-$$extra.txt requirements-$$extra.in || exit 1; done
	@cd tests && CUSTOM_COMPILE_COMMAND="make lock" ../$(BIN)/pip-compile --quiet --no-strip-extras --generate-hashes \
	  --no-emit-index-url --no-emit-find-links --no-emit-trusted-host --allow-unsafe --output-file requirements.txt requirements.in
	@cd tests/checkov && CUSTOM_COMPILE_COMMAND="make lock" ../../$(BIN)/pip-compile --quiet --no-strip-extras --generate-hashes \
	  --no-emit-index-url --no-emit-find-links --no-emit-trusted-host --allow-unsafe --output-file requirements.txt requirements.in
	@cd tests/azurite && PATH="$(CURDIR)/$(BIN):$$PATH" npm install --silent --package-lock-only
	@$(BIN)/python -m tests.azurite.lock tests/azurite/package-lock.json

clean: ## remove what make made
	@rm -rf $(VENV) data .fuzz .coverage .coverage.* .mypy_cache .pytest_cache .ruff_cache .hypothesis .import_linter_cache
