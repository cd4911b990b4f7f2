# Copyright (c) 2026 The quietdoor.mtls authors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Decide about rollouts: stage changes, readiness, probes, receipts and what their results mean.

Runs on the control node, behind the actions ``rollout_plan`` and ``rollout_verify``. It has no effects: it reads no file, runs
no command and connects to nothing. It may import the standard library, ``_ansible`` and ``_nginx``.
"""
