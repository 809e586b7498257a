"""Every way in which the worker's job can fail, by what to do about it.

* WorkerError                   reason (slug), hint (a command), message
  x RetryableError              reschedule with backoff; `retry_after` if the far side said
    - ThrottledError            429, or 503 with Retry-After
    - SourceUnavailableError    DNS, connect, TLS, 5xx, timeout
    - SourceAddressError        its name leads into a private network; nothing was sent there
    - SourceAnswerError         an answer that can't be the chunk: HTML, 0 bytes, wrong range
    - TruncatedError            fewer bytes than announced
    - SourceChangedError        parts disagree on total or Last-Modified
    - SourceNotFoundError       404/410: not there yet, or gone; the deadline decides
    - SourceForbiddenError      401/403: one chunk's trouble until several fail alike
    - ExportNotFoundError       no such blob in the user's own storage (yet)
    - ExportForbiddenError      the user's own storage refuses us
    - TokenUnavailableError     Entra, or what stands for it on this machine, did not answer
    - IdentityRefusedError      it answered: we are nobody, or may have no token for ACS
    - ArchiveUnavailableError   the archive did not answer
    - ArchiveFullError          no room; every chunk would fail so
    - ArchiveForbiddenError     the archive refuses us; every chunk would fail so
    - ArchiveConflictError      the name holds other content: next candidate name
    - IntegrityError            read-back differs from what arrived: next candidate name
    - TopicUnavailableError     the topic takes no notices now
    - BugError                  an exception nobody mapped
  x PermanentError              dead letter now: the same input fails the same way
    - HostNotAllowedError       a location off the allow-list; nothing was sent there
    - NoCredentialError         a chunk of an ACS resource we hold no key for
    - ArchiveLostError          the archive no longer holds what a receipt proves
    - SourceExpiredError        404/410 after `expires_at`
    - NoticeRefusedError        the topic takes others, but not this notice
* NewerFormatError              stored by a newer version; released with a delay, never dead
* AlreadyExistsError            create-only write found the name taken
* LeaseLostError                another worker owns the chunk: stop, touch nothing
* MalformedEventError           an event that can't become chunks: quarantined, never queued
* QueueUnavailableError         the queue can't take or give anything now
* ConfigError                   at start only; exit 78

Errors whose `scope` is set become *systemic* when `streak` distinct chunks fail alike with
no success between: leasing pauses for that credential or for the archive (worker/breaker.py).
"""

from typing import ClassVar, Literal

Scope = Literal["credential", "archive"]


class WorkerError(Exception):
    """Base of everything an operator may read. `hint` is a command; else the kind's own."""

    reason: ClassVar[str] = "error"
    hint: str | None = None

    def __init__(self, message: str = "", *, hint: str | None = None) -> None:
        super().__init__(message)
        if hint is not None:
            self.hint = hint


class RetryableError(WorkerError):
    """Worth another try. `retry_after` is what the far side asked for, in seconds."""

    reason = "retryable"
    scope: ClassVar[Scope | None] = None
    streak: ClassVar[int] = 3

    def __init__(
        self,
        message: str = "",
        *,
        hint: str | None = None,
        retry_after: float | None = None,
    ) -> None:
        super().__init__(message, hint=hint)
        self.retry_after = retry_after


class ThrottledError(RetryableError):
    reason = "throttled"


class SourceUnavailableError(RetryableError):
    reason = "source-unavailable"
    hint = "recording-worker status"


class SourceAddressError(RetryableError):
    reason = "source-address"
    hint = "recording-worker config"


class SourceAnswerError(RetryableError):
    reason = "source-answer"


class TruncatedError(RetryableError):
    reason = "truncated"


class SourceChangedError(RetryableError):
    reason = "source-changed"


class SourceNotFoundError(RetryableError):
    reason = "source-not-found"
    scope = "credential"
    streak = 10


class SourceForbiddenError(RetryableError):
    reason = "source-forbidden"
    hint = "recording-worker config"
    scope = "credential"


class TokenUnavailableError(RetryableError):
    reason = "token-unavailable"
    hint = "recording-worker config"
    scope = "credential"


class IdentityRefusedError(RetryableError):
    reason = "identity-refused"
    hint = "recording-worker config"
    scope = "credential"


class ExportNotFoundError(RetryableError):
    reason = "export-not-found"


class ExportForbiddenError(RetryableError):
    reason = "export-forbidden"
    hint = "recording-worker config"


class ArchiveUnavailableError(RetryableError):
    reason = "archive-unavailable"
    scope = "archive"


class ArchiveFullError(RetryableError):
    reason = "archive-full"
    hint = "recording-worker config"
    scope = "archive"
    streak = 1


class ArchiveForbiddenError(RetryableError):
    reason = "archive-forbidden"
    hint = "recording-worker config"
    scope = "archive"


class ArchiveConflictError(RetryableError):
    reason = "archive-conflict"


class IntegrityError(RetryableError):
    reason = "integrity"


class TopicUnavailableError(RetryableError):
    reason = "topic-unavailable"
    hint = "recording-worker config"


class BugError(RetryableError):
    reason = "bug"


def systemic() -> list[type[RetryableError]]:
    """The kinds that have a scope."""
    return [kind for kind in RetryableError.__subclasses__() if kind.scope]


class PermanentError(WorkerError):
    reason = "permanent"


class HostNotAllowedError(PermanentError):
    reason = "host-not-allowed"
    hint = "recording-worker config"


class NoCredentialError(PermanentError):
    reason = "no-credential"
    hint = "recording-worker config"


class ArchiveLostError(PermanentError):
    reason = "archive-lost"
    hint = "recording-worker recordings list"


class SourceExpiredError(PermanentError):
    reason = "source-expired"


class NoticeRefusedError(PermanentError):
    """`for_good`: it is about this notice; else a topic may refuse all of them so."""

    reason = "notice-refused"

    def __init__(self, message: str, *, for_good: bool) -> None:
        super().__init__(message)
        self.for_good = for_good


class NewerFormatError(WorkerError):
    """A stored document says a version we don't know: leave it to a newer worker."""

    reason = "newer-format"


class AlreadyExistsError(WorkerError):
    reason = "already-exists"


class LeaseLostError(WorkerError):
    reason = "lease-lost"


class MalformedEventError(WorkerError):
    reason = "malformed-event"


class QueueUnavailableError(WorkerError):
    reason = "queue-unavailable"


class ConfigError(WorkerError):
    """All problems of the settings at once, one line each, in `problems`."""

    reason = "config"
    hint = "recording-worker config"

    def __init__(self, problems: list[str], *, hint: str | None = None) -> None:
        super().__init__("\n".join(problems), hint=hint)
        self.problems = problems
