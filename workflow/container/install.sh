#!/bin/sh
# Install StructDiff with the packages of requirements.lock: the step that Dockerfile and
# structdiff.def share. Run it in the top folder of a checkout.
#
#   PREFIX       virtual environment that is made (default /opt/structdiff)
#   TORCH_INDEX  address of an index of PyTorch's wheels, to take torch for another CUDA or for the
#                CPU alone; empty: the wheel of the package index, which has CUDA on x86-64
set -eu

prefix=${PREFIX:-/opt/structdiff}
python3 -m venv "$prefix"
"$prefix/bin/pip" install --no-cache-dir --no-input --disable-pip-version-check --quiet \
  ${TORCH_INDEX:+--extra-index-url "$TORCH_INDEX"} --constraint requirements.lock .
"$prefix/bin/structdiff" --version
