# Copyright (c) 2026 The quietdoor.mtls authors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Name the files and directories of a web host, relative to the directory of nginx.conf.

Templates of role gate include some of them. The published files that a trust generation also has are in ``publication_format``.
"""

from __future__ import annotations

HOME = "quietdoor"
LOCK = f"{HOME}/lock"
SHUTDOWN = f"{HOME}/shutdown.committed"

# The file with which a gate begins, directly in conf.d. It exists if and only if a gate is live.
ENTRY_DIRECTORY = "conf.d"
ENTRY = f"{ENTRY_DIRECTORY}/quietdoor.conf"

# The symbolic links to the live generation of each kind. Each kind has a directory of all, and two files with numbers.
GATE = f"{HOME}/gate"
TRUST = f"{HOME}/trust"


def link_of(kind: str) -> str:
    """Return the path of the symbolic link to the live generation of ``gate`` or ``trust``."""
    return f"{HOME}/{kind}"


def store_of(kind: str) -> str:
    """Return the name, in ``HOME``, of the directory of all generations."""
    return f"{kind}s"


def committed_of(kind: str) -> str:
    """Return the path of the file with the number of the last verified generation."""
    return f"{HOME}/{kind}.committed"


def highest_of(kind: str) -> str:
    """Return the path of the file with the highest number that any generation had."""
    return f"{HOME}/{kind}.highest"


# Both the gate and the trust have this file, which nginx includes in its http block.
HTTP = "http.conf"

# Files of a gate generation.
MANIFEST = "manifest.json"
GENERATION = "generation.conf"
SITES = "sites/"
SNIPPETS = "snippets/"
SERVER_SNIPPET = "server"
LIVE_MANIFEST = f"{GATE}/{MANIFEST}"


def site_file(site: str) -> str:
    """Return the path of a site's server, or of its part of the http block, in a gate generation."""
    return f"{SITES}{site}.conf"


def snippet_file(site: str, kind: str) -> str:
    """Return the path of a snippet in a gate generation.

    :param kind: ``SERVER_SNIPPET``, or a kind of :func:`.._audit.snippet_locations.snippets_of`.
    """
    return f"{SNIPPETS}{site}-{kind}.conf"


def is_server_snippet(path: str) -> bool:
    """Return whether a path in a gate generation is the server snippet of any site."""
    return path.startswith(SNIPPETS) and path.endswith(f"-{SERVER_SNIPPET}.conf")


def is_of_site(path: str, site: str) -> bool:
    """Return whether a path ends with a file of one site."""
    return path.endswith(f"/{site_file(site)}") or f"/{SNIPPETS}{site}-" in path


# Files of a trust generation.
ANCHORS = "anchors.pem"
EDGE_MAPS = "edge.conf"

# Files of the gate transaction beside the generations.
RECORDS = f"{HOME}/gate.records"
INCLUDED = f"{HOME}/gate.included"
TRANSACTION = f"{HOME}/gate.transaction"
ARMED = f"{HOME}/armed"
# A second copy of the same files, so that the removal of one directory does not disarm the revert.
SPARE = f"{HOME}/gate.revert"
# Each of these is in two directories; the first one that can be read counts.
SETTINGS = (f"{ARMED}/settings.json", f"{SPARE}/settings.json")
PROGRAM = (f"{ARMED}/revert.pyz", f"{SPARE}/revert.pyz")
SNAPSHOT = (f"{ARMED}/snapshot.json", f"{SPARE}/snapshot.json")
# Space that every end of a transaction releases before it writes anything, so that it succeeds on a full disk.
BALLAST = f"{SPARE}/ballast"
