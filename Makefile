# make up     a proven mail server on this host (the demonstration, without a mailstack.toml)
# make test   everything there is to check; needs root and installs what is missing
VERSION := $(shell git describe --always --dirty 2>/dev/null || echo devel)
GO      ?= go
SOURCES := $(shell find . -name '*.go' -not -path './.git/*') $(shell find images -type f) go.mod go.sum

.PHONY: up build test unit lint e2e test-long bench chaos fuzz vulncheck prepare prepare-test clean

up: prepare build
	bin/mailstack up

build: bin/mailstack

bin/mailstack: $(SOURCES)
	CGO_ENABLED=0 $(GO) build -buildvcs=false -trimpath -ldflags '-s -w -X main.version=$(VERSION)' -o $@ ./cmd/mailstack

prepare:
	scripts/prepare

prepare-test:
	scripts/prepare test

test: prepare-test lint unit e2e

lint:
	@unformatted=$$($(GO) tool gofumpt -l .); if [ -n "$$unformatted" ]; then echo "not gofumpt-clean:"; echo "$$unformatted"; exit 1; fi
	$(GO) vet ./...
	$(GO) tool staticcheck ./...

# Everything but the e2e suite.
unit:
	$(GO) test -race $$($(GO) list ./... | grep -v '^mailstack/e2e$$')

# Real stacks on the real engine, on loopback, in directories of their own.
e2e: build
	@scripts/tested bin/e2e.log env MAILSTACK_BIN=$(CURDIR)/bin/mailstack $(GO) test -count=1 -timeout 50m -v ./e2e

# What does not fit into make test.
test-long: prepare-test build
	@scripts/tested bin/e2e.log env MAILSTACK_BIN=$(CURDIR)/bin/mailstack $(GO) test -count=1 -timeout 120m -v ./e2e -long

# Figures beside other programs, on stacks of its own; the table goes to bin/ too.
# BENCH='-only mail -rounds 9' or BENCH=-quick for less of it.
bench: prepare-test build
	$(GO) run ./bench -binary bin/mailstack -json bin/bench.json -markdown bin/bench.md $(BENCH)

# Faults under load, alone and in pairs, on stacks of its own: half an hour, with
# CHAOS="-duration 5m -seed 7" another campaign. The table goes to bin/ too, and
# what the services logged where something was broken.
chaos: prepare-test build
	$(GO) run ./chaos -binary bin/mailstack -json bin/chaos.json -logs bin/chaos-logs $(CHAOS)

# Every fuzz test for FUZZTIME, one after the other; what fails is kept in its
# package's testdata/fuzz, and is a test of make unit from then on.
FUZZTIME ?= 60s
fuzz:
	scripts/fuzz $(FUZZTIME)

# Known vulnerabilities in the modules that are used. It needs Go's vulnerability
# database, or a copy that VULNDB=URL names, and so is no part of make test.
vulncheck:
	@$(GO) tool govulncheck $(if $(VULNDB),-db $(VULNDB)) ./... || { code=$$?; \
	if [ $$code -ne 3 ]; then echo "vulncheck: NOTHING WAS CHECKED: the database cannot be read (VULNDB=URL names another one)" >&2; fi; exit $$code; }

clean:
	rm -rf bin
