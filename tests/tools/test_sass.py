"""The table of machine code: parsing of what cuobjdump prints, and a kernel compiled now where nvcc is."""

from __future__ import annotations

import subprocess

import pytest

from ops.building.tools import CannotBuild, find_nvcc
from tools.research import sass

# A loop of which borders take a longer way: two loads, the second for the next turn.
LOOP = """
        /*0000*/                   MOV R1, c[0x0][0x28] ;
        /*0010*/                   LDG.E.128 R4, desc[UR4][R2.64] ;
        /*0020*/              @!P0 BRA 0x60 ;
        /*0030*/                   LDG.E.128 R8, desc[UR4][R2.64+0x10] ;
        /*0040*/                   FADD R20, R11, R7 ;
        /*0050*/                   BRA 0x90 ;
        /*0060*/                   MOV R9, RZ ;
        /*0068*/                   MOV R10, RZ ;
        /*0070*/              @!P1 LDG.E.128 R8, desc[UR4][R2.64+0x10] ;
        /*0080*/                   FADD R20, R11, R7 ;
        /*0090*/                   STG.E desc[UR4][R2.64], R20 ;
        /*00a0*/              @!P2 EXIT ;
        /*00b0*/               @P3 BRA 0x10 ;
        /*00c0*/                   EXIT ;
        /*00d0*/                   BRA 0xd0;
"""


def test_the_hot_path_is_the_short_way_round_the_loop():
    hot = sass.hot_path(sass.instructions(LOOP))
    assert [i.address for i in hot] == [0x10, 0x20, 0x30, 0x40, 0x50, 0x90, 0xA0, 0xB0]


def test_a_warp_that_has_come_apart_is_not_on_it():
    meeting = LOOP.replace("FADD R20, R11, R7 ;\n        /*0050*/", "BRA.DIV ~URZ, 0xd0 ;\n        /*0050*/")
    assert "BRA.DIV" in meeting
    assert len(sass.hot_path(sass.instructions(meeting))) == 8


def test_without_a_loop_it_leads_to_the_last_end():
    straight = LOOP.replace("@P3 BRA 0x10", "    FADD R1, R1, R1")
    hot = sass.hot_path(sass.instructions(straight))
    assert (hot[0].address, hot[-1].address, len(hot)) == (0, 0xC0, 10)


def test_a_load_is_under_way_until_one_of_its_registers_is_read():
    assert sass._in_flight(sass.hot_path(sass.instructions(LOOP))) == 2
    at_once = LOOP.replace("@!P0 BRA 0x60", "FADD R21, R5, R5")
    assert sass._in_flight(sass.hot_path(sass.instructions(at_once))) == 1


def test_what_is_missing_is_named(tmp_path, capsys, monkeypatch):
    assert sass.main([str(tmp_path / "none.so"), "--tools", str(tmp_path)]) == 2
    assert "nvidia-cuda-cuobjdump" in capsys.readouterr().err
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.setenv("CUDA_HOME", str(tmp_path))
    monkeypatch.setattr(sass, "find_spec", lambda name: None)
    with pytest.raises(sass.NoTool, match="PATH, beside nvcc or in triton"):
        sass.find_tools()


def test_a_kernel_compiled_now(tmp_path):
    try:
        nvcc = find_nvcc().path
        sass.find_tools()
    except (CannotBuild, sass.NoTool) as missing:
        pytest.skip(f"cuda toolkit: {missing}")
    source = tmp_path / "copy.cu"
    source.write_text(
        "__global__ void copy(const uint4* from, uint4* to, int n) {\n"
        "  for (int i = threadIdx.x; i < n; i += 32) to[i] = from[i];\n}\n"
    )
    made = tmp_path / "copy.cubin"
    subprocess.run([nvcc, "-arch=sm_90", "-cubin", str(source), "-o", str(made)], check=True)
    (row,) = sass.read(made, "90")
    assert row.name == "copy"
    assert row.arch == "90"
    assert 0 < row.registers <= 64
    assert row.local == 0
    assert 1 <= row.in_flight <= row.wide
    assert row.hot < row.instructions
