"""One look for each family and each kind of time, everywhere."""

from itertools import combinations

from psbook.trace.schema import SPANS
from psbook.view.style import FAMILIES, KINDS, OTHERS, style_of, styles


def test_no_two_families_share_a_colour_or_a_line_style():
    looks = [*FAMILIES.values(), *OTHERS]
    for one, two in combinations(looks, 2):
        assert one.color != two.color
        assert one.dashes != two.dashes


def test_every_kind_of_time_has_a_colour_and_a_hatch_of_its_own():
    assert set(KINDS) == set(SPANS)
    assert len({look.color for look in KINDS.values()}) == len({look.hatch for look in KINDS.values()}) == 5


def test_kinds_of_time_and_families_share_no_colour():
    assert not {look.color for look in KINDS.values()} & {look.color for look in FAMILIES.values()}


def test_variants_differ_in_marker_and_shade_but_keep_the_line_style():
    looks = styles(["ssp", "bsp", "ssp", "ssp"])
    of_ssp = [looks[0], looks[2], looks[3]]
    assert {look.dashes for look in of_ssp} == {style_of("ssp").dashes}
    assert len({look.marker for look in of_ssp}) == len({look.color for look in of_ssp}) == 3
    assert looks[1] == style_of("bsp")


def test_an_unknown_family_looks_the_same_each_time_and_like_no_known_one():
    assert style_of("leaderswait") == style_of("leaderswait")
    assert style_of("leaderswait") not in FAMILIES.values()
