"""Draw 24 sentences with the emoji runs, the best of 16 each by CLIP: runs/emoji-sheet.png."""

from pathlib import Path

from PIL import Image

import calligram
from calligram.eval.rerank import rerank
from calligram.eval.sheet import contact_sheet
from calligram.progress import track

SENTENCES = [
    "red apple, google style",
    "red heart, openmoji style",
    "grinning face, google style",
    "crying face, fluent style",
    "smiling face with sunglasses, openmoji style",
    "full moon, google style",
    "sun, fluent flat style",
    "rainbow, google style",
    "christmas tree, fluent style",
    "palm tree, openmoji style",
    "four leaf clover, google style",
    "sunflower, fluent style",
    "cat face, google style",
    "frog, openmoji style",
    "penguin, fluent style",
    "pig face, google style",
    "watermelon, fluent flat style",
    "banana, google style",
    "pizza, openmoji style",
    "doughnut, fluent style",
    "green book, google style",
    "fire engine, google style",
    "soccer ball, openmoji style",
    "stop sign, fluent flat style",
]


def main() -> None:
    clip, dalle = calligram.load_clip("runs/clip-emoji"), calligram.load_dalle("runs/dalle-emoji")
    best: list[Image.Image] = []
    for sentence in track(SENTENCES, "draw emoji"):
        pictures = dalle.generate(sentence, num_images=16, seed=0)
        order, _ = rerank(clip, sentence, pictures)
        best.append(pictures[order[0]])
    out = Path("runs/emoji-sheet.png")
    contact_sheet(best, SENTENCES, columns=6).save(out)
    print(out)


if __name__ == "__main__":
    main()
