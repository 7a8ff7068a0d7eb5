"""A TCP link to HOST:PORT whose way there carries RATE bytes a second, all connections together; 0: as fast as it goes.

Prints the address that it listens on.
"""
import asyncio
import sys

host, port = sys.argv[1].rsplit(":", 1)
rate = float(sys.argv[2])
free_at = 0.0


async def carry(reader, writer, slow):
    global free_at
    try:
        while data := await reader.read(16384):
            if slow and rate:
                now = asyncio.get_running_loop().time()
                free_at = max(free_at, now) + len(data) / rate
                await asyncio.sleep(free_at - now)
            writer.write(data)
            await writer.drain()
    except ConnectionError:
        pass
    finally:
        writer.close()


async def connect(reader, writer):
    there, back = await asyncio.open_connection(host, int(port))
    await asyncio.gather(carry(reader, back, True), carry(there, writer, False))


async def main():
    server = await asyncio.start_server(connect, "127.0.0.1", 0)
    print("127.0.0.1:%d" % server.sockets[0].getsockname()[1], flush=True)
    await server.serve_forever()


asyncio.run(main())
