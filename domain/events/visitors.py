"""Who asks for what we sent: with what device a person does, and what only looks like a person."""

from __future__ import annotations

import re
from collections.abc import Mapping
from datetime import timedelta
from typing import Any

from parcours.domain.events.table import event_type

# Nobody reads and clicks this soon after a mail server took the message.
TOO_SOON = timedelta(seconds=2)

# They fetch pictures for a person who opens the mail, so what they ask for counts.
_IMAGE_PROXIES = re.compile("googleimageproxy|yahoomailproxy", re.IGNORECASE)
# What crawls, previews and inspects links. HTTP libraries are not among them: the image proxy of a mail
# provider may look like one. CUBOT makes telephones.
_SCANNERS = re.compile(
    r"(?<!cu)bot\b|crawler|spider|slurp|bingpreview|facebookexternalhit|link ?preview|whatsapp/|skypeuripreview"
    r"|barracuda|mimecast|proofpoint|zscaler|fireeye|trendmicro|symantec|sophos|messagelabs|cloudmark|ironport"
    r"|fortiguard|safelinks|urldefense|mailscanner|link ?check|virustotal|pingdom|w3c_validator",
    re.IGNORECASE,
)
# Sec-Purpose is the standard; the others are what browsers sent before it.
_PURPOSES = ("sec-purpose", "purpose", "x-purpose", "x-moz")
_AHEAD = ("prefetch", "prerender", "preview")


def why_automatic(method: str, headers: Mapping[str, str]) -> str | None:
    """Return why a request is believed to come from a machine, or None when a person seems to be behind it.

    `headers` has its names in small letters, or minds no case.

    Source: the Fetch standard, section on Sec-Purpose; Apple's privacy protection of Mail loads every
    picture through a proxy that calls itself `Mozilla/5.0` and no more, whether or not the mail is read.
    """
    if method == "HEAD":
        return "a HEAD request"
    if any(word in headers.get(name, "").lower() for name in _PURPOSES for word in _AHEAD):
        return "fetched ahead"
    agent = headers.get("user-agent", "").strip()
    if not agent:
        return "no user agent"
    if agent == "Mozilla/5.0":
        return "mail privacy protection"
    if _SCANNERS.search(agent) and not _IMAGE_PROXIES.search(agent):
        return "a known scanner"
    return None


def is_automatic(type_: str, data: Mapping[str, Any]) -> bool:
    """Return whether an event is marked as a machine's: it stays in the history, and nothing follows from it."""
    return bool(data.get("bot")) and event_type(type_).by_machines


# The first that is found counts.
_SYSTEMS = (
    ("iOS", re.compile(r"iPhone|iPad|iPod")),
    ("Windows Phone", re.compile(r"Windows Phone")),
    ("Android", re.compile(r"Android")),
    ("Windows", re.compile(r"Windows NT|Windows;")),
    ("Chrome OS", re.compile(r"\bCrOS\b")),
    ("macOS", re.compile(r"Macintosh|Mac OS X")),
    ("Tizen", re.compile(r"Tizen")),
    ("webOS", re.compile(r"Web0S|webOS")),
    ("Linux", re.compile(r"Linux|X11")),
)
_PLATFORMS = {"chromium os": "Chrome OS", "chromeos": "Chrome OS", "chrome os": "Chrome OS"}
_BRANDS = (
    ("Apple", re.compile(r"iPhone|iPad|iPod|Macintosh|AppleTV")),
    ("Samsung", re.compile(r"\bSM-[A-Z]|\bGT-[A-Z]|SAMSUNG|Galaxy")),
    ("Google", re.compile(r"\bPixel\b|\bNexus\b")),
    ("Xiaomi", re.compile(r"Xiaomi|Redmi|\bPOCO\b|\bMi \d|\bMIX \d", re.IGNORECASE)),
    ("Huawei", re.compile(r"HUAWEI|HONOR", re.IGNORECASE)),
    ("OnePlus", re.compile(r"OnePlus", re.IGNORECASE)),
    ("Oppo", re.compile(r"\bOPPO\b|\bCPH\d{4}")),
    ("Vivo", re.compile(r"\bvivo\b", re.IGNORECASE)),
    ("Motorola", re.compile(r"\bmoto\b|Motorola|\bXT\d{4}", re.IGNORECASE)),
    ("Sony", re.compile(r"Xperia|\bSony|\bXQ-")),
    ("Nokia", re.compile(r"Nokia")),
    ("LG", re.compile(r"\bLGE?[- ;]|\bLM-[A-Z]")),
    ("Fairphone", re.compile(r"\bFP\d\b|Fairphone")),
    ("Amazon", re.compile(r"\bKF[A-Z]{2,}\b|\bSilk/|\bAFT[A-Z]")),
)
_TELEVISION = re.compile(r"Smart-?TV|\bAndroid TV|GoogleTV|AppleTV|HbbTV|\bWeb0S|\bAFT[A-Z]|\bBRAVIA", re.IGNORECASE)
_DESKTOPS = frozenset({"Windows", "macOS", "Linux", "Chrome OS"})


def device_of(headers: Mapping[str, str]) -> dict[str, str]:
    """Return what a request's headers say of the device: `type`, `brand` and `os`, as far as they do.

    Types are desktop, mobile, tablet and tv. Browsers say less than they did: an Android browser that hides
    its model has no brand, and a tablet that asks for pages of a desktop is taken for one.
    """
    agent = headers.get("user-agent", "")
    os = next((name for name, pattern in _SYSTEMS if pattern.search(agent)), None)
    # Source: User-Agent Client Hints, section 3; browsers send these two without being asked.
    platform = headers.get("sec-ch-ua-platform", "").strip().strip('"')
    if platform and platform.lower() != "unknown" and os != "iOS":
        os = _PLATFORMS.get(platform.lower(), platform[:40])
    found = {
        "type": _type_of(agent, os, headers.get("sec-ch-ua-mobile", "")),
        "brand": next((name for name, pattern in _BRANDS if pattern.search(agent)), None),
        "os": os,
    }
    return {name: value for name, value in found.items() if value}


def _type_of(agent: str, os: str | None, mobile: str) -> str | None:
    if _TELEVISION.search(agent):
        return "tv"
    if "iPad" in agent:
        return "tablet"
    if mobile == "?1" or os in ("iOS", "Windows Phone") or re.search(r"\bMobile\b", agent):
        return "mobile"
    if os == "Android":
        return "tablet"
    return "desktop" if os in _DESKTOPS else None
