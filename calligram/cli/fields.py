"""Types of flags that several verbs share."""

from pathlib import Path
from typing import Annotated

import tyro
from pydantic import Field

# on with the flag alone; there is no --no-... beside it
Switch = Annotated[bool, tyro.conf.FlagCreatePairsOff]
# the field is called as_json, since pydantic has a method `json`
AsJson = Annotated[
    Switch,
    tyro.conf.arg(name="json", help_behavior_hint=""),
    Field(description="print JSON, for programs to read"),
]
RunFolder = Annotated[Path, tyro.conf.arg(metavar="RUN")]
# without a value, find.find_run looks for the run
OptionalRun = Annotated[
    Path | None, tyro.conf.arg(metavar="RUN", help_behavior_hint="(default: the only one in runs/)")
]
Native = Annotated[
    int | None,
    tyro.conf.arg(metavar="PATCHES", help_behavior_hint="(default: as the model says)"),
    Field(
        ge=1, description="read whole pictures at their own aspect ratio, with at most so many patches each; a ViT only"
    ),
]
# find.find_device understands it
Device = Annotated[
    str,
    tyro.conf.arg(metavar="DEVICE"),
    Field(description="cpu, cuda, cuda:1 ...; auto takes a GPU where there is one"),
]
