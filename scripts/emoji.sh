#!/usr/bin/env bash
# Train all three models on emoji of several designs, name the emoji of a design that was held out, and draw some.
# About an hour on two cores. The pictures come from npm packages, through `npm pack`, into downloads/.
set -euo pipefail
cd "$(dirname "$0")/.."
PATH="$PWD/.venv/bin:$PATH"
export TOKENIZERS_PARALLELISM=false

[ -f shards/emoji/manifest.json ] || calligram data make emoji --out shards/emoji
calligram train clip-emoji --out runs/clip-emoji --resume
calligram train fsq-emoji --out runs/fsq-emoji --resume
calligram train dalle-emoji --out runs/dalle-emoji --resume
calligram evaluate --model runs/clip-emoji --model runs/fsq-emoji --model runs/dalle-emoji \
  --data shards/emoji --tasks zero-shot,retrieval,reconstruction,likelihood --out runs/emoji-results.json
.venv/bin/python scripts/emoji_sheet.py
