"""Take LLM-Sentinel's webhooks, check that they are genuine, and print the alerts.

    pip install aiohttp standardwebhooks
    echo "whsec_$(openssl rand -base64 32)" > secret; chmod 600 secret
    python webhook_receiver.py --secret-file secret --port 9000

Give the daemon the same file as `alerting.webhook.secret_file`, the URL http://127.0.0.1:9000/alerts, and, because that is no public
address, `allowed_networks: [127.0.0.0/8]`. Then try it out with `sentinel webhook send-test`.
"""

import argparse
import json
import sys
from collections import OrderedDict
from pathlib import Path
from typing import Any

from aiohttp import web

try:
    from standardwebhooks.webhooks import Webhook, WebhookVerificationError
except ImportError:
    sys.exit("this needs the library that checks signatures: pip install standardwebhooks")

REMEMBERED = 10_000


def show(alert: dict[str, Any]) -> None:
    """One alert, on one line. Put here what you do with one."""
    subject = f"{alert['service']}/{alert['model']}"
    print(f"{alert['severity'].upper():8} {alert['status']:8} {subject}: {alert['title']} [{alert['notification_id']}]", flush=True)


def application(secret: str) -> web.Application:
    """The receiver as an aiohttp application."""
    # A secret that does not begin with whsec_ is the key itself; the library wants to be told.
    webhook = Webhook(secret if secret.startswith("whsec_") else secret.encode())
    seen: OrderedDict[str, None] = OrderedDict()  # keep them in a database if a repeat after a restart would hurt

    async def receive(request: web.Request) -> web.Response:
        # Exactly the bytes that came: JSON that was parsed and written again has another signature.
        body = await request.read()
        try:
            webhook.verify(body, dict(request.headers), json_parse=False)
        except (WebhookVerificationError, ValueError) as error:
            print(f"refused: {error}", file=sys.stderr, flush=True)
            return web.Response(status=401)
        message_id = request.headers["webhook-id"]
        if message_id not in seen:  # a repeat: the daemon did not get our last answer
            event = json.loads(body)
            for alert in event["data"].get("alerts", [event["data"]]):  # several, when batching is on
                show(alert)
            seen[message_id] = None
            if len(seen) > REMEMBERED:
                seen.popitem(last=False)
        # Any 2xx means "I have it". Answer quickly and do slow work later: the daemon waits 10 s at most, then sends again.
        return web.Response(status=204)

    app = web.Application(client_max_size=4_194_304)
    app.router.add_post("/alerts", receive)
    return app


def main() -> None:
    """Read the command line and serve until Ctrl-C."""
    parser = argparse.ArgumentParser(description="Print LLM-Sentinel's alerts from its webhook.")
    parser.add_argument("--secret-file", type=Path, required=True)
    parser.add_argument("--host", default="127.0.0.1")
    parser.add_argument("--port", type=int, default=9000)
    wanted = parser.parse_args()
    print(f"waiting for alerts at http://{wanted.host}:{wanted.port}/alerts; Ctrl-C ends it", flush=True)
    web.run_app(application(wanted.secret_file.read_text().strip()), host=wanted.host, port=wanted.port, print=None)


if __name__ == "__main__":
    main()
