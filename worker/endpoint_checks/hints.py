"""What people do wrong with an endpoint for Event Grid, and what mends it. Texts alone.

Collected from what is reported: MicrosoftDocs/azure-docs 51059, 51296, 66226; Azure/logicapps
302; Azure/azure-functions-host 6402.
"""

from samples.event_grid import Schema

HTTPS = "put what ends TLS before it, and give the https URL to the subscription"
PUBLIC_NAME = "the name must resolve to a public address for Event Grid"
NAME = "is the name right, and is it in the public DNS?"
CERTIFICATE = (
    "a certificate for this very name, signed by a public authority, with its whole chain;"
    " self-signed ones are not supported"
)
RENEW = "renew the certificate"
LISTEN = (
    "does recording-worker listen (WORKER_LISTEN), and is the port open to the public?"
)
NOT_READY = "recording-worker status, where it runs"
SLOW = "answers are due within 30 s, a cold start counted in"
OPEN_TO_ALL = "set WORKER_WEBHOOK_KEYS or WORKER_WEBHOOK_ENTRA_TENANT where it runs"
FINAL_FOR_ROTATED = (
    "answer 503 to Event Grid's headers with a key that is not known: 401 is final, and a"
    " rotated key would lose recordings"
)
_REDIRECT = (
    "give the URL that it redirects to: https, the host's own name, a last slash"
)
_FIREWALL = (
    "is the key right (?code=)? a web application firewall has to pass rules 920300, 942430,"
    " 920230, 942130 and 931130"
)
_PATH = "is the path right? recording-worker's is /api/events"
_BUSY = (
    "recording-worker answers so while it starts or stops, to a key that it does not know, to"
    " none where it takes Entra ID's tokens alone (only Event Grid has one), and on a path that"
    " is not /api/events: its log says which (delivery.refused)"
)
_NO_ANSWER = "answers are due within 30 s: is something before it that waits for it?"
_CODE = (
    'answer 200 with {"validationResponse": "THE CODE"}, whatever deliveries are answered;'
    " recording-worker gives no code for a topic off its WORKER_EVENT_TOPICS: say --topic"
)
_OPTIONS = (
    "let OPTIONS through to the application: CORS middleware, gateways and frameworks take"
    " it for themselves"
)
_CONSENT = (
    "answer OPTIONS with 200 and WebHook-Allowed-Origin: eventgrid.azure.net; a status alone"
    " is no consent"
)
_REDIRECTS = range(300, 400)
_SUCCESS = range(200, 300)
_OF_STATUS = {
    400: "the endpoint does not understand Event Grid: is it the right one?",
    401: _FIREWALL,
    403: _FIREWALL,
    404: _PATH,
    413: "raise the limit on bodies of what stands before it: Event Grid sends up to 1 MB",
    415: "take application/json and application/cloudevents+json",
    503: _BUSY,
}
_OTHER = "look into the log of the endpoint, and of what stands before it"


def of_handshake(schema: Schema, status: int | None) -> str:
    """What helps when a handshake was answered so; None: not at all."""
    if schema == "cloudevents" and status == 405:  # noqa: PLR2004 - the one that this is
        return _OPTIONS
    if status in _SUCCESS:
        return _CONSENT if schema == "cloudevents" else _CODE
    return of_delivery(status)


def of_delivery(status: int | None) -> str:
    """The same for a delivery."""
    if status is None:
        return _NO_ANSWER
    if status in _REDIRECTS:
        return _REDIRECT
    return _OF_STATUS.get(status, _OTHER)
