"""The meeting of a group's processes at the address of the first one, with a time limit and a word to the
user."""

from __future__ import annotations

import os
import socket
import time
from collections.abc import Callable
from datetime import timedelta

import torch.distributed as dist
from torch._C._distributed_c10d import PrefixStore, Store, TCPStore

from pipeline.errors import RunFailed, UserError
from pipeline.words import note

_POLL_SECONDS = 0.05
_FIRST_WORD_SECONDS, _WORD_SECONDS = 10.0, 60.0
_GRACE_SECONDS = 30.0  # the first one names who is missing before the others give up
_FIRST_SPEAKS_SECONDS = 3.0
_SHOWN = 8


class Meeting:
    """The meeting at the address that MASTER_ADDR and MASTER_PORT name, where rank 0 of `count` keeps a
    store.

    seconds: how long each rank waits for the others. tell: is called with a line now and then while it waits.
    gpu: the name of this process's GPU, which no other may use; None if it has none or may share it.
    """

    def __init__(
        self,
        rank: int,
        count: int,
        seconds: float,
        tell: Callable[[str], None] = note,
        *,
        gpu: str | None = None,
    ) -> None:
        self._rank, self._count, self._tell, self._gpu = rank, count, tell, gpu
        self._host, self._port = named("MASTER_ADDR"), number("MASTER_PORT")
        self._where = f"{self._host}:{self._port} (MASTER_ADDR, MASTER_PORT)"
        self._seconds, self._start = seconds, time.monotonic()
        self._next_word = _FIRST_WORD_SECONDS

    def store(self) -> Store:
        """The store, once all ranks are there. RunFailed, which says where and who did not come, after
        `seconds`, and at once if another program listens at rank 0's port. UserError on all ranks if two have
        the same GPU."""
        attempt = os.environ.get("TORCHELASTIC_RESTART_COUNT", "0")
        store = PrefixStore(f"hrgan/{attempt}", self._connected())
        try:
            store.set(f"here/{self._rank}", socket.gethostname())
            self._claim_gpu(store)
            store.add("here", 1)
            if self._rank == 0:
                self._wait_for_all(store)
                store.set("met", "")
            else:
                store.wait(["met"], timedelta(seconds=max(self._left, 0) + _GRACE_SECONDS))
            shared = self._shared(store)
        except dist.DistError as error:
            raise RunFailed(
                f"{self._where}: rank {self._rank} of {self._count} arrived, but rank 0 ended, or gave up "
                f"waiting for others, after {self._waited:.0f} s; it says why"
            ) from error
        if shared is not None:
            if self._rank:
                time.sleep(_FIRST_SPEAKS_SECONDS)  # and ends the others, under most launchers
            raise UserError(shared)
        return store

    def _shared(self, store: Store) -> str | None:
        """The line that a rank has left about GPUs; the first one, whose store it is, goes last."""
        if not store.check(["shared"]):
            return None
        line: str = store.get("shared").decode()
        heard, end = store.add("heard", 1), time.monotonic() + _FIRST_SPEAKS_SECONDS
        while self._rank == 0 and heard < self._count and time.monotonic() < end:
            time.sleep(_POLL_SECONDS)
            heard = store.add("heard", 0)
        return line

    def _claim_gpu(self, store: Store) -> None:
        """Leaves a line for all where another rank has this one's GPU."""
        if self._gpu is None:
            return
        # Counting is atomic: of two that claim a GPU at once one is the first, and the other's `get` waits
        # for its rank.
        if store.add(f"gpu/{self._gpu}", 1) == 1:
            store.set(f"rank of gpu/{self._gpu}", str(self._rank))
            return
        other = store.get(f"rank of gpu/{self._gpu}").decode()
        host, *_, place = self._gpu.split()
        store.set(
            "shared",
            f"engine.device: ranks {other} and {self._rank} on {host} have the same GPU ({place}), which "
            "NCCL cannot use; allowed: at most one process for each GPU of a machine, also if it is split by "
            "MIG, or engine.device=cpu",
        )

    @property
    def _waited(self) -> float:
        return time.monotonic() - self._start

    @property
    def _left(self) -> float:
        return self._seconds - self._waited

    def _connected(self) -> Store:
        # torchrun keeps a store at this address itself.
        ours = self._rank == 0 and os.environ.get("TORCHELASTIC_USE_AGENT_STORE") != "True"
        # Asked of the system first: the store's own refusals are pages of frames.
        if ours:
            self._check_free()
        else:
            self._wait_for_first()
        # The group goes on using it: whatever it asks may take as long as ranks may wait for each other.
        most = timedelta(seconds=self._seconds)
        try:
            return TCPStore(
                self._host, self._port, self._count, ours, most, wait_for_workers=False, multi_tenant=True
            )
        except dist.DistError as error:
            raise RunFailed(f"{self._where}: rank {self._rank}: {str(error).splitlines()[0]}") from error

    def _check_free(self) -> None:
        family = socket.AF_INET6 if socket.has_dualstack_ipv6() else socket.AF_INET
        try:
            with socket.create_server(
                ("", self._port), family=family, dualstack_ipv6=family == socket.AF_INET6
            ):
                pass
        except OSError as error:
            raise RunFailed(
                f"MASTER_PORT={self._port}: rank 0 cannot listen there on {socket.gethostname()} "
                f"({os.strerror(error.errno or 0).lower()}); give all processes another port that no "
                "program uses"
            ) from error

    def _wait_for_first(self) -> None:
        while True:
            once = max(min(self._left, self._next_word - self._waited), 0.1)
            try:
                with socket.create_connection((self._host, self._port), once):
                    return
            except OSError as error:
                if self._left <= 0:
                    raise RunFailed(
                        f"{self._where}: rank {self._rank} of {self._count} could not reach rank 0 within "
                        f"{self._waited:.0f} s ({error.strerror or error}); start rank 0 there, or set the "
                        "address at which it can be reached"
                    ) from error
            self._word(lambda: "rank 0")
            time.sleep(_POLL_SECONDS)

    def _wait_for_all(self, store: Store) -> None:
        while store.add("here", 0) < self._count:
            if self._left <= 0:
                raise RunFailed(
                    f"{self._where}: {self._missing(store)} of {self._count} did not arrive within "
                    f"{self._waited:.0f} s; see why they ended, or start them with this address"
                )
            self._word(lambda: self._missing(store))
            time.sleep(_POLL_SECONDS)

    def _missing(self, store: Store) -> str:
        ranks = [str(rank) for rank in range(self._count) if not store.check([f"here/{rank}"])]
        more = f" and {len(ranks) - _SHOWN} more" if len(ranks) > _SHOWN else ""
        return f"rank{'s' if len(ranks) > 1 else ''} {', '.join(ranks[:_SHOWN])}{more}"

    def _word(self, who: Callable[[], str]) -> None:
        if self._waited >= self._next_word:
            self._next_word = self._waited + _WORD_SECONDS
            self._tell(
                f"rank {self._rank} waits at {self._where} for {who()} of {self._count}: "
                f"{self._waited:.0f} s of {self._seconds:.0f}"
            )


def named(variable: str) -> str:
    """What the environment has; UserError without."""
    text = os.environ.get(variable)
    if not text:
        raise UserError(
            f"{variable}: not set, though WORLD_SIZE asks for several processes; "
            "allowed: what torchrun or srun set, or --processes"
        )
    return text


def number(variable: str) -> int:
    """The same as a whole number."""
    text = named(variable)
    if not text.isdecimal():
        raise UserError(f"{variable}={text}: must be a whole number")
    return int(text)
