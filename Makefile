# Every target sets up what it needs, once. PYTHON chooses the interpreter (3.11 to 3.14): make test PYTHON=python3.13
PYTHON ?= python3
VENV ?= .venv
BIN := $(VENV)/bin
READY := $(VENV)/ready
PIP := $(BIN)/python -m pip --quiet --disable-pip-version-check --no-input

# What `make package` and `make deploy` run on, because the Lambda runtime is the version of the interpreter that
# packages. Where it is not to be had, that of the tests is taken, and the output says which one it was.
RUNTIME ?= python3.13
PACKAGER := $(VENV)
ifneq ($(filter package deploy,$(MAKECMDGOALS)),)
ifeq ($(shell $(RUNTIME) -c 'print(1)' 2>/dev/null),1)
PACKAGER := build/venv-$(notdir $(RUNTIME))
endif
endif

.DEFAULT_GOAL := help
.PHONY: help demo up down status logs test check format bench bench-peers package deploy token catalog

help:
	@echo "make demo      set everything up and run the main job on the embedded control plane"
	@echo "make up        start the embedded control plane in the background (ARGS='--port 5000')"
	@echo "make down      stop it; its state is kept (ARGS=--erase: removed)"
	@echo "make status    what of it runs;  make logs: what it said"
	@echo "make test      run all tests;    make check: format, lint, types, rules"
	@echo "make bench     measure, beside the anchors of the goals (ARGS='--quick --only NAME')"
	@echo "make bench-peers  install the peer in an environment of its own and run the same work in turn with it"
	@echo "make package   make the template and the code for AWS in build/STAGE (STAGE=prod)"
	@echo "make deploy    package and deploy them (STAGE=prod; SUBNETS=ID,… SECURITY_GROUPS=ID,… to adopt hosts in a VPC,"
	@echo "               SETTINGS='TIDEPOOL_X=… …' of the functions)"
	@echo "make token     make a token for what was deployed (STAGE=prod, ARGS='--role user --expires 7d')"
	@echo "make catalog   import a catalog of offers, or list them (STAGE=prod, ARGS=list)"

demo: $(READY)
	@$(BIN)/python -m infra.local.demo $(ARGS)

up down logs: $(READY)
	@$(BIN)/python -m infra.local $@ $(ARGS)

status: $(READY)
	@$(BIN)/python -m infra.local $@ $(ARGS) || true

test: $(READY)
	@PYTHONHASHSEED=0 $(BIN)/python -m pytest -q -n 4 --max-worker-restart 0 $(ARGS) # equal hashes: workers must find the same names

check: $(READY)
	@echo "format"; $(BIN)/ruff format --quiet --check .
	@echo "lint"; $(BIN)/ruff check --quiet .
	@echo "types"; $(BIN)/mypy --no-error-summary app.py chalicelib cli/tidepool infra
	@echo "rules"; $(BIN)/python -m pytest -q tests/rules

format: $(READY)
	@$(BIN)/ruff format --quiet . && $(BIN)/ruff check --quiet --fix .

bench: $(READY)
	@$(BIN)/python -m bench $(ARGS)

bench-peers: $(READY)
	@$(BIN)/python -m bench --peers $(ARGS)

package: $(PACKAGER)/ready
	@test -n "$(STAGE)" || { echo "which stage? make package STAGE=prod"; exit 2; }
	@$(PACKAGER)/bin/python -m infra.build --stage $(STAGE) --out build/$(STAGE) \
		--subnets "$(SUBNETS)" --security-groups "$(SECURITY_GROUPS)" $(SETTINGS:%=--set %) $(ARGS)

deploy: package
	@$(PACKAGER)/bin/python -m infra.deploy --stage $(STAGE) --package build/$(STAGE) $(ARGS)

token: $(READY)
	@test -n "$(STAGE)" || { echo "which stage? make token STAGE=prod"; exit 2; }
	@$(BIN)/python -m infra.token --stage $(STAGE) $(ARGS)

catalog: $(READY)
	@test -n "$(STAGE)" || { echo "which stage? make catalog STAGE=prod ARGS=list"; exit 2; }
	@$(BIN)/python -m infra.catalog $(ARGS) --stage $(STAGE)

%/ready: tests/requirements.txt requirements.txt cli/pyproject.toml
	@$(call set-up,$*,$(if $(findstring build/venv,$*),$(RUNTIME),$(PYTHON)))

# A virtual environment whose interpreter is gone (an upgrade, a moved folder) is made anew.
define set-up
	$(2) -c 'import sys; sys.exit(not (3, 11) <= sys.version_info < (3, 15))' \
		|| { echo "Python 3.11 to 3.14 is needed: make PYTHON=/path/to/python3"; exit 1; }; \
	echo "setting up $(1) (once, about a minute)"; \
	$(1)/bin/python -c '' 2>/dev/null || $(2) -m venv --clear $(1) || exit 1; \
	$(subst $(BIN),$(1)/bin,$(PIP)) install -r tests/requirements.txt -e cli || exit 1; \
	touch $(1)/ready
endef
