"""Wheatear on Ray Serve: replicas behind one address, on one machine or on many.

    pip install 'wheatear[server]' 'ray[serve]>=2.40'
    RAY_USAGE_STATS_ENABLED=0 serve run examples.ray_serve:app   # from the folder above this one

A socket stays with its replica, so a stream's state never moves. Each replica loads the model once
and batches its streams; THREADS is the number of processors that a step may use. A fully loaded
replica answers 503 (1013 on a socket), and a client that tries again may reach another one.
Settings come from the environment of the replicas, as for `wheatear serve` (docs/serving.md). All
replicas need the same keys.
"""

import os

from ray import serve
from starlette.types import ASGIApp

from wheatear.server import Service, create_app, read_settings

REPLICAS = int(os.environ.get("REPLICAS", "2"))
THREADS = int(os.environ.get("THREADS", "1"))


def build() -> ASGIApp:
    """Returns the application of one replica, made in its process: models cannot be pickled."""
    return create_app(Service(read_settings(None, os.environ, {"threads": THREADS})))


@serve.deployment(
    num_replicas=REPLICAS,
    max_ongoing_requests=400,  # above Wheatear's own limits, whose errors name the reason
    ray_actor_options={"num_cpus": THREADS},
    health_check_period_s=10,
    graceful_shutdown_timeout_s=60,
)
@serve.ingress(build)
class Wheatear:
    """One replica."""


app = Wheatear.bind()
