"""Retrieval of the own text: a judge that learns from reals alone, on digits and their names."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch

from pipeline.errors import UserError
from tests.tiny_families import FIELDS, PLAIN, DigitStream
from tools.text_retrieval import learn, main, others, retrieved


@pytest.fixture(scope="module")
def halves():
    stream = DigitStream(replace(PLAIN, fields=FIELDS["textgan"]))
    return stream.batch(range(0, 1200, 2)), stream.batch(range(1, 601, 2))


@pytest.fixture(scope="module")
def judge(halves):
    return learn(halves[0], PLAIN, steps=60)


def test_reals_find_their_own_text_and_others_do_not(halves, judge):
    images, texts = halves[1].images, halves[1].extra["text"]
    assert retrieved(judge, images, texts, 5) > 0.8
    assert retrieved(judge, images.roll(1, 0), texts, 5) < 0.45
    assert retrieved(judge, torch.zeros_like(images), texts, 5) < 0.45


def test_texts_to_choose_from_are_all_different(halves):
    texts = halves[1].extra["text"]
    found = others(texts, 6)
    assert found.shape == (len(texts), 6)
    for place, row in enumerate(found.tolist()):
        assert len({bytes(texts[at].tolist()) for at in (place, *row)}) == 7
    with pytest.raises(UserError, match="--candidates 11: the data have 10 texts"):
        others(texts, 10)


def test_what_is_no_run_is_a_line(tmp_path, capsys):
    assert main([str(tmp_path), "--data", str(tmp_path)]) == 2
    assert capsys.readouterr().err.startswith("hrgan: error: ")


def test_an_image_chooses_among_two_texts_at_least(tmp_path, capsys):
    assert main([str(tmp_path), "--data", str(tmp_path), "--candidates", "1"]) == 2
    said = "hrgan: error: --candidates 1: an image's own text and others; allowed: 2 and more\n"
    assert capsys.readouterr().err == said
