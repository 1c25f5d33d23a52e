"""The search of a round as a GPU gets it, without one."""

import pytest

from detaux.discover.clusterers.blocks import BLOCK

triton = pytest.importorskip("triton")
from triton.backends.compiler import GPUTarget  # noqa: E402
from triton.compiler import ASTSource  # noqa: E402

from detaux.discover.clusterers.kernels import spanning_tree as kernels  # noqa: E402

TILE = {"BLOCK": BLOCK, "BLOCK_R": kernels.ROWS, "BLOCK_M": kernels.COLUMNS}
FLOATS = ("points_ptr", "gap_ptr", "core_ptr", "bound_ptr", "before_ptr")


@pytest.mark.parametrize(("capability", "ones"), [(80, ()), (90, ("blocks", "D"))])
def test_kernel_becomes_machine_code(monkeypatch, tmp_path, capability, ones):
    """Whole numbers that are 1 are constants, as at a launch."""
    monkeypatch.setenv("TRITON_CACHE_DIR", str(tmp_path))
    kernel = kernels._search_kernel
    constants = TILE | dict.fromkeys(ones, 1)
    types = {
        name: "constexpr" if name in constants else "*i64" if name.endswith("_ptr") else "i32"
        for name in kernel.arg_names
    }
    types |= dict.fromkeys(FLOATS, "*fp32") | {"best_ptr": "*i32"}
    source = ASTSource(fn=kernel, signature=types, constexprs=constants)
    compiled = triton.compile(source, target=GPUTarget("cuda", capability, 32))
    assert compiled.asm["cubin"].startswith(b"\x7fELF")
    code = compiled.asm["ptx"]
    assert "atom.global.gpu.relaxed.min.s32" in code
    # what a scalar atomic returns goes through shared memory to all threads of a program
    assert all(name in code for name in ("st.shared", "ld.shared", "bar.sync"))
    assert "sqrt.rn.f32" in code
    assert "sqrt.approx" not in code
