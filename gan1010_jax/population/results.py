"""The results of many seeds: `Population`, its curves, its report, and the cells of a grid."""

def convergence_curves(population: "Population") -> dict[str, Proportion]:
    """How a population converges, and whether it stays so: proportions at every record, [records].

    Returns:
      Of all seeds: `matched`, `in_support` and `diverged`, those that are so at the record; and
      `ever_matched`, those that matched at it or before, which is one minus the Kaplan–Meier
      estimate of how long the first match takes (*Nonparametric Estimation from Incomplete
      Observations*, JASA 53, 1958): every seed is watched to the end, so that none is censored
      before. Of the seeds that matched at it or before: `forgotten`, those that do not match at
      it.
    """
    counts, ever_matched = population.curves, np.cumsum(population.tally.first_matched)
    of_all = {name: counts[name] for name in ("matched", "in_support", "diverged")}
    of_all["ever_matched"] = ever_matched
    return {
        **{name: proportion(count, population.tally.seeds) for name, count in of_all.items()},
        "forgotten": proportion(ever_matched - counts["matched"], ever_matched),
    }


def convergence_report(population: "Population") -> dict[str, Any]:
    """How often a population converged, as a dict that `json` can write.

    Returns:
      `matched`, `in_support`, `forgot` and `diverged`, each the `Proportion` of seeds as
      `{count, fraction, ci_low, ci_high}`; `settled_step`, `{p5, p50, p95}` over the seeds
      that settled, or None if none did; `over_training`, a list of the `convergence_curves` after
      each fifth of the steps, `{step, matched, in_support, diverged, ever_matched, forgotten}`;
      what was run: `seeds` (how many; of a grid, how many rows), `grid`, `method`, `first_seed`,
      `steps`, `record_every`, `game` (its name), `hyperparams`, `engine`, `platform`, `device`,
      `versions`; and `wall_seconds` for the whole training, `compile_seconds` of it before the
      first step, `seed_steps_per_second` after that (of the last session, if there were several).
    """
    tally, steps = population.tally, population.curves["step"]
    curves = convergence_curves(population)
    fifths = sorted({-(-fifth * len(steps) // 5) - 1 for fifth in range(1, 6)})
    quantiles = settling_quantiles(tally, steps)
    return {
        "seeds": tally.seeds,
        "steps": population.steps,
        **{name: as_json(proportion(getattr(tally, name), tally.seeds)) for name in OUTCOMES},
        "settled_step": {f"p{percent}": step for percent, step in quantiles.items()} or None,
        "over_training": [
            {
                "step": int(steps[record]),
                **{name: as_json(curve, record) for name, curve in curves.items()},
            }
            for record in fifths
        ],
        "method": name_parts(population.method),
        "grid": {name: np.asarray(values).tolist() for name, values in population.grid.items()},
        "first_seed": population.first_seed,
        "record_every": population.record_every,
        "game": population.game.name,
        "hyperparams": {
            name: np.asarray(value).tolist()
            for name, value in vars(population.hyperparams).items()
            if value is not None and name not in population.grid
        },
        "engine": population.engine,
        "platform": population.platform,
        "device": population.device,
        "wall_seconds": population.wall_seconds,
        "compile_seconds": population.compile_seconds,
        "seed_steps_per_second": population.seed_steps_per_second,
        "versions": population.versions,
    }


def tabulate_cells(population: "Population") -> dict[str, np.ndarray]:
    """How often each cell of a grid converged: NumPy arrays [cells].

    Returns:
      The hyperparameters that the grid varies, in its order; `seeds` and `steps`; for each of
      `matched`, `in_support`, `forgot` and `diverged`, the `Proportion` of the cell's seeds, as
      `matched_count`, `matched_fraction`, `matched_ci_low`, `matched_ci_high` and so on; and the
      quantiles of the settling step, `settled_p5`, `settled_p50` and `settled_p95`, -1 in a cell
      where no seed settled.
    """
    grid, steps = population.grid, population.curves["step"]
    of_row = np.zeros(population.tally.seeds, int)  # a directory may lack some
    for name, values in grid.items():
        order = np.argsort(values)
        places = order[np.searchsorted(values, population.columns[name], sorter=order)]
        of_row = of_row * len(values) + places
    ends = np.cumsum(np.bincount(of_row, minlength=count_cells(grid)))
    columns = dict(population.columns)
    tallies = [
        count_rows({name: column[rows] for name, column in columns.items()}, steps)
        for rows in np.split(np.argsort(of_row, kind="stable"), ends[:-1])
    ]
    seeds = np.array([tally.seeds for tally in tallies])
    meant = [list(map(shortest, values)) for values in grid.values()]
    table = {name: values.ravel() for name, values in zip(grid, np.meshgrid(*meant, indexing="ij"))}
    table |= {"seeds": seeds, "steps": np.full(len(seeds), population.steps)}
    for name in OUTCOMES:
        found = proportion([getattr(tally, name) for tally in tallies], seeds)
        for key in ("count", "fraction", "ci_low", "ci_high"):
            table[f"{name}_{key}"] = getattr(found, key)
    quantiles = [settling_quantiles(tally, steps) for tally in tallies]
    for percent in (5, 50, 95):
        table[f"settled_p{percent}"] = np.array([found.get(percent, -1) for found in quantiles])
    return table


