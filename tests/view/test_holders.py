"""Who answers for which keys: placement, fail-over and migration as the updates show them."""

import numpy as np
import pytest

import psbook as ps
from psbook.errors import DataError, InvalidJob
from psbook.view.holders import held

SAFETY = ps.Safety(replicas=1, lease=0.3, resend=0.1)


@pytest.fixture(scope="module")
def joined(simulate):
    return simulate(ps.ASP(), servers=3, safety=ps.Safety(), faults=ps.Faults(ps.Join("server-3", at=0.5)))


def test_at_every_instant_each_key_has_one_server(joined):
    bars = held(joined.trace, "w")
    for time in np.linspace(0.3, joined.seconds, 30)[:-1]:
        for key in range(5):
            of_key = [b for b in bars if b.start <= key < b.stop and b.begin <= time < b.end]
            assert len(of_key) == 1


def test_each_update_lies_in_its_servers_bar(joined):
    bars = held(joined.trace, "w")
    for row in joined.trace.of("apply").itertuples():
        for key in range(row.start, row.stop):
            (bar,) = {b for b in bars if b.start <= key < b.stop and b.node == row.node}
            assert bar.begin <= row.time <= bar.end


def test_keys_move_to_the_newcomer_and_to_nobody_else(joined):
    for one in held(joined.trace, "w"):
        assert one.begin < 0.5 or one.node == "server-3"
    sentence = joined.plot.holders().psbook_sentence
    before, after = sentence.split("; in the end ")
    assert "server-3" not in before and "server-3" in after.split(". ")[0]
    assert "server-3 joins at 0.5 simulated s" in after


def test_the_rest_of_the_chain_takes_over_when_a_server_dies(simulate):
    run = simulate(ps.SSP(1), servers=2, safety=SAFETY, faults=ps.Faults(ps.Crash("server-0", at=0.5)))
    assert {bar.node for bar in held(run.trace, "w") if bar.end == run.seconds} == {"server-1"}
    figure = run.plot.holders()
    assert {"server-0", "server-1", "server-0 crashes"} <= {text.get_text() for text in figure.axes[0].texts}


def test_a_table_that_is_not_there_and_a_level_without_updates_are_refused(simulate):
    with pytest.raises(InvalidJob, match="required: one of 'w'"):
        simulate(ps.ASP()).plot.holders("v")
    with pytest.raises(DataError, match="iterations"):
        simulate(ps.ASP(), trace="off").plot.holders()
