# Two commands do everything on a fresh machine: `make demo` and `make test`.
PYTHON ?= python3
VENV ?= .venv

SPACE ?= space

.PHONY: demo test held-down gpu gpu-bundle lint hooks space clean

demo: $(VENV)/demo.installed
	$(VENV)/bin/python app.py $(ARGS)

# Two files at a time, the longest first; all tests of the browser are one: it and what waits for it leave a core free.
PYTEST = $(VENV)/bin/python -m pytest -n 2 --dist loadfile

test: $(VENV)/test.installed
	$(PYTEST) $(ARGS)

# As on a CPU with AVX2 only, which lacks AVX-512 and bfloat16: what depends on the processor.
HELD_DOWN = ATEN_CPU_CAPABILITY=avx2 ONEDNN_MAX_CPU_ISA=AVX2 MKL_ENABLE_INSTRUCTIONS=AVX2
held-down: $(VENV)/test.installed
	$(HELD_DOWN) $(PYTEST) tests/test_device.py tests/engine tests/memory tests/networks tests/families tests/benchmark $(ARGS)

gpu: $(VENV)/test.installed  # what needs a CUDA device: its tests, then its benchmark
	$(VENV)/bin/python -m pytest tests/test_gpu.py
	$(VENV)/bin/python -m xmem benchmark --preset gpu --output runs/gpu

# One file for a machine with a GPU that has no network, no Gradio and no PyAV (Python 3.12 with torch); see docs/benchmark.md.
gpu-bundle: $(VENV)/test.installed
	$(VENV)/bin/python -m xmem.benchmark.gpu.bundle runs/gpu-bundle.tar.xz

lint: $(VENV)/test.installed
	$(VENV)/bin/ruff check .
	$(VENV)/bin/ruff format --check .
	$(VENV)/bin/mypy

hooks: $(VENV)/test.installed  # what `make lint` would mend or refuse is mended or refused at each commit
	$(VENV)/bin/pre-commit install

space:  # the folder of a Hugging Face Space: see docs/space.md
	$(PYTHON) -m demo.space $(SPACE)

clean:
	rm -rf $(VENV)

$(VENV)/bin/python:
	$(PYTHON) -m venv $(VENV)
	$(VENV)/bin/python -m pip install --quiet --upgrade pip

$(VENV)/demo.installed: pyproject.toml | $(VENV)/bin/python
	$(VENV)/bin/python -m pip install --quiet --editable '.[demo]'
	touch $@

$(VENV)/test.installed: pyproject.toml tests/browser/install.sh | $(VENV)/bin/python
	$(VENV)/bin/python -m pip install --quiet --editable '.[dev]'
	sh tests/browser/install.sh $(VENV)/bin/python
	touch $@
