#!/usr/bin/env bash
# Train CLIP on Fashion-MNIST's 60,000 captioned pictures and classify the 10,000 test pictures by prompts.
# About 25 minutes on two cores. The IDX files come from Debian (apt-get install dataset-fashion-mnist), or
# from any folder: scripts/fashion_mnist.sh --root FOLDER
set -euo pipefail
cd "$(dirname "$0")/.."
PATH="$PWD/.venv/bin:$PATH"
export TOKENIZERS_PARALLELISM=false

[ -f shards/fashion-mnist/manifest.json ] ||
  calligram data make fashion-mnist --out shards/fashion-mnist --samples-per-shard 5000 "$@"
calligram train clip-fashion-mnist --out runs/clip-fashion-mnist --resume
calligram evaluate --model runs/clip-fashion-mnist --data shards/fashion-mnist --tasks zero-shot \
  --out runs/fashion-mnist-results.json
