"""Many seeds of one setup, or of a grid: trained, stored, resumed and reported."""

from gan1010_jax.population.api import (
    first_history,
    load_population,
    replay,
    replay_row,
    train_population,
    train_share,
)
from gan1010_jax.population.audit import Audit, audit_population
from gan1010_jax.population.files import (
    claim,
    find_misplaced,
    read_file,
    write_file,
    write_json,
)
from gan1010_jax.population.manifest import MANIFEST, is_begun, read_run
from gan1010_jax.population.processes import (
    decided_by_first,
    gather,
    is_first,
    join_processes,
    leave,
)
from gan1010_jax.population.results import (
    Population,
    convergence_curves,
    convergence_report,
    tabulate_cells,
)
from gan1010_jax.population.settings import MAX_SEED, Progress, RunSettings, seed_range
from gan1010_jax.population.store import set_aside
from gan1010_jax.population.sweep import (
    CELLS,
    OTHER_FOLDERS,
    Sweep,
    find_misplaced_in,
    join_cells,
    name_method,
    sweep,
)
from gan1010_jax.population.tables import TABLES, write_columns
