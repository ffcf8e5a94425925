# gantry's build. Everything here is a plain recipe: `go build ./...` and `go test ./...` work without it.
# The first ten minutes: README.md. What tests need and do: CONTRIBUTING.md.

GO      ?= go
CC      ?= gcc
BIN     ?= bin
PREFIX  ?= /usr
DESTDIR ?=
CACHE   ?= $(or $(XDG_CACHE_HOME),$(HOME)/.cache)/gantry
LDFLAGS  = -s -w
# Static, so that the loader's work, twice at every start of an app, is done here; and without what a static glibc cannot do.
LAUNCHTAGS = seccomp netgo osusergo runc_nocriu
# gantry-init has no C library (cmd/gantry-init/sys.h says why), so nothing of one may be asked for behind its back.
INITFLAGS = -static -nostdlib -ffreestanding -fno-stack-protector -Os -s -Wall -Wextra -Werror -Wl,-z,noseparate-code -Wl,--build-id=none
BUILD    = $(GO) build -trimpath -ldflags "$(LDFLAGS)"

GOLANGCI = v2.15.0
CNI      = github.com/containernetworking/plugins
CNIDIR   = $(shell $(GO) mod download $(CNI) && $(GO) list -m -f '{{.Dir}}' $(CNI))

DEPS       = gcc libc6-dev libseccomp-dev pkg-config make ca-certificates nftables iproute2 curl
TEST_DEPS  = busybox-static mount bzip2 podman mmdebstrap docker-registry umoci skopeo runc openssl zstd pigz xz-utils tar e2fsprogs iptables procps git gpg gpg-agent user-mode-linux wireguard-tools haproxy jq ansible-core
BENCH_DEPS = crun containerd iperf3

.PHONY: all gantry launch init cni deps test-deps bench-deps demo demo-image test test-v2 test-images test-images-small lint bench-peers fleet install clean

all: gantry launch init cni

gantry:
	CGO_ENABLED=0 $(BUILD) -o $(BIN)/ ./cmd/gantry ./cmd/gantry-fetch ./cmd/gantry-stage1

launch:
	CGO_ENABLED=1 $(GO) build -trimpath -tags "$(LAUNCHTAGS)" -ldflags "$(LDFLAGS) -linkmode external -extldflags -static" -o $(BIN)/gantry-launch ./cmd/gantry-launch

init:
	mkdir -p $(BIN)
	$(CC) $(INITFLAGS) -o $(BIN)/gantry-init $(wildcard cmd/gantry-init/*.c)

# The plugins are built as their authors pinned them: by their own go.mod, not by ours.
cni:
	mkdir -p $(BIN)/cni
	cd $(CNIDIR) && CGO_ENABLED=0 GOFLAGS=-mod=readonly $(BUILD) -o $(abspath $(BIN))/cni/ ./plugins/main/... ./plugins/ipam/... ./plugins/meta/...

deps:
	tests/apt-install $(DEPS)

test-deps: deps
	tests/apt-install $(TEST_DEPS)
bench-deps: test-deps
	tests/apt-install $(BENCH_DEPS)

demo: deps all demo-image
	$(GO) run ./tests/demo -bin $(abspath $(BIN))

# The demo's image: one static C program, packed by a Go program, embedded into the demo.
demo-image:
	mkdir -p $(BIN)
	$(CC) -static -Os -s -Wall -Wextra -o $(BIN)/demo-web tests/demo/web/web.c
	$(GO) run ./tests/demo/mkimage -o tests/demo/image/demo.oci.tar $(BIN)/demo-web

test: test-deps all demo-image test-images-small
	$(GO) run ./tests/suite -timeout 20m ./...

test-images:
	$(GO) run ./tests/images -cache $(CACHE)/images all

test-images-small:
	$(GO) run ./tests/images -cache $(CACHE)/images small

lint: $(CACHE)/bin/golangci-lint-$(GOLANGCI)
	$< run ./...

$(CACHE)/bin/golangci-lint-$(GOLANGCI):
	GOBIN=$(CACHE)/bin $(GO) install github.com/golangci/golangci-lint/v2/cmd/golangci-lint@$(GOLANGCI) && mv $(CACHE)/bin/golangci-lint $@

bench-peers: bench-deps all test-images
	$(GO) run ./tests/bench -bin $(abspath $(BIN)) -cache $(CACHE)/images -o docs/performance.md

install: all
	install -D -m 755 -t $(DESTDIR)$(PREFIX)/bin $(BIN)/gantry
	install -D -m 755 -t $(DESTDIR)$(PREFIX)/libexec/gantry $(addprefix $(BIN)/gantry-,fetch stage1 launch init)
	install -D -m 755 -t $(DESTDIR)$(PREFIX)/libexec/gantry/cni $(BIN)/cni/*
	install -D -m 644 -t $(DESTDIR)$(PREFIX)/lib/systemd/system packaging/systemd/*.service packaging/systemd/*.timer packaging/systemd/*.socket
	install -D -m 755 -t $(DESTDIR)$(PREFIX)/lib/systemd/system-generators packaging/systemd/gantry-generator
	install -D -m 644 -t $(DESTDIR)$(PREFIX)/lib/tmpfiles.d packaging/tmpfiles.d/gantry.conf
	install -D -m 644 -t $(DESTDIR)$(PREFIX)/lib/sysusers.d packaging/sysusers.d/gantry.conf
	install -D -m 644 -t $(DESTDIR)$(PREFIX)/share/man/man5 packaging/man/gantry-pod.5
	install -D -m 644 -t $(DESTDIR)$(PREFIX)/share/doc/gantry README.md docs/*.md

clean: ; rm -rf $(BIN) tests/demo/image/demo.oci.tar

# Machines with a kernel of their own and pure cgroup v2: User-mode Linux, about a minute.
test-v2: test-deps all
	CI=1 GANTRY_TEST_V2=1 $(GO) test -timeout 30m -count=1 -run TestUnified ./tests/hosts
fleet: test-deps all
	$(GO) run ./tests/fleet -bin $(abspath $(BIN)) -o docs/fleet.md
