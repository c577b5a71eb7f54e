"""Logistic regression through lost servers and workers comes to the loss it would have come to.

Under BSP it comes to the same bits: the replicas are state machines that take the same rounds in the same
order (Schneider 1990), and a worker that starts again makes the same gradients from the same reads.

Under SSP and ASP a fault changes who is when, and so from which weights a gradient is computed: a run with
faults is a run with other luck. What other luck does is measured on undisturbed runs over seeds, whose final
losses have the standard deviation σ. The difference of two of them has σ√2, and the tolerance of one run is
four of these; that of a mean over m seeds against that over n undisturbed ones is 4σ√(1/m + 1/n).
"""

import numpy as np
import pytest

import psbook as ps
from psbook.algorithms import logistic_regression
from psbook.datasets import load_breast_cancer
from psbook.errors import NodeFailure

SAFETY = ps.Safety(replicas=1, lease=0.5, resend=0.2)
SEEDS, STRUCK = range(8), range(3)

FAULTS = {
    "a server is killed": ps.Faults(ps.Crash("server-1", at=1.5)),
    "a server is killed and comes back": ps.Faults(ps.Crash("server-1", at=1.5, restart=0.8)),
    "a worker is killed": ps.Faults(ps.Crash("worker-2", at=1.5)),
    "a worker is killed and comes back": ps.Faults(ps.Crash("worker-2", at=1.5, restart=0.3)),
}
every_fault = pytest.mark.parametrize("fault", FAULTS)


@pytest.fixture(scope="module")
def train():
    data = load_breast_cancer()
    job = logistic_regression(data.X_train, data.y_train, data.X_test, data.y_test, epochs=4, batch_size=16)

    def run(model, seed, faults=None, safety=SAFETY):
        cluster = ps.Simulator(
            workers=4, servers=3, compute=ps.Gamma(0.1, shape=10), network=ps.Network(latency=1e-3),
            safety=safety, faults=faults, seed=seed, trace="iterations",
        )  # fmt: skip
        return job.run(cluster, model)

    return run


@pytest.fixture(scope="module")
def undisturbed(train):
    """Runs without faults by model, one a seed."""
    return {model.label: [train(model, seed) for seed in SEEDS] for model in (ps.BSP(), ps.SSP(3), ps.ASP())}


def assert_struck_in_the_middle(run, plain):
    """The fault came when there was much to lose, it cost time, and no update is missing in the end."""
    assert 0.2 < 1.5 / plain.seconds < 0.8
    assert len(run.trace.of("fault")) >= 1
    assert run.seconds > plain.seconds
    assert run.history["updates"].iloc[-1] == plain.history["updates"].iloc[-1]


@every_fault
def test_bsp_comes_to_the_same_bits(fault, train, undisturbed):
    for seed in STRUCK:
        plain = undisturbed["BSP"][seed]
        run = train(ps.BSP(), seed, FAULTS[fault])
        assert_struck_in_the_middle(run, plain)
        assert run.tables["w"].tobytes() == plain.tables["w"].tobytes()
        losses, expected = (dict(zip(each.history["iterations"], each.history["loss"], strict=True))
                            for each in (run, plain))  # fmt: skip
        assert losses.items() <= expected.items()  # on the way too; a snapshot may die with its server
        assert len(expected) - len(losses) <= 1


@every_fault
@pytest.mark.parametrize("model", [ps.SSP(3), ps.ASP()], ids=lambda model: model.label)
def test_ssp_and_asp_come_to_the_same_loss(model, fault, train, undisturbed):
    losses = np.array([run.loss for run in undisturbed[model.label]])
    spread = losses.std(ddof=1)
    assert 0 < spread < 0.02 * losses.mean()  # else the tolerance below would say nothing
    struck = []
    for seed in STRUCK:
        plain = undisturbed[model.label][seed]
        run = train(model, seed, FAULTS[fault])
        assert run.history["updates"].iloc[-1] == plain.history["updates"].iloc[-1]
        assert abs(run.loss - plain.loss) <= 4 * spread * np.sqrt(2)
        struck.append(run.loss)
    tolerance = 4 * spread * np.sqrt(1 / len(struck) + 1 / len(losses))
    assert abs(np.mean(struck) - losses.mean()) <= tolerance


def test_without_a_replica_the_same_fault_ends_the_training(train):
    with pytest.raises(NodeFailure, match="No copy of shard 1 is left"):
        train(ps.BSP(), 0, FAULTS["a server is killed"], ps.Safety(lease=0.5, resend=0.2))


def test_the_loss_stands_still_while_the_server_is_missed(train):
    """The dent: no evaluation between the crash and its discovery, but for what was under way."""
    run = train(ps.BSP(), 0, FAULTS["a server is killed"])
    (told,) = run.trace.of("lost")["time"]
    times = run.history["time_s"].to_numpy()
    longest = int(np.diff(times).argmax())
    assert times[longest] - 1.5 < 0.2 and times[longest + 1] > told
    assert np.diff(times).max() > 3 * np.median(np.diff(times))
