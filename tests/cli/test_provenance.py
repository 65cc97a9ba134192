"""Where a number comes from."""

import json

from edgewise.cli.provenance import provenance


def test_where_a_number_comes_from() -> None:
    facts = provenance()
    assert set(facts) == {"commit", "edgewise", "torch", "python", "cores", "processor"}
    assert facts["commit"] is None or len(facts["commit"]) == 40
    json.dumps(facts)
