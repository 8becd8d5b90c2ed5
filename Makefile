# Retro Dash. `make run` and `make test` are all that a new machine needs; both are safe to repeat.
PYTHON ?= python3
HOME_DIR ?= .retro
VENV := .venv
BIN := $(VENV)/bin
SOURCES := app.py data envs training retro_dash tests benchmarks

.PHONY: run venv test check format system alfworld model vllm clean

run: model  ## set up if needed, then start the dashboard
	$(BIN)/retro-dash web --home $(HOME_DIR)

venv: $(VENV)/.installed  ## only the set-up

$(VENV)/.installed: pyproject.toml constraints.txt
	@echo "Setting up $(VENV) (a few minutes, once)"
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || { echo "Python 3.11 or newer is needed; $(PYTHON) is older. Try: make run PYTHON=python3.12"; exit 1; }
	@$(PYTHON) -m venv $(VENV) || { echo "Python cannot make a virtual environment. Debian and Ubuntu: apt-get install python3-venv"; exit 1; }
	$(BIN)/pip install --quiet --upgrade pip
	$(BIN)/pip install --quiet --constraint constraints.txt torch==2.13.0
	$(BIN)/pip install --quiet --constraint constraints.txt --editable '.[dev]'
	@touch $@

model: venv  ## prepare the embedded model once
	$(BIN)/python -m retro_dash.serving.model --home $(HOME_DIR)

# Browsers, terminals and killed processes meet the machine's load: a failed test gets a second try, which the closing line counts.
test: venv system alfworld  ## every test, real browser, real database server and official game engine included
	RETRO_TEST_HOME=$${RETRO_TEST_HOME:-$(CURDIR)/$(HOME_DIR)/test} sh -c '$(BIN)/python -m retro_dash.serving.model --home "$$RETRO_TEST_HOME" && RETRO_ALFWORLD_PYTHON=$(CURDIR)/.venv-alfworld/bin/python $(BIN)/python -m pytest -raR --reruns 1'

PROGRAMS := chromium bwrap mariadbd tmux tree jq xxd cpio
PACKAGES := chromium bubblewrap mariadb-server tmux tree jq xxd cpio bsdextrautils dnsutils psmisc fonts-dejavu

system:  ## the programs that tests drive, from the distribution's packages, when one is missing
	@missing=; for program in $(PROGRAMS); do command -v $$program >/dev/null || missing="$$missing $$program"; done; \
	if [ -z "$$missing" ]; then exit 0; fi; \
	if ! command -v apt-get >/dev/null; then echo "Missing:$$missing. Install them with this system's package manager."; exit 1; fi; \
	echo "Installing:$$missing"; sudo=$$([ "$$(id -u)" = 0 ] || echo sudo); \
	$$sudo apt-get update -qq && DEBIAN_FRONTEND=noninteractive $$sudo apt-get install -y -qq --no-install-recommends $(PACKAGES)

alfworld: .venv-alfworld/.installed  ## the official ALFWorld engine, in an environment of its own (its planner is GPL)

.venv-alfworld/.installed: constraints.txt
	@echo "Setting up .venv-alfworld (a few minutes, once)"
	$(PYTHON) -m venv .venv-alfworld
	.venv-alfworld/bin/pip install --quiet alfworld==0.4.2
	@touch $@

check: venv  ## format, lint, types, import contracts, fast tests
	$(BIN)/ruff format --check $(SOURCES)
	$(BIN)/ruff check $(SOURCES)
	$(BIN)/mypy
	$(BIN)/lint-imports
	$(BIN)/python -m pytest -m "not slow and not browser"

format: venv
	$(BIN)/ruff format $(SOURCES)
	$(BIN)/ruff check --fix $(SOURCES)

vllm: venv  ## vLLM in an environment of its own
	$(PYTHON) -m retro_dash.serving.install_vllm

clean:  ## remove what the set-up made, never the home
	rm -rf $(VENV) .venv-alfworld .mypy_cache .ruff_cache .pytest_cache build *.egg-info
