"""A reward of your own over HTTP: what the outcomes earn, less a little for each token and for an answer given again.

    python3 docs/examples/reward_server.py --port 8700

Point a run at it with reward.source=http://127.0.0.1:8700. With REWARD_TOKEN in its environment it answers only those who send it
as a bearer token, and with --cert and --key it speaks TLS. It needs Python 3 alone. The protocol: docs/algorithms.md.
"""

import argparse
import hmac
import json
import os
import ssl
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer


def reward(episode):
    """One number for an episode, or a list of one number for each of its attempts."""
    return [
        attempt["reward"] - 0.001 * attempt["tokens"] - 0.1 * attempt["repeats_an_earlier_answer"]
        for attempt in episode["attempts"]
    ]


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"  # one connection for many requests

    def do_POST(self):
        body = self.rfile.read(int(self.headers["Content-Length"]))
        token = os.environ.get("REWARD_TOKEN")
        said = self.headers.get("Authorization", "")
        if token and not hmac.compare_digest(said.encode(), f"Bearer {token}".encode()):
            return self.answer(401, {"error": "unknown token"})
        batch = json.loads(body)
        if batch["version"] != 1:
            return self.answer(400, {"error": f"version {batch['version']}, this server speaks 1"})
        self.answer(200, {"rewards": [reward(episode) for episode in batch["episodes"]]})

    def answer(self, status, value):
        text = json.dumps(value).encode()
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(text)))
        self.end_headers()
        self.wfile.write(text)

    def log_message(self, *_):
        pass


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--host", default="127.0.0.1")
    parser.add_argument("--port", type=int, default=8700, help="0 takes a free one")
    parser.add_argument("--cert", help="PEM file with the server's certificate")
    parser.add_argument("--key", help="PEM file with its key")
    options = parser.parse_args()
    server = ThreadingHTTPServer((options.host, options.port), Handler)
    scheme = "http"
    if options.cert:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(options.cert, options.key)
        server.socket = context.wrap_socket(server.socket, server_side=True)
        scheme = "https"
    print(f"{scheme}://{options.host}:{server.server_address[1]}", flush=True)
    server.serve_forever()


if __name__ == "__main__":
    main()
