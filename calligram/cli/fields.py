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
# find.find_device understands it
Device = Annotated[
    str,
    tyro.conf.arg(metavar="DEVICE"),
    Field(description="cpu, cuda, cuda:1 ...; auto takes a GPU where there is one"),
]
