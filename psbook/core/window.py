"""Receive window: messages of one worker in the order of their sequence numbers, each one once."""

from __future__ import annotations

from psbook.core.messages import Request


class Window:
    """Puts one sender's messages in order and names duplicates (semantics.md, words: message id).

    Examples
    --------
    >>> from psbook.core.messages import Clock, MessageId
    >>> first, second = (Clock(MessageId(0, 0, "", 0, n), n) for n in (1, 2))
    >>> window = Window()
    >>> window.accept(second), len(window.accept(first)), window.is_duplicate(first)
    ([], 2, True)
    """

    __slots__ = ("_early", "expected")

    def __init__(self) -> None:
        self.expected = 1
        self._early: dict[int, Request] = {}

    def is_duplicate(self, message: Request) -> bool:
        """Whether the message has been accepted before."""
        sequence = message.id.sequence
        return sequence < self.expected or sequence in self._early

    def accept(self, message: Request) -> list[Request]:
        """Take a message; return those that may be handled now, in order."""
        sequence = message.id.sequence
        if sequence == self.expected and not self._early:
            self.expected += 1
            return [message]
        if self.is_duplicate(message):
            return []
        self._early[sequence] = message
        ready = []
        while self.expected in self._early:
            ready.append(self._early.pop(self.expected))
            self.expected += 1
        return ready
