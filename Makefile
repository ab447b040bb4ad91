# Every target is a command of dev.py, which needs nothing but Python; `make help` lists them.
PYTHON ?= python3
ARGS ?=

.DEFAULT_GOAL := help
.PHONY: run suite test soak bench lint lock translations openapi migrate backup verify-backup restore restored clean help

run suite test soak bench lint lock translations openapi migrate backup verify-backup restore restored clean help:
	@exec $(PYTHON) dev.py $@ $(ARGS)
