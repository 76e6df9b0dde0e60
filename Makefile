.PHONY: build test lint bench soak demo

build:
	CGO_ENABLED=0 go build -trimpath -o bin/slipway ./cmd/slipway

test:
	tools/need.sh git openssh-client openssh-server curl python3-django gunicorn gcc libc6-dev util-linux postgresql
	tools/test.sh

lint:
	tools/need.sh git
	tools/lint.sh

bench:
	tools/bench/bench.sh

soak:
	tools/need.sh git openssh-client openssh-server
	tools/soak.sh $(SOAK_TIME) $(SOAK_SCALE)

demo:
	KEEP=$(KEEP) testdata/django/demo.sh
