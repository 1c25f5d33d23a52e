"""Compile a function by torch.compile, and run it uncompiled if that fails."""

from collections.abc import Callable
from typing import Any

import torch

from detaux.runtime.progress import say


def compile_or_fall_back(
    function: Callable[..., Any], name: str, backend: str | Callable[..., Any] = "inductor"
) -> Callable[..., Any]:
    """Return `function`, compiled as a whole at its first call. If that fails, it says so and stays uncompiled.

    Shapes and numbers among the arguments that change from call to call do not cause another compilation each time.
    """
    compiled: Callable[..., Any] | None = torch.compile(function, fullgraph=True, backend=backend)

    def call(*args: Any, **kwargs: Any) -> Any:
        nonlocal compiled
        if compiled is not None:
            try:
                return compiled(*args, **kwargs)
            except (torch._dynamo.exc.TorchDynamoException, torch._inductor.exc.InductorError) as error:
                reason = (str(error).strip() or type(error).__name__).splitlines()[0]
                say(f"{name}: torch.compile failed, so plain PyTorch is used: {reason}")
                compiled = None
        return function(*args, **kwargs)

    return call
