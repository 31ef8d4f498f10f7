"""The race from its command line: who wins, that it goes on, peers, and what it refuses."""

from __future__ import annotations

import json
import re
import shutil
from types import SimpleNamespace

import pytest
import torch

from launch.main import main as hrgan
from pipeline.data.preparing.prepare import prepare
from pipeline.data.preparing.settings import Asked
from pipeline.data.shards.index import ShardIndex
from pipeline.data.shards.reader import read_keys
from pipeline.data.streaming.numbered import read_uint8
from pipeline.errors import UserError
from tools.learning_race import features, laps, peers
from tools.learning_race.__main__ import main, parser, race_of
from tools.learning_race.curves import curve_of
from tools.learning_race.entrants import entrants_of
from tools.learning_race.laps import Race, conduct
from tools.learning_race.picture import picture
from tools.learning_race.sets import write_halves

CONFIG = """
length: {images: 640}
data: {workers: 0, lanes: 4}
batch: {size: 16}
family: {name: mlp, z_dim: 8, width: 32, layers: 2, r1_gamma: 0.1, ema_half_life_images: 100,
  generator_rate: 0.003, discriminator_rate: 0.003}
snapshots: {grid: 4}
"""


@pytest.fixture(scope="module")
def shards(tmp_path_factory):
    out = tmp_path_factory.mktemp("race") / "shards"
    prepare("demo:digits", out, Asked(resolution=16, channels=1, count=120, shard_size=40))
    return out


@pytest.fixture(scope="module")
def config(tmp_path_factory):
    path = tmp_path_factory.mktemp("config") / "mlp.yaml"
    path.write_text(CONFIG)
    return path


class Ended:
    """A process that is over."""

    def __init__(self, code: int) -> None:
        self.code = code

    def poll(self) -> int:
        return self.code

    def send_signal(self, number: int) -> None:
        raise AssertionError("it is over")

    def wait(self) -> int:
        return self.code


def here(work: laps.Work) -> Ended:
    """Runs a program in this process, which has torch already."""
    assert work.module == "launch.main"
    return Ended(hrgan(list(work.arguments)))


CRIPPLED = "family.generator_rate=1e-12,family.discriminator_rate=1e-12"


def arguments(shards, config, out, *more: str) -> list[str]:
    given = ["--data", str(shards), "--out", str(out), "--images", "640", "--every", "320", "--seeds", "2"]
    return [*given, "--count", "60", "--device", "cpu", f"sound={config}", f"lame={config},{CRIPPLED}", *more]


@pytest.fixture(scope="module")
def raced(shards, config, tmp_path_factory):
    out = tmp_path_factory.mktemp("raced")
    assert main(arguments(shards, config, out), here) == 0
    return out


def told(out) -> dict:
    return json.loads((out / "race.json").read_text())


def test_one_that_cannot_learn_loses(raced):
    body = told(raced)
    fought = {(duel["axis"], duel["metric"]): duel for duel in body["duels"]}
    assert {axis for axis, _ in fought} == {"images", "seconds"}
    assert fought["images", "swd"]["better"] == "sound"
    assert fought["images", "fid-random"]["wins"] == 2
    assert fought["images", "swd"]["wins"] == 2
    at_end = {(s["entrant"], s["at"]): s for s in body["standings"] if s["metric"] == "swd"}
    assert at_end["lame", 640]["mean"] == pytest.approx(at_end["lame", 0]["mean"], rel=1e-3)
    assert body["floor"]["images"] == 60
    assert body["floor"]["swd"] < at_end["sound", 640]["low"]
    for seed_course in body["curves"]:
        points = seed_course["points"]
        assert [point["images"] for point in points] == [0, 320, 640]
        assert 0 == points[0]["seconds"] < points[1]["seconds"] < points[2]["seconds"]
    text = (raced / "race.md").read_text()
    assert "After 640 images" in text
    assert "**sound is better** by more than the spread" in text
    assert (raced / "race.png").read_bytes().startswith(b"\x89PNG")


def test_what_is_finished_is_not_run_again_and_what_was_cut_off_goes_on_to_the_same_figures(
    raced, shards, config, tmp_path
):
    out = tmp_path / "again"
    shutil.copytree(raced, out)
    shutil.rmtree(out / "sound" / "seed-1")
    started = []

    def cut_off(work: laps.Work) -> Ended:
        started.append((work.title, work.log.parent.relative_to(out).as_posix()))
        if work.title == "training":
            hrgan([a.replace("length.images=640", "length.images=400") for a in work.arguments])
            raise KeyboardInterrupt
        return here(work)

    assert main(arguments(shards, config, out), cut_off) == 130
    assert [lap for title, lap in started if title == "training"] == ["sound/seed-1"]
    assert main(arguments(shards, config, out), here) == 0
    again, before = ([s for s in told(o)["standings"] if s["axis"] == "images"] for o in (out, raced))
    assert again == before


def test_a_failed_lap_is_told_and_the_others_go_on(raced, shards, config, tmp_path, capsys):
    out = tmp_path / "failing"
    shutil.copytree(raced, out)
    shutil.rmtree(out / "lame" / "seed-0")

    def failing(work: laps.Work) -> Ended:
        return Ended(1) if work.title == "training" else here(work)

    assert main(arguments(shards, config, out), failing) == 1
    assert "error: lame, seed 0: training ended with code 1; " in capsys.readouterr().err
    seeds = {s["entrant"]: s["seeds"] for s in told(out)["standings"] if s["at"] == 640}
    assert seeds == {"sound": 2, "lame": 1}


def test_a_race_for_seconds_stops_each_once_it_has_had_both(shards, config, tmp_path, monkeypatch):
    """A process that trains for ever, a snapshot and a line of the log at a time: 100 images in 2 s."""
    monkeypatch.setattr(laps, "_POLL_SECONDS", 0)
    options = parser().parse_args(arguments(shards, config, tmp_path, "--seconds", "7"))
    race = race_of(options)

    class Endless(Ended):
        def __init__(self, work: laps.Work) -> None:
            self.run, self.images, self.stopped = work.log.parent, 0, False
            assert "length.images=1000000000000" in work.arguments

        def poll(self) -> int | None:
            assert not self.stopped
            self.images += 100
            (self.run / "snapshots" / f"{self.images:012d}").mkdir(parents=True)
            line = {"images_seen": self.images, "speed/seconds_per_kimg": 20.0}
            with (self.run / "log.jsonl").open("a") as log:
                log.write(json.dumps(line) + "\n")
            return None

        def send_signal(self, number: int) -> None:
            self.stopped, self.code = True, 0

    ended = []

    def started(work: laps.Work) -> Ended:
        if work.title != "training":
            return Ended(0)
        work.log.parent.mkdir(parents=True, exist_ok=True)
        ended.append(Endless(work))
        return ended[-1]

    assert conduct(race, ShardIndex.read(shards), lambda line: None, started) == []
    assert [process.images for process in ended] == [700] * 4  # 640 images come first, 7 s after 350 images


def test_halves_of_the_reals_share_none_and_are_spread_over_all(shards, tmp_path):
    data = ShardIndex.read(shards)
    halves = [ShardIndex.read(half) for half in write_halves(data, tmp_path, 20)]
    everything = torch.cat([images for images, _, _ in read_uint8(data)]).flatten(1).tolist()
    places = [
        [
            everything.index(image)
            for image in torch.cat([i for i, _, _ in read_uint8(half)]).flatten(1).tolist()
        ]
        for half in halves
    ]
    assert [len(set(some)) for some in places] == [20, 20]
    assert not set(places[0]) & set(places[1])
    assert all(max(some) - min(some) > 100 for some in places)
    assert read_keys(halves[0]) == [f"{k:08d}" for k in range(20)]


class ToyPeer:
    """A loop of another project: its generator shows one grey, lighter by each image seen."""

    CONFIG, STEP_BATCHES, EQUAL = None, 1, ()
    FOLLOWED = frozenset({"name", "z_dim"})

    @staticmethod
    def alone(checkout, setting, course) -> None:
        generator = SimpleNamespace(z_dim=3, grey=-1.0)
        course.begun(generator)
        seen, told = 0, 0
        while True:
            rows = [course.reals[k] for k in range(setting.batch)]
            assert rows[0][0].shape == (1, 16, 16)
            seen += setting.batch
            generator.grey = min(1.0, -1 + seen / 400)
            if not told or seen >= told + course.every_images:
                told = seen
                if course.after(seen, generator):
                    return

    @staticmethod
    def samples(generator, z, classes):
        assert z.shape[1:] == (3,)
        assert classes.sum(1).eq(1).all()
        return torch.full((len(z), 1, 16, 16), generator.grey)


def test_a_peers_samples_are_kept_and_measured_on_the_way(shards, config, tmp_path, monkeypatch):
    monkeypatch.setattr(peers, "kinds", lambda: {"toy": ToyPeer})
    given = ["toy", str(tmp_path), str(config), str(tmp_path), f"data.path={shards}"]
    given += ["--images=100", "--seconds=0", "--every=50", "--count=10"]
    for _ in range(2):  # one that was cut off begins anew
        assert peers.main(given) == 0
    sets = sorted((tmp_path / "sets").iterdir())
    assert [int(folder.name) for folder in sets] == [0, 80, 144]  # the first tick, after 16, has none
    assert peers.is_done(tmp_path, given)
    assert not peers.is_done(tmp_path, [*given[:-1], "--count=20"])
    assert not peers.is_done(tmp_path / "sets", given)
    images, labels, _ = next(iter(read_uint8(ShardIndex.read(sets[1]))))
    assert images.unique().tolist() == [round((-1 + 80 / 400) * 127.5 + 127.5)]
    assert len(labels) == 10
    data = ShardIndex.read(shards)
    how = ["--data", str(shards), "--device", "cpu", "--metrics", "fid", "--extractor"]
    for folder in sets:
        assert hrgan(["evaluate", str(folder), *how, features.FACTORIES["pixels"]]) == 0
    course = curve_of("toy", 0, tmp_path, data)
    assert [point.images for point in course.points] == [0, 80, 144]
    assert course.points[1].seconds < course.points[2].seconds
    assert course.value("fid-pixels", "images", 80) < course.value("fid-pixels", "images", 0)
    assert picture([course], {}).shape[2] == 3


R3 = "family: {name: r3gan, widths: [16, 8], cardinalities: [4, 2], blocks: [1, 1]}"


@pytest.mark.parametrize(
    ("line", "said"),
    [
        ("family.loss=hinge", r"family.loss=hinge: r3gan is not told of it; allowed: relativistic"),
        ("family.r2_gamma=1", r"family.r1_gamma and family.r2_gamma differ: r3gan has one value for both"),
        ("engine.precision=bfloat16", r"engine.precision=bfloat16: allowed for a peer: float32"),
    ],
)
def test_what_a_peers_loop_cannot_follow_is_refused(tmp_path, line, said):
    (tmp_path / "R3GAN").mkdir()
    (tmp_path / "R3GAN/Trainer.py").touch()
    (tmp_path / "r3.yaml").write_text(R3)
    ours = f"ours={tmp_path}/r3.yaml"
    assert entrants_of([ours, f"theirs=peer:r3gan:{tmp_path}"])[1].config == tmp_path / "r3.yaml"
    with pytest.raises(UserError, match=f"^theirs: {said}"):
        entrants_of([ours, f"theirs=peer:r3gan:{tmp_path}:{tmp_path}/r3.yaml,{line}"])


@pytest.mark.parametrize(
    ("entrants", "said"),
    [
        (["a={c}"], "1 entrants: a race takes at least two, each as NAME=CONFIG"),
        (["a={c}", "a={c}"], "a: names two entrants; allowed: each name once"),
        (["a={c}", "{c}"], "is wanted; names are of letters"),
        (["a={c}", "b={c},family.r1=3"], "r1"),
        (["a={c}", "b=peer:tensorflow:{d}"], "unknown peer 'tensorflow'; allowed: r3gan, stylegan"),
        (["a={c}", "b=peer:r3gan:{d}"], "no checkout of r3gan at .* file R3GAN/Trainer.py"),
        (["a={c}", "b={c}", "--metrics", "fidd"], "did you mean fid"),
        (["a={c}", "b={c}", "--images", "none"], "--images none: no count; allowed: a number above 0"),
        (["a={c}", "b={c}", "--seeds", "0"], "--seeds 0: must be at least 1"),
        (["a={c}", "b={c}", "--at-once", "0"], "--at-once 0: must be at least 1"),
        (["a={c}", "b={c}", "--seconds", "-1"], "--seconds -1.0: must be a number of seconds"),
        (["a={c}", "b={c}", "--data", "nowhere"], "nowhere"),
    ],
)
def test_wrong_usage_is_one_line_before_any_work(entrants, said, shards, config, tmp_path, capsys):
    given = [word.format(c=config, d=tmp_path) for word in entrants]
    required = ["--data", str(shards), "--out", str(tmp_path / "out"), "--images", "100"]

    def never(work: laps.Work) -> Ended:
        raise AssertionError(work)

    assert main([*required, *given], never) == 2
    (line,) = capsys.readouterr().err.strip().splitlines()
    assert line.startswith("learning_race: error: ")
    assert re.search(said, line)


def test_values_may_hold_commas(config):
    one, _ = entrants_of([f"a={config},family.width=16,seed=4", f"b={config}"])
    assert one.changes == ("family.width=16", "seed=4")
    assert one.told == f"{config},family.width=16,seed=4"
    race = Race(config.parent, "d", (one,), (0,), 64, 0.0, 32, 10)
    assert race.changes(one, 3)[-7] == "seed=3"  # the race's own come last
