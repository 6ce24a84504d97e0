#!/usr/bin/env bash
# The longer recipe on drawings of shapes: about an hour on two cores, less on more. Goes on where it stopped.
# Put `torchrun --nproc-per-node N -m` in front of `calligram train` on a machine with N GPUs.
set -euo pipefail
cd "$(dirname "$0")/.."
PATH="$PWD/.venv/bin:$PATH"
export TOKENIZERS_PARALLELISM=false

[ -f shards/shapes/manifest.json ] || calligram data make shapes --num-samples 60000 --out shards/shapes
calligram train fsq-shapes --out runs/fsq-shapes --resume
calligram train clip-shapes --out runs/clip-shapes --resume
calligram train dalle-shapes --out runs/dalle-shapes --resume
calligram evaluate --data shards/shapes --out runs/shapes-results.json \
  --model runs/fsq-shapes --model runs/clip-shapes --model runs/dalle-shapes \
  --tasks zero-shot,retrieval,negatives,reconstruction,likelihood,composition,completion,generative-zero-shot
