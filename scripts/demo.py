"""The whole of calligram in some minutes: draw shapes, train three models on them, read and write pictures.

    make demo

Everything lies under ``runs/demo``; a second call goes on where the first one stopped.
"""

import platform
import sys
import time
from itertools import islice
from pathlib import Path

import torch

import calligram
from calligram.cli.main import main as calligram_command
from calligram.data.dataset import Record, Shards
from calligram.data.manifest import Manifest
from calligram.data.shapes.claims import Claims, ObjectClaims
from calligram.eval.report import write_report
from calligram.eval.report_parts import Curves, Fact, Gallery, Picture, Pictures, Section, Table, curves_of_run
from calligram.eval.runner import evaluate, load_models, write_results
from calligram.eval.task import EvalConfig, Models
from calligram.eval.tasks.composition import Drawing, Order, draw_orders
from calligram.nn.image import stack_images, to_uint8
from calligram.pictures import to_image

DEMO = Path("runs/demo")
SHAPES, TOKENIZER, CLIP, DALLE = (DEMO / name for name in ("shapes", "tokenizer", "clip", "dalle"))

Thing = ObjectClaims
ORDERS = [
    Order(
        "a red circle above a blue square",
        Claims(objects=(Thing(shape="circle", colour="red"), Thing(shape="square", colour="blue")), relation="above"),
        "two-object",
    ),
    Order(
        "three small purple stars",
        Claims(objects=(Thing(shape="star", colour="purple", size="small"),), count=3),
        "counting",
    ),
    Order("a large yellow ring", Claims(objects=(Thing(shape="ring", colour="yellow", size="large"),)), "one-object"),
    Order(
        "a small black triangle left of a large pink cross",
        Claims(
            objects=(
                Thing(shape="triangle", colour="black", size="small"),
                Thing(shape="cross", colour="pink", size="large"),
            ),
            relation="left of",
        ),
        "two-object",
    ),
    # two pairs of colour and shape that training never showed
    Order(
        "a green star at the top left",
        Claims(objects=(Thing(shape="star", colour="green"),), place="top left"),
        "one-object",
    ),
    Order("two blue rings", Claims(objects=(Thing(shape="ring", colour="blue"),), count=2), "counting"),
]
# all but those that would take the demo beyond ten minutes
TASKS = ("composition", "likelihood", "negatives", "reconstruction", "retrieval", "zero-shot")
NEVER_SEEN = {"a green star at the top left", "two blue rings"}


def main() -> int:
    clock = Clock()
    if not (SHAPES / "manifest.json").is_file():
        stage(clock, "1/6 draw the data", "data", "make", "shapes", "--num-samples", "30000", "--out", str(SHAPES))
    stage(clock, "2/6 train the image tokenizer", "train", "demo-fsq", "--out", str(TOKENIZER), "--resume")
    stage(clock, "3/6 train CLIP", "train", "demo-clip", "--out", str(CLIP), "--resume")
    stage(clock, "4/6 train DALL-E", "train", "demo-dalle", "--out", str(DALLE), "--resume")

    models = load_models([TOKENIZER, CLIP, DALLE])
    config = EvalConfig(num_captions=150)
    clock.begin("5/6 draw and judge captions of the test split")
    results = evaluate(models, SHAPES, config, TASKS)
    clock.begin("6/6 draw six sentences and write the report")
    assert models.dalle is not None
    drawings = list(draw_orders(models.dalle, models.clip, ORDERS, config, "draw six sentences"))
    seconds = clock.end()
    results |= {f"demo.seconds.{name.split(' ', 1)[-1].replace(' ', '_')}": value for name, value in seconds.items()}
    write_results(results, DEMO / "results.json")
    report(models, drawings, results, seconds)
    farewell(results)
    return 0


class Clock:
    """Says what happens now, and how long each stage took."""

    def __init__(self) -> None:
        self.started = time.monotonic()
        self.starts: dict[str, float] = {}

    def begin(self, title: str) -> None:
        print(f"\n== {title}", file=sys.stderr, flush=True)
        self.starts[title] = time.monotonic()

    def end(self) -> dict[str, float]:
        """Seconds of each stage, and in total."""
        now = time.monotonic()
        times = [*self.starts.values(), now]
        seconds = {title: end - start for title, start, end in zip(self.starts, times, times[1:], strict=False)}
        return seconds | {"total": now - self.started}


def stage(clock: Clock, title: str, *command: str) -> None:
    """Run one command of ``calligram``, as a person would type it."""
    clock.begin(title)
    print(f"$ calligram {' '.join(command)}", file=sys.stderr, flush=True)
    status = calligram_command(list(command))
    if status:
        sys.exit(status)


def report(models: Models, drawings: list[Drawing], results: dict[str, float], seconds: dict[str, float]) -> None:
    """``runs/demo/report.html``."""
    write_report(
        DEMO / "report.html",
        "calligram: the demo",
        "Three small models, trained on this machine on drawings of simple shapes: one reads pictures, "
        "one turns them into tokens, one writes them from a sentence.",
        facts(results, seconds),
        [
            drawn_section(drawings),
            composition_section(results),
            read_section(models),
            tokenizer_section(models),
            training_section(seconds),
        ],
        {
            "command": "make demo",
            "calligram": calligram.__version__,
            "torch": torch.__version__.split("+")[0],
            "python": platform.python_version(),
            "machine": f"{platform.machine()}, {torch.get_num_threads()} threads",
            "time": f"{seconds['total'] / 60:.1f} minutes",
        },
    )


def facts(results: dict[str, float], seconds: dict[str, float]) -> list[Fact]:
    def share(key: str) -> str:
        return f"{100 * results[key]:.1f} %"

    return [
        Fact("sentences drawn right", share("dalle.composition.all_right"), "best of 16 by CLIP, judged by the oracle"),
        Fact("… of pairs never seen", share("dalle.composition.holdout_all_right"), "six colour and shape pairs"),
        Fact("pictures read right", share("clip.zero_shot.top1"), "one object, among 48 prompts"),
        Fact("… of pairs never seen", share("clip.zero_shot.holdout_top1"), "among the same 48 prompts"),
        Fact("tokenizer", f"{results['tokenizer.psnr_db']:.1f} dB", "PSNR on test pictures"),
        Fact("time", f"{seconds['total'] / 60:.1f} min", "data, three trainings, evaluation"),
    ]


def drawn_section(drawings: list[Drawing]) -> Section:
    galleries = []
    for drawing in drawings:
        pictures = [to_image(x) for x in drawing.images]
        scores = [f"CLIP {float(s):.3f}" for s in drawing.scores] if drawing.scores is not None else [""] * 99
        prompt = drawing.order.caption
        note = scores[0] + (", a pair never seen in training" if prompt in NEVER_SEEN else "")
        best = Picture(pictures[0], prompt, note, drawing.best_right)
        others = [Picture(p, s) for p, s in zip(pictures[1:], scores[1:], strict=False)]
        galleries.append(Gallery(prompt, best, others))
    text = "16 candidates each. CLIP sorts them; the first is the picture one gets. The mark is the oracle's verdict."
    return Section("Six sentences, drawn", text, galleries)


def composition_section(results: dict[str, float]) -> Section:
    names = sorted({k.rsplit(".", 1)[1].removeprefix("holdout_") for k in results if ".composition." in k})
    rows = []
    for name in sorted(names, key=lambda n: (n not in ("all_right", "first_all_right"), n)):
        if name != "num_captions":
            columns = [results.get(f"dalle.composition.{prefix}{name}") for prefix in ("", "holdout_")]
            rows.append([name.replace("_", " "), *("" if v is None else f"{100 * v:.1f} %" for v in columns)])
    text = (
        "Captions of one object, of two and of several of a kind in equal parts; a picture counts when every "
        "attribute and relation of its caption is right. “First” is without CLIP's choice."
    )
    table = Table("Share of captions drawn right", ["captions", "test", "pairs never seen"], rows)
    return Section("Does the drawing say what the sentence says?", text, [table])


def read_section(models: Models) -> Section:
    assert models.clip is not None
    manifest = Manifest.load(SHAPES)
    records = one_object_pictures(Shards(SHAPES, "holdout"), 12)
    probabilities = models.clip.classify([r.image() for r in records], manifest.class_names, manifest.templates)
    pictures = []
    for record, row in zip(records, probabilities, strict=True):
        best = int(row.argmax())
        note = f"{100 * float(row[best]):.0f} %"
        pictures.append(Picture(record.image(), manifest.class_names[best], note, good=best == record.meta["class"]))
    text = "Each picture shows a pair of colour and shape that training never had; CLIP chooses among 48 prompts."
    return Section("Pictures, read", text, [Pictures("Pairs never seen", pictures)])


def one_object_pictures(shards: Shards, number: int) -> list[Record]:
    records = (shards[i] for i in range(len(shards)))
    return list(islice((record for record in records if "class" in record.meta), number))


def tokenizer_section(models: Models) -> Section:
    assert models.tokenizer is not None
    shards = Shards(SHAPES, "test")
    images = stack_images([shards[i].image() for i in range(6)], models.tokenizer.config.image_size)
    decoded = to_uint8(models.tokenizer.decode(models.tokenizer.encode(images)))
    pictures = []
    for before, after in zip(images, decoded, strict=True):
        pictures += [Picture(to_image(before), "picture"), Picture(to_image(after), "from its tokens")]
    grid = models.tokenizer.grid
    text = f"A picture is {grid * grid} tokens of a vocabulary of {models.tokenizer.vocab_size:,}."
    return Section("Pictures as words", text, [Pictures("Test pictures", pictures)])


def training_section(seconds: dict[str, float]) -> Section:
    curves = [
        *curves_of_run(TOKENIZER, ["psnr_db"]),
        *curves_of_run(CLIP, ["loss", "batch_accuracy"]),
        *curves_of_run(DALLE, ["image_loss", "text_loss"]),
    ]
    rows = [[title, f"{s:.0f} s"] for title, s in seconds.items()]
    return Section("Training", "", [Curves("Curves", curves), Table("Time", ["stage", "time"], rows)])


def farewell(results: dict[str, float]) -> None:
    print(f"""
sentences drawn right   {results["dalle.composition.all_right"]:.3f}  (pairs never seen: \
{results["dalle.composition.holdout_all_right"]:.3f})
pictures read right     {results["clip.zero_shot.top1"]:.3f}  (pairs never seen: \
{results["clip.zero_shot.holdout_top1"]:.3f})

Look at {DEMO}/report.html; the figures are in {DEMO}/results.json. Then try:

  .venv/bin/calligram generate "two red stars" --model {DALLE} --rerank {CLIP} --out stars.png
  .venv/bin/calligram classify stars.png --labels "red star,blue ring,green cross" --model {CLIP}
  .venv/bin/calligram show {DALLE}
""")


if __name__ == "__main__":
    sys.exit(main())
