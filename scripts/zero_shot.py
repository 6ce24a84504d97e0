"""Which words fit a picture? CLIP from Python, with the models and drawings of `make demo`:

.venv/bin/python scripts/zero_shot.py [PICTURE...]
"""

import sys
from pathlib import Path

from PIL import Image

import calligram
from calligram.data.dataset import Shards

data = Shards(Path("runs/demo/shapes"), "test")
pictures = {path: Image.open(path) for path in sys.argv[1:]}
if not pictures:
    records = [data[i] for i in range(min(30, len(data)))]
    pictures = {record.captions[0]: record.image() for record in records if "class" in record.meta}  # of one object

clip = calligram.load_clip("runs/demo/clip")
labels, templates = data.manifest.class_names, data.manifest.templates
for name, row in zip(pictures, clip.classify(list(pictures.values()), labels, templates), strict=True):
    best = int(row.argmax())
    print(f"{name}: {labels[best]} ({float(row[best]):.0%})")
