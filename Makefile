# make demo    a whole gate on this machine, to look at and play with      make demo-stop    end what it started
# make test    every check there is, from a fresh clone                   make help         all targets
SHELL := /bin/bash
.SHELLFLAGS := -euo pipefail -c
MAKEFLAGS += --no-print-directory
.DEFAULT_GOAL := help

PYTHON ?= python3
DEMO_PATH ?= $(CURDIR)/.demo
DEMO_ROLLOUT_PATH ?= $(CURDIR)/.demo-rollout
ARGS ?=
export PYTHON

# Ansible reads and writes nothing outside the checkout, whatever this machine's own configuration says.
unexport $(filter ANSIBLE_%,$(.VARIABLES))
export ANSIBLE_CONFIG := $(CURDIR)/tools/ansible.cfg
export ANSIBLE_HOME := $(CURDIR)/.cache/ansible
export ANSIBLE_LOCAL_TEMP := $(ANSIBLE_HOME)/tmp
export ANSIBLE_COLLECTIONS_PATH := $(CURDIR)/.venv/collections
export PATH := $(PATH):/usr/sbin:/sbin

.PHONY: help
help: ## this list
	@awk -F ':.*## ' '/^[a-z0-9-]+:.*## / { printf "%-19s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

# --- setting up -----------------------------------------------------------------------------------------------------
.venv/.runtime: requirements/runtime.txt
	@tools/venv.sh runtime

.venv/.dev: requirements/dev.txt .venv/.runtime
	@tools/venv.sh dev

.PHONY: venv build install lock
venv: .venv/.dev ## .venv with everything that the tests need
install: .venv/.runtime ## build the collection and install it into .venv/collections
	@tools/collection.sh
build: install ## the archive, in build/

lock: ## pin the newest versions of requirements/*.in
	@tools/lock.sh

# --- the demo -------------------------------------------------------------------------------------------------------
demo_settings = ANSIBLE_PIPELINING=true ANSIBLE_REMOTE_TEMP="$(ANSIBLE_HOME)/tmp" ANSIBLE_CALLBACK_RESULT_FORMAT=yaml
demo_playbook = $(demo_settings) .venv/bin/ansible-playbook -i localhost, -e '{"demo_path": "$(DEMO_PATH)"}'

.PHONY: demo demo-packages demo-stop demo-rollout
demo-packages: # all at once, so that somebody else has to be asked only once
	@tools/packages.sh venv=python3-venv nginx=nginx openssl=openssl curl=curl

demo: demo-packages install ## a gate on this machine, in .demo/, on loopback
	@$(demo_playbook) quietdoor.mtls.demo $(ARGS)

demo-stop: install ## end what `make demo` started
	@$(demo_playbook) quietdoor.mtls.demo_stop $(ARGS)

demo-rollout: demo-packages install ## a gate from nothing to enforce and back while people use the panel; ends what it starts
	@$(demo_settings) .venv/bin/python \
		.venv/collections/ansible_collections/quietdoor/mtls/playbooks/files/demo_rollout.py "$(DEMO_ROLLOUT_PATH)"

# --- checks ---------------------------------------------------------------------------------------------------------
.PHONY: quick check test lint sanity units integration e2e bench bench-gate demo-check demo-rollout-check molecule images format readmes golden language changelog clean
test: ## every check there is; logs in .cache/test-logs/
	@tools/stages.sh e2e molecule sanity+integration units demo-rollout-check demo-check lint

quick: venv install ## in a minute: style, types, language, layers, golden files, unit tests of changed packages
	@tools/quick.sh

check: lint units ## in a few minutes: every static check and every unit test

lint: venv install ## ruff, mypy, ansible-lint, yamllint, shellcheck, documentation, specs, READMEs, language, changelog
	@tools/packages.sh shellcheck=shellcheck
	@tools/lint.sh

units: venv install ## unit tests
	@tools/packages.sh openssl=openssl keytool=default-jre-headless pk12util=libnss3-tools /usr/share/easy-rsa/easyrsa=easy-rsa nginx=nginx
	@tools/pytest.sh tests/unit tests/bench $(ARGS)

e2e: venv install ## real nginx, real clients
	@tools/packages.sh nginx=nginx openssl=openssl curl=curl chromium=chromium pk12util=libnss3-tools
	@tools/judges.sh
	@tools/nginx.sh
	@tools/pytest.sh tests/e2e $(ARGS)

sanity: venv install ## ansible-test sanity, on the archive
	@tools/ansible-test.sh sanity $(ARGS)

integration: venv install ## ansible-test integration, on the archive
	@tools/packages.sh nginx=nginx openssl=openssl
	@tools/ansible-test.sh integration $(ARGS)

bench: venv install ## speed and memory beside openssl, easy-rsa and community.crypto; sizes: ARGS="--clients 1000", see ARGS=--help
	@tools/packages.sh openssl=openssl /usr/share/easy-rsa/easyrsa=easy-rsa
	@tools/bench.sh $(ARGS)

bench-gate: venv install ## what a gate costs nginx, beside a plain ssl_verify_client on; shorter: ARGS=--quick
	@tools/packages.sh nginx=nginx openssl=openssl valgrind=valgrind
	@PYTHONPATH=$(CURDIR)/.venv/collections PYTHONDONTWRITEBYTECODE=1 .venv/bin/python tests/bench/gate/bench_gate.py $(ARGS)

demo-check: install ## make demo, twice, stop, and again, in .cache/demo
	@tools/check_demo.sh

demo-rollout-check: demo-packages install ## make demo-rollout, and once more but broken off, in .cache/
	@tools/check_demo_rollout.sh

images: ## the systemd containers' images, made anew where they are missing, old or of another recipe
	@tools/images.sh

molecule: venv install images ## the example inventory, revoking, an armed transaction, and rollouts, on real systemd containers
	@tools/scenarios.sh "default revoke armed rollout" $(ARGS)

format: venv ## ruff's own style for every Python file
	@.venv/bin/ruff format . && .venv/bin/ruff check --fix .

readmes: venv ## roles/*/README.md from the roles' argument specs
	@.venv/bin/python tools/role_readme.py

language: venv ## tools/language_exceptions.txt, which only shrinks
	@.venv/bin/python tools/check_language.py --write

golden: venv install ## tests/unit/golden from the templates and the trust maps as they are
	@PYTHONPATH=$(CURDIR)/.venv/collections PYTHONDONTWRITEBYTECODE=1 .venv/bin/python tests/unit/support/golden.py

changelog: venv install ## CHANGELOG.md from changelogs/fragments
	@PATH=$(CURDIR)/.venv/bin:$$PATH .venv/bin/antsibull-changelog release --update-existing --reload-plugins --reload-plugins

clean: ## everything that is not in git, but a running demo's directory
	@rm -rf .venv build .cache .mypy_cache .ruff_cache .pytest_cache .hypothesis tests/output
	@find . -name __pycache__ -type d -prune -exec rm -rf {} +
