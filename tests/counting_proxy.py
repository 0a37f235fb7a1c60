"""A pass-through HTTP server that counts requests and bytes, adds latency, and can fail.

    python tests/counting_proxy.py http://127.0.0.1:PORT

prints its own URL and ends with its stdin. `GET /counting-proxy` gives the counts as JSON;
`?delay=0.02` makes each further request take that much longer, `?faults=3` lets the next three
fail (one with a status, one with a connection that is cut, and so on), `?reset=1` sets all to zero.
"""

from __future__ import annotations

import asyncio
import json
import sys
import urllib.request
from collections import Counter
from typing import Any

CONTROL = "/counting-proxy"
_HOP_BY_HOP = {"transfer-encoding", "connection", "content-length"}


class Proxy:
    """What is counted, and how requests are passed on."""

    def __init__(self, target: str) -> None:
        self._target = target
        self.counts: Counter[str] = Counter()
        self.delay = 0.0
        self.faults = 0
        self.session: Any = None

    async def handle(self, request: Any) -> Any:
        """Answer one request."""
        from aiohttp import web

        if request.path == CONTROL:
            return self._control(request.query)
        body = await request.read()
        self.counts["requests"] += 1
        self.counts[request.method] += 1
        self.counts["sent"] += len(body)
        await asyncio.sleep(self.delay)
        if self.faults:
            self.faults -= 1
            if self.faults % 2:
                request.transport.close()
            return web.Response(status=503, text="a fault")
        headers = {k: v for k, v in request.headers.items() if k.lower() != "transfer-encoding"}
        # a path with escapes goes on as it came
        url = self._target + request.raw_path
        from yarl import URL

        async with self.session.request(
            request.method, URL(url, encoded=True), headers=headers, data=body
        ) as answer:
            content = await answer.read()
            self.counts["received"] += len(content)
            kept = {k: v for k, v in answer.headers.items() if k.lower() not in _HOP_BY_HOP}
            if request.method == "HEAD":
                kept["Content-Length"] = answer.headers.get("Content-Length", "0")
            return web.Response(status=answer.status, headers=kept, body=content)

    def _control(self, query: Any) -> Any:
        from aiohttp import web

        if "reset" in query:
            self.counts.clear()
            self.faults, self.delay = 0, 0.0
        self.delay = float(query.get("delay", self.delay))
        self.faults = int(query.get("faults", self.faults))
        return web.json_response(dict(self.counts))


def control(url: str, query: str = "") -> dict[str, int]:
    """Ask a proxy for its counts, or give it other orders."""
    with urllib.request.urlopen(f"{url}{CONTROL}?{query}", timeout=10) as answer:
        counts: dict[str, int] = json.load(answer)
    return counts


async def _serve(target: str) -> None:
    import aiohttp
    from aiohttp import web

    proxy = Proxy(target)
    # what is compressed stays compressed
    proxy.session = aiohttp.ClientSession(
        auto_decompress=False, connector=aiohttp.TCPConnector(limit=64)
    )
    app = web.Application(client_max_size=1 << 30)
    app.router.add_route("*", "/{path:.*}", proxy.handle)
    runner = web.AppRunner(app, access_log=None)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    port = site._server.sockets[0].getsockname()[1]
    print(f"http://127.0.0.1:{port}", flush=True)
    await asyncio.get_running_loop().run_in_executor(None, sys.stdin.read)


if __name__ == "__main__":
    asyncio.run(_serve(sys.argv[1]))
