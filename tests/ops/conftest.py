"""Sources that compile in no time, a cache of their own, a compiler that can be watched."""

from __future__ import annotations

import pytest

from ops.building import cache as caching
from ops.building import tools


@pytest.fixture
def source(tmp_path):
    root = tmp_path / "csrc"
    (root / "cpu").mkdir(parents=True)
    (root / "registration.cpp").write_text('extern "C" int hrgan_answer() { return 42; }\n')
    (root / "cpu/count.cpp").write_text(
        '#include "count.h"\nextern "C" int hrgan_threads() {\n  int n = 0;\n'
        "#pragma omp parallel reduction(+ : n)\n  n += kOne;\n  return n;\n}\n"
    )
    (root / "cpu/count.h").write_text("constexpr int kOne = 1;\n")
    return root


@pytest.fixture
def root(tmp_path, monkeypatch):
    monkeypatch.setenv(caching.ENVIRONMENT, str(tmp_path / "cache"))
    return tmp_path / "cache"


@pytest.fixture
def compiler(tmp_path, monkeypatch):
    """The real compiler behind a script that counts its compilations and takes its time if asked to."""
    folder = tmp_path / "compiler"
    folder.mkdir()
    script = folder / "g++"
    script.write_text(
        f"""#!/bin/sh
case " $* " in *" -c "*) echo $$ >> {folder}/calls; sleep "$(cat {folder}/seconds)";; esac
exec {tools.find_cxx().path} "$@"
"""
    )
    script.chmod(0o755)
    (folder / "seconds").write_text("0")
    monkeypatch.setenv("CXX", str(script))
    return folder
