# The few words that people type. CI runs .ci/run.
.PHONY: build test torture badger-next fuzz lint bench man packages

build:
	go build -trimpath -o tokend .

test:
	go test ./...

# Kills, power cuts, full and failing disks, damage, storms; as root, some five minutes.
torture:
	TOKEND_TORTURE=1 TOKEND_REQUIRE_ALL=1 go test -count=1 -v -timeout 1h -run 'Torture|Open_damage' ./cli ./kv

# The store's tests against the newest Badger there is, in a copy.
badger-next:
	rm -rf $(DIST)/badger-next && mkdir -p $(DIST) && git clone -q . $(DIST)/badger-next
	cd $(DIST)/badger-next && go get github.com/dgraph-io/badger/v4@$(BADGER) && go mod tidy && \
		TOKEND_BADGER_NEXT=1 go test ./kv/...
	rm -rf $(DIST)/badger-next
BADGER ?= latest

# Every parser, one after the other, for a time (10m) or a number of inputs (10000x);
# what is found becomes a case of its test.
FUZZTIME ?= 10m
fuzz:
	for package in $(sort $(dir $(shell git grep -l '^func Fuzz' -- '*_test.go'))); do \
		for target in $$(grep -ho '^func Fuzz[A-Za-z]*' $$package*_test.go | cut -c6-); do \
			go test -run '^$$' -fuzz "^$$target\$$" -fuzztime $(FUZZTIME) -fuzzminimizetime 100x ./$$package || exit; \
		done; \
	done

lint:
	golangci-lint run ./...

bench:
	go run ./bench

man:
	go run ./cli/man man

# Packages. The same commit gives the same bytes, in whatever folder and at
# whatever time: versions and times are the commit's.
commit = $(shell TZ=UTC git log -1 --abbrev=7 --date=format-local:%Y%m%d%H%M%S --format='git%cd.%h')
exact = $(shell git describe --tags --exact-match --match 'v[0-9]*' 2>/dev/null)
nearest = $(shell git describe --tags --abbrev=0 --match 'v[0-9]*' 2>/dev/null)
VERSION ?= $(if $(exact),$(exact:v%=%),$(if $(nearest),$(nearest:v%=%)+$(commit),0.0.0~$(commit)))
SOURCE_DATE_EPOCH ?= $(shell git log -1 --format=%ct)
DIST ?= dist
ARCHES ?= amd64 arm64
FORMATS ?= deb rpm
nfpm = go run github.com/goreleaser/nfpm/v2/cmd/nfpm@v2.45.2
stage = $(DIST)/stage

packages: export VERSION := $(VERSION)
packages: export SOURCE_DATE_EPOCH := $(SOURCE_DATE_EPOCH)
packages: export STAGE = $(stage)
packages:
	rm -rf $(stage) $(DIST)/tokend[-_]*.deb $(DIST)/tokend[-_]*.rpm && mkdir -p $(stage)/man
	go run ./cli/man $(stage)/man && gzip -9n $(stage)/man/*
	for shell in bash zsh fish; do go run . completion $$shell >$(stage)/tokend.$$shell || exit; done
	sh systemd/changelog "$(VERSION)" $(SOURCE_DATE_EPOCH) <CHANGELOG.md | gzip -9n >$(stage)/changelog.gz
	for arch in $(ARCHES); do \
		CGO_ENABLED=0 GOOS=linux GOARCH=$$arch go build -trimpath -buildvcs=auto -ldflags "-s -w -X tokend/cli.version=$(VERSION)" -o $(stage)/$$arch/tokend . || exit; \
		for format in $(FORMATS); do \
			ARCH=$$arch $(nfpm) package --packager $$format --target $(DIST) || exit; \
		done; \
	done
	rm -r $(stage)
