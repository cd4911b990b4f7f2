# make demo    set up a complete gate on this machine       make demo-stop    stop its processes
# make test    run every check, from a fresh clone          make help         list all targets
SHELL := /bin/bash
.SHELLFLAGS := -euo pipefail -c
MAKEFLAGS += --no-print-directory
.DEFAULT_GOAL := help

PYTHON ?= python3
DEMO_PATH ?= $(CURDIR)/.demo
DEMO_ROLLOUT_PATH ?= $(CURDIR)/.demo-rollout
ARGS ?=
export PYTHON

# Ansible must not read or write files outside of the checkout, independently of the configuration of this machine.
unexport $(filter ANSIBLE_%,$(.VARIABLES))
export ANSIBLE_CONFIG := $(CURDIR)/tools/ansible.cfg
export ANSIBLE_HOME := $(CURDIR)/.cache/ansible
export ANSIBLE_LOCAL_TEMP := $(ANSIBLE_HOME)/tmp
export ANSIBLE_COLLECTIONS_PATH := $(CURDIR)/.venv/collections
export PATH := $(PATH):/usr/sbin:/sbin

.PHONY: help
help: ## list the targets
	@awk -F ':.*## ' '/^[a-z0-9-]+:.*## / { printf "%-19s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

# --- environment ----------------------------------------------------------------------------------------------------
.venv/.runtime: requirements/runtime.txt
	@tools/venv.sh runtime

.venv/.dev: requirements/dev.txt .venv/.runtime
	@tools/venv.sh dev

.PHONY: venv build install lock
venv: .venv/.dev ## create .venv with the requirements of the tests
install: .venv/.runtime ## build the collection and install it into .venv/collections
	@tools/collection.sh
build: install ## build the archive in build/

lock: ## pin the newest versions of the packages in requirements/*.in
	@tools/lock.sh

# --- the demo -------------------------------------------------------------------------------------------------------
demo_settings = ANSIBLE_PIPELINING=true ANSIBLE_REMOTE_TEMP="$(ANSIBLE_HOME)/tmp" ANSIBLE_CALLBACK_RESULT_FORMAT=yaml
demo_playbook = $(demo_settings) .venv/bin/ansible-playbook -i localhost, -e '{"demo_path": "$(DEMO_PATH)"}'

.PHONY: demo demo-packages demo-stop demo-rollout
demo-packages: # one call, so that a missing root permission is reported once
	@tools/packages.sh venv=python3-venv nginx=nginx openssl=openssl curl=curl

demo: demo-packages install ## set up a gate on this machine, in .demo/, on loopback
	@$(demo_playbook) quietdoor.mtls.demo $(ARGS)

demo-stop: install ## stop the processes of `make demo`
	@$(demo_playbook) quietdoor.mtls.demo_stop $(ARGS)

demo-rollout: demo-packages install ## roll out a gate from no gate to enforce and back while clients send requests; stop all processes
	@$(demo_settings) .venv/bin/python \
		.venv/collections/ansible_collections/quietdoor/mtls/playbooks/files/demo_rollout.py "$(DEMO_ROLLOUT_PATH)"

# --- checks ---------------------------------------------------------------------------------------------------------
.PHONY: quick check test lint sanity units integration e2e bench bench-gate demo-check demo-rollout-check molecule images format readmes golden language changelog clean
test: ## run every check; logs in .cache/test-logs/
	@tools/stages.sh e2e molecule sanity+integration units demo-rollout-check demo-check lint

quick: venv install ## check in a minute: style, types, language, layers, golden files, unit tests of changed packages
	@tools/quick.sh

check: lint units ## run every static check and every unit test in a few minutes

lint: venv install ## run ruff, mypy, ansible-lint, yamllint, shellcheck, documentation, specs, READMEs, language, changelog
	@tools/packages.sh shellcheck=shellcheck
	@tools/lint.sh

units: venv install ## run the unit tests
	@tools/packages.sh openssl=openssl keytool=default-jre-headless pk12util=libnss3-tools /usr/share/easy-rsa/easyrsa=easy-rsa nginx=nginx
	@tools/pytest.sh tests/unit tests/bench $(ARGS)

e2e: venv install ## run the end-to-end tests with real nginx and real clients
	@tools/packages.sh nginx=nginx openssl=openssl curl=curl chromium=chromium pk12util=libnss3-tools
	@tools/judges.sh
	@tools/nginx.sh
	@tools/pytest.sh tests/e2e $(ARGS)

sanity: venv install ## run ansible-test sanity on the archive
	@tools/ansible-test.sh sanity $(ARGS)

integration: venv install ## run ansible-test integration on the archive
	@tools/packages.sh nginx=nginx openssl=openssl
	@tools/ansible-test.sh integration $(ARGS)

bench: venv install ## compare speed and memory with openssl, easy-rsa and community.crypto; sizes: ARGS="--clients 1000", see ARGS=--help
	@tools/packages.sh openssl=openssl /usr/share/easy-rsa/easyrsa=easy-rsa
	@tools/bench.sh $(ARGS)

bench-gate: venv install ## compare the cost of a gate with a plain ssl_verify_client on; shorter: ARGS=--quick
	@tools/packages.sh nginx=nginx openssl=openssl valgrind=valgrind
	@PYTHONPATH=$(CURDIR)/.venv/collections PYTHONDONTWRITEBYTECODE=1 .venv/bin/python tests/bench/gate/bench_gate.py $(ARGS)

demo-check: install ## test make demo and make demo-stop in .cache/
	@tools/check_demo.sh

demo-rollout-check: demo-packages install ## test make demo-rollout, also with an interrupted run, in .cache/
	@tools/check_demo_rollout.sh

images: ## build the images of the systemd containers that are missing, old or of another recipe
	@tools/images.sh

molecule: venv install images ## test the example inventory, revocation, armed transactions and rollouts on systemd containers
	@tools/scenarios.sh "default revoke armed rollout" $(ARGS)

format: venv ## format every Python file with ruff
	@.venv/bin/ruff format . && .venv/bin/ruff check --fix .

readmes: venv ## write roles/*/README.md from the argument specs of the roles
	@.venv/bin/python tools/role_readme.py

language: venv ## write tools/language_exceptions.txt, which only shrinks
	@.venv/bin/python tools/check_language.py --write

golden: venv install ## write tests/unit/golden from the templates and the trust maps
	@PYTHONPATH=$(CURDIR)/.venv/collections PYTHONDONTWRITEBYTECODE=1 .venv/bin/python tests/unit/support/golden.py

changelog: venv install ## write CHANGELOG.md from changelogs/fragments
	@PATH=$(CURDIR)/.venv/bin:$$PATH .venv/bin/antsibull-changelog release --update-existing --reload-plugins --reload-plugins

clean: ## remove every file that is not in git, except the directory of a running demo
	@rm -rf .venv build .cache .mypy_cache .ruff_cache .pytest_cache .hypothesis tests/output
	@find . -name __pycache__ -type d -prune -exec rm -rf {} +
