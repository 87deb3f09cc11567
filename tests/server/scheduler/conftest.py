"""A small recognizer, and schedulers of it."""

import pytest

from wheatear.server.scheduler.admission import LoadBudget
from wheatear.server.scheduler.scheduler import Scheduler


@pytest.fixture(scope="module")
def recognizer(recognizer_of):
    return recognizer_of("tiny-multi")


@pytest.fixture(scope="module")
def scheduler_of_module(recognizer):
    scheduler = Scheduler(recognizer, LoadBudget(1000))
    yield scheduler
    scheduler.close()


@pytest.fixture
def scheduler(recognizer):
    scheduler = Scheduler(recognizer, LoadBudget(1000))
    yield scheduler
    scheduler.close()
