"""Draws pictures of a sentence with a DALL-E; a CLIP may choose the best."""

import json
import math
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from calligram.cli.console import counted, say
from calligram.cli.drawing.flags import Flags, check_together
from calligram.cli.drawing.orders import Order, Request, make_orders, read_requests
from calligram.cli.find import PICTURE_SUFFIXES, check_output, find_device, find_run
from calligram.cli.flags import parse
from calligram.errors import UserError

if TYPE_CHECKING:
    from PIL import Image

    from calligram.cli.drawing.batches import Candidate
    from calligram.clip.zero_shot import ClipPipeline
    from calligram.dalle.drawer import Basis, Drawer

MAX_SHEET_PIXELS = 80_000_000  # above this Pillow warns whoever opens a picture
MAX_FRAME_PIXELS = 8_000_000  # of an animation, which has 40 of them

Drawn = tuple[Order, "list[Candidate]"]


def main(args: list[str]) -> None:
    flags = parse(Flags, args, prog="calligram generate")
    check_together(flags)
    requests = read_requests(flags, may_be_silent=flags.complete is not None or flags.vary is not None)
    check_places(flags, requests)
    from calligram.cli.drawing.basis import build_basis
    from calligram.clip.zero_shot import load_clip
    from calligram.dalle.draw import load_dalle

    device = find_device(flags.device)
    run = find_run(flags.model, "dalle")
    dalle = load_dalle(run, device)
    orders = make_orders(requests, flags, dalle, flags)
    check_sizes(flags, orders, dalle.image_tokenizer.config.image_size)
    clip = load_clip(flags.rerank, device) if flags.rerank is not None else None
    Generate(flags, dalle, clip, run, build_basis(dalle, flags)).run(orders)


def is_folder(flags: Flags) -> bool:
    """A name without an ending is one."""
    return flags.out.suffix == "" or (flags.out.is_dir() and flags.out.suffix.lower() not in PICTURE_SUFFIXES)


def check_places(flags: Flags, requests: Sequence[Request]) -> None:
    """Raises UserError, before any work is spent, for files that could not be written."""
    from calligram.cli.drawing.gallery import open_folder
    from calligram.cli.drawing.save import check_animation, check_writable

    if is_folder(flags):
        open_folder(flags.out, flags.resume)
    else:
        check_output(flags.out, "--out", PICTURE_SUFFIXES)
        check_writable(flags.out, "--out")
        if len(requests) > 1:
            raise UserError(
                f"--out {flags.out} is one picture, but there are {len(requests)} prompts: give a folder, a name "
                "without an ending; a prompt of several words stands in quotes"
            )
        for name in ("resume", "best"):
            if getattr(flags, name):
                raise UserError(f"--{name} is for a folder as --out, not for the one picture {flags.out}")
    if flags.grid is not None:
        check_output(flags.grid, "--grid", PICTURE_SUFFIXES)
        check_writable(flags.grid, "--grid")
    if flags.animate is not None:
        check_animation(flags.animate)
        check_writable(flags.animate, "--animate")


def check_sizes(flags: Flags, orders: Sequence[Order], image_size: int) -> None:
    """Raises UserError for a sheet or an animation that nobody could open."""
    num_pictures = sum(len(order.seeds) for order in orders)
    for name, path, number, most in (
        ("--grid", flags.grid, num_pictures, MAX_SHEET_PIXELS),
        ("--animate", flags.animate, len(orders), MAX_FRAME_PIXELS),
    ):
        pixels = number * (image_size * flags.scale) ** 2
        if path is not None and pixels > most:
            raise UserError(
                f"{name} {path} would have {pixels / 1e6:.0f} million pixels, more than {most / 1e6:.0f}: "
                f"lower --scale {flags.scale}, draw fewer, or leave it out"
            )


class Generate:
    """Draws and writes."""

    def __init__(
        self, flags: Flags, dalle: "Drawer", clip: "ClipPipeline | None", run: Path, basis: "Basis | None"
    ) -> None:
        from calligram.cli.drawing.basis import describe_basis

        self.flags, self.dalle, self.clip, self.basis = flags, dalle, clip, basis
        self.settings: dict[str, Any] = {"model": str(run), "rerank": flags.rerank and str(flags.rerank)}
        self.settings |= describe_basis(flags)

    def run(self, orders: Sequence[Order]) -> None:
        if is_folder(self.flags):
            drawn = self.fill_folder(orders)
        else:
            drawn = list(self.draw(orders))
            self.write_one(*drawn[0])
        self.write_extras(drawn)
        if not self.flags.as_json:
            for path in filter(None, [self.flags.out, self.flags.grid, self.flags.animate]):
                print(path)

    def draw(self, orders: Sequence[Order]):
        from calligram.cli.drawing.batches import draw_orders

        return draw_orders(self.dalle, orders, self.basis, self.clip, self.flags.batch_size)

    def fill_folder(self, orders: Sequence[Order]) -> list[Drawn]:
        """All orders with what the sheet needs of them, those that lay there already among them."""
        from calligram.cli.drawing.gallery import Gallery

        gallery = Gallery(self.flags.out, self.flags.scale, self.flags.best)
        settings = self.settings | {"scale": self.flags.scale}
        done = gallery.find_done(orders, settings)
        if done:
            say(f"{len(done)} of {len(orders)} prompts are drawn already")
        wants_pictures = self.flags.grid is not None
        found = {number: gallery.candidates(number) if wants_pictures else [] for number in done}
        try:
            for order, candidates in self.draw([order for order in orders if order.number not in done]):
                rows = gallery.add(order, candidates, settings)
                if self.flags.as_json:
                    print("\n".join(json.dumps(row, ensure_ascii=False) for row in rows), flush=True)
                found[order.number] = self.needed(candidates)
        except KeyboardInterrupt:
            say(f"what was drawn so far lies in {self.flags.out}; the same command with --resume goes on")
            raise
        number = sum(len(order.seeds) for order in orders)
        say(f"{counted(number, 'picture')} of {counted(len(orders), 'prompt')}")
        return [(each, found[each.number]) for each in orders]

    def needed(self, candidates: "list[Candidate]") -> "list[Candidate]":
        """Nothing more is held of pictures that are on disk already."""
        if self.flags.grid is not None:
            return candidates[: self.flags.best]
        return candidates[:1] if self.flags.animate is not None else []

    def write_one(self, order: Order, candidates: "list[Candidate]") -> None:
        from calligram.cli.drawing.save import save_picture
        from calligram.eval.sheet import enlarge

        best, settings = candidates[0], self.settings_of(order)
        told = {"seed": best.seed, "score": best.score, "log_p": best.log_p}
        save_picture(enlarge(best.image, self.flags.scale), self.flags.out, settings | told)
        if self.flags.as_json:
            rows = [{"seed": each.seed, "score": each.score, "log_p": each.log_p} for each in candidates]
            paths = {"picture": str(self.flags.out), "grid": self.flags.grid and str(self.flags.grid)}
            print(json.dumps({**paths, **settings, "candidates": rows}, indent=1, ensure_ascii=False))
        else:
            say(f"{'best' if best.score is not None else 'first'} of {len(candidates)}: {best.caption()}")

    def settings_of(self, order: Order) -> dict[str, Any]:
        return {"prompt": order.prompt} | self.settings | {"sampling": order.sampling.model_dump(mode="json")}

    def write_extras(self, drawn: list[Drawn]) -> None:
        from calligram.cli.drawing.save import save_animation, save_picture

        if self.flags.grid is not None:
            order, candidates = drawn[0]
            settings = self.settings if len(drawn) > 1 else self.settings_of(order)
            seeds = {"seeds": [each.seed for each in candidates]} if len(drawn) == 1 else {}
            save_picture(self.sheet(drawn), self.flags.grid, settings | seeds)
        if self.flags.animate is not None:
            save_animation(self.frames([candidates[0] for _, candidates in drawn]), self.flags.animate)

    def sheet(self, drawn: list[Drawn]) -> "Image.Image":
        """One prompt in a square below its title, several in a row each; what was given comes first."""
        from calligram.cli.drawing.basis import given_picture
        from calligram.eval.sheet import SheetRow, contact_sheet, row_sheet
        from calligram.pictures import to_image

        given, name = given_picture(self.dalle, self.basis) if self.basis is not None else (None, "")
        first, first_name = ([to_image(given)], [name]) if given is not None else ([], [])
        rows = [
            SheetRow(
                order.prompt,
                [*first, *(c.image for c in candidates)],
                [*first_name, *(c.caption() for c in candidates)],
            )
            for order, candidates in drawn
        ]
        if len(rows) > 1:
            return row_sheet(rows, self.flags.scale)
        columns = math.ceil(math.sqrt(len(rows[0].images)))
        return contact_sheet(rows[0].images, rows[0].captions, columns, self.flags.scale, rows[0].title)

    def frames(self, best: "Sequence[Candidate]") -> "list[Image.Image]":
        """How the best pictures came about, side by side."""
        import torch

        from calligram.dalle.completion import Completion
        from calligram.dalle.preview import drawing_frames
        from calligram.eval.sheet import contact_sheet, enlarge
        from calligram.pictures import to_image

        tokens_BN = torch.stack([each.tokens_N for each in best if each.tokens_N is not None]).to(self.dalle.device)
        keep_N = self.basis.keep_N if isinstance(self.basis, Completion) else None
        frames = [
            [to_image(x) for x in frame] for frame in drawing_frames(self.dalle.image_tokenizer, tokens_BN, keep_N)
        ]
        if len(best) == 1:
            return [enlarge(frame[0], self.flags.scale) for frame in frames]
        columns = math.ceil(math.sqrt(len(best)))
        return [contact_sheet(frame, columns=columns, scale=self.flags.scale) for frame in frames]
