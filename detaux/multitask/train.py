"""Train the trials that an earlier call has not finished, one after the other."""

from detaux.config import Config
from detaux.data.split import Split
from detaux.errors import InterruptedRunError
from detaux.multitask.fit import check_trial, train_trial
from detaux.multitask.kept import KeptTrials
from detaux.multitask.material import Material
from detaux.multitask.trial import Trial
from detaux.runtime.agreement import tell_once, wait_for_first
from detaux.runtime.collectives import gather_objects
from detaux.runtime.progress import track
from detaux.runtime.signals import catch_signals


def train_trials(config: Config, trials: list[Trial], material: Material, held_out: Split, kept: KeptTrials) -> None:
    """Train each trial that is not kept yet, and keep it with its accuracy on the held-out split.

    All ranks call it together. Raises InterruptedRunError if a signal stops it, and UserError before the first training
    if a method cannot train on the images.
    """
    for trial in {trial.method: trial for trial in trials if trial.name not in kept.names}.values():
        check_trial(trial, config.multitask, material.build_data(trial))
    with catch_signals() as request, track("multitask", len(trials)) as advance:

        def check_stop() -> None:
            if stop := max(gather_objects(request.received or 0)):
                raise tell_once(InterruptedRunError(stop, f"{len(kept.rows)} of {len(trials)} trials"))

        for trial in trials:
            if trial.name not in kept.names:
                validation = (held_out.images, held_out.labels)
                data = material.build_data(trial)
                network, best, curve = train_trial(trial, config.multitask, data, validation, check_stop, config.engine)
                kept.add(trial, {**trial.describe("validation"), **best, "curve": curve}, network)
            advance(note=trial.name)
    kept.sort(trials)
    wait_for_first()  # all states are on disk
