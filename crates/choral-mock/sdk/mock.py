"""The mock server as a process, and what it saw; expectations that need no Rust."""

import hashlib
import json
import subprocess
import urllib.request


class Mock:
    """A running server; a context manager that ends it."""

    def __init__(self, binary, *flags):
        self.process = subprocess.Popen([binary, *flags], stdout=subprocess.PIPE, text=True)
        self.url = self.process.stdout.readline().strip()
        assert self.url.startswith("http://"), "the server did not start"

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.process.kill()
        self.process.wait()

    def get(self, path, headers=None):
        """Status and JSON of a plain GET."""
        request = urllib.request.Request(self.url + path, headers=headers or {})
        try:
            with urllib.request.urlopen(request) as response:
                return response.status, json.load(response)
        except urllib.error.HTTPError as error:
            return error.code, json.load(error)

    def log(self):
        """Counts of connections, and all requests."""
        return self.get("/__mock/log")[1]

    def elsewhere(self):
        """The same of the listener that redirects lead to."""
        return self.get("/__mock/elsewhere")[1]

    def clear(self):
        """Forgets the requests so far."""
        urllib.request.urlopen(urllib.request.Request(self.url + "/__mock/clear", method="POST"))

    def num_requests(self):
        """Requests since the last `clear`."""
        return len(self.log()["requests"])


def digest(turns):
    """The digest that an answer to this conversation begins with."""
    text = "".join(f"{role}\x1f{content}\x1e" for role, content in turns)
    return hashlib.sha256(text.encode()).hexdigest()[:12]


def answer(*turns):
    """The answer to `(role, text)` turns."""
    asked = [content for role, content in turns if role in ("user", "prompt")][-1]
    return f"Answer {digest(turns)} to: {' '.join(asked.split()[:24])}"


def raises(kind, action):
    """The error of exactly this class that `action` must raise."""
    try:
        action()
    except Exception as error:  # noqa: BLE001
        if type(error) is kind:
            return error
        raise AssertionError(f"expected {kind.__name__}, got {error!r}") from error
    raise AssertionError(f"expected {kind.__name__}, got none")


def fault(script):
    """The header that brings faults to a request."""
    return {"x-mock-fault": script}
