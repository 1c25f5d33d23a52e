"""Build the tiles at the top of the page: the four numbers that a reader looks for first."""

from dataclasses import dataclass

from detaux.report.collect import Run, name_candidate
from detaux.report.effect import find_choice, find_effect, find_split, is_single_task, judge_effect
from detaux.report.sentences import format_interval, format_points, name_method_of


@dataclass(frozen=True)
class Tile:
    label: str
    value: str
    note: str


def _tile_effect(run: Run) -> Tile:
    label = "Effect on the principal task"
    if run.multitask is None:
        is_stale = "multitask" in run.stale
        note = "the accuracy table was measured on other labels" if is_stale else "the multitask stage has not run"
        return Tile(label, "not measured", note)
    effect = find_effect(run.multitask)
    choice = find_choice(run.multitask, find_split(run.multitask))
    verdict = judge_effect(run.multitask, effect) if effect else ""
    interval = f"95%: {format_interval(effect.low, effect.high)}, {verdict}" if effect else "no paired difference"
    if choice is not None and is_single_task(choice):
        tried = f"best auxiliary {format_points(effect.mean)} ({interval})" if effect else interval
        return Tile(label, f"{name_method_of(choice)} kept", tried)
    return Tile(label, f"{format_points(effect.mean)} points" if effect else "not measured", interval)


def build_tiles(run: Run) -> list[Tile]:
    """Build the tiles: hidden task, relation to the principal task, match with a hidden factor, effect.

    A tile is left out if its number is unknown.
    """
    chosen = run.chosen
    if chosen is None:
        return [
            Tile("Hidden task", "none found", f"{len(run.discovery['candidates'])} candidates scored"),
            _tile_effect(run),
        ]
    tiles = [Tile("Hidden task", f"{chosen['clusters']} clusters", name_candidate(chosen))]
    principal = chosen["principal"]
    if principal["nmi"] is not None and principal["cramers_v"] is not None:
        note = f"Cramér's V {principal['cramers_v']:.3f}; at 1 one label determines the other"
        tiles.append(Tile("Relation to the principal task", f"NMI {principal['nmi']:.3f}", note))
    best = run.best_factor
    if best is not None:
        note = f"with {best[0].replace('_', ' ')}; scoring only"
        tiles.append(Tile("Match with a hidden factor", f"V {best[1]:.3f}", note))
    return [*tiles, _tile_effect(run)]
