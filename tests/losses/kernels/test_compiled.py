"""The kernels as a GPU gets them, without one: machine code made ahead of time, and the graphs torch.compile traces."""

import pytest
import torch
from torch._dynamo.backends.common import aot_autograd

from detaux.losses.backends import BACKENDS

triton = pytest.importorskip("triton")
from triton.backends.compiler import GPUTarget  # noqa: E402
from triton.compiler import ASTSource  # noqa: E402

from detaux.losses.kernels import pair_distances, pair_measures  # noqa: E402

FEATURE_MAP, VECTOR = pair_measures.choose_tiling(32, 10, 25088), pair_measures.choose_tiling(4096, 10, 16)
INPUTS = ("subspaces_ptr", "rows_ptr", "columns_ptr", "gradient_ptr")  # in the type of the projections; others float32

PAIR_BLOCKS = [{"BLOCK_C": b.chains, "BLOCK_K": b.subspaces, "BLOCK_D": b.latent} for b in (FEATURE_MAP, VECTOR)]
DISTANCE_BLOCKS = dict.fromkeys(("BLOCK_N", "BLOCK_M", "BLOCK_D"), pair_distances.BLOCK)
PAIR_KERNELS = (pair_measures._measure_kernel, pair_measures._measure_backward_kernel)
# kernel, pointers that are None, and blocks
VARIANTS = [
    *((kernel, (), blocks) for kernel in PAIR_KERNELS for blocks in PAIR_BLOCKS),
    *((kernel, ("radius_ptr", "offset_ptr"), PAIR_BLOCKS[0]) for kernel in PAIR_KERNELS),
    *((kernel, ("offset_ptr",), PAIR_BLOCKS[1]) for kernel in PAIR_KERNELS),
    (pair_distances._distance_kernel, ("inverse_ptr",), DISTANCE_BLOCKS),
    (pair_distances._distance_kernel, ("sums_ptr",), DISTANCE_BLOCKS),
    (pair_distances._direction_kernel, (), DISTANCE_BLOCKS),
]
OLDER, NEWER = (80, ()), (90, ("links", "chains", "tiles"))  # capability, whole numbers that are 1


def list_programs():
    """Every variant once and each kernel for both GPUs and both types; the rest of their product is slow."""
    for number, (kernel, absent, blocks) in enumerate(VARIANTS):
        is_alone = kernel is pair_distances._direction_kernel
        chosen = {(OLDER, "fp32"), (NEWER, "bf16")} if is_alone else {[(OLDER, "fp32"), (NEWER, "bf16")][number % 2]}
        for (capability, ones), dtype in ((target, dtype) for target in (OLDER, NEWER) for dtype in ("fp32", "bf16")):
            marks = () if ((capability, ones), dtype) in chosen else pytest.mark.slow
            name = f"{kernel.__name__}{absent}-{capability}-{dtype}"
            yield pytest.param(kernel, absent, blocks, capability, ones, dtype, marks=marks, id=name)


def build_source(kernel, dtype, absent, ones, blocks):
    """A kernel with its arguments as a launch would see them: aligned pointers, features side by side; whole numbers that
    are 1 are constants."""
    types, constants, attributes = {}, dict(blocks), {}
    for index, name in enumerate(kernel.arg_names):
        if name in absent:
            constants[name] = None
        elif name.endswith("stride_d") or name in ones:
            constants[name] = 1
        if name in constants:
            types[name] = "constexpr"
        elif name.endswith("_ptr"):
            types[name] = f"*{dtype if name in INPUTS else 'fp32'}"
        else:
            types[name] = "i32"
        if name not in constants and (name.endswith("_ptr") or "stride" in name or name == "D"):
            attributes[(index,)] = [["tt.divisibility", 16]]
    return ASTSource(fn=kernel, signature=types, constexprs=constants, attrs=attributes)


@pytest.mark.parametrize(("kernel", "absent", "blocks", "capability", "ones", "dtype"), list(list_programs()))
def test_kernel_becomes_machine_code(monkeypatch, tmp_path, kernel, absent, blocks, capability, ones, dtype):
    monkeypatch.setenv("TRITON_CACHE_DIR", str(tmp_path))
    source = build_source(kernel, dtype, absent, ones, blocks)
    compiled = triton.compile(source, target=GPUTarget("cuda", capability, 32))
    assert compiled.asm["cubin"].startswith(b"\x7fELF")
    if "BLOCK_C" in blocks:
        assert "ld.global.v" in compiled.asm["ptx"]  # several features a load


class Driver:
    """As much of a GPU as tracing asks for, to find out what a kernel writes."""

    def get_current_target(self):
        return GPUTarget("cuda", 90, 32)


def find_written(graph):
    """Names of the arguments that each kernel of a graph writes, kernel after kernel."""
    return [
        set(node.kwargs["tensors_to_clone"])
        for node in graph.graph.nodes
        if node.target is torch.ops.higher_order.triton_kernel_wrapper_functional
    ]


@pytest.mark.parametrize(
    ("normalizer", "dtype", "forward", "backward"),
    [
        ("mean_norm", torch.float32, [{"squared_ptr", "overlap_ptr", "radius_ptr"}], [{"gradient_ptr"}]),
        (
            "rms_distance",
            torch.bfloat16,
            [{"squared_ptr", "overlap_ptr", "radius_ptr", "offset_ptr"}],
            [{"gradient_ptr"}],
        ),
        (
            "mean_distance",
            torch.float32,
            [{"squared_ptr", "overlap_ptr"}, {"sums_ptr"}],
            [{"inverse_ptr"}, {"gradient_ptr"}, {"gradient_ptr"}],
        ),
    ],
    ids=["mean_norm", "rms_distance", "mean_distance"],
)
def test_torch_compile_takes_it_whole(monkeypatch, normalizer, forward, backward, dtype):
    """One graph forward and one backward, each with the kernels as nodes that write their outputs and nothing else."""
    monkeypatch.setattr(triton.runtime.driver, "_active", Driver())
    written = []

    def keep(graph, _):
        written.append(find_written(graph))
        outputs = next(node for node in graph.graph.nodes if node.op == "output").args[0]
        values = [output.meta["val"] if output is not None else None for output in outputs]

        def run(arguments):
            return [
                torch.empty_strided(value.shape, value.stride(), dtype=value.dtype) if value is not None else None
                for value in values
            ]

        run._boxed_call = True
        return run

    def compute(values_NKD):
        measures = BACKENDS["triton"](values_NKD, 3, normalizer)
        return measures.squared_BK.sum() + measures.overlap_N.sum() + measures.normalizer_K.sum()

    torch._dynamo.reset()
    compiled = torch.compile(compute, fullgraph=True, backend=aot_autograd(fw_compiler=keep, bw_compiler=keep))
    values = torch.zeros(2, 9, 5, dtype=dtype).transpose(0, 1).requires_grad_()
    compiled(values).backward()
    assert written == [forward, backward]
    assert values.grad.stride() == values.stride()
