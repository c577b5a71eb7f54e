"""The ledger of staleness, in exact integers: by hand, under random luck, on real runs, and broken ones."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import psbook as ps
from psbook.errors import DataError
from psbook.trace import Recorder, Trace
from psbook.trace.conservation import conserved, ledger
from tests.trace import builder


def at_updates(trace):
    frame = ledger(trace)
    return frame[frame["event"] == "apply"]


def test_the_ledger_by_hand():
    frame = ledger(builder.small_trace())
    assert {name: frame[name].tolist() for name in builder.LEDGER} == builder.LEDGER
    assert frame["time"].tolist() == [0.0, 0.0, 1.0, 1.0, 2.0, 3.0, 3.0, 3.5, 4.0, 5.5]
    assert not frame["difference"].any()
    assert list(frame.attrs["columns"]) == list(frame.columns)
    assert conserved(builder.small_trace())[0]


def test_asp_without_delay_crosses_everybody_else_at_every_update():
    n, steps = 4, 200
    order = np.random.default_rng(0).integers(n, size=steps)
    recorder, read = Recorder(), {}
    for time, rank in enumerate([*range(n), *order], start=-n):
        version = max(time, 0)
        if rank in read:
            at, cause = read[rank]
            version += 1
            recorder.add(
                time, "server-0", "apply", table="w", version=version, staleness=version - 1 - at, cause=cause
            )
        read[rank] = version, f"r{rank}.0/w/s0#{time}"
        recorder.add(time, "server-0", "answer", table="w", version=version, message=read[rank][1])
    frame = at_updates(recorder.trace({}))
    # The last pull of each worker feeds no push, so it is no gradient; before, all are in flight.
    settled = min(int(np.flatnonzero(order == rank)[-1]) for rank in range(n))
    assert settled > 100
    assert frame["crossings"].to_numpy()[:settled].tolist() == [(n - 1) * (k + 1) for k in range(settled)]
    assert not frame["difference"].any()


def reference(events):
    """Keep the same books event by event, with plain sets and integers."""
    fed = {event["cause"] for event in events if event["kind"] == "apply" and event["cause"]}
    needed = {pull: sum(e.get("cause") == pull for e in events) for pull in fed}
    flying, applied, crossings, version, rows, position = {}, 0, 0, 0, [], 0
    while position < len(events):
        event = events[position]
        position += 1
        if event["kind"] == "answer":
            if event["message"] in fed:
                flying[event["message"]] = [event["version"], needed[event["message"]]]
                rows.append((applied, sum((version - read) * n for read, n in flying.values()), crossings))
            continue
        batch = [event]
        while position < len(events) and events[position].get("version") == event["version"] and (
            events[position]["kind"] == "apply"
        ):  # fmt: skip
            batch.append(events[position])
            position += 1
        version = event["version"]
        for push in batch:
            if push["cause"]:
                applied += push["staleness"]
                flying[push["cause"]][1] -= 1
        flying = {pull: books for pull, books in flying.items() if books[1]}
        crossings += sum(left for _, left in flying.values())
        rows.append((applied, sum((version - read) * n for read, n in flying.values()), crossings))
    return rows


@given(st.integers(0, 2**32 - 1))
def test_the_ledger_agrees_with_a_plain_one_whatever_happens(seed):
    random = np.random.default_rng(seed)
    version, pulls, events = 0, [], []
    for step in range(60):
        choice = random.integers(4)
        if choice == 0 or not pulls:
            pulls.append((f"r0.0/w/s0#{step}", version))
            events.append({"kind": "answer", "message": pulls[-1][0], "version": version})
            continue
        version += 1
        for _ in range(random.integers(1, 4) if choice == 1 else 1):  # a round, or one push
            if choice == 3:
                events.append({"kind": "apply", "cause": "", "staleness": -1, "version": version})
            else:  # one pull may feed several pushes
                cause, read = pulls[random.integers(len(pulls))]
                events.append(
                    {"kind": "apply", "cause": cause, "staleness": version - 1 - read, "version": version}
                )
    recorder = Recorder()
    for time, event in enumerate(events):
        recorder.add(float(time), "server-0", table="w", **event)
    trace = recorder.trace({})
    frame = ledger(trace)
    books = frame[["applied", "ages", "crossings"]].itertuples(index=False, name=None)
    assert list(books) == reference(events)
    assert conserved(trace)[0], conserved(trace)[1]


def test_a_round_is_one_update_and_its_gradients_are_not_others():
    build = builder.Builder()
    pulls = [build.pull(worker, 0.0, version=0, clock=0) for worker in (0, 1)]
    late = build.pull(0, 0.5, version=0, clock=0)
    for worker in (0, 1):
        build.push(worker, 1.0, 1, 0, pulls[worker], 0)
    build.push(0, 2.0, 2, 1, late, 1)
    frame = at_updates(build.trace())
    assert frame["version"].tolist() == [1, 2]
    assert frame["crossings"].tolist() == [1, 1]
    assert frame["ages"].tolist() == [1, 0]


def test_a_pull_may_feed_several_pushes_or_none():
    build = builder.Builder()
    twice = build.pull(0, 0.0, version=0, clock=0)
    build.pull(1, 0.0, version=0, clock=0)
    build.push(0, 1.0, 1, 0, twice, 0)
    build.push(0, 2.0, 2, 0, twice, 1)
    frame = at_updates(build.trace())
    assert frame["in_flight"].tolist() == [1, 0]
    assert frame["crossings"].tolist() == [1, 1]
    assert not frame["difference"].any()


def test_a_push_from_no_read_ages_those_in_flight():
    build = builder.Builder()
    pull = build.pull(0, 0.0, version=0, clock=0)
    build.push(1, 1.0, 1, 0)
    build.push(1, 2.0, 2, 0)
    build.push(0, 3.0, 3, 0, pull, 2)
    frame = at_updates(build.trace())
    assert frame["ages"].tolist() == [1, 2, 0]
    assert frame["applied"].tolist() == [0, 0, 2]
    assert frame["crossings"].tolist() == [1, 2, 2]


def test_shards_and_tables_keep_books_of_their_own():
    build = builder.Builder()
    keys = [("w", 0), ("w", 1), ("b", 0)]
    pulls = [build.pull(0, 0.0, version=0, clock=0, table=table, shard=shard) for table, shard in keys]
    build.push(1, 1.0, 1, 0, table="w", shard=1)
    for (table, shard), pull, before in zip(keys, pulls, (0, 1, 0), strict=True):
        build.push(0, 2.0, before + 1, 0, pull, before, table=table, shard=shard)
    frame = ledger(build.trace())
    assert len(frame) == 3 + 4 and not frame["difference"].any()
    assert frame.groupby(["node", "table"])["crossings"].last().to_dict() == {
        ("server-0", "w"): 0, ("server-1", "w"): 1, ("server-0", "b"): 0,
    }  # fmt: skip


def changed(trace, kind, row, **cells):
    """Return the trace with cells of the row-th row of a kind replaced."""
    frame = trace.frame.copy()
    frame.loc[trace.of(kind).index[row], list(cells)] = list(cells.values())
    return Trace(frame, trace.meta)


@pytest.mark.parametrize("row", range(5))
def test_a_wrong_staleness_is_found(row):
    small = builder.small_trace()
    right = int(small.of("apply")["staleness"].iloc[row])
    holds, why = conserved(changed(small, "apply", row, staleness=right + 1))
    assert not holds and f"version {row + 1} of w on server-0" in why


@pytest.mark.parametrize("row", range(5))
def test_a_wrong_version_read_is_found_at_once(row):
    small = builder.small_trace()
    answer = small.of("answer").iloc[row]
    holds, why = conserved(changed(small, "answer", row, version=int(answer["version"]) - 1))
    assert not holds and f"at {answer['time']:g} s (answer)" in why


def test_a_lost_update_is_found():
    small = builder.small_trace()
    lost = Trace(small.frame.drop(small.of("apply").index[1]), small.meta)
    holds, why = conserved(lost)
    assert not holds and "not 1, the crossings" in why


def test_a_push_computed_from_a_pull_that_was_not_answered_is_found():
    small = builder.small_trace()
    holds, why = conserved(changed(small, "apply", 2, cause="r1.0/w/s0#99"))
    assert not holds and "r1.0/w/s0#99" in why and "had not answered" in why
    with pytest.raises(DataError, match="had not answered"):
        ledger(changed(small, "apply", 2, cause="r1.0/w/s0#99"))


def test_a_trace_without_answers_is_refused():
    with pytest.raises(DataError, match='trace="full"'):
        conserved(builder.small_trace("iterations"))


def test_a_trace_without_updates_conserves():
    assert ledger(Recorder().trace({})).empty
    assert conserved(Recorder().trace({}))[0]


async def program(worker):
    """Read one table or both; push what was read, something read long ago, or nothing read at all."""
    worker.push("b", np.ones(2))
    for _ in range(6):
        value = await worker.pull("w")
        await worker.compute(lambda: None)
        worker.push("w", value * 0)
        if worker.rank % 2:
            worker.push("w", value * 0)
            await worker.pull("b")
        worker.push("b", np.ones(2))
        await worker.clock()


@pytest.mark.parametrize(
    "model",
    [ps.BSP(), ps.SSP(0), ps.SSP(2), ps.ASP(), ps.BoundedDelay(1), ps.Serial()],
    ids=lambda m: m.label,
)
@pytest.mark.parametrize("latency", [None, 0.03])
def test_every_run_conserves_staleness(model, latency):
    job = ps.Job(program, tables={"w": ps.Table(5), "b": ps.Table(2)})
    network = None if latency is None else ps.Network(latency=latency, bandwidth=1e6)
    cluster = ps.Simulator(workers=4, servers=2, compute=ps.Exponential(0.1), network=network, seed=5)
    trace = job.run(cluster, model).trace
    holds, why = conserved(trace)
    assert holds, why
    assert (trace.of("apply")["cause"] == "").any(), "no push without a read: the run is too tame"
