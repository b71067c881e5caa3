"""What the garbage collector looks at while requests wait: counted, not timed."""

from __future__ import annotations

import subprocess
import sys

import pytest

WAITING = """
import asyncio, gc, sys
from bowerbird.gateway.admission.admission import Admission
from bowerbird.gateway.admission.bounds import Bounds
from bowerbird.gateway.admission.order import Order
from bowerbird.gateway.admission.ticket import Ticket
from bowerbird.gateway.garbage import settle_heap

looked = 0

def count(phase, facts):
    global looked
    if phase == "start" and facts["generation"] == 2:
        looked += sum(len(gc.get_objects(each)) for each in range(3))

async def wait(admission, number):
    async with admission.place(Ticket(str(number), "tenant", 1.0, 1e12)) as turn:
        await turn.grant()

async def main(requests):
    admission = Admission.alone(Order(Bounds(requests=10 * requests, units=1e9, tenant_part=1.0)))
    began = len(gc.get_objects())
    gc.callbacks.append(count)
    waiting = [asyncio.create_task(wait(admission, number)) for number in range(requests)]
    while admission.waiting < requests:
        await asyncio.sleep(0)
    gc.callbacks.clear()
    print(looked / (len(gc.get_objects()) - began))
    for each in waiting:
        each.cancel()
    await asyncio.gather(*waiting, return_exceptions=True)

if sys.argv[1] == "settled":
    settle_heap()
asyncio.run(main(int(sys.argv[2])))
"""


def looks_at_each_object(heap: str, requests: int) -> float:
    """How often an object that a waiting request made was looked at in collections of everything, on average."""
    command = [sys.executable, "-c", WAITING, heap, str(requests)]
    return float(subprocess.run(command, check=True, capture_output=True, text=True, timeout=120).stdout)


@pytest.mark.parametrize("requests", [2_000, 8_000])
def test_however_many_requests_wait_each_is_looked_at_once_at_most(requests: int) -> None:
    assert looks_at_each_object("settled", requests) <= 1


def test_python_alone_would_look_again_and_again() -> None:
    assert looks_at_each_object("unsettled", 8_000) > 1
