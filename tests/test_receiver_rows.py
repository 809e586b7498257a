"""What a receiver of Event Grid's deliveries has to get right, and that a test names each row.

A test that holds a part of a row is marked `@pytest.mark.receiver_row(NUMBER)`.
"""

import ast
from collections import Counter
from pathlib import Path

TESTS = Path(__file__).parent
MARK = "receiver_row"
ROWS = {
    1: "POST and OPTIONS on one path; a known origin is echoed, with a rate and Allow",
    2: "bodies to 8 MiB, no 413; caps on events in a body and on depth",
    3: "every content type, array or object, both schemas, a byte order mark",
    4: "validation: 200, the code, Content-Length; only with credential and topic",
    5: "the end of a subscription, by type or header: 200, told at warning",
    6: "Entra tokens of both versions; two keys or more; 401 strangers, 503 ourselves",
    7: "events of a batch stand alone; durable, then 200; a budget, then 503",
    8: "not ready: 503, not a refused connection and not 404",
    9: "never 3xx, 400, 401, 403, 404 or 413 for what may heal",
    10: "redeliveries, age, duplicates, sizes, handshakes, refusals are told",
    11: "no query, Authorization, code, validation URL or signature in logs",
    12: "other entrances to the same parser: inbox, dead letters, files",
    13: "the subscription as shipped: dead letters, lifetime, attempts, filter, batches",
}


def marked_rows() -> Counter[int]:
    """How often each row is named, on a test or on a whole module of them."""
    return Counter(
        ast.literal_eval(row)
        for path in TESTS.rglob("test_*.py")
        for node in ast.walk(ast.parse(path.read_text()))
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute)
        for row in node.args
        if node.func.attr == MARK
    )


def test_every_row_of_the_check_list_has_a_test() -> None:
    """A row that no test names is a promise that nobody keeps."""
    assert sorted(marked_rows()) == sorted(ROWS)
