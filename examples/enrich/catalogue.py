"""A catalogue that takes its time: each answer takes 100 ms, several at once."""

import json
import sys
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

PRODUCTS = {
    "espresso": {"name": "Espresso", "price": 2.5},
    "latte": {"name": "Caffè latte", "price": 3.8},
    "tea": {"name": "Green tea", "price": 3.2},
}


class Catalogue(BaseHTTPRequestHandler):
    def do_GET(self):
        time.sleep(0.1)
        product = PRODUCTS.get(self.path.strip("/").removesuffix(".json"))
        body = json.dumps(product or {}).encode()
        self.send_response(200 if product else 404)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *arguments):
        pass


port = int(sys.argv[1]) if len(sys.argv) > 1 else 8089
with ThreadingHTTPServer(("127.0.0.1", port), Catalogue) as server:
    print(f"the catalogue is at localhost:{server.server_port}", flush=True)
    server.serve_forever()
