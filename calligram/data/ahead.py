"""Shards from elsewhere, fetched before a training needs them.

A few threads walk the plan in front of the training, fetch the shards that the next steps read, and wait where as many
are there as they were told. The workers find them in the cache; where one is still on its way, they wait for that same
download. An error is theirs to tell, when and if they come to it.
"""

import logging
import threading
from collections import OrderedDict
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager

from calligram.data.dataset import Shards
from calligram.data.place import is_url
from calligram.data.plan import SampleRef
from calligram.errors import UserError

log = logging.getLogger(__name__)
DOWNLOADS = 4  # at once
MAX_STEPS = 1_000  # how far the walk goes where all shards are there already
PAUSE = 0.2  # seconds between two looks at how far the training is


class Ahead:
    """``plan(step)`` are the samples that this process reads, ``step()`` is where it is."""

    def __init__(
        self,
        sources: Sequence[Shards],
        plan: Callable[[int], list[SampleRef]],
        step: Callable[[], int],
        last_step: int,
        num_shards: int,
    ):
        self.sources, self.plan, self.step, self.last_step, self.num_shards = sources, plan, step, last_step, num_shards
        self._waiting: OrderedDict[tuple[int, int], int] = OrderedDict()  # shards fetched → the step that needs them
        self._wanted, self._one_at_a_time = self._walk(), threading.Lock()
        self._stopped = threading.Event()

    @contextmanager
    def running(self) -> Iterator[None]:
        """Fetch as long as the block runs. Does nothing where all data is on this machine."""
        if self.num_shards and any(is_url(where) for shards in self.sources for where in shards.places):
            for _ in range(DOWNLOADS):
                threading.Thread(target=self._fetch, daemon=True).start()
        try:
            yield
        finally:
            self._stopped.set()  # nobody waits for what is on its way: that may take a minute

    def _fetch(self) -> None:
        while True:
            with self._one_at_a_time:
                wanted = next(self._wanted, None)
            if wanted is None:
                return
            source, shard = wanted
            try:
                self.sources[source].fetch(shard)
            except UserError as error:
                log.debug(f"not fetched ahead: {error}")

    def _walk(self) -> Iterator[tuple[int, int]]:
        for step in range(self.step(), self.last_step):
            for wanted in dict.fromkeys(ref[:2] for ref in self.plan(step)):
                source, shard = wanted
                if wanted in self._waiting or not is_url(self.sources[source].places[shard]):
                    continue
                while self._is_far(step):
                    if self._stopped.wait(PAUSE):
                        return
                if self._stopped.is_set():
                    return
                self._waiting[wanted] = step
                yield wanted

    def _is_far(self, step: int) -> bool:
        now = self.step()
        while self._waiting and next(iter(self._waiting.values())) < now:
            self._waiting.popitem(last=False)
        return len(self._waiting) >= self.num_shards or step - now > MAX_STEPS
