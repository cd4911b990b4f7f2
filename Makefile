# `make demo` starts a gate on this machine. `make test` runs every check. `make help` lists all targets.
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
help: ## list all targets
	@awk -F ':.*## ' '/^# --- / { gsub(/^# --- | -+$$/, ""); printf "\n%s\n", $$0 } \
		/^[a-z0-9-]+:.*## / { printf "  make %-19s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)
	@echo
	@echo 'Variables: ARGS="..." are further arguments of the tool, PYTHON=/path/to/python3.12 is the Python of .venv.'

# --- Set up -----------------------------------------------------------------------------------------------------
.venv/.runtime: requirements/runtime.txt
	@tools/venv.sh runtime

.venv/.dev: requirements/dev.txt .venv/.runtime
	@tools/venv.sh dev

.PHONY: venv build install lock
venv: .venv/.dev ## create .venv with the packages that development and tests need
install: .venv/.runtime ## build the collection and install it into .venv/collections
	@tools/collection.sh
build: install ## build the archive into build/

lock: ## pin the newest versions of requirements/*.in, and docs/ci/requirements.txt
	@tools/lock.sh

# --- Demo -------------------------------------------------------------------------------------------------------
demo_settings = ANSIBLE_PIPELINING=true ANSIBLE_REMOTE_TEMP="$(ANSIBLE_HOME)/tmp" ANSIBLE_CALLBACK_RESULT_FORMAT=yaml
demo_playbook = $(demo_settings) .venv/bin/ansible-playbook -i localhost, -e '{"demo_path": "$(DEMO_PATH)"}'

.PHONY: demo demo-packages demo-stop demo-rollout
demo-packages: ## install the Debian packages that the demos need
	@tools/packages.sh venv=python3-venv nginx=nginx openssl=openssl curl=curl

demo: demo-packages install ## start a gate on this machine, on loopback, in .demo/
	@$(demo_playbook) quietdoor.mtls.demo $(ARGS)

demo-stop: install ## stop what `make demo` started
	@$(demo_playbook) quietdoor.mtls.demo_stop $(ARGS)

demo-rollout: demo-packages install ## move a gate through all stages and back while clients send requests; stops what it starts
	@$(demo_settings) .venv/bin/python \
		.venv/collections/ansible_collections/quietdoor/mtls/playbooks/files/demo_rollout.py "$(DEMO_ROLLOUT_PATH)"

# --- Checks ---------------------------------------------------------------------------------------------------------
.PHONY: quick check test lint sanity units integration e2e bench bench-gate bench-plays demo-check demo-rollout-check cores matrix molecule images format readmes golden language changelog clean
test: ## run every check, as CI does; logs are in .cache/test-logs/
	@tools/stages.sh e2e molecule sanity+integration units demo-rollout-check demo-check cores lint

quick: venv install ## run formatting, types, layers, language, golden files and unit tests of changed packages (1 minute)
	@tools/quick.sh

check: lint units ## run every static check and every unit test (6 minutes)

lint: venv install ## run every static check: ruff, mypy, ansible-lint, yamllint, shellcheck, documentation, changelog
	@tools/packages.sh shellcheck=shellcheck
	@tools/lint.sh

units: venv install ## run the unit tests
	@tools/packages.sh openssl=openssl keytool=default-jre-headless pk12util=libnss3-tools /usr/share/easy-rsa/easyrsa=easy-rsa nginx=nginx
	@tools/pytest.sh tests/unit tests/bench $(ARGS)

e2e: venv install ## run the end-to-end tests: real nginx, real clients
	@tools/packages.sh nginx=nginx openssl=openssl curl=curl chromium=chromium pk12util=libnss3-tools
	@tools/judges.sh
	@tools/nginx.sh
	@tools/pytest.sh tests/e2e $(ARGS)

sanity: venv install ## run ansible-test sanity on the archive
	@tools/ansible-test.sh sanity $(ARGS)

integration: venv install ## run ansible-test integration on the archive
	@tools/packages.sh nginx=nginx openssl=openssl
	@tools/ansible-test.sh integration $(ARGS)

bench: venv install ## compare speed and memory with openssl, easy-rsa and community.crypto (ARGS=--help)
	@tools/packages.sh openssl=openssl /usr/share/easy-rsa/easyrsa=easy-rsa
	@tools/bench.sh $(ARGS)

bench-gate: venv install ## measure what a gate costs nginx (ARGS=--quick is shorter)
	@tools/packages.sh nginx=nginx openssl=openssl valgrind=valgrind
	@PYTHONPATH=$(CURDIR)/.venv/collections PYTHONDONTWRITEBYTECODE=1 .venv/bin/python tests/bench/gate/bench_gate.py $(ARGS)

bench-plays: venv install ## measure the time that playbooks take, on one web host and on 20 (ARGS="--hosts 0 --rounds 1" is shorter)
	@tools/packages.sh nginx=nginx openssl=openssl sshd=openssh-server
	@PYTHONPATH=$(CURDIR)/.venv/collections PYTHONDONTWRITEBYTECODE=1 .venv/bin/python tests/bench/plays/bench_plays.py $(ARGS)

demo-check: install ## run `make demo` twice, stop it, and run it again, in .cache/demo
	@tools/check_demo.sh

demo-rollout-check: demo-packages install ## run `make demo-rollout` twice, the second time with an interruption, in .cache/
	@tools/check_demo_rollout.sh

cores: install ## run the demo with the oldest and the newest ansible-core
	@tools/packages.sh nginx=nginx openssl=openssl curl=curl
	@.venv/bin/python tools/matrix.py kernel

matrix: venv install ## test every supported ansible-core, nginx and Debian release, and write docs/support.md (1 hour)
	@tools/packages.sh nginx=nginx openssl=openssl curl=curl
	@tools/nginx.sh
	@.venv/bin/python tools/matrix.py all

images: ## build the images of the systemd containers where they are missing or old
	@tools/images.sh

molecule: venv install images ## run inventory, revocation, armed transaction and rollouts in systemd containers
	@tools/scenarios.sh "default revoke armed rollout" $(ARGS)

format: venv ## format every Python file with ruff
	@.venv/bin/ruff format . && .venv/bin/ruff check --fix .

readmes: venv ## write roles/*/README.md from the argument specs
	@.venv/bin/python tools/role_readme.py

language: venv ## write tools/language_exceptions.txt; it only gets shorter
	@.venv/bin/python tools/check_language.py --write

golden: venv install ## write tests/unit/golden from the templates and the trust maps
	@PYTHONPATH=$(CURDIR)/.venv/collections PYTHONDONTWRITEBYTECODE=1 .venv/bin/python tests/unit/support/golden.py

changelog: venv install ## write CHANGELOG.md from changelogs/fragments
	@PATH=$(CURDIR)/.venv/bin:$$PATH .venv/bin/antsibull-changelog release --update-existing --reload-plugins --reload-plugins

clean: ## remove everything that is not in git, except the directory of a running demo
	@rm -rf .venv build .cache .mypy_cache .ruff_cache .pytest_cache .hypothesis tests/output
	@find . -name __pycache__ -type d -prune -exec rm -rf {} +
