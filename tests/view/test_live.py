"""The live views: every fact of a status is in them, nothing of it is markup, and they end by themselves."""

import io
import threading
import time
import xml.etree.ElementTree as ET
from dataclasses import replace

import numpy as np
import pytest

import psbook as ps
from psbook.errors import NodeFailure, Unsupported
from psbook.live import Held, ProcessStatus, ProgramStatus, ServerStatus, Status
from psbook.view.live_history import History
from psbook.view.live_page import page
from psbook.view.live_svg import LOOKS, WORDS, picture, shown, words
from psbook.view.live_terminal import screen, watch_in_terminal
from psbook.view.live_watch import Watch, in_notebook, watch

WHY = "worker-1 reads at clock 5; SSP(1) makes it wait: worker-0 at clock 3"
RUNNING = Status(
    job="night <b>shift</b>", model="SSP(1)", backend="dask", time=2.5, state="running", window=1.0,
    iterations=8, losses=((0.0, 0, 0.9), (2.0, 6, 0.25)),
    programs={
        "worker-0": ProgramStatus(3, "computing"),
        "worker-1": ProgramStatus(5, "held", "worker.pull('w')", WHY, 0.3),
        "chief-0": ProgramStatus(0, "idle", "worker.receive()", counts=False),
    },
    servers={
        "server-0": ServerStatus({"w": 8}, (Held("worker-1", WHY, 0.3),), 0, 4096, 8192, 8, 1.5, 4, 256)
    },
    processes={
        "process-0": ProcessStatus("tcp://10.0.0.1:99", "alive", ("worker-0", "server-0")),
        "process-1": ProcessStatus("tcp://10.0.0.2:99", "lost", ("worker-1",), 4.0),
    },
    iterations_per_s=3.2, bytes_per_s=4900.0,
)  # fmt: skip


class FakeRun:
    """A run that goes through given statuses, one a look, and stays at the last."""

    def __init__(self, *statuses):
        self.statuses = list(statuses)
        self.stopped = False
        self.looks = 0

    def live(self):
        self.looks += 1
        found = self.statuses[0]
        if len(self.statuses) > 1:
            self.statuses.pop(0)
        if isinstance(found, Exception):
            raise found
        return found

    def stop(self):
        self.stopped = True
        self.statuses = [replace(RUNNING, state="stopped", error="Stopped: by the button")]


def later(status, time, clock):
    worker = replace(status.programs["worker-0"], clock=clock)
    return replace(status, time=time, programs={**status.programs, "worker-0": worker})


ENDED = replace(
    RUNNING, state="ended", time=9.0, programs={"worker-0": ProgramStatus(9, "ended")}, servers={}
)


def texts(svg):
    return [element.text for element in ET.fromstring(svg).iter("{http://www.w3.org/2000/svg}text")]


def seen(*statuses):
    history = History()
    for status in statuses:
        history.see(status)
    return history


def test_the_picture_says_what_the_status_says():
    said = texts(picture(RUNNING, seen(RUNNING, later(RUNNING, 3.0, 4))))
    assert "night <b>shift</b> · SSP(1)" in said
    assert any("running at 2.5 s" in line and "8 worker iterations" in line for line in said)
    assert {"worker-0", "worker-1", "3", "5", "reads up to clock 4", "gap of at most 2", "2"} <= set(said)
    assert {"mean staleness", "1.5", "3.2", "4.9 kB", "blocked by the model", "compute"} <= set(said)
    assert "worker-1: reads at clock 5; SSP(1) makes it wait: worker-0 at clock 3" in said
    assert "process-1 is lost, silent for 4.0 s" in said


def test_nothing_in_a_status_is_markup():
    evil = "</title></svg><script>alert(1)</script>"
    status = replace(
        RUNNING, job=evil, model=evil, error=evil, state="failed",
        programs={evil: ProgramStatus(1, "held", evil, evil)},
        servers={evil: ServerStatus({evil: 1}, (Held(evil, evil),))},
        processes={evil: ProcessStatus(evil, "lost", (evil,))},
    )  # fmt: skip
    html = page(status, History())
    assert "<script" not in html and "alert(1)" in html
    ET.fromstring(picture(status, History()))


@pytest.mark.parametrize("state", WORDS)
def test_every_state_has_its_look_and_word(state):
    status = replace(RUNNING, programs={"worker-0": ProgramStatus(4, state)}, servers={})
    svg = picture(status, History())
    assert f"worker-0: clock 4, {WORDS[state]}" in svg
    fills = {kind for kind in LOOKS.values() if f'fill="url(#psbook-live-{kind})"' in svg}
    assert fills == ({LOOKS[state]} if state in LOOKS else set())
    assert any(sign in svg for sign in "✓✖") == (state in ("ended", "lost"))
    assert WORDS[state] in page(status, History())


def test_of_many_workers_the_slowest_and_the_fastest_are_drawn():
    programs = {f"worker-{k}": ProgramStatus(100 + (k * 7) % 50, "computing") for k in range(50)}
    kept, left_out = shown(replace(RUNNING, programs=programs))
    clocks = sorted(program.clock for program in programs.values())
    assert sorted(program.clock for _, program in kept) == clocks[:6] + clocks[-6:]
    assert left_out == 38


def test_a_server_whose_process_is_away_is_marked():
    away = {"process-0": ProcessStatus("tcp://10.0.0.1:99", "silent", ("server-0",), 3.0)}
    assert "server-0 (silent)" in page(replace(RUNNING, processes=away), History())
    assert "server-0 (" not in page(RUNNING, History()).partition("Servers")[2]


def test_a_status_without_anything_is_still_a_picture():
    for status in (Status(), Status(state="ended"), replace(RUNNING, losses=((0.0, 0, float("nan")),))):
        ET.fromstring(picture(status, History()))
        assert screen(status, History()) is not None
    assert "about to start" in page(None, History())


def test_long_words_are_cut_with_a_count():
    programs = {f"worker-{k}": ProgramStatus(k, "held", why=f"worker-{k} waits {k}") for k in range(40)}
    lines = words(replace(RUNNING, programs=programs), most=5)
    assert len(lines) == 5 and lines[-1] == "… and 37 lines more"


def test_the_terminal_shows_the_same_and_leaves_it_there():
    from rich.console import Console

    run = FakeRun(RUNNING, later(RUNNING, 3.0, 4), ENDED)
    out = io.StringIO()
    watch_in_terminal(Watch(run, every=0.01), Console(file=out, width=120))
    assert run.looks == 3 and not run.stopped
    assert "night <b>shift</b> · SSP(1)  ended at 9 s" in out.getvalue()
    out = io.StringIO()
    Console(file=out, width=120).print(screen(RUNNING, seen(RUNNING)))
    for said in (
        "held by the model",
        "worker.pull('w')",
        "w: 8",
        "0.25",
        "worker-0 at clock 3",
        "process-1 is lost",
    ):
        assert said in out.getvalue()


def test_without_rich_the_remedy_is_named(monkeypatch):
    monkeypatch.setitem(__import__("sys").modules, "rich.console", None)
    with pytest.raises(Unsupported, match=r"pip install 'psbook\[live\]'"):
        watch(FakeRun(ENDED))


def test_ctrl_c_ends_the_view_and_not_the_run(monkeypatch):
    from rich.console import Console

    run = FakeRun(RUNNING)
    shown = Watch(run, every=0.01)
    monkeypatch.setattr(shown, "look", lambda: (_ for _ in ()).throw(KeyboardInterrupt))
    out = io.StringIO()
    watch_in_terminal(shown, Console(file=out, width=120))
    assert "the run goes on" in out.getvalue() and not run.stopped


def wait_for(condition):
    deadline = time.monotonic() + 20
    while not condition() and time.monotonic() < deadline:
        time.sleep(0.005)
    assert condition()


def watchers():
    return [thread for thread in threading.enumerate() if thread.name == "psbook-watch"]


def test_the_widget_changes_until_the_run_ends_and_its_thread_ends_too():
    run = FakeRun(*(later(RUNNING, 3.0 + k, 4 + k) for k in range(5)), ENDED)
    shown = Watch(run, every=0.01)
    box = shown.widget()
    (stop, note), html = box.children[0].children, box.children[1]
    values = set()
    html.observe(lambda change: values.add(change["new"]), "value")
    wait_for(lambda: not watchers())
    assert stop.disabled and "The run has ended" in note.value
    assert len(values) >= 3 and "ended at 9 s" in html.value
    assert len(shown.history.moments) == 5
    assert shown.static()["text/plain"].startswith("night <b>shift</b>, SSP(1): ended at 9 s.")
    ET.fromstring(shown.static()["image/svg+xml"])


def test_the_button_stops_the_run_and_the_widget_says_how_it_ended():
    run = FakeRun(RUNNING)
    shown = Watch(run, every=0.01)
    box = shown.widget()
    box.children[0].children[0].click()
    wait_for(lambda: not watchers())
    assert run.stopped and "Stopped: by the button" in box.children[1].value


def test_a_look_that_fails_is_said_and_tried_again():
    lost = NodeFailure("the scheduler <is> away")
    shown = Watch(FakeRun(RUNNING, lost, lost, lost, ENDED), every=0.05)
    box = shown.widget()
    notes = set()
    box.children[0].children[1].observe(lambda change: notes.add(change["new"]), "value")
    wait_for(lambda: not watchers())
    assert any("NodeFailure: the scheduler &lt;is&gt; away" in note for note in notes)
    assert shown.status.state == "ended" and shown.trouble == ""


def test_a_real_run_is_watched_to_its_end_in_a_terminal(capsys):
    async def train(worker):
        for _ in range(60):
            await worker.pull("w")
            await worker.compute(lambda: time.sleep(0.001))
            worker.push("w", np.ones(2))
            await worker.clock()

    job = ps.Job(train, tables={"w": ps.Table(2)}, evaluate=lambda w: float(w[0]), name="watched")
    handle = job.start(ps.Simulator(workers=3, compute=ps.Exponential(0.1)), ps.SSP(1))
    assert not in_notebook()
    handle.watch()
    assert handle.done and handle.result().loss == 180.0
    said = capsys.readouterr().out
    assert "watched · SSP(1)  ended" in said and "worker-2" in said
