# SPDX-License-Identifier: Apache-2.0
# Copyright The hsmtls-go Authors

SHELL := bash
.SHELLFLAGS := -euo pipefail -c
STATICCHECK := honnef.co/go/tools/cmd/staticcheck@v0.8.2
DEPS := env=$$(scripts/deps) && eval "$$env" && HSMTLS_REQUIRE_SOFTHSM=1

.PHONY: help build demo test lint bench soak screenshots release deps clean

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

soak: ## the tests again and again for SOAK (10m), and the tunnel under load for SOAK (30m)
	$(DEPS) HSMTLS_SOAK=2m scripts/soak $(or $(SOAK),10m)
	$(DEPS) HSMTLS_SOAK=$(or $(SOAK),30m) go test -race -count=1 -v -timeout 0 -run '^TestTunnelSoak$$' ./internal/e2e

screenshots: ## the pictures in docs/images, from their browser tests; that of the dashboard takes two minutes and Prometheus
	env=$$(scripts/deps module cc chromium prometheus) && eval "$$env" && HSMTLS_REQUIRE_SOFTHSM=1 HSMTLS_SCREENSHOTS=1 \
		go test -count=1 -run '^Test((Admin)?Browser|Dashboard)$$' ./pairing/screen ./cmd/hsmtls ./internal/e2e

release: ## archives, Debian packages, bills of materials and sums of the commit, in release/; VERSION=v0.x.y is its tag
	scripts/release $(VERSION)

deps: ## install SoftHSM and the other programs the tests use; print where they are
	@scripts/deps

clean: ## remove what the targets above made, .tools too
	rm -rf bin .tools release
