"""List the rules that make one gradient of the tasks' gradients, by TorchJD. The name after `+` picks a rule."""

from detaux.config.schema import MultitaskConfig
from detaux.multitask.aggregators.aggregator import Aggregator, AggregatorRow

_CVXPY = ("cvxpy", "clarabel")
AGGREGATORS: dict[str, AggregatorRow] = {
    "pcgrad": AggregatorRow(lambda library, config, tasks: library.PCGrad()),
    "cagrad": AggregatorRow(lambda library, config, tasks: library.CAGrad(c=config.cagrad.c), _CVXPY),
    "nash_mtl": AggregatorRow(
        lambda library, config, tasks: library.NashMTL(
            n_tasks=tasks, update_weights_every=config.nash_mtl.update_every
        ),
        (*_CVXPY, "ecos"),
        reads_weight=False,
    ),
    "upgrad": AggregatorRow(lambda library, config, tasks: library.UPGrad(), ("qpsolvers", "quadprog")),
    "mgda": AggregatorRow(lambda library, config, tasks: library.MGDA()),
    "aligned_mtl": AggregatorRow(lambda library, config, tasks: library.AlignedMTL()),
}

__all__ = ["AGGREGATORS", "Aggregator", "build_aggregator", "check_packages"]


def build_aggregator(rule: str, config: MultitaskConfig, tasks: int, weight: float) -> Aggregator:
    """Build the rule of a name for a number of tasks. Raises UserError if a package that it needs is not installed."""
    AGGREGATORS[rule].check_packages(rule)
    return Aggregator(AGGREGATORS[rule], config, tasks, weight)


def check_packages(methods: list[str]) -> None:
    """Raise UserError if a method's rule for task losses needs a package that is not installed."""
    for rule in (method.partition("+")[2] for method in methods):
        if rule in AGGREGATORS:
            AGGREGATORS[rule].check_packages(rule)
