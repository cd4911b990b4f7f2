# Copyright (c) 2026 The quietdoor.mtls authors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Compare the trust anchors of a publication with those of the installed trust.

A trust anchor is the public key of a self-signed root, so a root that was renewed with the same key keeps its anchor. A
publication is accepted if it shares at least one anchor with the installed trust: a successor is published beside its
predecessor first. A root that a publication adds beside an installed one is not judged here.
"""

from __future__ import annotations

import os
import re
from typing import TYPE_CHECKING

from .._common.errors import MtlsError, shown
from .._common.files import opened
from .._deploy.generation_store import GenerationStore
from .chain_verification import read_chain, read_installed_chain

if TYPE_CHECKING:
    from collections.abc import Iterable
    from datetime import datetime

    from .chain_verification import Ca

_SHA256 = re.compile(r"[0-9a-f]{64}")


def parse_anchor(text: str, option: str) -> str:
    """Return the SHA-256 of a public key in lower-case hex, or an empty text for an empty text.

    :param option: the name of the option, for the error.
    :raises MtlsError: if the text is neither empty nor 64 hex digits, with or without colons.
    """
    anchor = text.strip().replace(":", "").lower()
    if anchor and not _SHA256.fullmatch(anchor):
        raise MtlsError(
            f"{option}: {shown(text)} is not the SHA-256 of a public key",
            "Write its 64 hex digits, as the error that refuses the new root shows them",
        )
    return anchor


def check_anchors(conf_path: str, ca_pem: object, replace_anchor: str, now: datetime) -> str:
    """Return a sentence about the replaced root; empty if the publication shares an anchor with the installed trust.

    :param ca_pem: ``ca.pem`` of the publication; if it is not text, ``read_publication`` reports it.
    :param replace_anchor: the anchor that is accepted in addition to the installed ones; empty for none.
    :raises MtlsError: if the publication has no accepted anchor, or its chain is not valid.
    """
    installed = _installed_chain(conf_path)
    if installed is None or installed == ca_pem or not isinstance(ca_pem, str):
        return ""
    held = [ca for ca in read_installed_chain(installed) if ca.is_root]
    offered = [ca for ca in read_chain(ca_pem, now) if ca.is_root]
    anchors = {ca.key_sha256 for ca in offered}
    if not anchors.isdisjoint(ca.key_sha256 for ca in held):
        return ""
    if replace_anchor in anchors:
        return f"trust_replace_anchor replaces {_describe_roots(held)} by {_describe_roots(offered)}"
    raise MtlsError(
        f"The publication has the root {_describe_roots(offered)}, but the trust installed in "
        f"{GenerationStore(conf_path, 'trust').link} has {_describe_roots(held)}",
        "Run the playbook on the machine that holds the installed authority, or, to reject every certificate of that "
        "authority, set trust_replace_anchor (module trust_install: replace_anchor) to the SHA-256 of the new root's public key",
    )


def _installed_chain(conf_path: str) -> str | None:
    """Return the installed ``ca.pem``, empty if it is missing; None if no trust is installed."""
    shelf = GenerationStore(conf_path, "trust")
    live = shelf.live()
    # Without the link the host still has its committed trust.
    generation = shelf.committed() if live is None else live
    if generation is None or not os.path.isdir(shelf.directory(generation)):
        return None
    try:
        with opened(os.path.join(shelf.directory(generation), "ca.pem"), encoding="ascii", errors="replace") as file:
            return file.read()
    except FileNotFoundError:
        return ""


def _describe_roots(roots: Iterable[Ca]) -> str:
    names = [f"{ca.subject} (SHA-256 of its public key {ca.key_sha256})" for ca in roots]
    return " and ".join(names) or "no root that can be read"
