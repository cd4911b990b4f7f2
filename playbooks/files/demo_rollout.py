# Copyright (c) 2026 The quietdoor.mtls authors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Roll out a gate from no gate to enforce and back while clients send requests, and print the answers.

demo_rollout.py DIR
Every step is a run of an ordinary playbook, with an inventory in DIR. No file outside of DIR changes, and all started processes
are stopped. The program fails if the gate refused a client wrongly, or if the fallback window did not close in time.
"""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import signal
import subprocess
import sys
import time
from datetime import datetime, timezone
from pathlib import Path

import demo_process
from demo_rollout_timeline import CERTIFICATE, LISTED, STRANGER, Step, Timeline

PEOPLE = {"alex": CERTIFICATE, "bea": CERTIFICATE, "dana": LISTED, "stranger": STRANGER}
WINDOW = 20.0  # minimum number of seconds for which the window is observed open
QUIET = 3.0  # rollout_quiet_period of the inventory
LOOK = 4.0  # seconds for which each stage is observed
PROCESSES = ("clients", "nginx", "panel")


class Failure(Exception):
    """A failed step. The message contains the step and the reason."""


class Walk:
    """The run of the demo in one directory."""

    def __init__(self, top: Path) -> None:
        self.top = top
        self.run = top / "run"
        self.steps: list[Step] = []
        self.deadline = 0.0
        self.begun = time.time()

    # --- processes ---

    def clear(self) -> None:
        """Stop the processes of an earlier run, and remove its gate and logs. The authority stays."""
        self.end()
        for path in (self.top / "nginx", self.run / "logs"):
            shutil.rmtree(path, ignore_errors=True)
        for name in ("records.jsonl", "ports.json", "place"):
            (self.run / name).unlink(missing_ok=True)
        (self.run / "logs").mkdir(parents=True, exist_ok=True)

    def start_clients(self) -> None:
        """Start the clients."""
        config = json.loads((self.run / "clients.json").read_text(encoding="utf-8"))
        self.go_to(config["ports"]["yesterday"])
        argv = [
            sys.executable,
            str(Path(__file__).with_name("demo_rollout_clients.py")),
            str(self.run / "clients.json"),
        ]
        demo_process.start(str(self.run / "clients.memory"), str(self.run / "logs" / "clients.log"), "0", *argv)

    def go_to(self, port: int) -> None:
        """Set the port to which the clients send requests, atomically."""
        new = self.run / "place.new"
        new.write_text(str(port), encoding="ascii")
        new.replace(self.run / "place")

    def end(self) -> None:
        """Stop all processes, the clients first, and the armed revert of a run that was interrupted."""
        demo_process.stop(*(str(self.run / f"{name}.memory") for name in PROCESSES))
        with contextlib.suppress(OSError, ValueError, KeyError, TypeError):
            state = self.top / "nginx" / "quietdoor" / "gate.transaction"
            trigger = json.loads(state.read_text(encoding="utf-8"))["trigger"]
            if trigger["started"] and demo_process.started_at(trigger["pid"]) == trigger["started"]:
                os.kill(trigger["pid"], signal.SIGTERM)

    # --- the steps ---

    def play(self, name: str, playbook: str, inventory: str = "", **variables: object) -> Step:
        """Run a playbook as an operator does.

        :raises Failure: with the end of the output.
        """
        self.say(f"{name}: quietdoor.mtls.{playbook}")
        argv = [str(Path(sys.executable).with_name("ansible-playbook")), "-i", inventory or str(self.top / "inventory")]
        began = time.time()
        log = self.run / "logs" / f"{name.replace(' ', '-')}.log"
        with log.open("wb") as output:
            code = _finish([*argv, f"quietdoor.mtls.{playbook}", "-e", json.dumps(variables)], output)
        if code:
            raise Failure(
                f"{playbook} failed ({name}):\n{log.read_text(errors='replace')[-4000:]}\n-> all of it: {log}"
            )
        step = Step(name, began, time.time())
        self.steps.append(step)
        return step

    def say(self, what: str) -> None:
        """Print the time and a progress message."""
        sys.stdout.write(f"{time.time() - self.begun:6.1f} s  {what}\n")
        sys.stdout.flush()

    def stay(self, seconds: float = LOOK) -> None:
        """Wait for some seconds without a change."""
        time.sleep(max(0.0, seconds))

    def walk(self) -> None:
        """Run all steps of the demo."""
        self.play("prepare", "demo_rollout", "localhost,", demo_path=str(self.top))
        ports = json.loads((self.run / "clients.json").read_text(encoding="utf-8"))["ports"]
        self.start_clients()
        self.play("trust", "trust")
        # The application is still open without the gate, which is the condition for observe as the first stage.
        observe = self.play("observe", "rollout", demo_stage="observe", gate_on_bypass="warn")
        self.go_to(ports["gate"])
        self.stay()
        self.close_yesterday()
        self.fallback(observe)
        self.stay(self.deadline + QUIET + 2 - time.time())
        self.play("confirm", "confirm", **self.at("fallback"), confirm_json=str(self.run / "confirm.json"))
        self.play("enforce", "rollout", **self.at("enforce"))
        self.stay()
        self.play("rollback", "rollback", **self.at("enforce"), rollback_generation=int(self.observed()))
        self.stay()

    def at(self, stage: str) -> dict[str, str]:
        """Return the variables that differ between the steps."""
        return {"demo_stage": stage, "demo_until": _iso(self.deadline)}

    def close_yesterday(self) -> None:
        """Remove the server without a gate, which no client uses any longer."""
        (self.top / "nginx" / "conf.d" / "yesterday.conf").unlink()
        argv = json.loads((self.run / "clients.json").read_text(encoding="utf-8"))["nginx"]
        subprocess.run([*argv, "-s", "reload"], check=True, stderr=subprocess.DEVNULL)

    def fallback(self, observe: Step) -> None:
        """Open the fallback window. Its length depends on the speed of this machine, measured by the time for the first gate."""
        live = (self.top / "nginx" / "quietdoor" / "gate").lstat().st_mtime
        now = time.time()
        self.deadline = float(int(now + 1.5 * (live - observe.began) + WINDOW) + 1)
        self.say(f"the window is to close at {_iso(self.deadline)}, {self.deadline - now:.1f} s from now")
        self.play("fallback", "rollout", **self.at("fallback"))

    def observed(self) -> str:
        """Return the generation of the gate in stage observe, as the clients received it."""
        step = next(step for step in self.steps if step.stage == "fallback")
        return next(one["generation"] for one in self.records() if one["generation"] and one["answered"] < step.began)

    def records(self) -> list[dict]:
        """Return the records of the clients so far. An incomplete last line is ignored."""
        lines = (self.run / "records.jsonl").read_text(encoding="utf-8").splitlines(keepends=True)
        return [json.loads(line) for line in lines if line.endswith("\n")]

    # --- report ---

    def summary(self, timeline: Timeline, ready: dict) -> str:
        """Return the text of the final report."""
        server = json.loads((self.run / "clients.json").read_text(encoding="utf-8"))["url"]
        closing = timeline.closing()
        stayed_out = f"{len(timeline.let_in_wrongly())} got in who were to stay out"
        to_get_in = sum(timeline.was_to_get_in(record) for record in timeline.records)
        lines = [
            f"{server}, from no gate to enforce and back. Everybody asked every 100 ms, each time over a fresh connection.",
            "Verdicts of the gate, with the number of requests:",
            "",
            *timeline.table(),
            "",
            f"Refused wrongly: {len(timeline.refused_wrongly())} of {to_get_in} requests that were to get in; {stayed_out}.",
            f"Before enforce, confirm found that {_names(one['name'] for one in ready['ready'])} had got in with certificates, "
            f"and {_names(ready['never']) or 'nobody'} never had.",
        ]
        if closing:
            lines += [
                f"The window was to close at {_iso(self.deadline)}. It was seen open for {self.deadline - closing.opened:.1f} s;",
                f"the last request that it let in began {closing.last_in - self.deadline:+.1f} s, the first refusal came "
                f"{closing.first_out - self.deadline:+.1f} s from that moment.",
            ]
        return "\n".join(lines) + "\n"

    def judge(self) -> int:
        """Print the summary. Return 1 if a result was wrong, else 0."""
        timeline = Timeline(self.steps, PEOPLE, self.records(), self.deadline)
        [ready] = json.loads((self.run / "confirm.json").read_text(encoding="utf-8"))
        problems = timeline.problems()
        sys.stdout.write(f"\n{self.summary(timeline, ready)}")
        sys.stdout.write("".join(f"WRONG: {problem}\n" for problem in problems) or "All as it should be.\n")
        return 1 if problems else 0


def _iso(moment: float) -> str:
    return datetime.fromtimestamp(moment, timezone.utc).isoformat(timespec="seconds")


def _names(names: object) -> str:
    return " and ".join(sorted(names))


def _finish(argv: list[str], output: object) -> int:
    """Run a command to its end. If this process is terminated meanwhile, terminate the command and let it clean up."""
    with subprocess.Popen(argv, stdin=subprocess.DEVNULL, stdout=output, stderr=subprocess.STDOUT) as process:
        try:
            return process.wait()
        except BaseException:
            process.terminate()
            with contextlib.suppress(subprocess.TimeoutExpired):
                process.wait(demo_process.PATIENCE)
            process.kill()
            raise


def main(directory: str) -> int:
    """Run the demo, stop all processes in every case, and return the exit code."""
    walk = Walk(Path(directory).absolute())
    for number in (signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, lambda *_: sys.exit(1))
    walk.clear()
    try:
        walk.walk()
    except Failure as failure:
        sys.stdout.write(f"{failure}\n")
        return 1
    finally:
        walk.end()
    return walk.judge()


if __name__ == "__main__":
    sys.exit(main(sys.argv[1]))
