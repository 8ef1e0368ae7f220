# The few words that people type. CI runs .ci/run.
.PHONY: build test lint bench man

build:
	go build -trimpath -o tokend .

test:
	go test ./...

lint:
	golangci-lint run ./...

bench:
	go run ./bench

man:
	go run ./cli/man man
