"""The client that test_guide.py tests: it asks for events that it missed."""

import json
import urllib.request

from websocket import WebSocket


class Client:
    def __init__(self, base, subscription):
        self.address = f"{base}/Subscription/{subscription}"
        self.last = 0  # number of the last event shown
        self.ahead = []  # events that are not shown yet
        request = urllib.request.Request(f"{self.address}/$get-ws-binding-token", data=b"", method="POST")
        values = {p["name"]: p.get("valueString", p.get("valueUrl")) for p in self.fetch(request)["parameter"]}
        self.socket = WebSocket(values["websocket-url"], timeout=60)
        self.socket.send("bind-with-token " + values["token"])

    def fetch(self, request):
        with urllib.request.urlopen(request) as response:
            return json.load(response)

    def numbers(self, bundle):
        return [int(event["eventNumber"]) for event in bundle["entry"][0]["resource"].get("notificationEvent", [])]

    def next(self):
        """Returns the number of the next event, and waits until there is one."""
        while not self.ahead:
            numbers = self.numbers(json.loads(self.socket.receive()))
            if numbers and numbers[0] > self.last + 1:
                missed = f"eventsSinceNumber={self.last + 1}&eventsUntilNumber={numbers[0] - 1}"
                numbers = self.numbers(self.fetch(f"{self.address}/$events?{missed}")) + numbers
            self.ahead = [number for number in numbers if number > self.last]
        self.last = self.ahead.pop(0)
        return self.last

    def close(self):
        self.socket.close()
