"""Frames of videos as pictures."""

from __future__ import annotations

import math
from bisect import bisect_right
from collections.abc import Sequence
from itertools import accumulate
from pathlib import Path

from pipeline.data.sources.extra import needed
from pipeline.data.sources.film import Film
from pipeline.data.sources.holding import files_of, holds
from pipeline.data.sources.numbered import stems
from pipeline.data.sources.source import Listing, Picture, SourceKind, Wanted, reading_source
from pipeline.errors import UserError
from pipeline.images.kinds import VIDEO
from pipeline.images.normalised import Unreadable
from pipeline.words import counted, note


class VideoSource:
    """The frames of videos, one in so many seconds of each, named VIDEO/NUMBER by their place among all of
    its frames. Which ones they are depends on their times alone."""

    def __init__(self, root: Path, names: Sequence[str], every: float, title: str) -> None:
        needed("av", title)
        if not (math.isfinite(every) and every >= 0):
            raise UserError(f"--every {every}: must be seconds between frames, or 0 for all frames")
        self.title = title
        self._films: list[Film] = []
        skipped: list[tuple[str, str]] = []
        called: list[str] = []
        sizes: list[int] = []
        for name, stem in zip(names, stems(names), strict=True):
            try:
                with reading_source(root / name):
                    film = Film(root / name, every)
            except Unreadable as error:
                skipped.append((name, str(error)))
                continue
            if film.fault:
                skipped.append((name, film.fault))
            self._films.append(film)
            called += [f"{stem}/{number:06d}" for number in film.numbers]
            sizes += film.sizes
        self._ends = [0, *accumulate(len(film.numbers) for film in self._films)]
        depends = {} if every == Wanted.every else {"every_seconds": every}
        self.listing = Listing(called, sizes, skipped=skipped, inner=True, depends=depends)
        wide = sum(film.has_high_range for film in self._films)
        if wide:
            note(
                f"{title}: {counted(wide, 'video')} with high dynamic range: shown as if the range were the "
                "usual one, which looks flat"
            )

    def picture(self, number: int) -> Picture:
        film, place = self._place(number)
        return Picture(film.frame(place), {"seconds": film.seconds(place)})

    def size(self, number: int) -> tuple[int, int]:
        return self._place(number)[0].size

    def _place(self, number: int) -> tuple[Film, int]:
        film = bisect_right(self._ends, number) - 1
        return self._films[film], number - self._ends[film]


def _open(source: str, wanted: Wanted) -> VideoSource:
    path = Path(source)
    if path.is_file():
        return VideoSource(path.parent, [path.name], wanted.every, path.name)
    return VideoSource(path, files_of(path, VIDEO, wanted.follow_links), wanted.every, path.resolve().name)


KIND = SourceKind("videos", lambda source: holds(Path(source), VIDEO), _open)
