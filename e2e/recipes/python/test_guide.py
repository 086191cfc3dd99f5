import unittest

from client import Client  # your client
from test_throwaway import Server


class LostEvents(unittest.TestCase):
    def test_the_client_asks_for_them(self):
        server = Server()
        self.addCleanup(server.stop)
        client = Client(server.fhir, "task-id-only")
        self.addCleanup(client.close)
        mock = lambda route, body: server.post(f"{server.url}/mock/{route}", body)
        mock("await", {"bound": {"subscription": "task-id-only"}, "timeout": "1m"})

        mock("faults", {"on": "frame", "action": "drop", "number": {"from": 2, "to": 3}})
        mock("trigger", {"subscription": "task-id-only", "count": 4})
        self.assertEqual([client.next() for _ in range(4)], [1, 2, 3, 4])
        mock("await", {"eventsCalled": {"subscription": "task-id-only", "eventsSinceNumber": 2}, "timeout": "1m"})
