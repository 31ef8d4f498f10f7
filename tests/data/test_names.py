"""Listings that lie on disk: they say what lists in memory say, and are made once."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pipeline.data.preparing.listing import opened
from pipeline.data.preparing.prepare import prepare
from pipeline.data.preparing.settings import Asked
from pipeline.data.sources import folder as folders
from pipeline.data.sources import names
from pipeline.data.sources.names import NumberTable, SortedNames, write_names, write_numbers
from pipeline.data.sources.opening import source_kind
from pipeline.data.sources.source import Wanted
from tests.data.feeds import file, fingerprint, folder, noise, plain

# What a file may be called: anything but zeros, and bytes that are no UTF-8 as lone surrogates.
_NAMES = st.text(
    st.characters(codec="utf-8", exclude_characters="\0") | st.sampled_from("\udc80\udcff\n/"), max_size=6
)


@given(st.lists(_NAMES, max_size=40), st.integers(-45, 45), st.integers(-45, 45))
@settings(max_examples=25, deadline=None)
def test_names_on_disk_are_those_of_a_sorted_list(tmp_path_factory, some, a, b):
    room = tmp_path_factory.mktemp("names")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(names, "IN_MEMORY", 7)
        patch.setattr(names, "_ENTRIES", 3)
        patch.setattr(names, "_READ_BYTES", 5)
        taken = SortedNames()
        for name in some:
            taken.add(name)
        table, expected = taken.into(room), sorted(some)
        assert isinstance(table, list) == (len(some) < 7)
        assert list(table) == expected
        assert table[a:b] == expected[a:b]
        assert [table[n] for n in range(-len(some), len(some))] == expected * 2
        with pytest.raises(IndexError):
            table[len(some)]


@given(st.lists(st.integers(-(2**63), 2**63 - 1), max_size=20))
@settings(max_examples=15, deadline=None)
def test_numbers_on_disk(tmp_path_factory, numbers):
    path = tmp_path_factory.mktemp("numbers") / "n"
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(names, "_ENTRIES", 3)
        assert list(write_numbers(path, iter(numbers))) == numbers
        assert NumberTable(path)[1:5:2] == numbers[1:5:2]


def test_a_large_listing_makes_the_same_data_set(tmp_path, monkeypatch):
    source = folder(tmp_path / "in", {f"c{n % 3}/{n}.png": file(noise(20, 24, n)) for n in range(40)})
    asked = Asked(resolution=16, shard_size=7)
    few = prepare(source, tmp_path / "few", asked, workers=1)
    monkeypatch.setattr(names, "IN_MEMORY", 9)
    many = prepare(source, tmp_path / "many", asked, workers=2)
    assert fingerprint(tmp_path / "few") == fingerprint(tmp_path / "many")
    assert many.class_counts == few.class_counts == {"c0": 14, "c1": 13, "c2": 13}


def test_who_joins_takes_the_listing_that_is_there(tmp_path, monkeypatch):
    content = {"a/1.png": plain(1), "b/2.png": plain(2), "x.txt": b"x", "dataset.json": b'{"labels": null}'}
    source, out = folder(tmp_path / "in", content), tmp_path / "out"
    (source / "gone.png").symlink_to("nowhere")
    kind, listed = source_kind(str(source)), []
    lists = folders.list_folder
    monkeypatch.setattr(folders, "list_folder", lambda *given: (listed.append(given), lists(*given))[1])
    with opened(kind, str(source), Wanted(), out, False) as first:
        (source / "b/3.png").write_bytes(plain(3))
        with opened(kind, str(source), Wanted(), out, False) as second:
            a, b = first.listing, second.listing
            assert (list(a.names), list(a.sizes)) == (list(b.names), list(b.sizes))
            assert (a.skipped, a.others.words(), a.label_file) == (b.skipped, b.others.words(), b.label_file)
            assert second.picture(1).image.tobytes() == first.picture(1).image.tobytes()
            assert len(listed) == 1
        with opened(kind, str(source), Wanted(follow_links=True), out, False):
            assert len(listed) == 2  # it asks for something else
    with opened(kind, str(source), Wanted(), out, False) as alone:
        assert list(alone.listing.names) == ["a/1.png", "b/2.png", "b/3.png"]


def test_names_that_lie_in_a_folder_can_be_written_as_they_are(tmp_path):
    write_names(tmp_path, ["b", "", "ä\udcff"])
    assert list(names.NameTable(tmp_path)) == ["b", "", "ä\udcff"]
