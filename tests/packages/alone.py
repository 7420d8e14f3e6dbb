"""A process in a network of its own (loopback only), so that a broker can have its default ports, and clients of it."""

import signal
import subprocess
import sys
from pathlib import Path

from harness.wait import wait_until

HERE = Path(__file__).resolve().parent
START_TIMEOUT_S = 60.0
STOP_TIMEOUT_S = 60.0
BOOTSTRAP = "127.0.0.1:9092"


class Alone:
    def __init__(self, command: list[str], log: Path):
        self.log = log
        inside = ["sh", "-c", 'ip link set lo up && exec "$@"', "sh", *command]
        with open(log, "wb") as output:
            self.process = subprocess.Popen(
                ["unshare", "--net", *inside], stdout=output, stderr=subprocess.STDOUT, start_new_session=True
            )

    def text(self) -> str:
        return self.log.read_text(errors="replace")

    def wait_serving(self) -> "Alone":
        def bound():
            assert self.process.poll() is None, self.text()
            return "kafka listener bound" in self.text()

        wait_until(bound, f"the broker to serve (log: {self.log})", START_TIMEOUT_S, poll_s=0.05)
        return self

    def enter(self, *command: str, timeout=120.0) -> subprocess.CompletedProcess:
        enter = ["nsenter", f"--target={self.process.pid}", "--net"]
        return subprocess.run([*enter, *command], capture_output=True, text=True, timeout=timeout)

    def client(self, *arguments: str):
        done = self.enter(sys.executable, str(HERE / "client.py"), *arguments)
        assert done.returncode == 0, f"{arguments}: {done.stdout}{done.stderr}\n{self.text()[-4000:]}"

    def round_trip(self, topic: str, count: int = 20_000):
        self.client("produce", BOOTSTRAP, topic, str(count))
        self.client("consume", BOOTSTRAP, topic, str(count))

    def stop(self) -> int:
        self.process.send_signal(signal.SIGTERM)
        return self.process.wait(STOP_TIMEOUT_S)

    def discard(self):
        if self.process.poll() is None:
            self.process.kill()
            self.process.wait()
