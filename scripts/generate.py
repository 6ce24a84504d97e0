"""A picture of a sentence: DALL-E and CLIP from Python, with the models of `make demo`:

.venv/bin/python scripts/generate.py ["a red circle above a blue square"]
"""

import sys

import calligram
from calligram.eval.rerank import rerank
from calligram.eval.sheet import contact_sheet

prompt = sys.argv[1] if len(sys.argv) > 1 else "a red circle above a blue square"
dalle = calligram.load_dalle("runs/demo/dalle")
clip = calligram.load_clip("runs/demo/clip")

pictures = dalle.generate(prompt, num_images=16, seed=0)
order, scores = rerank(clip, prompt, pictures)
captions = [f"{float(scores[i]):.3f}" for i in order]
contact_sheet([pictures[i] for i in order], captions, title=prompt).save("picture.png")
print(f"picture.png: sixteen drawings of {prompt!r}, the best first, with CLIP's scores")
