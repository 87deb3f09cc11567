"""Wheatear on Ray Serve: replicas behind one address, on one machine or on many.

    pip install 'wheatear[server]' 'ray[serve]>=2.40'
    RAY_USAGE_STATS_ENABLED=0 serve run examples.ray_serve:app   # from the folder above this one

A socket stays with the replica that took it, so a stream's state never moves. Each replica has the
model in memory once and batches the streams that it holds; give it as many processors as one of
its steps may use. A replica that has no room for another stream says so (503, or 1013 on a
socket), and a client that tries again may be sent to another. Settings come from the environment
of the replicas, as for `wheatear serve` (docs/serving.md); keys must be the same everywhere.
"""

import os

from ray import serve

from wheatear.server.app import Service
from wheatear.server.settings import read_settings

REPLICAS = int(os.environ.get("REPLICAS", "2"))
THREADS = int(os.environ.get("THREADS", "1"))


def build() -> Service:
    """The service of one replica; it is made there, since a model can't be sent about."""
    return Service(read_settings(None, os.environ, {"threads": THREADS}))


@serve.deployment(
    num_replicas=REPLICAS,
    max_ongoing_requests=400,  # beyond Wheatear's own limits, which say why they refuse
    ray_actor_options={"num_cpus": THREADS},
    health_check_period_s=10,
    graceful_shutdown_timeout_s=60,
)
@serve.ingress(build)
class Wheatear:
    """One replica."""


app = Wheatear.bind()
