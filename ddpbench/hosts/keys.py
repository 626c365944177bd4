"""What the ranks of one attempt tell each other in order to meet: names with values, kept by host 0."""

import threading

from ddpbench.hosts.messages import Answer, Ask


class Keys:
    """Names with values, as torch's Store has them. Any thread may ask."""

    def __init__(self) -> None:
        self._values: dict[str, bytes] = {}
        self._changed = threading.Condition()
        self._is_closed = False

    def answer(self, ask: Ask) -> Answer:
        """Carry out a question. `get` waits until the key is there, or until time is up."""
        with self._changed:
            key = ask.keys[0] if ask.keys else ""
            if ask.how == "get":
                self._changed.wait_for(lambda: key in self._values or self._is_closed, ask.timeout_s)
                return Answer(value=self._values.get(key))
            if ask.how == "check":
                return Answer(number=int(all(each in self._values for each in ask.keys)))
            if ask.how == "delete":
                return Answer(number=int(self._values.pop(key, None) is not None))
            if ask.how == "add":
                total = int(self._values.get(key, b"0")) + ask.amount
                self._set(key, b"%d" % total)
                return Answer(number=total)
            if ask.how == "set":
                self._set(key, ask.value)
                return Answer(value=ask.value)
            if self._values.get(key, b"") == ask.expected:
                self._set(key, ask.value)
            return Answer(value=self._values.get(key, ask.expected))

    def close(self) -> None:
        """Let nobody wait any more: the attempt is over."""
        with self._changed:
            self._is_closed = True
            self._changed.notify_all()

    def _set(self, key: str, value: bytes) -> None:
        self._values[key] = value
        self._changed.notify_all()
