"""Wheatear on Ray Serve: replicas behind one address, on one machine or on many.

    pip install 'wheatear[server]' 'ray[serve]>=2.40'
    RAY_USAGE_STATS_ENABLED=0 serve run examples.ray_serve:app   # from the folder above this one

A socket stays with the replica that took it, so a stream's state never moves. Each replica has the
model in memory once and batches its streams; give it as many processors as one step may use. A
replica without room for another stream answers 503 (1013 on a socket), and a client that tries
again may reach another one. Settings come from the environment
of the replicas, as for `wheatear serve` (docs/serving.md); keys must be the same everywhere.
"""

import os

from ray import serve
from starlette.types import ASGIApp

from wheatear.server import Service, create_app, read_settings

REPLICAS = int(os.environ.get("REPLICAS", "2"))
THREADS = int(os.environ.get("THREADS", "1"))


def build() -> ASGIApp:
    """Returns the application of one replica; it is made there, as a model cannot be pickled."""
    return create_app(Service(read_settings(None, os.environ, {"threads": THREADS})))


@serve.deployment(
    num_replicas=REPLICAS,
    max_ongoing_requests=400,  # above Wheatear's own limits, whose errors have a reason
    ray_actor_options={"num_cpus": THREADS},
    health_check_period_s=10,
    graceful_shutdown_timeout_s=60,
)
@serve.ingress(build)
class Wheatear:
    """One replica."""


app = Wheatear.bind()
