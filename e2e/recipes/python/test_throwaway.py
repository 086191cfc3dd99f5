"""A client test against a throwaway signalfhir server, standard library only."""

import json
import os
import subprocess
import unittest
import urllib.request

from websocket import WebSocket


class Server:
    """Runs the program of SIGNALFHIR_BIN, or "signalfhir" on the PATH."""

    def __init__(self, *options):
        program = os.environ.get("SIGNALFHIR_BIN", "signalfhir")
        # It ends when its standard input closes, so it cannot outlive the test. The generators
        # of the seed do not run, so only the test makes events.
        self.process = subprocess.Popen(
            [program, "--listen", "127.0.0.1:0", "--ready-json", "--exit-on-stdin-close", "--generators", "off", *options],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
        )
        ready = json.loads(self.process.stdout.readline())
        self.url, self.fhir, self.ws = ready["url"], ready["fhir"]["R5"], ready["ws"]

    def post(self, url, body=None):
        data = b"" if body is None else json.dumps(body).encode()
        headers = {} if body is None else {"Content-Type": "application/fhir+json"}
        request = urllib.request.Request(url, data=data, headers=headers, method="POST")
        with urllib.request.urlopen(request) as response:
            text = response.read()
        return json.loads(text) if text else None

    def stop(self):
        self.process.stdin.close()
        code = self.process.wait(timeout=5)
        self.process.stdout.close()
        return code


class ThrowawayServer(unittest.TestCase):
    def setUp(self):
        self.server = Server()

    def tearDown(self):
        self.assertEqual(self.server.stop(), 0)

    def bind(self, subscription):
        answer = self.server.post(f"{self.server.fhir}/Subscription/{subscription}/$get-ws-binding-token")
        values = {p["name"]: next(v for k, v in p.items() if k.startswith("value")) for p in answer["parameter"]}
        socket = WebSocket(values["websocket-url"])
        self.addCleanup(socket.close)
        socket.send("bind-with-token " + values["token"])
        return socket

    def status(self, socket):
        return json.loads(socket.receive())["entry"][0]["resource"]

    def test_notification(self):
        socket = self.bind("admission-id-only")
        self.assertEqual(self.status(socket)["type"], "handshake")
        self.server.post(f"{self.server.url}/mock/await", {"bound": {"subscription": "admission-id-only"}})
        self.server.post(f"{self.server.url}/mock/trigger", {"subscription": "admission-id-only", "count": 2})
        for number in ("1", "2"):
            status = self.status(socket)
            self.assertEqual(status["type"], "event-notification")
            self.assertEqual(status["notificationEvent"][0]["eventNumber"], number)

    def test_reset(self):
        self.assertIsNone(self.server.post(f"{self.server.url}/mock/reset"))


if __name__ == "__main__":
    unittest.main()
