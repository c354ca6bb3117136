"""A TCP proxy, in a process of its own, that stands for distance: `python latency.py PORT TARGET_PORT MILLISECONDS`.

Each direction is delayed by half of the round trip, and a connection costs one round trip before its first byte.
Bytes are not slowed down otherwise: what is sent together arrives together.
"""

from __future__ import annotations

import asyncio
import contextlib
import sys


async def pump(reader: asyncio.StreamReader, writer: asyncio.StreamWriter, delay: float) -> None:
    """Copy with every chunk `delay` seconds late."""
    loop = asyncio.get_running_loop()
    queue: asyncio.Queue[tuple[float, bytes]] = asyncio.Queue()

    async def receive() -> None:
        while True:
            data = await reader.read(65536)
            queue.put_nowait((loop.time() + delay, data))
            if not data:
                return

    receiving = asyncio.create_task(receive())
    with contextlib.suppress(ConnectionError):
        while True:
            due, data = await queue.get()
            await asyncio.sleep(due - loop.time())
            if not data:
                break
            writer.write(data)
            await writer.drain()
    receiving.cancel()
    with contextlib.suppress(ConnectionError, asyncio.CancelledError):
        await receiving
    writer.close()


async def serve(port: int, target: int, round_trip: float) -> None:
    """Accept until the process is ended."""

    async def connection(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await asyncio.sleep(round_trip)
        up_reader, up_writer = await asyncio.open_connection("127.0.0.1", target)
        await asyncio.gather(
            pump(reader, up_writer, round_trip / 2), pump(up_reader, writer, round_trip / 2), return_exceptions=True
        )

    server = await asyncio.start_server(connection, "127.0.0.1", port)
    async with server:
        await server.serve_forever()


if __name__ == "__main__":
    asyncio.run(serve(int(sys.argv[1]), int(sys.argv[2]), float(sys.argv[3]) / 1000))
