"""A TCP proxy that holds everything back for a while, in a broker's network namespace: a long way to that broker.

It stands for a queueing discipline that delays packets, which not every kernel has. Run as a program it is the proxy.
"""

import asyncio
import os
import subprocess
import sys
from contextlib import contextmanager

from . import paths
from .netns import Network

PROXY_PORT = 19_000
CHUNK = 1 << 16
QUEUED = 64  # chunks that are under way in one direction at most


@contextmanager
def slow_link(network: Network, n: int, port: int, delay_s: float):
    """Connections of other brokers to this broker's port take so much longer, either way; those that there are break.

    Yields a function that ends it and returns how many bytes it has carried.
    """
    target = network.internal_address(n)
    command = ["ip", "netns", "exec", network.namespace(n), sys.executable, "-m", "harness.slow_link"]
    process = subprocess.Popen(
        [*command, target, str(port), str(delay_s)], cwd=paths.SUITE, stdin=subprocess.PIPE, stdout=subprocess.PIPE,
        text=True,
    )  # fmt: skip

    def end() -> int:
        # The proxy first: without the table nothing would tell the other brokers that its connections have ended.
        carried = int(process.communicate(timeout=30)[0])
        network.mend()
        return carried

    try:
        assert process.stdout.readline() == "listening\n", "the proxy"
        network.redirect(n, port, PROXY_PORT)
        yield end
    finally:
        process.kill()
        process.wait()
        network.mend()


class Proxy:
    def __init__(self, host: str, port: int, delay_s: float):
        self.target, self.delay_s, self.carried = (host, port), delay_s, 0

    async def serve(self):
        server = await asyncio.start_server(self._connection, "0.0.0.0", PROXY_PORT)
        print("listening", flush=True)
        async with server:
            await asyncio.to_thread(sys.stdin.read)  # until it is closed
        print(self.carried, flush=True)
        os._exit(0)  # with all connections

    async def _connection(self, reader, writer):
        try:
            onward, back = await asyncio.open_connection(*self.target)
        except OSError:
            writer.close()
            return
        await asyncio.gather(self._carry(reader, back), self._carry(onward, writer))

    async def _carry(self, reader, writer):
        """One direction: what came at a time leaves that much later, in order, and the end does too."""
        queue: asyncio.Queue = asyncio.Queue(QUEUED)
        clock = asyncio.get_running_loop().time

        async def send():
            while (item := await queue.get())[1]:
                due, data = item
                await asyncio.sleep(max(0.0, due - clock()))
                writer.write(data)
                await writer.drain()
                self.carried += len(data)

        sending = asyncio.create_task(send())
        try:
            data = b"first"
            while data and not sending.done():
                data = await reader.read(CHUNK)
                await queue.put((clock() + self.delay_s, data))
            await sending
        except OSError:
            pass
        finally:
            sending.cancel()
            writer.close()


if __name__ == "__main__":
    host, port, delay_s = sys.argv[1:]
    asyncio.run(Proxy(host, int(port), float(delay_s)).serve())
