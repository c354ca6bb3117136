# One word each. Everything a target needs is set up by itself, outside the checkout, and is quick the second time.
#   make test ARGS='-k zones -x'    passes arguments on (test, bench, demo)
.DEFAULT_GOAL := help
.PHONY: help demo test explore crash faults malformed lint format bench docs dev servers clean
SHELL := bash
.SHELLFLAGS := -euo pipefail -c
MAKEFLAGS += --no-print-directory
ARGS ?=

help:  ## what there is
	@sed -n 's/^\([a-z]*\):.*## /\1\t/p' Makefile | expand -t 12

demo:  ## the main job on this machine alone, with an embedded CA and DNS server
	@venv=$$(scripts/environment run) && "$$venv/bin/ci-acme" demo $(ARGS)

test:  ## all tests, on real servers
	@venv=$$(scripts/environment test) && scripts/test-servers && "$$venv/bin/python" -m pytest -n 2 $(ARGS)

explore:  ## the property tests with new examples, a thousand each (make test takes the same ones every time)
	@venv=$$(scripts/environment test) && scripts/test-servers && HYPOTHESIS_PROFILE=explore "$$venv/bin/python" -m pytest -n 2 -m hypothesis --timeout 1200 $(ARGS)

crash:  ## SIGKILL at every step that a run waits for (make test tries a part); prints the numbers
	@venv=$$(scripts/environment test) && scripts/test-servers && "$$venv/bin/python" -m tests.e2e.crash $(ARGS)

malformed:  ## 10,000 malformed replies of a CA (make test tries a part)
	@venv=$$(scripts/environment test) && CI_ACME_MALFORMED=10000 HYPOTHESIS_PROFILE=explore "$$venv/bin/python" -m pytest -n 2 tests/ca/test_malformed.py $(ARGS)

faults:  ## every kind of fault at every request to every store (make test tries a part); prints the numbers
	@venv=$$(scripts/environment test) && "$$venv/bin/python" -m tests.faults $(ARGS)

lint:  ## format, rules, types, import arrows, workflows
	@scripts/lint

format:  ## rewrite what lint would complain about
	@venv=$$(scripts/environment dev) && "$$venv/bin/ruff" format && "$$venv/bin/ruff" check --fix

bench:  ## measure beside lego, certbot and a raw client (bench/README.md)
	@venv=$$(scripts/environment test) && scripts/test-servers && "$$venv/bin/python" -m bench $(ARGS)

docs:  ## write the generated documentation anew
	@venv=$$(scripts/environment run) && "$$venv/bin/python" scripts/generate-docs

dev:  ## the environment for an editor: prints its path
	@scripts/environment dev

servers:  ## install the servers that tests need
	@scripts/test-servers

clean:  ## remove this checkout's environment, caches and builds
	@rm -rf "$$(scripts/environment --path)" .mypy_cache .pytest_cache .ruff_cache .import_linter_cache .hypothesis dist bench/results
