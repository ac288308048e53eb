"""Which emails of a campaign do worse than its others, as far as chance does not explain it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from statistics import NormalDist
from typing import Literal, NamedTuple

from parcours.domain.lift import lift

# Fewer delivered emails than these prove nothing.
LEAST_DELIVERED = 100
# The risk of naming an email by chance, over all emails that are compared.
RISK = 0.05

Measure = Literal["clicked", "opened"]
# Why no email is named: there are not two, not two with enough, the others are too new, or chance may explain it.
WhyNone = Literal["one", "few", "new", "same"]


class EmailTried(NamedTuple):
    """What became of an email in a campaign, in numbers of messages.

    `links`: its clicks are counted; `pixel`: its openings are. `new`: most of it went out lately, so that answers are
    still to come.
    """

    email: str
    delivered: int
    opened: int
    clicked: int
    links: bool = True
    pixel: bool = True
    new: bool = False


class Weak(NamedTuple):
    """An email with its rate and that of the others together, from 0 to 1; `delivered` and `did` are its messages."""

    email: str
    delivered: int
    did: int
    rate: float
    others: float


@dataclass(frozen=True)
class Comparison:
    """Emails that do worse than the others, the lowest rate first. None: `why_none` says why."""

    by: Measure | None
    weak: Sequence[Weak]
    why_none: WhyNone | None


def compare(tried: Sequence[EmailTried]) -> Comparison:
    """Return which emails do worse than the others: by clicks, or by openings where fewer than two have links.

    Each is compared with all others together. The interval around the difference (of Wilson intervals) is widened so
    that over all comparisons chance names an email one time in twenty (Bonferroni). New emails are left out, unless
    all are.
    """
    if len(tried) < 2:
        return Comparison(None, (), "one")
    enough = [each for each in tried if each.delivered >= LEAST_DELIVERED]
    old = [each for each in enough if not each.new] or enough
    by, compared = _comparable(old)
    if by is None:
        return Comparison(None, (), "few" if _comparable(enough)[0] is None else "new")
    z = NormalDist().inv_cdf(1 - RISK / (2 * len(compared)))
    delivered = sum(each.delivered for each in compared)
    did = sum(_did(each, by) for each in compared)
    weak = []
    for each in compared:
        own, others, other_did = _did(each, by), delivered - each.delivered, did - _did(each, by)
        if lift(own, each.delivered, other_did, others, z=z).verdict < 0:
            weak.append(Weak(each.email, each.delivered, own, own / each.delivered, other_did / others))
    weak.sort(key=lambda each: (each.rate, each.email))
    return Comparison(by, weak, None if weak else "same")


def _comparable(tried: Sequence[EmailTried]) -> tuple[Measure | None, list[EmailTried]]:
    with_links = [each for each in tried if each.links]
    if len(with_links) > 1:
        return "clicked", with_links
    seen = [each for each in tried if each.pixel]
    return ("opened", seen) if len(seen) > 1 else (None, [])


def _did(each: EmailTried, by: Measure) -> int:
    # A message that bounced after it was opened counts as opened and not as delivered.
    return min(each.clicked if by == "clicked" else each.opened, each.delivered)
