PYTHON ?= python3
VENV := .venv
INSTALLED := $(VENV)/.installed

.PHONY: run test check clean

# The main job: every backbone on the embedded dataset. Options: make run ARGS="--weights random"
run: $(INSTALLED)
	$(VENV)/bin/python -m bench run --backbones all $(ARGS)

# The tests. Options: make test ARGS="-k similarity"
test: $(INSTALLED)
	$(VENV)/bin/python -m pytest $(ARGS)

check: $(INSTALLED)
	$(VENV)/bin/ruff check .
	$(VENV)/bin/ruff format --check .
	$(VENV)/bin/mypy

clean:
	rm -rf $(VENV)

$(INSTALLED): pyproject.toml setup.py constraints.txt
	$(PYTHON) -m venv $(VENV)
	$(VENV)/bin/python -m pip install --quiet --constraint constraints.txt --editable '.[dev]'
	touch $@
