"""What the tests of the page share."""

from __future__ import annotations

import pytest

from page_fixtures import small_studio


@pytest.fixture(scope="module")
def studio(base, tmp_path_factory):
    with small_studio(tmp_path_factory.mktemp("studio"), base) as found:
        yield found
