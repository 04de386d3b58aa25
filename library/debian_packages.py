#!/usr/bin/python
"""Ansible module: see DOCUMENTATION. What it does is in the action plugin of the same name."""

from __future__ import annotations

DOCUMENTATION = r"""
---
module: debian_packages
short_description: Install Debian packages where they are missing
description:
  - Asks dpkg whether the packages are installed, and M(ansible.builtin.apt) to install them where they are not, without
    what they recommend. M(ansible.builtin.apt) alone takes seconds each time.
version_added: "0.1.0"
author: portchain developers (@portchain)
options:
  name:
    description: The packages' names.
    type: list
    elements: str
    required: true
attributes:
  check_mode:
    description: Says whether packages would be installed.
    support: full
  diff_mode:
    description: Shows what apt would do.
    support: full
  idempotent:
    description: Leaves installed packages alone.
    support: full
"""

EXAMPLES = r"""
- name: Install mmdebstrap
  debian_packages:
    name: [mmdebstrap]
  become: true
"""
