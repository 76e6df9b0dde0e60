.PHONY: build test lint bench soak demo

build:
	CGO_ENABLED=0 go build -trimpath -o bin/slipway ./cmd/slipway

test:
	tools/need.sh git openssh-client openssh-server curl iproute2 python3-django python3-psycopg2 gunicorn gcc libc6-dev util-linux postgresql
	tools/test.sh

lint:
	tools/need.sh git
	tools/lint.sh

bench: build
	tools/need.sh git openssh-client openssh-server rsync
	go build -C tools -o $(CURDIR)/bin/tools/ ./bench
	bin/tools/bench -page docs/benchmarks.md -json bin/bench.json $(BENCH)

soak:
	tools/need.sh git openssh-client openssh-server
	tools/soak.sh $(SOAK_TIME) $(SOAK_SCALE)

demo:
	KEEP=$(KEEP) testdata/django/demo.sh
