# SPDX-License-Identifier: Apache-2.0
# Copyright The hsmtls-go Authors

SHELL := bash
.SHELLFLAGS := -euo pipefail -c
STATICCHECK := honnef.co/go/tools/cmd/staticcheck@v0.8.2
DEPS := env=$$(scripts/deps) && eval "$$env" && HSMTLS_REQUIRE_SOFTHSM=1
SOAK ?= 10m

.PHONY: help build demo test lint bench soak screenshots deps clean

help: ## list the targets
	@awk -F ':.*## ' '/^[a-z]+:.*## / { printf "%-12s %s\n", $$1, $$2 }' Makefile

build: ## the command, as bin/hsmtls
	go build -o bin/ ./cmd/hsmtls

demo: ## watch a terminal dial its acquirer with a key that stays in the token
	@scripts/demo

test: ## everything that has to pass before a change lands
	@scripts/test

lint: ## staticcheck, go.mod, shell scripts
	go mod tidy -diff
	go run $(STATICCHECK) ./...
	@if command -v shellcheck >/dev/null; then echo "shellcheck scripts .ci/run"; shellcheck $$(grep -lE '^#!.*bash' scripts/* .ci/run); \
		else echo "shellcheck is not installed: shell scripts not checked"; fi

bench: ## this module and its peers side by side, into bench/RESULTS.md; QUICK=1 in some minutes
	scripts/bench $(if $(QUICK),-quick)

soak: ## the tests under the race detector, in random order, again and again for SOAK (10m)
	$(DEPS) HSMTLS_SOAK=2m scripts/soak $(SOAK)

screenshots: ## the pictures of the operator's page in docs/images, from its browser test
	$(DEPS) HSMTLS_SCREENSHOTS=1 go test -count=1 -run '^TestBrowser$$' ./pairing/screen

deps: ## install SoftHSM and the other programs the tests use; print where they are
	@scripts/deps

clean: ## remove what the targets above made, .tools too
	rm -rf bin .tools
