"""Write the report's sentences about what was found. Each states only what the run's files show."""

from typing import Any

from detaux.config.variants import ENTANGLED
from detaux.report.collect import Run, name_candidate
from detaux.report.effect import (
    COPY,
    WITHIN_CLASS,
    Effect,
    Summary,
    find_bounds,
    find_choice,
    find_control,
    find_effect,
    find_rival,
    find_split,
    is_single_task,
    name_labels,
)

SMALL_P = 0.05
EXPLANATIONS = {  # what a control says that gains as much
    WITHIN_CLASS: "so the labels' dependence on the principal label explains the gain",
    ENTANGLED: "so clusters without disentanglement explain the gain",
}
PLACES = {"encoder": "in the encoder's entangled latents"}  # where a source that has no subspaces finds clusters
RULES = {
    "uncertainty": "uncertainty weighting",
    "dwa": "dynamic weight averaging",
    "gradnorm": "GradNorm",
    "pcgrad": "PCGrad",
    "cagrad": "CAGrad",
    "nash_mtl": "Nash-MTL",
    "upgrad": "UPGrad",
    "mgda": "MGDA",
    "aligned_mtl": "Aligned-MTL",
}  # the others are their names
METHODS = {
    "stl": "STL",
    "stl_long": "STL, longer",
    "balanced": "balanced draws",
    "nddr": "NDDR",
    "mti": "MTI-Net",
    "maxl": "MAXL",
    "auxilearn": "AuxiLearn",
    "auxilearn_combine": "AuxiLearn with given labels",
}


def format_p(p: float) -> str:
    """Return a p-value in the usual notation."""
    return "p < 0.001" if p < 0.001 else f"p = {p:.3f}"


def format_points(value: float, digits: int = 2) -> str:
    """Return percentage points with their sign. The minus sign is U+2212, so that no line breaks after it.

    What rounds to zero has a plus sign.
    """
    return f"{round(value, digits) + 0.0:+.{digits}f}".replace("-", "\N{MINUS SIGN}")


def format_interval(low: float | None, high: float | None) -> str:
    """Return both ends of an interval in percentage points. One seed gives no interval, nor do seeds that all agree."""
    if low is None or high is None:
        return "no interval"
    return f"{format_points(low)} to {format_points(high)}"


def name_method(method: str) -> str:
    """Name a method in words, with the rule for its losses if it has one."""
    method, _, rule = method.partition("+")
    words = METHODS.get(method, method.replace("_", " "))
    return f"{words} with {RULES.get(rule, rule.replace('_', ' '))}" if rule else words


def name_method_of(row: Summary) -> str:
    """Name the method of a row. The network of a method without its second loss is a baseline, and is told by its weight."""
    name = name_method(row["method"])
    return f"{name}, weight 0" if is_single_task(row) and row["method"] not in ("stl", "stl_long") else name


def describe_found(run: Run) -> str:
    """Say how many clusters were found, in which subspaces, among how many training images."""
    samples = f"{run.discovery['samples']:,} training images"
    chosen = run.chosen
    if chosen is None:
        tried = len(run.discovery["candidates"])
        return f"No hidden task was found: none of {tried} candidates in {samples} passed the rule's conditions."
    where = name_candidate(chosen)
    if chosen["kind"] == "baseline":
        source = "by a plain baseline, not in a disentangled subspace"
    elif not chosen["subspaces"]:
        source = PLACES.get(chosen["name"], f"by the source {where}")
    else:
        source = f"in {where.replace(' + ', ' and ')}"
    noise = chosen.get("noise_share") or 0.0
    rest = f" {noise:.1%} of the images fit no cluster and form a class of their own." if noise > 0 else ""
    return f"Detaux found a hidden task: {chosen['clusters']} clusters among {samples}, {source}.{rest}"


def describe_relation(run: Run) -> str | None:
    """Describe the relation to the principal label by NMI, Cramér's V and chi-squared, and say how to read p."""
    chosen = run.chosen
    if chosen is None:
        return None
    principal = chosen["principal"]
    nmi, v, p = principal["nmi"], principal["cramers_v"], principal["chi2_p"]
    values = [chosen["relation"]] if chosen.get("relation") else []
    values += [f"NMI {nmi:.3f}"] if nmi is not None else []
    values += [f"Cramér's V {v:.3f}"] if v is not None else []
    text = f"Relation to the principal task ({run.principal_name}): {', '.join(values) or 'not measured'}"
    if p is None:
        return f"{text}."
    if p < SMALL_P:
        reading = (
            "independence is rejected, so the two are related; with many images even a weak relation gives a small p, "
            "and V shows how strong it is"
        )
    else:
        reading = "independence is not rejected, which does not prove it"
    return f"{text}; chi-squared {format_p(p)}: {reading}."


def describe_factor(run: Run) -> str | None:
    """Name the hidden factor that the clusters match best, or return None if no factor is known."""
    if run.best_factor is None:
        return None
    name, value = run.best_factor
    return (
        f"Scored afterwards against the hidden factors known for this data set, the clusters match "
        f"{name.replace('_', ' ')} best (V-measure {value:.3f})."
    )


def describe_setting(effect: Effect) -> str:
    """Describe method, labels and weight in words; a clause of a method without the labels wants a comma after it."""
    if not effect.has_discovered_labels:
        return f"{name_method(effect.method)}, which was given no discovered labels"
    labels = f"{effect.labels_name} control" if effect.kind == "control" else "discovered"
    return f"{name_method(effect.method)} with the {labels} labels at weight {effect.weight:g}"


def describe_unmeasured(run: Run) -> str:
    """Say why there is no accuracy table."""
    if "multitask" in run.stale:
        return (
            "The effect of these labels has not been measured: the accuracy table in this folder was measured on other "
            "labels and is left out; run detaux multitask CONFIG again."
        )
    return "The effect on the principal task has not been measured: the multitask stage has not run."


def describe_stale_discovery(run: Run) -> str | None:
    """Warn if the disentangler was trained again after discovery, or if the labels were edited; else return None."""
    if run.has_edited_labels:
        return (
            "labels.parquet was edited after discovery: the accuracy table uses the edited labels; the clusters, "
            "scores and example images show the labels that were found."
        )
    if "discover" not in run.stale:
        return None
    return (
        "This discovery was made with a different model from the one that is now in the folder. The training charts "
        "and factor scores below belong to the model in the folder; run detaux discover CONFIG again."
    )


def describe_rival(rival: Effect, effect: Effect) -> str:
    """Explain a gain that a control has too, or of which the control is not told apart."""
    gain = format_points(rival.mean)
    if rival.mean < effect.mean and rival.lead is not None:
        ahead = f"{format_points(rival.lead)}, 95% interval {format_interval(rival.lead_low, rival.lead_high)}"
        return (
            f"The {rival.labels_name} control at the same weight is not told apart from it ({gain}; the discovered labels "
            f"are ahead by {ahead}), so the gain may need no more than what these labels have."
        )
    reading = EXPLANATIONS.get(rival.labels, "so the gain does not come from the discovered task")
    if rival.labels.startswith(COPY):
        reading = "so more of the principal label gains as much without the discovered task"
    return f"The {rival.labels_name} control at the same weight does as well ({gain}), {reading}."


def describe_effect(run: Run) -> str:
    """Describe the setting that validation chose and its paired difference from STL, be it a gain or a loss."""
    if run.multitask is None:
        return describe_unmeasured(run)
    split = find_split(run.multitask)
    is_fixed = run.get_setting("multitask", "select") == "fixed"
    by = "multitask.select=fixed" if is_fixed else run.multitask["chosen"].get("by") or "validation accuracy"
    choice, effect = find_choice(run.multitask, split), find_effect(run.multitask)
    parts = []
    if choice is not None and is_single_task(choice):
        parts.append(
            f"Effect on the principal task: by {by} the single-task network ({name_method_of(choice)}) was chosen, "
            "so the auxiliary task is not used and costs nothing."
        )
        lead = f"The best auxiliary setting on validation, {describe_setting(effect)}, changed" if effect else ""
    else:
        comma = "" if effect is None or effect.has_discovered_labels else ","
        setting = f"{describe_setting(effect)}{comma} was chosen." if effect else ""
        parts.append(setting and f"Effect on the principal task: by {by}, {setting}")
        lead = "It changed"
    if effect is None:
        return " ".join([*filter(None, parts), "No paired difference to STL was measured."])
    if effect.low is not None:
        spread = f"95% interval {format_interval(effect.low, effect.high)}, {effect.seeds} paired seeds"
    elif effect.seeds > 1:
        spread = f"the same in all {effect.seeds} paired seeds, which gives no interval"
    else:
        spread = "one seed gives no interval"
    parts.append(
        f"{lead} {split} accuracy by {format_points(effect.mean)} points over STL ({spread}): {effect.verdict}."
    )
    if not effect.has_discovered_labels:
        parts.append("This difference is not the discovered task's.")
    return " ".join(filter(None, [*parts, *_describe_controls(run, run.multitask, effect)]))


def _describe_controls(run: Run, multitask: dict[str, Any], effect: Effect) -> list[str]:
    """Say what else may explain a difference from STL: another network, or a control."""
    parts = []
    if other := _name_other_backbone(run, effect.method):
        parts.append(
            f"Its network has another backbone ({other}) than STL's, so the difference is also that of the networks."
        )
    rival, control = find_rival(multitask, effect), find_control(multitask, effect)
    is_own = control is not None and _strip_rule(control.method) == _strip_rule(effect.method)
    if control is not None and not is_own:
        parts.append(
            f"No random labels were given to {name_method(effect.method)} (multitask.control_methods), so part of the "
            "difference may be its network's."
        )
    if rival is not None:
        parts.append(describe_rival(rival, effect))
    if control is not None and control != rival:
        receiver = "" if is_own else f", given to {name_method(control.method)},"
        parts.append(
            f"Random labels{receiver} at weight {control.weight:g} changed it by {format_points(control.mean)} "
            f"({format_interval(control.low, control.high)})."
        )
    for bound in find_bounds(multitask, effect):
        parts.append(
            f"The true labels of {_name_oracle(run) or 'a known factor'}, an upper bound, changed it by "
            f"{format_points(bound.mean)} ({format_interval(bound.low, bound.high)})."
        )
    return parts


def _strip_rule(method: str) -> str:
    """Return the name of a method without the rule for its losses, which its network does not depend on."""
    return method.partition("+")[0]


def _name_other_backbone(run: Run, method: str) -> str | None:
    """Name the backbone of MTI-Net, or return None if STL has the same. All other methods have that of STL."""
    own = (run.get_setting("multitask", "mti") or {}).get("backbone")
    is_other = _strip_rule(method) == "mti" and own != run.get_setting("multitask", "backbone")
    return own if is_other else None


def _name_oracle(run: Run) -> str | None:
    """Name the factor that the control `oracle` took as labels, or return None if there was none."""
    factor = ((run.multitask or {}).get("facts") or {}).get("oracle")
    return factor and factor.replace("_", " ")


def describe_ground_truth(run: Run) -> str:
    """Say whether ground truth was used for training or for the choice."""
    rule = run.discovery.get("pairs", {}).get("rule", "unknown")
    if run.is_upper_bound:
        return (
            f"Upper bound: the training pairs (rule {rule}) were made with ground-truth factors, which real data "
            "does not have. Every number of this run is a bound, not what the method reaches without them."
        )
    oracle = _name_oracle(run)
    exception = f"and for the rows of the oracle labels ({oracle}), which are an upper bound and are never chosen"
    return (
        f"No ground truth beyond the principal label was used in training or choice (pair rule: {rule}); "
        f"known factors, if there are any, are used only for scoring{f', {exception}' if oracle else ''}."
    )


def describe_scarcity(run: Run) -> str | None:
    """Say how many training images have a principal label, or return None if all have one."""
    facts = (run.multitask or {}).get("facts") or {}
    labelled, total = facts.get("labelled_images"), facts.get("train_images")
    if labelled is None or total is None or labelled >= total:
        return None
    return f"{labelled:,} of {total:,} training images have a principal label; no stage used more labels."


def describe_recombination(run: Run) -> str | None:
    """Say which training images were recombined, or return None if none were."""
    made = ((run.multitask or {}).get("facts") or {}).get("recombined_images")
    share = (run.configs.get("multitask") or {}).get("multitask", {}).get("recombine")
    if not made or not share:
        return None
    return (
        f"{share:.0%} of the images in each batch with principal labels were recombined: what the disentangler keeps of one "
        f"image beside its label, decoded under any label ({made:,} images). This holds for every row, also for single-task "
        "learning."
    )


def describe_missing(run: Run) -> str | None:
    """Name the other discoveries that found no task, or return None if all did or none was asked for."""
    variants = ((run.multitask or {}).get("facts") or {}).get("variants") or []
    missing = [name_labels("variant", one["labels"]) for one in variants if one["aux_classes"] is None]
    if not missing:
        return None
    return f"Discovery was repeated, and these repetitions found no task, so they have no rows: {'; '.join(missing)}."


def describe_edited_variants(run: Run) -> str | None:
    """Name the other discoveries whose labels were edited before training, or return None if none was."""
    variants = ((run.multitask or {}).get("facts") or {}).get("variants") or []
    edited = [
        name_labels("variant", one["labels"])
        for one in variants
        if one["name"] in run.variants and run.variants[one["name"]].has_edited_labels
    ]
    return f"labels.parquet was edited after these repetitions of discovery: {'; '.join(edited)}." if edited else None


def describe_rule(run: Run) -> str:
    """Say in words which candidate the choice rule prefers."""
    rule = run.discovery["rule"]
    if not rule["meaning"]:  # an older release wrote only its name
        return f"Choice rule: {rule['name']}."
    end = "largest" if rule["better"] == "higher" else "smallest"
    return f"The rule {rule['name']} chooses the eligible candidate with the {end} value of: {rule['meaning']}."


def advise(run: Run) -> list[str]:
    """List what to try if nothing was found, with the most likely remedy first."""
    candidates = run.discovery["candidates"]
    advice = []
    if all(one["clusters"] <= 1 for one in candidates):
        advice.append(
            "Every candidate has one cluster or none: lower discover.min_cluster_fraction (with few images "
            "discover.min_cluster_size), or set discover.clusterer=kmeans to force a number of clusters."
        )
    limit = run.get_setting("discover", "max_outlier_fraction")
    if limit is not None and any((one.get("noise_share") or 0) > limit for one in candidates):
        advice.append(
            f"Some candidates leave more than {limit:.0%} of the images without a cluster: set discover.min_samples "
            "to a small number such as 5, or raise discover.max_outlier_fraction."
        )
    if run.discovery.get("pairs", {}).get("changes_many_factors"):
        advice.append("The pairs differ in many factors at once: set pairs.partner=mined.")
    if any(one["clusters"] > 1 for one in run.discovery.get("baselines", [])):
        advice.append("A plain baseline did find clusters (see the table): set discover.include_baselines=true.")
    if any((one.get("fault") or {}).get("code") == "hardly_recognised" for one in candidates):
        advice.append(
            "Networks did not recognise some candidates in images that they had not seen: raise "
            "discover.cross_prediction.steps, or lower discover.min_recognition."
        )
    if any((one.get("fault") or {}).get("code") == "with_arbitrary_borders" for one in candidates):
        advice.append("The borders of some clusters could be elsewhere: lower discover.min_attraction to allow them.")
    if any((one.get("fault") or {}).get("code") == "cut_through_a_continuum" for one in candidates):
        advice.append("Some clusters are parts of a line or ring: set discover.cut_continua=true to allow them.")
    phase = "main" if (run.get_setting("disentangle", "main") or {}).get("steps", 1) else "warmup"
    advice.append(f"Train longer (disentangle.{phase}.steps) or with another number of subspaces (model.subspaces).")
    advice.append("Try another seed (run.seed): the subspaces that form differ from seed to seed.")
    return advice
