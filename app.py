"""tidepool: pools of compute instances, behind one HTTP API and a handful of Lambda functions.

A route (`chalicelib/api`) checks who calls, reads the body, calls one verb of `chalicelib/services` and answers. What
takes longer is done by the workers (`chalicelib/workflows`): workflows rent, return and adopt machines, the sweep and
the timers' stream make things happen later, the projector keeps history and counts, reconcile compares with the clouds,
the catalog asks for prices.
`docs/architecture.md` has the contracts. Nothing is read or connected at import: `chalice package` imports this too.
"""

import gc

from chalice.app import Chalice

from chalicelib.api import (
    agent,
    auth,
    backends,
    health,
    hosts,
    instances,
    leases,
    openapi,
    pools,
    runs,
    statistics,
    tokens,
    uploads,
)
from chalicelib.workflows import adopt, catalog, machines, projector, provision, reconcile, teardown, timers

app = Chalice(app_name="tidepool")

app.register_blueprint(auth.routes)
app.register_blueprint(health.routes)
app.register_blueprint(openapi.routes)
app.register_blueprint(pools.routes)
app.register_blueprint(instances.routes)
app.register_blueprint(hosts.routes)
app.register_blueprint(leases.routes)
app.register_blueprint(runs.routes)
app.register_blueprint(uploads.routes)
app.register_blueprint(statistics.routes)
app.register_blueprint(tokens.routes)
app.register_blueprint(backends.routes)
app.register_blueprint(agent.routes)

app.register_blueprint(provision.workers)
app.register_blueprint(teardown.workers)
app.register_blueprint(adopt.workers)
app.register_blueprint(timers.workers)
app.register_blueprint(projector.workers)
app.register_blueprint(reconcile.workers)
app.register_blueprint(catalog.workers)
app.register_blueprint(machines.workers)

# What was imported lives as long as the process: taking it out of every collection cuts the longest pauses by 3 to 5.
gc.freeze()
