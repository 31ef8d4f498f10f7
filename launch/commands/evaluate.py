"""`hrgan evaluate`: how good the images of a snapshot are."""

from __future__ import annotations

from launch.options.declared import takes_options
from launch.options.evaluate import EvaluateOptions
from pipeline.words import LOADING_SECONDS, patiently


@takes_options
def evaluate(options: EvaluateOptions) -> int:
    """Measure a model's images, or those of shards.

    They are compared with real ones. Results go to RUN/metrics/, to TensorBoard and to the terminal; those of
    shards to SHARDS/metrics/. What has been measured before in the same way is not measured again. Several
    evaluations of one run share its snapshots, and any number of processes gives the same figures.

    \b
    Examples:
      hrgan evaluate out/quickstart/run --data out/quickstart/data
      hrgan evaluate runs/faces --data shards --metrics fid,kid,pr --processes 8
      hrgan evaluate runs/faces --data shards --watch
      hrgan evaluate runs/faces --data shards --metrics fid --widths 0.01,0.03,0.1
      hrgan evaluate generated --data shards --metrics fid,pr
    """
    with patiently("loading torch", seconds=LOADING_SECONDS):
        from launch.assembly.evaluating import evaluate as measure

    return measure(options)
