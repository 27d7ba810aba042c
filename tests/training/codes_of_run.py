"""Each of several processes writes the codes of a run's items to its own file: OUT0.npy, OUT1.npy, ..."""

from pathlib import Path

import numpy as np
from absl import app, flags

_FLAGS = flags.FLAGS
flags.DEFINE_string("workdir", None, "The run's folder.")
flags.DEFINE_string("out", None, "Start of the paths of the written files.")
flags.DEFINE_string("coordinator_address", None, "As in train.py.")
flags.DEFINE_integer("num_processes", None, "As in train.py.")
flags.DEFINE_integer("process_id", None, "As in train.py.")


def main(_):
    from sid_jax.training.evaluate import evaluate
    from sid_jax.training.processes import join
    from sid_jax.training.restore import restore_run
    from sid_jax.training.sharding import all_devices

    join(False, _FLAGS.coordinator_address, _FLAGS.num_processes, _FLAGS.process_id)
    run = restore_run(Path(_FLAGS.workdir))
    codes = evaluate(run.recipe, run.state, run.data.vectors, 1.0, all_devices()).codes
    np.save(f"{_FLAGS.out}{_FLAGS.process_id}.npy", codes)


if __name__ == "__main__":
    app.run(main)
